// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdlib>

#include "engine/limits.h"
#include "engine/vulkan/record.h"

namespace foveate::vulkan {

namespace {

constexpr std::uint64_t DUMMY_SIZE = 4096;  // bytes
constexpr std::size_t SPANS = 1 << 16;      // kept between two calls of spans()

bool set(const char* variable)
{
    const char* value = std::getenv(variable);
    return value && value[0] == '1';
}

}  // namespace

Recorder::Recorder(Ref<Device> device, bool trace)
    : device_(std::move(device)), trace_(trace && device_->adapter().timestamp_bits > 0),
      submit_per_pass_(set("FOVEATE_SUBMIT_PER_PASS"))
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
    if (trace_) {
        VkQueryPoolCreateInfo times{VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO};
        times.queryType = VK_QUERY_TYPE_TIMESTAMP;
        times.queryCount = 2 * TIMED;
        recording->times = device_->own<VkQueryPool>(vk.CreateQueryPool, vk.DestroyQueryPool, times,
                                                     "create a query pool");
    }
    return recording;
}

// Ticks of the device, laid so that the last one is now.
void Recorder::add_spans(const Recording& recording, std::uint64_t submit)
{
    const auto now = std::uint64_t(std::chrono::steady_clock::now().time_since_epoch().count());
    const std::size_t count = recording.timed.size();
    std::vector<std::uint64_t> ticks(2 * count);
    if (count == 0) return;
    const VkResult result = device_->vk.GetQueryPoolResults(
        device_->handle(), recording.times.get(), 0, std::uint32_t(ticks.size()), ticks.size() * sizeof ticks[0],
        ticks.data(), sizeof ticks[0], VK_QUERY_RESULT_64_BIT);
    if (result != VK_SUCCESS) return;  // a run does not fail for want of its times
    const std::uint32_t bits = device_->adapter().timestamp_bits;
    const std::uint64_t mask = bits >= 64 ? ~0ull : (1ull << bits) - 1;
    const auto before_last = [&](std::uint64_t tick) {
        return std::uint64_t(double((ticks.back() - tick) & mask) * double(device_->limits().timestampPeriod));
    };
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < count; ++i) {
        if (spans_.size() == SPANS) {
            spans_dropped += count - i;
            return;
        }
        spans_.push_back({recording.timed[i], submit, now - before_last(ticks[2 * i]),
                          now - before_last(ticks[2 * i + 1])});
    }
}

std::vector<Span> Recorder::spans()
{
    std::lock_guard lock(mutex_);
    return std::exchange(spans_, {});
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
    recording->timed.clear();
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
