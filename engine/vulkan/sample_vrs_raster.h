// SPDX-License-Identifier: Apache-2.0
// Drawing with a shading rate attachment: a device of its own beside the backend's, since only it needs a queue
// for graphics and these features. Pixels and rates come from the host and go back there: it is there to see what
// the hardware shades, not to be fast.
#pragma once

#include <map>

#include "engine/sample_vrs.h"
#include "engine/vulkan/record.h"

namespace foveate::vulkan {

// Safe from any thread.
class Raster {
public:
    Raster(Choice choice, std::uint64_t memory_budget, const void* owner);
    ~Raster();

    // Returns when the device is done; every block can be read by the host.
    Shaded draw(const Image& image, const VrsPlan& plan);

    // False: the device still works on what was abandoned, and nothing may be destroyed.
    bool settle() { return recorder_->settle(); }
    std::uint64_t waits() const { return device_->waits(); }
    std::uint64_t memory_used() const { return device_->memory.used(); }
    std::uint64_t memory_peak() const { return device_->memory.peak(); }

private:
    class Targets;
    struct Pass {                       // for one size of tiles
        Owned<VkRenderPass> render_pass;
        Owned<VkPipeline> pipeline;
    };

    const Pass& pass(std::uint32_t tile);
    Owned<VkRenderPass> make_render_pass(std::uint32_t tile) const;
    Owned<VkPipeline> make_pipeline(VkRenderPass render_pass) const;
    Owned<VkShaderModule> module(const char* name) const;
    void bind(VkDescriptorSet set, const Buffer& pixels, const Buffer& counter) const;
    void record_rates(VulkanRecord& record, const VrsPlan& plan, const Targets& targets, const Buffer& codes) const;
    void record_draw(VulkanRecord& record, const VrsPlan& plan, const Targets& targets, const Pass& pass) const;
    void record_copies(VulkanRecord& record, const Targets& targets, const Shaded& shaded) const;

    Ref<Device> device_;
    RasterTable vk_;
    Ref<Recorder> recorder_;
    compute::Reflection reflection_;             // of the fragment shader; the vertex shader has the same parameters
    Owned<VkDescriptorSetLayout> set_layout_;
    Owned<VkPipelineLayout> layout_;
    std::mutex mutex_;
    std::map<std::uint32_t, Pass> passes_;
};

}  // namespace foveate::vulkan
