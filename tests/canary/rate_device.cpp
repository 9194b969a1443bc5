// SPDX-License-Identifier: Apache-2.0
// A Vulkan driver that stands in front of another one (RATE_DEVICE_DRIVER) and says that it has
// VK_KHR_fragment_shading_rate, below every layer. Two uses:
//   the mock driver, which executes nothing: a validation layer sees the whole hardware path, object by object;
//   RATE_DEVICE_FLAT=1, a rasteriser without the extension: it draws at 1x1, whatever it is asked for, and the
//   shader reads the primitive's rate for the final one. So the path runs to its end, and lies for all but 1x1.
#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <vulkan/vulkan.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

using Proc = PFN_vkVoidFunction;
constexpr const char* EXTENSION = VK_KHR_FRAGMENT_SHADING_RATE_EXTENSION_NAME;
constexpr VkExtent2D RATES[] = {{4, 4}, {4, 2}, {2, 4}, {2, 2}, {2, 1}, {1, 2}, {1, 1}};
constexpr std::uint32_t STORAGE_BUFFERS = 16;  // the mock driver has the specification's least, 4
constexpr VkDeviceSize ALLOCATION = 1ull << 30;

PFN_vkGetInstanceProcAddr instance_proc = nullptr;
PFN_vkGetDeviceProcAddr device_proc = nullptr;
bool flat = false;

void* driver()
{
    static void* const library = [] {
        const char* flag = std::getenv("RATE_DEVICE_FLAT");
        flat = flag && *flag == '1';
        const char* name = std::getenv("RATE_DEVICE_DRIVER");
        return name ? dlopen(name, RTLD_NOW | RTLD_LOCAL) : nullptr;
    }();
    return library;
}

template <class Function>
struct Kept {
    Function call = nullptr;
};

Kept<PFN_vkGetPhysicalDeviceFeatures2> features2;
Kept<PFN_vkGetPhysicalDeviceProperties> properties1;
Kept<PFN_vkGetPhysicalDeviceProperties2> properties2;
Kept<PFN_vkGetPhysicalDeviceFormatProperties> format1;
Kept<PFN_vkGetPhysicalDeviceFormatProperties2> format2;
Kept<PFN_vkEnumerateDeviceExtensionProperties> extensions;
Kept<PFN_vkCreateDevice> create_device;
Kept<PFN_vkCreateImage> create_image;
Kept<PFN_vkCreateRenderPass2> create_render_pass;
Kept<PFN_vkCreateShaderModule> create_shader;

template <class T>
T* in_chain(void* chain, VkStructureType type)
{
    for (auto* at = static_cast<VkBaseOutStructure*>(chain); at; at = at->pNext)
        if (at->sType == type) return reinterpret_cast<T*>(at);
    return nullptr;
}

void VKAPI_PTR on_features2(VkPhysicalDevice device, VkPhysicalDeviceFeatures2* out)
{
    features2.call(device, out);
    if (auto* rates = in_chain<VkPhysicalDeviceFragmentShadingRateFeaturesKHR>(
            out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FRAGMENT_SHADING_RATE_FEATURES_KHR))
        rates->pipelineFragmentShadingRate = rates->primitiveFragmentShadingRate =
            rates->attachmentFragmentShadingRate = VK_TRUE;
    if (auto* core = in_chain<VkPhysicalDeviceVulkan12Features>(
            out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES))
        core->timelineSemaphore = VK_TRUE;
    if (auto* timeline = in_chain<VkPhysicalDeviceTimelineSemaphoreFeatures>(
            out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES))
        timeline->timelineSemaphore = VK_TRUE;
}

void raise(VkPhysicalDeviceLimits& limits)
{
    limits.maxPerStageDescriptorStorageBuffers = std::max(limits.maxPerStageDescriptorStorageBuffers, STORAGE_BUFFERS);
    limits.maxDescriptorSetStorageBuffers = std::max(limits.maxDescriptorSetStorageBuffers, STORAGE_BUFFERS);
}

void VKAPI_PTR on_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties* out)
{
    properties1.call(device, out);
    raise(out->limits);
}

void VKAPI_PTR on_properties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2* out)
{
    properties2.call(device, out);
    raise(out->properties.limits);
    auto* rates = in_chain<VkPhysicalDeviceFragmentShadingRatePropertiesKHR>(
        out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FRAGMENT_SHADING_RATE_PROPERTIES_KHR);
    if (rates) {
        rates->minFragmentShadingRateAttachmentTexelSize = {8, 8};
        rates->maxFragmentShadingRateAttachmentTexelSize = {32, 32};
        rates->maxFragmentShadingRateAttachmentTexelSizeAspectRatio = 1;
        rates->fragmentShadingRateNonTrivialCombinerOps = rates->fragmentShadingRateStrictMultiplyCombiner = VK_TRUE;
        rates->maxFragmentSize = {4, 4};
        rates->maxFragmentSizeAspectRatio = 2;
        rates->maxFragmentShadingRateCoverageSamples = 16;
        rates->maxFragmentShadingRateRasterizationSamples = VK_SAMPLE_COUNT_1_BIT;
    }
    if (flat) return;
    // The mock driver says 0 of what every device has.
    if (auto* timeline = in_chain<VkPhysicalDeviceTimelineSemaphoreProperties>(
            out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_PROPERTIES))
        timeline->maxTimelineSemaphoreValueDifference = ~0u;
    if (auto* core = in_chain<VkPhysicalDeviceVulkan12Properties>(
            out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES))
        core->maxTimelineSemaphoreValueDifference = ~0u;
    if (auto* size = in_chain<VkPhysicalDeviceMaintenance3Properties>(
            out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES))
        size->maxMemoryAllocationSize = ALLOCATION;
    if (auto* core = in_chain<VkPhysicalDeviceVulkan11Properties>(
            out->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES))
        core->maxMemoryAllocationSize = ALLOCATION;
}

void VKAPI_PTR on_format(VkPhysicalDevice device, VkFormat format, VkFormatProperties* out)
{
    format1.call(device, format, out);
    if (format == VK_FORMAT_R8_UINT)
        out->optimalTilingFeatures |= VK_FORMAT_FEATURE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR;
}

void VKAPI_PTR on_format2(VkPhysicalDevice device, VkFormat format, VkFormatProperties2* out)
{
    format2.call(device, format, out);
    if (format != VK_FORMAT_R8_UINT) return;
    out->formatProperties.optimalTilingFeatures |= VK_FORMAT_FEATURE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR;
    if (auto* more = in_chain<VkFormatProperties3>(out->pNext, VK_STRUCTURE_TYPE_FORMAT_PROPERTIES_3))
        more->optimalTilingFeatures |= VK_FORMAT_FEATURE_2_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR;
}

VkResult VKAPI_PTR on_extensions(VkPhysicalDevice device, const char* layer, std::uint32_t* count,
                                 VkExtensionProperties* out)
{
    if (!flat) return extensions.call(device, layer, count, out);
    if (!out) {
        const VkResult result = extensions.call(device, layer, count, nullptr);
        ++*count;
        return result;
    }
    std::uint32_t room = *count - 1;
    const VkResult result = extensions.call(device, layer, &room, out);
    out[room] = {};
    std::strcpy(out[room].extensionName, EXTENSION);
    out[room].specVersion = VK_KHR_FRAGMENT_SHADING_RATE_SPEC_VERSION;
    *count = room + 1;
    return result;
}

VkResult VKAPI_PTR on_rates(VkPhysicalDevice, std::uint32_t* count, VkPhysicalDeviceFragmentShadingRateKHR* out)
{
    const std::uint32_t all = flat ? 1 : std::uint32_t(std::size(RATES));
    if (!out) {
        *count = all;
        return VK_SUCCESS;
    }
    *count = std::min(*count, all);
    for (std::uint32_t i = 0; i < *count; ++i) {
        out[i].fragmentSize = RATES[std::size(RATES) - all + i];
        const bool one = out[i].fragmentSize.width * out[i].fragmentSize.height == 1;
        out[i].sampleCounts = one ? ~0u : std::uint32_t(VK_SAMPLE_COUNT_1_BIT);
    }
    return VK_SUCCESS;
}

// What a driver without the extension must not see.
VkResult VKAPI_PTR on_create_device(VkPhysicalDevice device, const VkDeviceCreateInfo* info,
                                    const VkAllocationCallbacks* allocator, VkDevice* made)
{
    if (!flat) return create_device.call(device, info, allocator, made);
    VkDeviceCreateInfo changed = *info;
    std::vector<const char*> names;
    for (std::uint32_t i = 0; i < info->enabledExtensionCount; ++i)
        if (std::strcmp(info->ppEnabledExtensionNames[i], EXTENSION) != 0)
            names.push_back(info->ppEnabledExtensionNames[i]);
    changed.enabledExtensionCount = std::uint32_t(names.size());
    changed.ppEnabledExtensionNames = names.data();
    for (auto* at = reinterpret_cast<VkBaseOutStructure*>(&changed); at->pNext; at = at->pNext)
        if (at->pNext->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FRAGMENT_SHADING_RATE_FEATURES_KHR) {
            at->pNext = at->pNext->pNext;
            break;
        }
    return create_device.call(device, &changed, allocator, made);
}

VkResult VKAPI_PTR on_create_image(VkDevice device, const VkImageCreateInfo* info,
                                   const VkAllocationCallbacks* allocator, VkImage* made)
{
    VkImageCreateInfo changed = *info;
    changed.usage &= ~VkImageUsageFlags(VK_IMAGE_USAGE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR);
    if (changed.usage == VK_IMAGE_USAGE_TRANSFER_DST_BIT) changed.usage |= VK_IMAGE_USAGE_SAMPLED_BIT;
    return create_image.call(device, &changed, allocator, made);
}

VkResult VKAPI_PTR on_create_render_pass(VkDevice device, const VkRenderPassCreateInfo2* info,
                                         const VkAllocationCallbacks* allocator, VkRenderPass* made)
{
    VkRenderPassCreateInfo2 changed = *info;
    VkSubpassDescription2 subpass = info->pSubpasses[0];
    subpass.pNext = nullptr;
    changed.pSubpasses = &subpass;
    return create_render_pass.call(device, &changed, allocator, made);
}

// The built-in variables become one ordinary output and input; the capability and the extension's name go.
VkResult VKAPI_PTR on_create_shader(VkDevice device, const VkShaderModuleCreateInfo* info,
                                    const VkAllocationCallbacks* allocator, VkShaderModule* made)
{
    constexpr std::uint32_t HEADER = 5, EXTENSION_OP = 10, CAPABILITY_OP = 17, DECORATE_OP = 71;
    constexpr std::uint32_t CAPABILITY = 4422, PRIMITIVE = 4432, FINAL = 4444, BUILT_IN = 11, LOCATION = 30;
    const std::vector<std::uint32_t> words(info->pCode, info->pCode + info->codeSize / 4);
    std::vector<std::uint32_t> kept(words.begin(), words.begin() + HEADER);
    for (std::size_t at = HEADER; at < words.size();) {
        const std::uint32_t op = words[at] & 0xffff, count = words[at] >> 16;
        const auto* text = reinterpret_cast<const char*>(&words[at + 1]);
        const bool named = op == EXTENSION_OP && std::strstr(text, "shading_rate");
        if (!named && !(op == CAPABILITY_OP && words[at + 1] == CAPABILITY)) {
            kept.insert(kept.end(), words.begin() + std::ptrdiff_t(at), words.begin() + std::ptrdiff_t(at + count));
            std::uint32_t* const copy = &kept[kept.size() - count];
            if (op == DECORATE_OP && copy[2] == BUILT_IN && (copy[3] == PRIMITIVE || copy[3] == FINAL)) {
                copy[2] = LOCATION;
                copy[3] = 0;
            }
        }
        at += count;
    }
    VkShaderModuleCreateInfo changed = *info;
    changed.pCode = kept.data();
    changed.codeSize = kept.size() * 4;
    return create_shader.call(device, &changed, allocator, made);
}

void VKAPI_PTR on_set_rate(VkCommandBuffer, const VkExtent2D*, const VkFragmentShadingRateCombinerOpKHR[2]) {}

template <class Function>
Proc in_front(Kept<Function>& kept, Proc real, Function ours)
{
    kept.call = reinterpret_cast<Function>(real);
    return reinterpret_cast<Proc>(ours);
}

bool is(const char* name, const char* wanted) { return std::strcmp(name, wanted) == 0; }

Proc VKAPI_PTR on_device_proc(VkDevice device, const char* name)
{
    const Proc real = device_proc(device, name);
    if (!flat) return real;
    if (is(name, "vkCmdSetFragmentShadingRateKHR")) return reinterpret_cast<Proc>(on_set_rate);
    if (is(name, "vkCreateImage")) return in_front(create_image, real, &on_create_image);
    if (is(name, "vkCreateRenderPass2")) return in_front(create_render_pass, real, &on_create_render_pass);
    if (is(name, "vkCreateShaderModule")) return in_front(create_shader, real, &on_create_shader);
    return real;
}

}  // namespace

EXPORTED Proc VKAPI_PTR vk_icdGetInstanceProcAddr(VkInstance instance, const char* name)
{
    if (!driver()) return nullptr;
    if (!instance_proc)
        instance_proc = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(driver(), "vk_icdGetInstanceProcAddr"));
    const Proc real = instance_proc(instance, name);
    if (is(name, "vkGetPhysicalDeviceFragmentShadingRatesKHR")) return reinterpret_cast<Proc>(on_rates);
    if (flat && is(name, "vkCmdSetFragmentShadingRateKHR")) return reinterpret_cast<Proc>(on_set_rate);
    if (!real) return nullptr;
    if (is(name, "vkGetPhysicalDeviceFeatures2") || is(name, "vkGetPhysicalDeviceFeatures2KHR"))
        return in_front(features2, real, &on_features2);
    if (is(name, "vkGetPhysicalDeviceProperties")) return in_front(properties1, real, &on_properties);
    if (is(name, "vkGetPhysicalDeviceProperties2") || is(name, "vkGetPhysicalDeviceProperties2KHR"))
        return in_front(properties2, real, &on_properties2);
    if (is(name, "vkGetPhysicalDeviceFormatProperties")) return in_front(format1, real, &on_format);
    if (is(name, "vkGetPhysicalDeviceFormatProperties2") || is(name, "vkGetPhysicalDeviceFormatProperties2KHR"))
        return in_front(format2, real, &on_format2);
    if (is(name, "vkEnumerateDeviceExtensionProperties")) return in_front(extensions, real, &on_extensions);
    if (is(name, "vkCreateDevice")) return in_front(create_device, real, &on_create_device);
    if (is(name, "vkGetDeviceProcAddr")) {
        device_proc = reinterpret_cast<PFN_vkGetDeviceProcAddr>(real);
        return reinterpret_cast<Proc>(on_device_proc);
    }
    return real;
}

EXPORTED VkResult VKAPI_PTR vk_icdNegotiateLoaderICDInterfaceVersion(std::uint32_t* version)
{
    if (!driver()) return VK_ERROR_INCOMPATIBLE_DRIVER;
    *version = std::min(*version, 5u);
    const auto real = reinterpret_cast<VkResult(VKAPI_PTR*)(std::uint32_t*)>(
        dlsym(driver(), "vk_icdNegotiateLoaderICDInterfaceVersion"));
    return real ? real(version) : VK_SUCCESS;
}
