// SPDX-License-Identifier: Apache-2.0
// A Vulkan library in front of the real loader: its devices have VK_KHR_pipeline_executable_properties, which the
// software drivers lack, and it keeps the names that objects are given. What it is asked against the rules of the
// extension is counted. old(1): devices are of Vulkan 1.2, and without VK_KHR_shader_non_semantic_info.
#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <vulkan/vulkan.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr const char* OURS = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
constexpr VkStructureType FEATURE = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR;

std::mutex mutex;
bool is_old = false, enabled = false;
int against_rules = 0;
std::set<VkPipeline> captured;
std::set<std::string> buffer_names;

PFN_vkGetInstanceProcAddr loader()
{
    static const auto found = [] {
        void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
        return library ? reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"))
                       : nullptr;
    }();
    return found;
}

PFN_vkEnumerateDeviceExtensionProperties list_extensions = nullptr;
PFN_vkGetPhysicalDeviceFeatures2 features_of = nullptr;
PFN_vkGetPhysicalDeviceProperties properties_of = nullptr;
PFN_vkCreateDevice create_device = nullptr;
PFN_vkGetDeviceProcAddr device_proc = nullptr;
PFN_vkCreateComputePipelines create_pipelines = nullptr;
PFN_vkSetDebugUtilsObjectNameEXT set_name = nullptr;

VkResult VKAPI_PTR on_extensions(VkPhysicalDevice device, const char* layer, std::uint32_t* count,
                                 VkExtensionProperties* out)
{
    std::uint32_t real = 0;
    VkResult result = list_extensions(device, layer, &real, nullptr);
    std::vector<VkExtensionProperties> all(real);
    if (result == VK_SUCCESS) result = list_extensions(device, layer, &real, all.data());
    if (result != VK_SUCCESS) return result;
    if (is_old)
        std::erase_if(all, [](const auto& e) {
            return std::strcmp(e.extensionName, VK_KHR_SHADER_NON_SEMANTIC_INFO_EXTENSION_NAME) == 0;
        });
    VkExtensionProperties ours{};
    std::snprintf(ours.extensionName, sizeof ours.extensionName, "%s", OURS);
    all.push_back(ours);
    if (out) std::copy_n(all.begin(), std::min<std::size_t>(*count, all.size()), out);
    *count = std::uint32_t(all.size());
    return VK_SUCCESS;
}

void VKAPI_PTR on_features(VkPhysicalDevice device, VkPhysicalDeviceFeatures2* features)
{
    features_of(device, features);
    for (auto* at = static_cast<VkBaseOutStructure*>(features->pNext); at; at = at->pNext)
        if (at->sType == FEATURE)
            reinterpret_cast<VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR*>(at)->pipelineExecutableInfo =
                VK_TRUE;
}

void VKAPI_PTR on_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties* properties)
{
    properties_of(device, properties);
    if (is_old) properties->apiVersion = VK_API_VERSION_1_2;
}

VkResult VKAPI_PTR on_create_device(VkPhysicalDevice device, const VkDeviceCreateInfo* info,
                                    const VkAllocationCallbacks* allocator, VkDevice* out)
{
    std::vector<const char*> extensions(info->ppEnabledExtensionNames,
                                        info->ppEnabledExtensionNames + info->enabledExtensionCount);
    const bool listed = std::erase_if(extensions, [](const char* e) { return std::strcmp(e, OURS) == 0; }) > 0;
    // Taken out of the chain for as long as the driver looks at it.
    VkDeviceCreateInfo less = *info;
    const void** before = &less.pNext;
    const VkBaseInStructure* taken = nullptr;
    for (auto* at = static_cast<const VkBaseInStructure*>(less.pNext); at && !taken; at = at->pNext) {
        if (at->sType == FEATURE) *before = (taken = at)->pNext;
        before = taken ? before : reinterpret_cast<const void**>(&const_cast<VkBaseInStructure*>(at)->pNext);
    }
    against_rules += listed != (taken != nullptr);
    enabled = listed && taken;
    less.enabledExtensionCount = std::uint32_t(extensions.size());
    less.ppEnabledExtensionNames = extensions.data();
    const VkResult result = create_device(device, &less, allocator, out);
    if (taken && before != &less.pNext) *before = taken;
    return result;
}

VkResult VKAPI_PTR on_pipelines(VkDevice device, VkPipelineCache cache, std::uint32_t count,
                                const VkComputePipelineCreateInfo* infos, const VkAllocationCallbacks* allocator,
                                VkPipeline* out)
{
    std::vector<VkComputePipelineCreateInfo> plain(infos, infos + count);
    for (auto& info : plain) info.flags &= ~VkFlags(VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR);
    const VkResult result = create_pipelines(device, cache, count, plain.data(), allocator, out);
    const std::lock_guard lock(mutex);
    for (std::uint32_t i = 0; i < count; ++i)
        if (infos[i].flags & VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR) {
            against_rules += !enabled;
            captured.insert(out[i]);
        }
    return result;
}

VkResult VKAPI_PTR on_parts(VkDevice, const VkPipelineInfoKHR* info, std::uint32_t* count,
                            VkPipelineExecutablePropertiesKHR* out)
{
    against_rules += !enabled || info->sType != VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR;
    if (out && *count) {
        against_rules += out->sType != VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
        std::snprintf(out->name, sizeof out->name, "main");
        out->subgroupSize = 32;
    }
    *count = 1;
    return VK_SUCCESS;
}

VkResult VKAPI_PTR on_statistics(VkDevice, const VkPipelineExecutableInfoKHR* info, std::uint32_t* count,
                                 VkPipelineExecutableStatisticKHR* out)
{
    const std::lock_guard lock(mutex);
    against_rules += !enabled || info->executableIndex != 0 || !captured.count(info->pipeline) ||
                     info->sType != VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR;
    for (std::uint32_t i = 0; out && i < std::min(*count, 4u); ++i) {
        against_rules += out[i].sType != VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
        const char* const names[] = {"Register Count", "Occupancy", "Balance", "Spills"};
        std::snprintf(out[i].name, sizeof out[i].name, "%s", names[i]);
        const VkPipelineExecutableStatisticFormatKHR formats[] = {
            VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR, VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR,
            VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR, VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR};
        out[i].format = formats[i];
        if (i == 0) out[i].value.u64 = 40;
        if (i == 1) out[i].value.f64 = 0.75;
        if (i == 2) out[i].value.i64 = -3;
        if (i == 3) out[i].value.b32 = VK_TRUE;
    }
    *count = 4;
    return VK_SUCCESS;
}

VkResult VKAPI_PTR on_name(VkDevice device, const VkDebugUtilsObjectNameInfoEXT* info)
{
    {
        const std::lock_guard lock(mutex);
        if (info->objectType == VK_OBJECT_TYPE_BUFFER) buffer_names.insert(info->pObjectName);
    }
    return set_name(device, info);
}

template <class F>
PFN_vkVoidFunction instead(F& real, PFN_vkVoidFunction found, F ours)
{
    real = reinterpret_cast<F>(found);
    return reinterpret_cast<PFN_vkVoidFunction>(ours);
}

PFN_vkVoidFunction VKAPI_PTR on_device_proc(VkDevice device, const char* name)
{
    const std::string asked = name;
    if (asked == "vkGetPipelineExecutablePropertiesKHR")
        return enabled ? reinterpret_cast<PFN_vkVoidFunction>(on_parts) : nullptr;
    if (asked == "vkGetPipelineExecutableStatisticsKHR")
        return enabled ? reinterpret_cast<PFN_vkVoidFunction>(on_statistics) : nullptr;
    const PFN_vkVoidFunction real = device_proc(device, name);
    if (asked == "vkCreateComputePipelines") return instead(create_pipelines, real, on_pipelines);
    if (asked == "vkSetDebugUtilsObjectNameEXT" && real) return instead(set_name, real, on_name);
    return real;
}

}  // namespace

EXPORTED PFN_vkVoidFunction VKAPI_PTR vkGetInstanceProcAddr(VkInstance instance, const char* name)
{
    if (!loader()) return nullptr;
    const PFN_vkVoidFunction real = loader()(instance, name);
    if (!real) return real;
    const std::string asked = name;
    if (asked == "vkEnumerateDeviceExtensionProperties") return instead(list_extensions, real, on_extensions);
    if (asked == "vkGetPhysicalDeviceFeatures2") return instead(features_of, real, on_features);
    if (asked == "vkGetPhysicalDeviceProperties") return instead(properties_of, real, on_properties);
    if (asked == "vkCreateDevice") return instead(create_device, real, on_create_device);
    if (asked == "vkGetDeviceProcAddr") return instead(device_proc, real, on_device_proc);
    return real;
}

EXPORTED void old(int on) { is_old = on != 0; }
EXPORTED int mistakes() { return against_rules; }
EXPORTED int captured_count() { return int(captured.size()); }
EXPORTED const char* names_of_buffers()
{
    static std::string all;
    const std::lock_guard lock(mutex);
    all.clear();
    for (const std::string& name : buffer_names) all += name + " ";
    return all.c_str();
}
