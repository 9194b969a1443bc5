// SPDX-License-Identifier: Apache-2.0
// What the stub knows: objects that are alive, streams and what is on them, and a log of every call.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "interop/cuda/abi.h"
#include "stub.h"

namespace stub {

using namespace foveate::cuda;


struct Event {
    bool recorded = false, done = true;
    std::uint64_t mark = 0;      // of the last record: an older one does not end it
};
// What a stream does, in order. False: not yet.
using Work = std::function<bool()>;
struct Queue {
    std::deque<Work> work;
    bool held = false;
};
struct Memory {
    std::byte* base = nullptr;
    std::size_t file_size = 0, payload = 0;
    int mapped = 0;
};
struct Semaphore {
    unsigned type = 0;
    std::uint64_t value = 0;
};
struct Graphics {                // an object of OpenGL's, and its bytes while it is mapped
    unsigned name = 0;
    bool texture = false, mapped = false;
    int width = 0, height = 0;
    std::size_t texel = 0;
    std::vector<std::byte> bytes;
};
struct Module {
    int kernels = 0;
};
using Kernel = int (*)(const char*, const unsigned*, void**);

// Never destroyed: tensors may end after everything static has.
struct World {
    std::recursive_mutex mutex;
    std::string log;
    std::uint64_t calls = 0, fail_at = 0, marks = 0;
    int fail_with = 0, ordinal = -1, gl_ordinal = -1;
    bool lie = false, mute = false;
    std::map<std::string, std::int64_t> alive;
    std::map<Stream, Queue> streams;
    std::map<EventHandle, std::shared_ptr<Event>> events;
    std::map<Address, Memory*> mapped;
    std::set<Memory*> memories;
    std::set<Semaphore*> semaphores;
    std::set<Graphics*> graphics;
    std::map<Address, void*> allocated;
    std::map<std::string, std::string> names;
};
inline World& world()
{
    static auto* const made = new World;
    return *made;
}
// Without a destructor: tensors may end after this thread's own objects have.
inline thread_local std::vector<ContextHandle>& stack = *new std::vector<ContextHandle>;

template <class... Pairs>
std::string fields(const Pairs&... pairs)
{
    std::ostringstream text;
    ((text << ' ' << pairs), ...);
    return text.str();
}
template <class T>
std::string field(const char* name, T value)
{
    std::ostringstream text;
    text << name << '=' << value;
    return text.str();
}
inline std::string field(const char* name, Stream stream)
{
    return field(name, reinterpret_cast<std::uintptr_t>(stream));
}

// True: this call is to fail. Every entry point begins with it.
inline bool faulty(const char* name, const std::string& what = "")
{
    World& w = world();
    const bool fails = ++w.calls == w.fail_at;
    w.log += name + what + (fails ? " fails\n" : "\n");
    return fails;
}

inline void pump()
{
    World& w = world();
    for (bool moved = true; moved;) {
        moved = false;
        for (auto& [stream, queue] : w.streams)
            while (!queue.held && !queue.work.empty() && queue.work.front()()) {
                queue.work.pop_front();
                moved = true;
            }
    }
}

inline Result enqueue(Stream stream, Work work)
{
    World& w = world();
    const bool ordinary = reinterpret_cast<std::uintptr_t>(stream) > 2;
    if (ordinary && !w.streams.count(stream)) return INVALID_HANDLE;
    if (stack.empty() || !stack.back()) return INVALID_CONTEXT;
    w.streams[stream].work.push_back(std::move(work));
    pump();
    return SUCCESS;
}

// Rows of the device into one level of a mipmapped array.
Result fill_level(const Copy2dDesc& copy, Stream stream);

}  // namespace stub

#define ENTER(name, ...)                       \
    std::lock_guard lock(stub::world().mutex); \
    if (stub::faulty(name, stub::fields(__VA_ARGS__))) return Result(stub::world().fail_with)
