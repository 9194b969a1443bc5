// SPDX-License-Identifier: Apache-2.0
// Images that others share: opened, and copied into rows by the device; or made of rows, for others to open. How their
// texels lie is the driver's own business, so both sides must make the image by the same numbers.
#pragma once

#include "engine/vulkan/device.h"

namespace foveate::vulkan {

class Texture final : public Block {
public:
    enum class Origin { theirs, ours };

    // theirs: uses the descriptor up where it succeeds. ours: makes the image by its sizes, format and usage, and adds
    // the descriptor, which keeps its memory for longer than this, and what else it takes to open it.
    Texture(Ref<Device> device, SharedTexture& shared, const void* owner, Origin origin = Origin::theirs);
    ~Texture() override;

    std::byte* host() override { return nullptr; }
    VkImage handle() const { return handle_; }
    const Device* device() const { return device_.get(); }
    std::uint32_t width() const { return width_; }
    std::uint32_t height() const { return height_; }
    VkImageLayout layout() const { return layout_; }   // that it is given and taken in

private:
    void open(SharedTexture& shared);
    void make(SharedTexture& shared);
    VkMemoryRequirements needs() const;
    void close();
    void last_release() override;

    Ref<Device> device_;
    std::uint32_t width_, height_;
    std::uint64_t reserved_ = 0;        // bytes of the budget
    VkImageLayout layout_;
    VkImage handle_ = VK_NULL_HANDLE;
    VkDeviceMemory memory_ = VK_NULL_HANDLE;
};

// Bytes of a texel; 0: no stage reads this format.
std::uint32_t texel_size(std::uint32_t format);

}  // namespace foveate::vulkan
