// SPDX-License-Identifier: Apache-2.0
// Vulkan at run time: nothing links to it. Libraries are opened once, on first use, and never closed, because
// drivers leave threads and exit handlers behind. Calls go through one table per instance and one per device,
// which skips the loader's trampolines and gives fault injection its single place.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <string>
#include <type_traits>
#include <vector>

#include "engine/vulkan/fault.h"

namespace foveate::vulkan {

#define VULKAN_GLOBAL_FUNCTIONS(X)                                                                           \
    X(EnumerateInstanceVersion) X(EnumerateInstanceExtensionProperties) X(CreateInstance)

#define VULKAN_INSTANCE_FUNCTIONS(X)                                                                         \
    X(DestroyInstance) X(EnumeratePhysicalDevices) X(GetPhysicalDeviceProperties)                            \
    X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2) X(GetPhysicalDeviceMemoryProperties)       \
    X(GetPhysicalDeviceQueueFamilyProperties) X(EnumerateDeviceExtensionProperties) X(CreateDevice)          \
    X(GetPhysicalDeviceExternalBufferProperties) X(GetPhysicalDeviceExternalSemaphoreProperties)              \
    X(GetPhysicalDeviceImageFormatProperties2) X(GetDeviceProcAddr)

#define VULKAN_DEBUG_INSTANCE_FUNCTIONS(X) X(CreateDebugUtilsMessengerEXT) X(DestroyDebugUtilsMessengerEXT)

#define VULKAN_RATE_INSTANCE_FUNCTIONS(X)                                                                    \
    X(GetPhysicalDeviceFragmentShadingRatesKHR) X(GetPhysicalDeviceFormatProperties)

#define VULKAN_DEVICE_FUNCTIONS(X)                                                                           \
    X(DestroyDevice) X(GetDeviceQueue) X(QueueSubmit)                                                        \
    X(CreateSemaphore) X(DestroySemaphore) X(WaitSemaphores)                                                 \
    X(CreateBuffer) X(DestroyBuffer) X(GetBufferMemoryRequirements) X(BindBufferMemory)                      \
    X(GetBufferMemoryRequirements2)                                                                          \
    X(CreateImage) X(DestroyImage) X(GetImageMemoryRequirements2) X(BindImageMemory) X(CmdCopyImageToBuffer) \
    X(CreateImageView) X(DestroyImageView) X(CreateSampler) X(DestroySampler)                                \
    X(AllocateMemory) X(FreeMemory) X(MapMemory)                                                             \
    X(CreateShaderModule) X(DestroyShaderModule)                                                             \
    X(CreateDescriptorSetLayout) X(DestroyDescriptorSetLayout)                                               \
    X(CreatePipelineLayout) X(DestroyPipelineLayout)                                                         \
    X(CreatePipelineCache) X(DestroyPipelineCache) X(GetPipelineCacheData)                                   \
    X(CreateComputePipelines) X(DestroyPipeline)                                                             \
    X(CreateDescriptorPool) X(DestroyDescriptorPool) X(ResetDescriptorPool)                                  \
    X(AllocateDescriptorSets) X(UpdateDescriptorSets)                                                        \
    X(CreateCommandPool) X(DestroyCommandPool) X(ResetCommandPool) X(AllocateCommandBuffers)                 \
    X(BeginCommandBuffer) X(EndCommandBuffer)                                                                \
    X(CmdBindPipeline) X(CmdBindDescriptorSets) X(CmdPushConstants) X(CmdDispatch)                           \
    X(CmdPipelineBarrier) X(CmdCopyBuffer) X(CmdCopyBufferToImage)                                           \
    X(CreateQueryPool) X(DestroyQueryPool) X(CmdResetQueryPool) X(CmdWriteTimestamp) X(GetQueryPoolResults)

#define VULKAN_STATISTICS_DEVICE_FUNCTIONS(X)                                                                \
    X(GetPipelineExecutablePropertiesKHR) X(GetPipelineExecutableStatisticsKHR)

#define VULKAN_SHARE_DEVICE_FUNCTIONS(X) X(GetMemoryHostPointerPropertiesEXT) X(GetMemoryFdKHR)                    \
    X(GetSemaphoreFdKHR) X(ImportSemaphoreFdKHR)

#define VULKAN_DEBUG_DEVICE_FUNCTIONS(X)                                                                     \
    X(SetDebugUtilsObjectNameEXT) X(CmdBeginDebugUtilsLabelEXT) X(CmdEndDebugUtilsLabelEXT)

#define VULKAN_RASTER_FUNCTIONS(X)                                                                           \
    X(CreateImage) X(DestroyImage) X(GetImageMemoryRequirements) X(BindImageMemory)                          \
    X(CreateImageView) X(DestroyImageView) X(CreateRenderPass2) X(DestroyRenderPass)                         \
    X(CreateFramebuffer) X(DestroyFramebuffer) X(CreateGraphicsPipelines)                                    \
    X(CmdBeginRenderPass) X(CmdEndRenderPass) X(CmdSetViewport) X(CmdSetScissor)                             \
    X(CmdSetFragmentShadingRateKHR) X(CmdDraw) X(CmdBeginQuery) X(CmdEndQuery)                               \
    X(CmdCopyBufferToImage) X(CmdCopyImageToBuffer)

template <class Function>
struct Entry;

template <class R, class... Arguments>
struct Entry<R(VKAPI_PTR*)(Arguments...)> {
    R(VKAPI_PTR* call)(Arguments...) = nullptr;

    R operator()(Arguments... arguments) const
    {
        if constexpr (std::is_same_v<R, VkResult>) {
            std::int32_t injected = 0;
            if (fault_next(injected)) return VkResult(injected);
        }
        return call(arguments...);
    }
    explicit operator bool() const { return call != nullptr; }
};

#define X(name) Entry<PFN_vk##name> name;
struct GlobalTable {
    VULKAN_GLOBAL_FUNCTIONS(X)
};
struct InstanceTable {
    VULKAN_INSTANCE_FUNCTIONS(X)
    VULKAN_DEBUG_INSTANCE_FUNCTIONS(X)  // null without VK_EXT_debug_utils
    VULKAN_RATE_INSTANCE_FUNCTIONS(X)   // the first may be null
};
struct DeviceTable {
    VULKAN_DEVICE_FUNCTIONS(X)
    VULKAN_SHARE_DEVICE_FUNCTIONS(X)  // null without their extensions
    VULKAN_STATISTICS_DEVICE_FUNCTIONS(X)  // null without VK_KHR_pipeline_executable_properties
    VULKAN_DEBUG_DEVICE_FUNCTIONS(X)
};
struct RasterTable {                    // of a device made for drawing
    VULKAN_RASTER_FUNCTIONS(X)
};
#undef X

// One library that offers Vulkan: the loader, or a driver that is spoken to directly.
struct Library {
    std::string name;
    PFN_vkGetInstanceProcAddr get_instance_proc_addr = nullptr;
    GlobalTable vk;
};

// FOVEATE_VULKAN_LIBRARY alone where it is set, else libvulkan.so.1, else libvulkan.so. Null when none opens,
// and then `reason` says why. Safe from any thread.
const Library* loader_library(std::string& reason);

// Drivers that can be opened without a loader: what is left in containers that ship one without its manifest.
// `nvidia`: only that vendor's, the one whose containers are like that.
// Empty where the user has chosen drivers by FOVEATE_VULKAN_LIBRARY, VK_DRIVER_FILES or VK_ICD_FILENAMES.
std::vector<const Library*> driver_libraries(bool nvidia);

InstanceTable instance_table(const Library& library, VkInstance instance);
DeviceTable device_table(const InstanceTable& instance, VkDevice device);
RasterTable raster_table(const InstanceTable& instance, VkDevice device);

}  // namespace foveate::vulkan
