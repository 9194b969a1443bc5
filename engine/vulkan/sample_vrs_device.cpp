// SPDX-License-Identifier: Apache-2.0
// What a device says of its shading rates, and every reason why nothing can be drawn with them.
// Follows: Vulkan specification, VK_KHR_fragment_shading_rate.
#include <algorithm>
#include <cstring>

#include "engine/vulkan/context.h"
#include "engine/vulkan/error.h"

namespace foveate::vulkan {

namespace {

// Compute as well: the barriers of a recording name its stage.
bool graphics_family(const Instance& instance, VkPhysicalDevice device, std::uint32_t& family)
{
    std::uint32_t count = 0;
    instance.vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
    std::vector<VkQueueFamilyProperties> families(count);
    instance.vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
    constexpr VkQueueFlags BOTH = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
    for (family = 0; family < count; ++family)
        if ((families[family].queueFlags & BOTH) == BOTH && families[family].queueCount) return true;
    family = 0;
    return false;
}

// Bit `code` of each rate that is there at one sample a px.
std::uint32_t rates_of(const Instance& instance, VkPhysicalDevice device)
{
    std::uint32_t count = 0;
    check(instance.vk.GetPhysicalDeviceFragmentShadingRatesKHR(device, &count, nullptr), "count shading rates");
    std::vector<VkPhysicalDeviceFragmentShadingRateKHR> rates(
        count, {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FRAGMENT_SHADING_RATE_KHR});
    check(instance.vk.GetPhysicalDeviceFragmentShadingRatesKHR(device, &count, rates.data()), "list shading rates");
    std::uint32_t supported = 0;
    for (const auto& rate : rates) {
        const auto [w, h] = rate.fragmentSize;
        const bool known = (w == 1 || w == 2 || w == 4) && (h == 1 || h == 2 || h == 4);
        if (known && (rate.sampleCounts & VK_SAMPLE_COUNT_1_BIT)) supported |= 1u << shared::rate_code(w / 2, h / 2);
    }
    return supported;
}

}  // namespace

void ask_shading_rate(const Instance& instance, const std::vector<VkExtensionProperties>& extensions,
                      std::uint32_t version, Adapter& adapter)
{
    const auto has = [&](const char* name) {
        return std::any_of(extensions.begin(), extensions.end(),
                           [&](const auto& extension) { return std::strcmp(extension.extensionName, name) == 0; });
    };
    ShadingRate& found = adapter.shading_rate;
    const auto need = [&](bool there, const char* what) {
        if (!there) found.reasons.push_back(std::string("no ") + what);
    };
    found.reasons.clear();
    need(has(VK_KHR_FRAGMENT_SHADING_RATE_EXTENSION_NAME) && instance.vk.GetPhysicalDeviceFragmentShadingRatesKHR,
         VK_KHR_FRAGMENT_SHADING_RATE_EXTENSION_NAME);
    if (!found.usable()) return;
    adapter.render_pass_core = version >= VK_API_VERSION_1_2;
    need(adapter.render_pass_core || has(VK_KHR_CREATE_RENDERPASS_2_EXTENSION_NAME),
         VK_KHR_CREATE_RENDERPASS_2_EXTENSION_NAME);

    VkPhysicalDeviceFragmentShadingRateFeaturesKHR rates{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FRAGMENT_SHADING_RATE_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    features.pNext = &rates;
    instance.vk.GetPhysicalDeviceFeatures2(adapter.handle, &features);
    need(rates.pipelineFragmentShadingRate, "pipelineFragmentShadingRate");
    need(rates.primitiveFragmentShadingRate, "primitiveFragmentShadingRate");
    need(rates.attachmentFragmentShadingRate, "attachmentFragmentShadingRate");
    need(features.features.pipelineStatisticsQuery, "pipelineStatisticsQuery");
    need(features.features.fragmentStoresAndAtomics, "fragmentStoresAndAtomics");
    need(graphics_family(instance, adapter.handle, adapter.graphics_family), "queue for graphics and compute");
    if (!found.usable()) return;

    VkPhysicalDeviceFragmentShadingRatePropertiesKHR limits{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FRAGMENT_SHADING_RATE_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    properties.pNext = &limits;
    instance.vk.GetPhysicalDeviceProperties2(adapter.handle, &properties);
    const VkExtent2D least = limits.minFragmentShadingRateAttachmentTexelSize;
    const VkExtent2D most = limits.maxFragmentShadingRateAttachmentTexelSize;
    found.profile.tile_min = std::max(least.width, least.height);   // ours are squares
    found.profile.tile_max = std::min(most.width, most.height);
    found.profile.supported = rates_of(instance, adapter.handle);
    found.profile.flags = (limits.fragmentShadingRateStrictMultiplyCombiner ? RATE_STRICT : 0u) |
                          (limits.fragmentShadingRateNonTrivialCombinerOps ? RATE_COMBINERS : 0u);
    const VkPhysicalDeviceLimits& general = adapter.properties.limits;
    found.side_max = std::min({general.maxFramebufferWidth, general.maxFramebufferHeight, general.maxImageDimension2D,
                               general.maxViewportDimensions[0], general.maxViewportDimensions[1]});

    VkFormatProperties format{};
    instance.vk.GetPhysicalDeviceFormatProperties(adapter.handle, VK_FORMAT_R8_UINT, &format);
    constexpr VkFormatFeatureFlags COPIED =
        VK_FORMAT_FEATURE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR | VK_FORMAT_FEATURE_TRANSFER_DST_BIT;
    need((format.optimalTilingFeatures & COPIED) == COPIED, "copies to a rate attachment of R8_UINT");
    need(found.profile.tile_max && found.profile.tile_min <= found.profile.tile_max, "square texels of an attachment");
    need(found.profile.supported & 1u, "rate of 1x1");
}

}  // namespace foveate::vulkan
