// SPDX-License-Identifier: Apache-2.0
// What profilers ask of shaders: their source beside them, and what the driver says of what it compiled.
#include <cstdlib>
#include <cstring>

#include "engine/vulkan/program.h"
#include "engine/vulkan/vulkan_backend.h"

namespace foveate::vulkan {

namespace {

Statistic statistic_of(const VkPipelineExecutableStatisticKHR& from)
{
    Statistic made{from.name, from.description, {}};
    switch (from.format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: made.value = from.value.b32 != VK_FALSE; break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: made.value = from.value.i64; break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: made.value = from.value.u64; break;
    default: made.value = from.value.f64;
    }
    return made;
}

}  // namespace

bool profile_shaders()
{
    const char* value = std::getenv("FOVEATE_SHADERS");
    const std::string named = value && *value ? value : "release";
    require(named == "release" || named == "profile", "Engine: FOVEATE_SHADERS", '"' + named + '"',
            "\"release\" or \"profile\"");
    return named == "profile";
}

std::vector<Shader> shaders_for(const Device& device)
{
    std::vector<Shader> chosen(shaders().begin(), shaders().end());
    if (device.features().sources)
        for (Shader& shader : chosen) shader.words = shader.profile_words;
    return chosen;
}

void Program::add_statistics(const Device& device, std::vector<Kernel>& kernels) const
{
    const DeviceTable& vk = device.vk;
    if (!vk.GetPipelineExecutablePropertiesKHR || !vk.GetPipelineExecutableStatisticsKHR) return;
    VkPipelineInfoKHR info{VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR};
    info.pipeline = pipeline_.get();
    std::uint32_t count = 0;
    check(vk.GetPipelineExecutablePropertiesKHR(device.handle(), &info, &count, nullptr), "count a shader's programs");
    std::vector<VkPipelineExecutablePropertiesKHR> parts(
        count, {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR});
    if (count)
        check(vk.GetPipelineExecutablePropertiesKHR(device.handle(), &info, &count, parts.data()),
              "list a shader's programs");
    for (std::uint32_t i = 0; i < count; ++i) {
        VkPipelineExecutableInfoKHR part{VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR};
        part.pipeline = pipeline_.get();
        part.executableIndex = i;
        std::uint32_t many = 0;
        check(vk.GetPipelineExecutableStatisticsKHR(device.handle(), &part, &many, nullptr),
              "count a shader's statistics");
        std::vector<VkPipelineExecutableStatisticKHR> found(
            many, {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR});
        if (many)
            check(vk.GetPipelineExecutableStatisticsKHR(device.handle(), &part, &many, found.data()),
                  "list a shader's statistics");
        Kernel& kernel = kernels.emplace_back();
        kernel.name = name();
        kernel.windows = windows();
        kernel.part = parts[i].name;
        kernel.subgroup_size = parts[i].subgroupSize;
        for (std::uint32_t k = 0; k < many; ++k) kernel.statistics.push_back(statistic_of(found[k]));
    }
}

std::vector<Kernel> Programs::kernels()
{
    std::vector<Kernel> found;
    if (!device_.statistics()) return found;
    const std::lock_guard lock(mutex_);
    for (const auto& program : made_) program->add_statistics(device_, found);
    return found;
}

std::vector<Kernel> VulkanBackend::kernels() { return programs_->kernels(); }

bool VulkanBackend::copy(Record& record, std::uint64_t size)
{
    if (!recorder_->traces()) return false;
    VulkanRecord& recording = this->recording(record);
    const Ref<Buffer> from = recording.buffer(Use::device, size), to = recording.buffer(Use::device, size);
    recording.copy_traced("copy", *from, *to, size);
    return true;
}

}  // namespace foveate::vulkan
