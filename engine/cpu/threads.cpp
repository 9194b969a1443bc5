// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/threads.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <exception>

namespace foveate::cpu {

namespace {

// Waking a sleeping thread costs as much as a small image: a worker watches for the next loop this long first,
// which is longer than what one thread does alone between two of them.
constexpr auto WATCH = std::chrono::microseconds(200);

void pause()
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
}

}  // namespace

struct Threads::Loop {
    Loop(std::uint32_t steps, const std::function<void(std::uint32_t)>& step) : step(step), steps(steps) {}

    const std::function<void(std::uint32_t)>& step;
    const std::uint32_t steps;
    std::atomic<std::uint32_t> next{0};
    std::uint32_t helpers = 0;       // workers inside take(); guarded by mutex_
    std::condition_variable left;
    std::mutex failure_mutex;
    std::exception_ptr failure;

    void take()
    {
        for (std::uint32_t index; (index = next.fetch_add(1, std::memory_order_relaxed)) < steps;) {
            try {
                step(index);
            } catch (...) {
                std::lock_guard lock(failure_mutex);
                if (!failure) failure = std::current_exception();
                next.store(steps, std::memory_order_relaxed);
            }
        }
    }
};

Threads::Threads(std::uint32_t count)
{
    for (std::uint32_t i = 1; i < count; ++i) workers_.emplace_back([this] { work(); });
}

Threads::~Threads()
{
    {
        std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void Threads::work()
{
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stop_ || !loops_.empty(); });
        if (stop_) return;
        Loop* loop = loops_.front();
        ++loop->helpers;
        lock.unlock();
        loop->take();
        lock.lock();
        // The loop is off the list before its helpers are counted down, so nobody joins a finished one.
        loops_.remove(loop);
        if (--loop->helpers == 0) loop->left.notify_one();
        if (stop_ || !loops_.empty()) continue;

        const std::uint32_t seen = posted_.load(std::memory_order_relaxed);
        lock.unlock();
        const auto end = std::chrono::steady_clock::now() + WATCH;
        while (posted_.load(std::memory_order_relaxed) == seen && std::chrono::steady_clock::now() < end) pause();
        lock.lock();
    }
}

void Threads::run(std::uint32_t steps, const std::function<void(std::uint32_t)>& step)
{
    if (steps == 0) return;
    Loop loop(steps, step);
    if (steps > 1 && !workers_.empty()) {
        {
            std::lock_guard lock(mutex_);
            loops_.push_back(&loop);
            posted_.fetch_add(1, std::memory_order_relaxed);
        }
        if (steps == 2)
            wake_.notify_one();
        else
            wake_.notify_all();
    }
    loop.take();
    if (steps > 1 && !workers_.empty()) {
        std::unique_lock lock(mutex_);
        loops_.remove(&loop);
        loop.left.wait(lock, [&] { return loop.helpers == 0; });
    }
    if (loop.failure) std::rethrow_exception(loop.failure);
}

std::uint32_t Threads::available()
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
    return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace foveate::cpu
