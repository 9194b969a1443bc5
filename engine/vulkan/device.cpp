// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/device.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/limits.h"
#include "engine/vulkan/program.h"

namespace foveate::vulkan {

namespace {

Sync sync_allowed()
{
    const char* value = std::getenv("FOVEATE_SYNC");
    if (!value || !*value) return Sync::timeline;
    for (Sync sync : {Sync::host, Sync::binary, Sync::timeline})
        if (std::strcmp(value, SYNC_NAMES[std::uint32_t(sync)]) == 0) return sync;
    fail(ErrorKind::input, "Engine: FOVEATE_SYNC", '"' + std::string(value) + '"', "host, binary or timeline",
         "Leave it unset for the best there is.");
}

}  // namespace

Device::Device(Choice choice, std::uint64_t memory_budget, const void* owner, Features features)
    : memory(*this), choice_(std::move(choice)), features_(features), process_(getpid())
{
    require(!features.share || adapter().shares, "Engine: share", adapter().name + ", which cannot",
            "a device with VK_KHR_external_memory_fd", "Use another device, or leave out share.",
            ErrorKind::unsupported);
    const bool built = !shaders().empty() && !shaders()[0].profile_words.empty();
    require(!features.sources || (built && adapter().sources), "Engine: FOVEATE_SHADERS",
            "profile on " + adapter().name,
            "a device with VK_KHR_shader_non_semantic_info, and a build by glslangValidator 12 or later",
            "Use another device, or unset it.", ErrorKind::unsupported);
    if (features.share) sync_ = std::min(adapter().sync, sync_allowed());
    if (features.raster) choice_.adapter.queue_family = choice_.adapter.graphics_family;
    create();
    try {
        vk = device_table(instance().vk, handle_);
        vk.GetDeviceQueue(handle_, adapter().queue_family, 0, &queue_);
        timeline_ = semaphore(Sync::timeline, sync_ == Sync::timeline);
        memory.open(memory_budget, owner, features.share);
    } catch (...) {
        timeline_ = {};
        if (vk.DestroyDevice) vk.DestroyDevice(handle_, nullptr);
        throw;
    }
}

Device::~Device()
{
    memory.close();
    timeline_ = {};
    vk.DestroyDevice(handle_, nullptr);
}

void Device::create()
{
    const float priority = 1.0f;
    VkDeviceQueueCreateInfo queue{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
    queue.queueFamilyIndex = adapter().queue_family;
    queue.queueCount = 1;
    queue.pQueuePriorities = &priority;
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES};
    timeline.timelineSemaphore = VK_TRUE;
    std::vector<const char*> extensions;
    if (!adapter().timeline_core) extensions.push_back(VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME);
    if (features_.share) extensions.push_back(VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME);
    if (sync_ != Sync::host) extensions.push_back(VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME);
    if (adapter().host_alignment) extensions.push_back(VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
    if (features_.sources && !adapter().sources_core)
        extensions.push_back(VK_KHR_SHADER_NON_SEMANTIC_INFO_EXTENSION_NAME);
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
    executable.pipelineExecutableInfo = VK_TRUE;
    if (statistics()) {
        extensions.push_back(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
        timeline.pNext = &executable;
    }
    VkPhysicalDeviceFragmentShadingRateFeaturesKHR rates{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FRAGMENT_SHADING_RATE_FEATURES_KHR};
    rates.pipelineFragmentShadingRate = rates.primitiveFragmentShadingRate = VK_TRUE;
    rates.attachmentFragmentShadingRate = VK_TRUE;
    VkPhysicalDeviceFeatures counting{};
    counting.pipelineStatisticsQuery = counting.fragmentStoresAndAtomics = VK_TRUE;
    VkDeviceCreateInfo info{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO};
    info.pNext = &timeline;
    if (features_.raster) {
        extensions.push_back(VK_KHR_FRAGMENT_SHADING_RATE_EXTENSION_NAME);
        if (!adapter().render_pass_core) extensions.push_back(VK_KHR_CREATE_RENDERPASS_2_EXTENSION_NAME);
        rates.pNext = timeline.pNext;
        timeline.pNext = &rates;
        info.pEnabledFeatures = &counting;
    }
    info.queueCreateInfoCount = 1;
    info.pQueueCreateInfos = &queue;
    info.enabledExtensionCount = std::uint32_t(extensions.size());
    info.ppEnabledExtensionNames = extensions.data();
    check(instance().vk.CreateDevice(adapter().handle, &info, nullptr, &handle_), "create the device");
}

void Device::name(VkObjectType type, std::uint64_t object, const char* text) const
{
    if (!instance().debug_utils() || !vk.SetDebugUtilsObjectNameEXT) return;
    VkDebugUtilsObjectNameInfoEXT named{VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT};
    named.objectType = type;
    named.objectHandle = object;
    named.pObjectName = text;
    (void)vk.SetDebugUtilsObjectNameEXT.call(handle_, &named);  // past the counting of faults: none is looked at
}

bool Device::forked() const { return getpid() != process_; }

void Device::last_release()
{
    if (!forked()) delete this;
}

std::uint64_t Device::submit(VkCommandBuffer commands, const Point& wait, const Point& signal)
{
    std::lock_guard lock(queue_mutex_);
    // Taken by the timeline only when the queue takes the work: after a refusal the value is used again.
    const std::uint64_t value = timeline_value_ + 1;
    // The timeline last: when it is reached the other one is let go of.
    const VkSemaphore signals[] = {signal.semaphore, timeline_.get()};
    const std::uint64_t values[] = {signal.value, value};
    const std::uint32_t first = signal.semaphore ? 0 : 1;
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    VkTimelineSemaphoreSubmitInfo timeline{VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
    timeline.signalSemaphoreValueCount = 2 - first;
    timeline.pSignalSemaphoreValues = values + first;
    VkSubmitInfo info{VK_STRUCTURE_TYPE_SUBMIT_INFO};
    info.pNext = &timeline;
    info.commandBufferCount = commands ? 1 : 0;
    info.pCommandBuffers = &commands;
    info.signalSemaphoreCount = 2 - first;
    info.pSignalSemaphores = signals + first;
    if (wait.semaphore) {
        timeline.waitSemaphoreValueCount = info.waitSemaphoreCount = 1;
        timeline.pWaitSemaphoreValues = &wait.value;
        info.pWaitSemaphores = &wait.semaphore;
        info.pWaitDstStageMask = &stages;
    }
    const VkResult result = vk.QueueSubmit(queue_, 1, &info, VK_NULL_HANDLE);
    if (result == VK_ERROR_DEVICE_LOST) lost_ = true;
    check(result, "submit");
    timeline_value_ = value;
    return value;
}

VkResult Device::wait(std::uint64_t value, std::uint64_t wait_ns)
{
    if (done(value)) return VK_SUCCESS;
    waits_ += wait_ns > 0;
    const VkSemaphore semaphore = timeline_.get();
    VkSemaphoreWaitInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
    info.semaphoreCount = 1;
    info.pSemaphores = &semaphore;
    info.pValues = &value;
    const VkResult result = vk.WaitSemaphores(handle_, &info, std::min(wait_ns, limits::WAIT_NS));
    if (result == VK_ERROR_DEVICE_LOST) lost_ = true;
    if (result != VK_SUCCESS) return result;
    for (std::uint64_t seen = reached_; seen < value && !reached_.compare_exchange_weak(seen, value);) {}
    return VK_SUCCESS;
}

Owned<VkSemaphore> Device::semaphore(Sync kind, bool shared) const
{
    VkSemaphoreTypeCreateInfo type{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
    type.semaphoreType = kind == Sync::timeline ? VK_SEMAPHORE_TYPE_TIMELINE : VK_SEMAPHORE_TYPE_BINARY;
    VkExportSemaphoreCreateInfo others{VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO};
    others.handleTypes = SHARED_SEMAPHORE;
    type.pNext = shared ? &others : nullptr;
    VkSemaphoreCreateInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    info.pNext = &type;
    return own<VkSemaphore>(vk.CreateSemaphore, vk.DestroySemaphore, info, "create a semaphore");
}

Fd Device::share(VkSemaphore semaphore) const
{
    VkSemaphoreGetFdInfoKHR info{VK_STRUCTURE_TYPE_SEMAPHORE_GET_FD_INFO_KHR};
    info.semaphore = semaphore;
    info.handleType = SHARED_SEMAPHORE;
    int fd = -1;
    check(vk.GetSemaphoreFdKHR(handle_, &info, &fd), "share a semaphore");
    return Fd(fd);
}

}  // namespace foveate::vulkan
