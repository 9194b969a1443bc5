// SPDX-License-Identifier: Apache-2.0
// A pool of threads for loops whose steps are independent. Any number of callers may run loops at once; a
// caller works on its own loop too, so a loop ends even when every worker is busy elsewhere.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

namespace foveate::cpu {

inline constexpr std::uint32_t STEP_PIXELS = 1 << 17;  // px that a thread takes at once

class Threads {
public:
    explicit Threads(std::uint32_t count);  // callers included: 1 means no worker
    ~Threads();

    std::uint32_t count() const { return static_cast<std::uint32_t>(workers_.size()) + 1; }

    // Runs step(0) .. step(steps - 1), in no order. The first exception a step throws is thrown here.
    void run(std::uint32_t steps, const std::function<void(std::uint32_t)>& step);

    // The processors this process may use, which a container may have cut down.
    static std::uint32_t available();

private:
    struct Loop;
    void work();

    std::vector<std::thread> workers_;
    std::list<Loop*> loops_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<std::uint32_t> posted_{0};  // loops handed in so far: what an idle worker watches for a moment
    bool stop_ = false;
};

}  // namespace foveate::cpu
