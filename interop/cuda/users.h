// SPDX-License-Identifier: Apache-2.0
// Who works with a piece of memory: streams it was lent to, and events behind the work of those that gave it back.
// Nothing here throws or needs Python, so that a tensor may end on any thread.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <set>

#include "interop/cuda/context.h"

namespace foveate::cuda {

// The longest that anything here waits, ns: limits::WAIT_NS. Tests shorten it.
extern std::atomic<std::uint64_t> wait_limit_ns;

// Waits for an event, wait_ns and the limit at most: SUCCESS, NOT_READY or what went wrong.
Result wait_for(const Driver& driver, EventHandle event, std::uint64_t wait_ns);

class Users {
public:
    explicit Users(Ref<Context> context) : context_(std::move(context)) {}
    ~Users();

    // A tensor for this stream begins and ends. What it did on the stream until its end is waited for.
    void begin(Stream stream);
    void end(Stream stream);
    // One more stream that works with the memory: until end_all(), and what it does until then.
    void name(Stream stream);
    // What every stream did up to now is waited for; `forget` those that were named.
    void end_all(bool forget);
    // Nobody works with it any more. Waits for that, wait_ns and the limit at most.
    bool idle(std::uint64_t wait_ns);

private:
    void mark(Stream stream);

    Ref<Context> context_;
    std::mutex mutex_;
    std::map<Stream, unsigned> lent_;
    std::set<Stream> named_;
    std::map<Stream, EventHandle> events_;
    std::set<Stream> unmarked_;         // whose work could not be marked yet: it is not known to have ended
};

}  // namespace foveate::cuda
