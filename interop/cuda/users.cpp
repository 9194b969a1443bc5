// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/users.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/limits.h"

namespace foveate::cuda {

namespace {

// A thread's own default stream has another meaning on every thread. The legacy one comes behind all of them.
Stream for_any_thread(Stream stream) { return stream == per_thread_stream() ? legacy_stream() : stream; }

}  // namespace

std::atomic<std::uint64_t> wait_limit_ns{limits::WAIT_NS};

Result wait_for(const Driver& driver, EventHandle event, std::uint64_t wait_ns)
{
    using Clock = std::chrono::steady_clock;
    const auto limit = std::chrono::nanoseconds(std::min(wait_ns, wait_limit_ns.load()));
    const auto begin = Clock::now();
    for (;;) {
        const Result result = driver.EventQuery(event);
        const auto waited = Clock::now() - begin;
        if (result != NOT_READY || waited >= limit) return result;
        // Long enough to leave the core to others, short beside what is waited for.
        if (waited > std::chrono::microseconds(20))
            std::this_thread::sleep_for(std::clamp<Clock::duration>(waited / 8, std::chrono::microseconds(5),
                                                                    std::chrono::microseconds(500)));
    }
}

Users::~Users()
{
    const Current current(*context_, std::nothrow);
    if (current.result() != SUCCESS) return;
    for (const auto& [stream, event] : events_) context_->cu.EventDestroy(event);
}

void Users::begin(Stream stream)
{
    std::lock_guard lock(mutex_);
    ++lent_[stream];
}

void Users::end(Stream stream)
{
    std::lock_guard lock(mutex_);
    mark(stream);
    const auto found = lent_.find(stream);
    if (found != lent_.end() && --found->second == 0) lent_.erase(found);
}

void Users::name(Stream stream)
{
    std::lock_guard lock(mutex_);
    named_.insert(stream);
}

void Users::end_all(bool forget)
{
    std::lock_guard lock(mutex_);
    for (const auto& [stream, count] : lent_) mark(stream);
    for (Stream stream : named_) mark(stream);
    if (forget) named_.clear();
}

// The event of a stream is used again: it comes behind what it was behind before.
void Users::mark(Stream stream)
{
    stream = for_any_thread(stream);
    const Current current(*context_, std::nothrow);
    Result result = current.result();
    EventHandle event = nullptr;
    if (result == SUCCESS) {
        const auto found = events_.find(stream);
        if (found != events_.end())
            event = found->second;
        else
            result = context_->cu.EventCreate(&event, EVENT_DISABLE_TIMING);
    }
    if (result == SUCCESS) {
        events_[stream] = event;
        result = context_->cu.EventRecord(event, stream);
    }
    if (result == SUCCESS || result == DEINITIALIZED)
        unmarked_.erase(stream);
    else
        unmarked_.insert(stream);
}

bool Users::idle(std::uint64_t wait_ns)
{
    std::lock_guard lock(mutex_);
    for (Stream stream : std::set(unmarked_)) mark(stream);
    if (!unmarked_.empty()) return false;
    if (events_.empty()) return true;
    const Current current(*context_, std::nothrow);
    // A context that is gone works with nothing.
    if (current.result() != SUCCESS) return true;
    for (auto at = events_.begin(); at != events_.end(); at = events_.erase(at)) {
        if (wait_for(context_->cu, at->second, wait_ns) == NOT_READY) return false;
        context_->cu.EventDestroy(at->second);
    }
    return true;
}

}  // namespace foveate::cuda
