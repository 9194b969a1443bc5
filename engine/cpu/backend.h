// SPDX-License-Identifier: Apache-2.0
// The SIMD cpu backend: the embedded default, and in the field the reference that every other one must equal.
// Each stage is the twin of the shader of the same name, step for step.
#pragma once

#include <atomic>
#include <string>

#include "engine/backend.h"
#include "engine/cpu/memory.h"
#include "engine/cpu/rows.h"
#include "engine/cpu/threads.h"

namespace foveate::cpu {

void build_pyramid(const Image& image, const PyramidPlan& plan, std::byte* levels, const RowKernels& rows,
                   Threads& threads);
void build_exact_pyramid(const Image& image, const PyramidPlan& plan, float* levels, Threads& threads);
void write_layout(const LayoutPlan& plan, Token* tokens);
void sample_patches(const Pyramid& pyramid, const Token* tokens, const SamplePlan& plan, std::byte* out,
                    const RowKernels& rows, Threads& threads);
void warp_images(const Pyramid& pyramid, const WarpPlan& plan, std::byte* out, const RowKernels& rows,
                 Threads& threads);

class CpuBackend final : public Backend {
public:
    CpuBackend(std::uint32_t threads, const std::string& isa, std::uint64_t memory_budget);
    ~CpuBackend() override;

    const Caps& caps() const override { return caps_; }
    Counters counters() const override;
    Ref<Record> begin() override;
    Image image(Record& record, Image image) override;
    Pyramid pyramid(Record& record, Image image, const PyramidPlan& plan) override;
    Layout layout(Record& record, const LayoutPlan& plan) override;
    Patches sample(Record& record, const Pyramid& pyramid, const Layout& layout,
                   const SamplePlan& plan) override;
    Warped warp(Record& record, const Pyramid& pyramid, const WarpPlan& plan) override;
    Ref<Block> tensor(Record& record, const Ref<Block>& block) override;
    Ref<Block> upload(Record& record, const void* data, std::uint64_t size) override;
    void finish(Record&) override {}  // every stage has finished when it returns

private:
    Caps caps_;
    const RowKernels& rows_;
    Threads threads_;
    Ref<Memory> memory_;
    std::atomic<std::uint64_t> records_{0};
};

}  // namespace foveate::cpu
