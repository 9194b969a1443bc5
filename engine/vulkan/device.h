// SPDX-License-Identifier: Apache-2.0
// A VkDevice with its table, its one queue and its memory. Counted: the blocks hold it, so that a DLPack
// consumer may outlive the backend; whoever lets go last, on whatever thread, destroys it.
#pragma once

#include <sys/types.h>

#include <mutex>

#include "engine/vulkan/backend.h"
#include "engine/vulkan/context.h"
#include "engine/vulkan/error.h"
#include "engine/vulkan/memory.h"

namespace foveate::vulkan {

// A Vulkan object of one device, destroyed with its owner.
template <class T>
class Owned {
    using Destroy = void(VKAPI_PTR*)(VkDevice, T, const VkAllocationCallbacks*);

public:
    Owned() = default;
    Owned(VkDevice device, Destroy destroy, T object) : device_(device), destroy_(destroy), object_(object) {}
    Owned(Owned&& other) noexcept { swap(other); }
    Owned& operator=(Owned&& other) noexcept
    {
        Owned moved(std::move(other));
        swap(moved);
        return *this;
    }
    ~Owned()
    {
        if (object_) destroy_(device_, object_, nullptr);
    }
    T get() const { return object_; }

private:
    void swap(Owned& other)
    {
        std::swap(device_, other.device_);
        std::swap(destroy_, other.destroy_);
        std::swap(object_, other.object_);
    }

    VkDevice device_ = VK_NULL_HANDLE;
    Destroy destroy_ = nullptr;
    T object_ = VK_NULL_HANDLE;
};

// A semaphore, and which of its values where it is a timeline.
struct Point {
    VkSemaphore semaphore = VK_NULL_HANDLE;
    std::uint64_t value = 0;
};

class Device : public Counted {
public:
    Device(Choice choice, std::uint64_t memory_budget, const void* owner, Features features = {});
    ~Device() override;

    VkDevice handle() const { return handle_; }
    const Choice& choice() const { return choice_; }
    const Adapter& adapter() const { return choice_.adapter; }
    const VkPhysicalDeviceLimits& limits() const { return choice_.adapter.properties.limits; }
    const Instance& instance() const { return *choice_.instance; }
    const Features& features() const { return features_; }
    // Shaders are compiled so that statistics() of programs has something to say.
    bool statistics() const { return features_.trace && adapter().statistics; }
    // What tools show it by. `type` of the object; the text is copied. Nothing comes of a failure.
    void name(VkObjectType type, std::uint64_t object, const char* text) const;

    // In a child of fork() the driver's threads are gone: nothing of the device may be touched, not even
    // destroyed.
    bool forked() const;

    // How work is ordered with others': the best that the device has and FOVEATE_SYNC allows.
    Sync sync() const { return sync_; }

    // Hands one command buffer, or none, to the queue, to begin when `wait` is reached, as all that follows; `signal`
    // and the timeline's next value are reached when it is done, and all before it. Returns that value. Safe from
    // any thread.
    std::uint64_t submit(VkCommandBuffer commands, const Point& wait = {}, const Point& signal = {});
    // What the timeline reaches when all that was submitted is done.
    Point submitted() const { return {timeline_.get(), timeline_value_}; }
    // Waits until the timeline has reached a value: VK_SUCCESS, VK_TIMEOUT, or what went wrong.
    VkResult wait(std::uint64_t value, std::uint64_t wait_ns);
    bool done(std::uint64_t value) const { return value <= reached_; }  // as far as it is known
    std::uint64_t waits() const { return waits_; }   // that took time, or could have
    bool lost() const { return lost_; }

    // One that others can open, and their descriptor of it.
    Owned<VkSemaphore> semaphore(Sync kind, bool shared) const;
    Fd share(VkSemaphore semaphore) const;

    // create(info) with its destroyer, checked.
    template <class T, class Create, class Destroy, class Info>
    Owned<T> own(const Entry<Create>& create, const Entry<Destroy>& destroy, const Info& info,
                 const char* doing) const
    {
        T object = VK_NULL_HANDLE;
        check(create(handle_, &info, nullptr, &object), doing);
        return Owned<T>(handle_, destroy.call, object);
    }

    DeviceTable vk;
    Memory memory;

private:
    void create();
    void last_release() override;

    Choice choice_;
    const Features features_;
    const pid_t process_;
    VkDevice handle_ = VK_NULL_HANDLE;
    VkQueue queue_ = VK_NULL_HANDLE;
    std::mutex queue_mutex_;
    Sync sync_ = Sync::host;
    Owned<VkSemaphore> timeline_;
    std::atomic<std::uint64_t> timeline_value_{0}, reached_{0}, waits_{0};
    std::atomic<bool> lost_{false};
};

}  // namespace foveate::vulkan
