// SPDX-License-Identifier: Apache-2.0
// The SIMD cpu backend: the embedded default, and in the field the reference that every other one must equal.
// Each stage is the twin of the shader of the same name, step for step.
#pragma once

#include <atomic>
#include <string>

#include "engine/backend.h"
#include "engine/cpu/memory.h"
#include "engine/cpu/rows.h"
#include "engine/cpu/rows_tiles.h"
#include "engine/cpu/threads.h"

namespace foveate::cpu {

void build_pyramid(const Image& image, const PyramidPlan& plan, std::byte* levels, const RowKernels& rows,
                   Threads& threads);
void build_exact_pyramid(const Image& image, const PyramidPlan& plan, float* levels, Threads& threads);
void find_relevance(const Pyramid& pyramid, const RelevancePlan& plan, std::uint16_t* luma, std::uint32_t* cells,
                    const RowKernels& rows, Threads& threads);
// The 64 x 64 map of one image's luma, scaled so that its largest is 65535.
void spectral_map(const std::uint16_t* luma, const shared::RelevanceImage& image, const float* table,
                  const RelevanceRows& rows, std::uint32_t* map);
// What every split would gain, u32[slot][cell]; and the codes that the budget buys.
void rate_detail(const Image& image, const RatePlan& plan, std::uint32_t* detail, const RowKernels& rows,
                 Threads& threads);
void rate_codes(const RatePlan& plan, const std::uint32_t* detail, const std::uint32_t* relevance,
                std::uint32_t* codes, Threads& threads);
void write_layout(const LayoutPlan& plan, Token* tokens);
void write_rate_layout(const LayoutPlan& plan, const std::uint32_t* codes, Token* tokens);
void write_rate_tiles(const Image& image, const RateTilesPlan& plan, std::uint8_t* codes, const TileKernels& kernels,
                      Threads& threads);
void sample_patches(const Pyramid& pyramid, const Token* tokens, const SamplePlan& plan, std::byte* out,
                    const RowKernels& rows, Threads& threads);
void warp_images(const Pyramid& pyramid, const WarpPlan& plan, std::byte* out, const RowKernels& rows,
                 Threads& threads);
void shade_coarsely(const ImageView& view, const VrsPlan& plan, std::uint32_t* colors, std::uint8_t* codes,
                    std::uint32_t* counter, Threads& threads);

class CpuBackend final : public Backend {
public:
    CpuBackend(std::uint32_t threads, const std::string& isa, std::uint64_t memory_budget);
    ~CpuBackend() override;

    const Caps& caps() const override { return caps_; }
    Counters counters() const override;
    Ref<Record> begin() override;
    Image image(Record& record, Image image) override;
    Pyramid pyramid(Record& record, Image image, const PyramidPlan& plan) override;
    Relevance relevance(Record& record, const Pyramid& pyramid, const RelevancePlan& plan) override;
    Rates rate(Record& record, const Image& image, const Relevance* relevance, const RatePlan& plan) override;
    Layout layout(Record& record, const LayoutPlan& plan, const Rates* rates) override;
    TileRates rate_tiles(Record& record, const Image& image, const RateTilesPlan& plan) override;
    Patches sample(Record& record, const Pyramid& pyramid, const Layout& layout,
                   const SamplePlan& plan) override;
    Warped warp(Record& record, const Pyramid& pyramid, const WarpPlan& plan) override;
    Shaded sample_vrs(Record& record, const Image& image, const VrsPlan& plan) override;
    Ref<Block> tensor(Record& record, const Ref<Block>& block) override;
    Ref<Block> upload(Record& record, const void* data, std::uint64_t size) override;
    Ref<Block> empty(std::uint64_t size) override { return memory_->allocate(size); }
    SharedMemory share(const Ref<Block>& block, bool accompanied = false) override;
    Ref<Block> attach(SharedMemory memory) override;
    SharedSemaphore signal() override { return {}; }
    SharedSemaphore expect() override;
    void wait(SharedSemaphore point) override;
    void settle() override {}
    void finish(Record&) override {}  // every stage has finished when it returns

private:
    Caps caps_;
    const RowKernels& rows_;
    Threads threads_;
    Ref<Memory> memory_;
    std::atomic<std::uint64_t> records_{0};
};

}  // namespace foveate::cpu
