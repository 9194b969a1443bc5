// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdlib>

#include "engine/limits.h"
#include "engine/vulkan/record.h"

namespace foveate::vulkan {

namespace {

constexpr std::uint64_t DUMMY_SIZE = 4096;  // bytes
constexpr std::size_t FLIGHTS = 32;         // how far the host runs ahead, in recordings
constexpr std::size_t SPANS = 1 << 16;      // kept between two calls of spans()

bool set(const char* variable)
{
    const char* value = std::getenv(variable);
    return value && value[0] == '1';
}

}  // namespace

Recorder::Recorder(Ref<Device> device, bool trace, bool ahead)
    : device_(std::move(device)), trace_(trace && device_->adapter().timestamp_bits > 0), ahead_(ahead),
      submit_per_pass_(set("FOVEATE_SUBMIT_PER_PASS"))
{
    dummy_ = device_->memory.acquire(Use::device, DUMMY_SIZE);
    mipmaps_ = Ref<Mipmaps>(new Mipmaps(device_));
}

std::unique_ptr<Recording> Recorder::take()
{
    check(device_->lost() ? VK_ERROR_DEVICE_LOST : VK_SUCCESS, "begin");
    reap();
    {
        std::lock_guard lock(mutex_);
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
    if (vk.ResetCommandPool(device_->handle(), recording->pool.get(), 0) != VK_SUCCESS) return;
    for (const auto& pool : recording->set_pools)
        if (vk.ResetDescriptorPool(device_->handle(), pool.get(), 0) != VK_SUCCESS) return;
    recording->sets_used = 0;
    recording->timed.clear();
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(recording));
}

std::uint64_t Recorder::submit(Flight flight, const Point& wait, const Point& signal)
{
    make_way();
    std::list<Flight> one;  // made first: nothing may fail once the device has it
    one.push_back(std::move(flight));
    Flight& sent = one.front();
    sent.value = device_->submit(sent.recording ? sent.recording->commands : VK_NULL_HANDLE, wait, signal);
    for (Buffer* buffer : sent.made) buffer->set_written(sent.value);
    const std::uint64_t value = sent.value;
    std::lock_guard lock(mutex_);
    flights_.splice(flights_.end(), one);
    return value;
}

// The host runs ahead so far and no further.
void Recorder::make_way()
{
    reap();
    std::uint64_t oldest = 0;
    {
        std::lock_guard lock(mutex_);
        if (flights_.size() >= FLIGHTS) oldest = flights_.front().value;
    }
    if (oldest) wait(oldest);
}

void Recorder::wait(std::uint64_t value)
{
    check(device_->wait(value, limits::WAIT_NS), "wait for the device");
    reap();
}

bool Recorder::settle()
{
    {
        std::lock_guard lock(mutex_);
        if (flights_.empty()) return true;
    }
    const VkResult result = device_->wait(device_->submitted().value, limits::WAIT_NS);
    reap();
    std::lock_guard lock(mutex_);
    if (result == VK_ERROR_DEVICE_LOST) flights_.clear();  // a lost device is done with everything, too
    return flights_.empty();
}

void Recorder::reap()
{
    std::list<Flight> done;
    {
        std::lock_guard lock(mutex_);
        bool asking = true;  // until the first that is not done; those behind it may be known to be
        for (auto flight = flights_.begin(); flight != flights_.end();) {
            const auto next = std::next(flight);
            asking = asking && device_->wait(flight->value, 0) == VK_SUCCESS;
            if (device_->done(flight->value)) done.splice(done.end(), flights_, flight);
            flight = next;
        }
    }
    for (Flight& flight : done) {
        if (!flight.recording) continue;
        add_spans(*flight.recording, flight.value);
        give_back(std::move(flight.recording));
    }
}

}  // namespace foveate::vulkan
