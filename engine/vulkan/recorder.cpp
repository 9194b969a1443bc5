// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "engine/limits.h"
#include "engine/vulkan/record.h"

namespace foveate::vulkan {

namespace {

constexpr std::uint64_t DUMMY_SIZE = 4096;  // bytes

}  // namespace

Recorder::Recorder(Ref<Device> device) : device_(std::move(device))
{
    dummy_ = device_->memory.acquire(Use::device, DUMMY_SIZE);
}

std::unique_ptr<Recording> Recorder::take()
{
    check(lost_ ? VK_ERROR_DEVICE_LOST : VK_SUCCESS, "begin");
    {
        std::lock_guard lock(mutex_);
        reap(0);
        if (!free_.empty()) {
            auto recording = std::move(free_.back());
            free_.pop_back();
            return recording;
        }
    }
    const DeviceTable& vk = device_->vk;
    auto recording = std::make_unique<Recording>();
    VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
    pool.queueFamilyIndex = device_->adapter().queue_family;
    recording->pool = device_->own<VkCommandPool>(vk.CreateCommandPool, vk.DestroyCommandPool, pool,
                                                  "create a command pool");
    VkCommandBufferAllocateInfo allocate{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
    allocate.commandPool = recording->pool.get();
    allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    allocate.commandBufferCount = 1;
    check(vk.AllocateCommandBuffers(device_->handle(), &allocate, &recording->commands),
          "allocate a command buffer");
    const VkFenceCreateInfo fence{VK_STRUCTURE_TYPE_FENCE_CREATE_INFO, nullptr, 0};
    recording->fence = device_->own<VkFence>(vk.CreateFence, vk.DestroyFence, fence, "create a fence");
    return recording;
}

// One that cannot be made clean again is dropped.
void Recorder::give_back(std::unique_ptr<Recording> recording)
{
    const DeviceTable& vk = device_->vk;
    const VkFence fence = recording->fence.get();
    if (vk.ResetFences(device_->handle(), 1, &fence) != VK_SUCCESS ||
        vk.ResetCommandPool(device_->handle(), recording->pool.get(), 0) != VK_SUCCESS)
        return;
    for (const auto& pool : recording->set_pools)
        if (vk.ResetDescriptorPool(device_->handle(), pool.get(), 0) != VK_SUCCESS) return;
    recording->sets_used = 0;
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(recording));
}

void Recorder::abandon(std::unique_ptr<Recording> recording, std::vector<Ref<Block>> held)
{
    std::lock_guard lock(mutex_);
    abandoned_.push_back({std::move(recording), std::move(held)});
}

bool Recorder::settle()
{
    std::lock_guard lock(mutex_);
    reap(limits::WAIT_NS);
    return abandoned_.empty();
}

// A lost device is done with everything, too.
void Recorder::reap(std::uint64_t wait_ns)
{
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::nanoseconds(wait_ns);
    std::erase_if(abandoned_, [&](const Abandoned& abandoned) {
        const VkFence fence = abandoned.recording->fence.get();
        VkResult result = device_->vk.GetFenceStatus(device_->handle(), fence);
        const auto left =
            std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now()).count();
        if (result == VK_NOT_READY && left > 0)
            result = device_->vk.WaitForFences(device_->handle(), 1, &fence, VK_TRUE, std::uint64_t(left));
        return result == VK_SUCCESS || result == VK_ERROR_DEVICE_LOST;
    });
}

}  // namespace foveate::vulkan
