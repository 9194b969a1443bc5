// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/program.h"

#include <cstring>

namespace foveate::vulkan {

namespace {

constexpr std::uint32_t SPECIAL_WINDOWS = 0;  // the constant's number in shaders/lib/pixels.glsl

}  // namespace

Program::Program(const Device& device, const Shader& shader, std::uint32_t windows, VkPipelineCache cache)
    : compute::Program(shader, windows)
{
    const VkPhysicalDeviceLimits& limits = device.limits();
    const compute::Reflection& reflection = this->reflection();
    bool fits = invocations() <= limits.maxComputeWorkGroupInvocations &&
                reflection.params_size <= limits.maxPushConstantsSize &&
                reflection.slots.size() <= limits.maxPerStageDescriptorStorageBuffers;
    for (int axis = 0; axis < 3; ++axis)
        fits = fits && reflection.local[axis] <= limits.maxComputeWorkGroupSize[axis];
    require(fits, std::string("Engine: shader ") + name(), "one over this device's limits", "one within them",
            "Use another device, or backend=\"cpu\".", ErrorKind::unsupported);

    std::vector<VkDescriptorSetLayoutBinding> bindings;
    for (const compute::Slot& slot : reflection.slots)
        bindings.push_back({slot.binding, descriptor_type(slot), 1, VK_SHADER_STAGE_COMPUTE_BIT, nullptr});
    for (const compute::Slot& slot : reflection.slots) labels_.push_back(std::string(name()) + "." + slot.name);
    VkDescriptorSetLayoutCreateInfo set{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO};
    set.bindingCount = std::uint32_t(bindings.size());
    set.pBindings = bindings.data();
    set_layout_ = device.own<VkDescriptorSetLayout>(device.vk.CreateDescriptorSetLayout,
                                                    device.vk.DestroyDescriptorSetLayout, set,
                                                    "create a descriptor set layout");

    const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, reflection.params_size};
    const VkDescriptorSetLayout set_layout = set_layout_.get();
    VkPipelineLayoutCreateInfo layout{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
    layout.setLayoutCount = 1;
    layout.pSetLayouts = &set_layout;
    layout.pushConstantRangeCount = reflection.params_size ? 1 : 0;
    layout.pPushConstantRanges = &range;
    layout_ = device.own<VkPipelineLayout>(device.vk.CreatePipelineLayout, device.vk.DestroyPipelineLayout,
                                           layout, "create a pipeline layout");

    VkShaderModuleCreateInfo code{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
    code.codeSize = shader.words.size_bytes();
    code.pCode = shader.words.data();
    const auto module = device.own<VkShaderModule>(
        device.vk.CreateShaderModule, device.vk.DestroyShaderModule, code, "create a shader module");
    VkComputePipelineCreateInfo info{VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
    if (device.statistics()) info.flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
    info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
    info.stage.module = module.get();
    info.stage.pName = reflection.entry.c_str();
    const VkSpecializationMapEntry entry{SPECIAL_WINDOWS, 0, sizeof windows};
    const VkSpecializationInfo special{1, &entry, sizeof windows, &windows};
    info.stage.pSpecializationInfo = &special;
    info.layout = layout_.get();
    VkPipeline pipeline = VK_NULL_HANDLE;
    check(device.vk.CreateComputePipelines(device.handle(), cache, 1, &info, nullptr, &pipeline),
          "create a pipeline");
    pipeline_ = Owned<VkPipeline>(device.handle(), device.vk.DestroyPipeline.call, pipeline);
    device.name(VK_OBJECT_TYPE_PIPELINE, std::uint64_t(pipeline), shader.name);
}

const Program& Programs::get(const char* name, std::uint32_t windows)
{
    const std::lock_guard lock(mutex_);
    for (const auto& program : made_)
        if (std::strcmp(program->name(), name) == 0 && program->windows() == windows) return *program;
    for (const Shader& shader : shaders_) {
        if (std::strcmp(shader.name, name) != 0) continue;
        made_.push_back(std::make_unique<Program>(device_, shader, windows, cache_.handle()));
        ++count_;
        return *made_.back();
    }
    fail(ErrorKind::unsupported, std::string("Engine: shader ") + name, "none", "one in this build",
         "Build foveate again.");
}

void Programs::save()
{
    const std::uint64_t count = count_;
    if (saved_.exchange(count) != count) cache_.save();
}

}  // namespace foveate::vulkan
