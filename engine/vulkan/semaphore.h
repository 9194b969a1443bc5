// SPDX-License-Identifier: Apache-2.0
// Points in the work of two sides of one device, told by semaphores that are shared as descriptors.
//   timeline: the device's own timeline is what others wait for; one more counts what they signal.
//   binary: one semaphore for each point, made and given away with it: none is ever signalled twice.
//   host: everything is waited for, and there is nothing to give away.
#pragma once

#include <map>

#include "engine/vulkan/record.h"

namespace foveate::vulkan {

// Safe from any thread.
class Semaphores {
public:
    explicit Semaphores(Recorder& recorder) : recorder_(recorder) {}

    SharedSemaphore signal();
    SharedSemaphore expect();
    void wait(SharedSemaphore point);

private:
    SharedSemaphore point_of(VkSemaphore semaphore, std::uint64_t value) const;
    // The semaphore of a point that expect() gave out; it leaves with a binary one.
    Point expected(std::uint64_t value, Owned<VkSemaphore>& used);
    Owned<VkSemaphore> imported(SharedSemaphore& point) const;

    Recorder& recorder_;
    std::mutex mutex_;
    Owned<VkSemaphore> theirs_;                             // a timeline
    std::map<std::uint64_t, Owned<VkSemaphore>> given_;     // binary ones, until they are waited for
    std::uint64_t expected_ = 0, waited_ = 0;
};

}  // namespace foveate::vulkan
