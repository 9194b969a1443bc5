// SPDX-License-Identifier: Apache-2.0
// A run as a list of steps, for an API that lives outside of the engine: it is given the whole list at once, and
// answers when all is done. Buffers and textures are numbers here; the executor alone knows what they are.
#pragma once

#include "engine/compute/backend.h"

namespace foveate::compute {

// A part of a buffer for the shader's block with this binding, or a texture for its sampler.
struct Part {
    std::uint32_t binding;
    std::uint64_t buffer, offset, size;
};

struct Step {
    enum class Kind { upload, dispatch, read, copy, texture } kind;
    std::uint64_t buffer = 0;           // upload, read: all of these bytes, from its start
    std::byte* host = nullptr;
    std::uint64_t size = 0;
    std::uint64_t offset = 0;           // copy, only where buffers have addresses: into `buffer` from here on,
    std::uint64_t from = 0, from_offset = 0;    // from a buffer, behind this many bytes of it
                                        // texture, only where caps() has filters: the rows of all levels of `buffer`
    const Program* program = nullptr;   // dispatch
    std::vector<std::byte> params;
    std::vector<Part> parts;            // by slot of the program
    Groups groups{};
};

struct List {
    struct Made {
        std::uint64_t buffer, size;
        TextureShape shape;             // levels = 0: it is a buffer
    };
    std::vector<Made> made;             // since the last list; no step may ever use one
    std::vector<std::uint64_t> dropped;  // nothing uses these any more
    std::vector<Step> steps;            // each sees what those before it wrote
};

class Executor : public Counted {
public:
    virtual const Caps& caps() const = 0;
    virtual const Limits& limits() const = 0;
    // One call at a time, on any thread. Throws Error; buffers then hold anything.
    virtual void run(const List& list) = 0;
    // Where the device has a buffer that it was told of, for others who work on it. 0: nobody can. Not during run().
    virtual std::uint64_t address(std::uint64_t) { return 0; }
    // Others never stop working with this buffer: it is not to be freed. No run follows.
    virtual void lose(std::uint64_t) {}
    // Programs it has compiled since it was made.
    virtual std::uint64_t pipelines_created() const = 0;
};

// memory_budget: bytes in all buffers.
Ref<Backend> make_list_backend(Ref<Executor> executor, std::uint64_t memory_budget);

}  // namespace foveate::compute
