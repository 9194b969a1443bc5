// SPDX-License-Identifier: Apache-2.0
// A compute pipeline with everything reflection says of it, and the cache that keeps compiled ones on disk.
// Each program is made once, when a stage first needs it: a call that needs none of them waits for none.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "engine/compute/shader.h"
#include "engine/trace.h"
#include "engine/vulkan/device.h"

namespace foveate::vulkan {

using compute::Shader;
using compute::shaders;

// Those that a device runs: `words` are what its features ask for.
std::vector<Shader> shaders_for(const Device& device);
// FOVEATE_SHADERS asks for sources.
bool profile_shaders();

inline VkDescriptorType descriptor_type(const compute::Slot& slot)
{
    return slot.texture ? VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
}

class Program final : public compute::Program {
public:
    Program(const Device& device, const Shader& shader, std::uint32_t windows, VkPipelineCache cache);

    VkDescriptorSetLayout set_layout() const { return set_layout_.get(); }
    VkPipelineLayout layout() const { return layout_.get(); }
    VkPipeline pipeline() const { return pipeline_.get(); }
    // What tools call the buffer in this slot: the shader's name, the block's.
    const char* label(std::size_t slot) const { return labels_[slot].c_str(); }
    // What the driver says of it, where the device captures statistics; appended.
    void add_statistics(const Device& device, std::vector<Kernel>& kernels) const;

private:
    std::vector<std::string> labels_;
    Owned<VkDescriptorSetLayout> set_layout_;
    Owned<VkPipelineLayout> layout_;
    Owned<VkPipeline> pipeline_;
};

// Pipelines compiled by an earlier process. Whatever is wrong with the file -- missing, cut, of another
// driver, device or build, not ours -- means starting cold. Nothing is ever reported: it is only a cache.
class PipelineCache {
public:
    PipelineCache(const Device& device, std::span<const Shader> shaders);
    VkPipelineCache handle() const { return cache_.get(); }
    // Writes the file again when the driver has something new; atomic, so that readers see all or nothing.
    void save() const;

private:
    const Device& device_;
    std::uint64_t shader_hash_ = 0;
    std::string folder_, path_;           // empty: no cache on disk
    std::vector<std::byte> loaded_;
    Owned<VkPipelineCache> cache_;
};

// The programs of a backend. Safe from any thread.
class Programs {
public:
    explicit Programs(const Device& device)
        : device_(device), shaders_(shaders_for(device)), cache_(device, shaders_)
    {
    }

    // `windows`: 1, or all; made now where it is the first time.
    const Program& get(const char* name, std::uint32_t windows);
    std::uint64_t count() const { return count_; }
    // Of every program made so far.
    std::vector<Kernel> kernels();
    // Puts what was made since the last time into the cache on disk.
    void save();

private:
    const Device& device_;
    const std::vector<Shader> shaders_;
    PipelineCache cache_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Program>> made_;
    std::atomic<std::uint64_t> count_{0}, saved_{0};
};

}  // namespace foveate::vulkan
