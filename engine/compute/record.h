// SPDX-License-Identifier: Apache-2.0
// What an API must do to run the stages' shaders: memory, uploads, dispatches in order.
#pragma once

#include <algorithm>

#include "engine/backend.h"
#include "engine/compute/shader.h"

namespace foveate::compute {

// One buffer, or a part of it, for the shader's block of this name; or what texture() returned, for its sampler.
struct Binding {
    const char* name;
    const Block* buffer = nullptr;      // of the backend; null: unused by this dispatch, something valid is bound
    std::uint64_t offset = 0;
    std::uint64_t size = ~0ull;         // at most what is left of the buffer
};

// An image of RGBA bytes with mip levels, each half of the one before, and how its rows lie in a buffer: level after
// level, each at what any device binds at.
struct TextureShape {
    static constexpr std::uint64_t TEXEL = 4, ALIGNMENT = 256;  // bytes

    std::uint32_t width = 0, height = 0, levels = 0;

    std::uint32_t width_at(std::uint32_t level) const { return std::max(1u, width >> level); }
    std::uint32_t height_at(std::uint32_t level) const { return std::max(1u, height >> level); }
    std::uint64_t texels(std::uint32_t level) const { return std::uint64_t(width_at(level)) * height_at(level); }
    // Of a level's rows, bytes; of `levels`: of the end.
    std::uint64_t offset(std::uint32_t level) const
    {
        std::uint64_t at = 0;
        for (std::uint32_t below = 0; below < level; ++below)
            at += (texels(below) * TEXEL + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        return at;
    }
    std::uint64_t size() const { return offset(levels); }
    bool operator==(const TextureShape&) const = default;
};

using Groups = std::array<std::uint32_t, 3>;

class ComputeRecord : public Record {
public:
    // Of the device, and alive at least as long as this record's work.
    virtual Ref<Block> buffer(std::uint64_t size) = 0;
    // Where the host writes the bytes of a new buffer, before finish().
    virtual std::byte* fill(const Ref<Block>& buffer) = 0;
    // Holds it until this record's work is done.
    virtual void use(const Ref<Block>& buffer) = 0;
    // Everything recorded so far is done, and seen, before what follows.
    virtual void begin_stage() = 0;
    // An image for shaders to filter, alive as long as this record's work, filled from the rows at this offset. Only
    // by backends whose caps() say so.
    virtual Ref<Block> texture(const Ref<Block>& rows, std::uint64_t offset, const TextureShape& shape) = 0;
    virtual void dispatch(const Program& program, std::span<const std::byte> params,
                          std::span<const Binding> bindings, const Groups& groups) = 0;

    Ref<Block> upload(const void* data, std::uint64_t size);
    template <class T>
    Ref<Block> upload(const std::vector<T>& values)  // null: there are none
    {
        return values.empty() ? Ref<Block>() : upload(values.data(), values.size() * sizeof(T));
    }
};

template <class T>
std::span<const std::byte> bytes_of(const T& value)
{
    return std::as_bytes(std::span(&value, 1));
}

}  // namespace foveate::compute
