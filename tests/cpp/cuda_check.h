// SPDX-License-Identifier: Apache-2.0
// What the CUDA tests share: the stub's own functions, and streams to give it work by.
#pragma once

#include <dlfcn.h>

#include "interop/cuda/context.h"
#include "tests/stub_cuda/stub.h"
#include "vulkan_check.h"

namespace foveate::test {

// The stub's own functions, in the library that the engine opened.
struct Stub {
    void* library = dlopen(FOVEATE_STUB_CUDA, RTLD_NOW | RTLD_LOCAL);
#define X(name) decltype(&stub_##name) name = reinterpret_cast<decltype(&stub_##name)>(dlsym(library, "stub_" #name));
    X(log) X(fail) X(hold) X(lie) X(mute) X(alive) X(place)
#undef X
    std::string text()
    {
        std::string all(log(nullptr, 0, 0) + 1, '\0');
        log(all.data(), all.size(), 1);
        return all;
    }
    std::int64_t objects()
    {
        std::int64_t sum = 0;
        for (const char* what : {"contexts", "streams", "events", "memories", "mappings", "semaphores", "allocations"})
            sum += alive(what);
        return sum;
    }
};
inline Stub& stub()
{
    static Stub made;
    return made;
}

inline int count(const std::string& text, const std::string& part)
{
    int found = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
}

inline cuda::Stream new_stream(const cuda::Context& context)
{
    cuda::Stream stream = nullptr;
    const cuda::Current current(context);
    context.cu.StreamCreate(&stream, cuda::STREAM_NON_BLOCKING);
    return stream;
}

}  // namespace foveate::test
