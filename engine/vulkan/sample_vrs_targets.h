// SPDX-License-Identifier: Apache-2.0
// What one drawing draws to and reads its rates from. A block, so that a recording holds it until the device is done.
#pragma once

#include "engine/vulkan/sample_vrs_raster.h"

namespace foveate::vulkan {

class Raster::Targets final : public Block {
public:
    Targets(Ref<Device> device, const RasterTable& vk, const VrsPlan& plan, VkRenderPass render_pass,
            VkDescriptorSetLayout set_layout, std::uint32_t buffers);
    ~Targets() override;

    std::byte* host() override { return nullptr; }
    VkImage colors() const { return colors_.image.get(); }
    VkImage finals() const { return finals_.image.get(); }
    VkImage rates() const { return rates_.image.get(); }
    VkFramebuffer framebuffer() const { return framebuffer_.get(); }
    VkQueryPool query() const { return query_.get(); }
    VkDescriptorSet set() const { return set_; }

private:
    struct Target {                     // destroyed from the last to the first
        Owned<VkDeviceMemory> memory;
        Owned<VkImage> image;
        Owned<VkImageView> view;
    };

    void last_release() override;
    Target make(VkFormat format, VkImageUsageFlags usage, std::uint32_t width, std::uint32_t height);
    std::uint32_t memory_type(std::uint32_t allowed) const;

    Ref<Device> device_;
    const RasterTable& vk_;             // of the Raster, which outlives its recordings
    std::uint64_t reserved_ = 0;        // bytes of the memory budget
    Target colors_, finals_, rates_;
    Owned<VkFramebuffer> framebuffer_;
    Owned<VkDescriptorPool> pool_;
    VkDescriptorSet set_ = VK_NULL_HANDLE;
    Owned<VkQueryPool> query_;
};

}  // namespace foveate::vulkan
