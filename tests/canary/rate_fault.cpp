// SPDX-License-Identifier: Apache-2.0
// A Vulkan library in front of the loader that spoils one call of those which draw with a shading rate attachment,
// as RATE_FAULT says. What is below it, a validation layer above all, must notice.
#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <vulkan/vulkan.h>

#include <cstdlib>
#include <string_view>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

using Proc = PFN_vkVoidFunction;

PFN_vkGetDeviceProcAddr device_proc = nullptr;
PFN_vkCreateImage create_image = nullptr;
PFN_vkCreateRenderPass2 create_render_pass = nullptr;
PFN_vkCmdPipelineBarrier barrier = nullptr;

bool fault(std::string_view name)
{
    const char* wanted = std::getenv("RATE_FAULT");
    return wanted && name == wanted;
}

PFN_vkGetInstanceProcAddr loader()
{
    static const auto found = [] {
        void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
        return library ? reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"))
                       : nullptr;
    }();
    return found;
}

VkResult VKAPI_PTR on_create_image(VkDevice device, const VkImageCreateInfo* info,
                                   const VkAllocationCallbacks* allocator, VkImage* made)
{
    VkImageCreateInfo changed = *info;
    if (fault("usage")) changed.usage &= ~VkImageUsageFlags(VK_IMAGE_USAGE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR);
    if (fault("extent") && changed.usage & VK_IMAGE_USAGE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR)
        changed.extent.width = changed.extent.height = 1;
    return create_image(device, &changed, allocator, made);
}

VkResult VKAPI_PTR on_create_render_pass(VkDevice device, const VkRenderPassCreateInfo2* info,
                                         const VkAllocationCallbacks* allocator, VkRenderPass* made)
{
    VkRenderPassCreateInfo2 changed = *info;
    VkSubpassDescription2 subpass = info->pSubpasses[0];
    auto rates = *static_cast<const VkFragmentShadingRateAttachmentInfoKHR*>(subpass.pNext);
    if (fault("texel")) rates.shadingRateAttachmentTexelSize = {64, 64};
    subpass.pNext = &rates;
    changed.pSubpasses = &subpass;
    return create_render_pass(device, &changed, allocator, made);
}

void VKAPI_PTR on_barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkPipelineStageFlags to,
                          VkDependencyFlags flags, std::uint32_t memory_count, const VkMemoryBarrier* memory,
                          std::uint32_t buffer_count, const VkBufferMemoryBarrier* buffers, std::uint32_t image_count,
                          const VkImageMemoryBarrier* images)
{
    std::vector<VkImageMemoryBarrier> changed(images, images + image_count);
    for (VkImageMemoryBarrier& image : changed) {
        if (image.newLayout != VK_IMAGE_LAYOUT_FRAGMENT_SHADING_RATE_ATTACHMENT_OPTIMAL_KHR) continue;
        if (fault("layout")) image.newLayout = VK_IMAGE_LAYOUT_GENERAL;
        if (fault("sync")) from = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT, image.srcAccessMask = 0;
    }
    barrier(commands, from, to, flags, memory_count, memory, buffer_count, buffers, image_count, changed.data());
}

void VKAPI_PTR on_destroy_image(VkDevice, VkImage, const VkAllocationCallbacks*) {}

template <class Function>
Proc in_front(Function& kept, Proc real, Function ours)
{
    kept = reinterpret_cast<Function>(real);
    return reinterpret_cast<Proc>(ours);
}

Proc VKAPI_PTR on_device_proc(VkDevice device, const char* name)
{
    const Proc real = device_proc(device, name);
    const std::string_view wanted = name;
    if (wanted == "vkCreateImage") return in_front(create_image, real, &on_create_image);
    if (wanted == "vkCreateRenderPass2") return in_front(create_render_pass, real, &on_create_render_pass);
    if (wanted == "vkCmdPipelineBarrier") return in_front(barrier, real, &on_barrier);
    if (wanted == "vkDestroyImage" && fault("leak")) return reinterpret_cast<Proc>(on_destroy_image);
    return real;
}

}  // namespace

EXPORTED Proc VKAPI_PTR vkGetInstanceProcAddr(VkInstance instance, const char* name)
{
    if (!loader()) return nullptr;
    const Proc real = loader()(instance, name);
    if (!real || std::string_view(name) != "vkGetDeviceProcAddr") return real;
    device_proc = reinterpret_cast<PFN_vkGetDeviceProcAddr>(real);
    return reinterpret_cast<Proc>(on_device_proc);
}
