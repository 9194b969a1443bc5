// SPDX-License-Identifier: Apache-2.0
// The stages on Vulkan: what each binds and how much it dispatches. The arithmetic is in shaders/.
#pragma once

#include <atomic>
#include <memory>

#include "engine/backend.h"
#include "engine/vulkan/backend.h"
#include "engine/vulkan/record.h"

namespace foveate::vulkan {

// The images and the levels are seen through four bindings of this many bytes each: what every device can
// bind at once, and what shaders/lib/pixels.glsl counts in words.
inline constexpr std::uint64_t WINDOW = 128ull << 20;
inline constexpr std::uint32_t WINDOWS = 4;

class VulkanBackend final : public Backend {
public:
    VulkanBackend(const std::string& device_selector, std::uint64_t memory_budget, Features features);
    ~VulkanBackend() override;

    const Caps& caps() const override { return caps_; }
    Counters counters() const override;
    std::vector<Span> spans() override { return recorder_->spans(); }
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
    Ref<Block> tensor(Record& record, const Ref<Block>& block) override;
    Ref<Block> upload(Record& record, const void* data, std::uint64_t size) override;
    Ref<Block> empty(std::uint64_t size) override { return device_->memory.lend(size); }
    SharedMemory share(const Ref<Block>& block) override;
    Ref<Block> attach(SharedMemory memory) override { return device_->memory.attach(std::move(memory)); }
    void finish(Record& record) override;

private:
    void last_release() override;
    // The shader for these buffers: one that fits its first window needs no choice between them.
    const Program& program(const char* name, const Buffer* pixels = nullptr,
                           const Buffer* levels = nullptr) const;
    // The record as ours; the block as a buffer of this device, uploaded where it is another's.
    VulkanRecord& recording(Record& record) const;
    Ref<Buffer> own(VulkanRecord& record, const Ref<Block>& block, const char* what) const;
    // True: the image is read where it lies, its table and pixels are set.
    bool in_place(VulkanRecord& record, Image& image, std::uint64_t packed) const;
    // The pixels of an image on this device, packed now where image() was another backend's.
    Ref<Buffer> pixels_of(VulkanRecord& record, Image& image);
    // Groups for a flat list of items, which the shaders number row by row; throws when there are too many.
    Groups flat_groups(const Program& program, std::uint64_t items) const;
    void check_groups(const Program& program, const Groups& groups) const;
    void check_range(const char* what, std::uint64_t bytes, std::uint64_t bytes_max) const;

    Ref<Device> device_;
    Ref<Recorder> recorder_;
    std::unique_ptr<Programs> programs_;
    Caps caps_;
    std::atomic<std::uint64_t> image_copies_{0};
};

template <class T>
std::span<const std::byte> bytes_of(const T& value)
{
    return std::as_bytes(std::span(&value, 1));
}

// Adds <stem>0 .. <stem>3; `names` holds the four names. Null: unused.
void add_windows(std::vector<Binding>& bindings, const char* const (&names)[WINDOWS], const Buffer* buffer);

inline constexpr const char* PIXEL_WINDOWS[WINDOWS] = {"Pixels0", "Pixels1", "Pixels2", "Pixels3"};
inline constexpr const char* LEVEL_WINDOWS[WINDOWS] = {"Levels0", "Levels1", "Levels2", "Levels3"};

}  // namespace foveate::vulkan
