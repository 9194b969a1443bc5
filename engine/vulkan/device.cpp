// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/device.h"

#include <unistd.h>

namespace foveate::vulkan {

Device::Device(Choice choice, std::uint64_t memory_budget, const void* owner, bool share)
    : memory(*this), choice_(std::move(choice)), process_(getpid())
{
    require(!share || adapter().shares, "Engine: share", adapter().name + ", which cannot",
            "a device with VK_KHR_external_memory_fd", "Use another device, or leave out share.",
            ErrorKind::unsupported);
    create(share);
    try {
        vk = device_table(instance().vk, handle_);
        vk.GetDeviceQueue(handle_, adapter().queue_family, 0, &queue_);
        VkSemaphoreTypeCreateInfo type{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
        type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
        VkSemaphoreCreateInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
        info.pNext = &type;
        timeline_ = own<VkSemaphore>(vk.CreateSemaphore, vk.DestroySemaphore, info, "create the timeline");
        memory.open(memory_budget, owner, share);
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

void Device::create(bool share)
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
    if (share) extensions.push_back(VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME);
    if (adapter().host_alignment) extensions.push_back(VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
    VkDeviceCreateInfo info{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO};
    info.pNext = &timeline;
    info.queueCreateInfoCount = 1;
    info.pQueueCreateInfos = &queue;
    info.enabledExtensionCount = std::uint32_t(extensions.size());
    info.ppEnabledExtensionNames = extensions.data();
    check(instance().vk.CreateDevice(adapter().handle, &info, nullptr, &handle_), "create the device");
}

bool Device::forked() const { return getpid() != process_; }

void Device::last_release()
{
    if (!forked()) delete this;
}

std::uint64_t Device::submit(VkCommandBuffer commands, VkFence fence)
{
    std::lock_guard lock(queue_mutex_);
    // Taken by the timeline only when the queue takes the work: after a refusal the value is used again.
    const std::uint64_t value = timeline_value_ + 1;
    VkTimelineSemaphoreSubmitInfo timeline{VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
    timeline.signalSemaphoreValueCount = 1;
    timeline.pSignalSemaphoreValues = &value;
    const VkSemaphore semaphore = timeline_.get();
    VkSubmitInfo info{VK_STRUCTURE_TYPE_SUBMIT_INFO};
    info.pNext = &timeline;
    info.commandBufferCount = 1;
    info.pCommandBuffers = &commands;
    info.signalSemaphoreCount = 1;
    info.pSignalSemaphores = &semaphore;
    check(vk.QueueSubmit(queue_, 1, &info, fence), "submit");
    return timeline_value_ = value;
}

}  // namespace foveate::vulkan
