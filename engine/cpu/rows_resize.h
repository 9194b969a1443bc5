// SPDX-License-Identifier: Apache-2.0
// Rows of a resize, compiled once for each instruction set like rows.h. Pixels lie in rows of RGBx, 4 bytes each;
// sums are of 22-bit fixed point in 32 bits, so that every instruction set gives the same bytes.
#pragma once

#include <cstdint>

#include "engine/cpu/rows.h"

namespace foveate::cpu {

// One axis of a resize as the kernels read it. Outputs come in fours: the last ones repeat.
struct ResizeAxis {
    const std::uint32_t* first;   // of the source texels of an output
    const std::uint32_t* words;   // its weights, `groups` times those of four taps, as pack() writes them
    std::uint32_t count, groups;
};

// A line of patches, out of `patch` rows of RGBx.
struct PatchLine {
    const std::uint8_t* rows;
    std::uint64_t pitch;            // bytes from row to row
    const float* table;             // [channel * 256 + value]
    std::uint32_t patch, frames;
    std::uint32_t columns, merge;   // patches of the line; of an edge of a block
    bool stream;                    // past the caches: nobody reads it soon
    float* out;                     // the line's first patch; the next block's is merge * merge patches further
};

struct ResizeRows {
    std::uint32_t lines;            // source rows that across() takes at once, at most RESIZE_LINES
    std::uint32_t words;            // that four taps take
    void (*pack)(const std::int32_t* weights, std::uint32_t* words);

    // Horizontal: from each of `lines` rows of pixels `stride` bytes apart (1 or 2: gray, 3 or 4: RGB) to RGBx.
    // Reads 16 bytes at every fourth tap; writes whole groups of 4 pixels.
    void (*across)(const std::uint8_t* const* rows, std::uint32_t stride, const ResizeAxis& axis,
                   std::uint8_t* const* out);
    // Vertical: from 4 * groups rows to one of `bytes`. Whole vectors: RESIZE_ROOM more are read and written.
    void (*down)(const std::uint8_t* const* rows, const std::uint32_t* words, std::uint32_t groups,
                 std::uint32_t bytes, std::uint8_t* out);
    // Three planes to RGBx, and RGBx to 1 or 3 channels.
    void (*weave)(const std::uint8_t* r, const std::uint8_t* g, const std::uint8_t* b, std::uint32_t n,
                  std::uint8_t* out);
    void (*narrow)(const std::uint8_t* pixels, std::uint32_t n, std::uint32_t channels, std::uint8_t* out);
    void (*patches)(const PatchLine& line);
};

constexpr std::uint32_t RESIZE_LINES = 4, RESIZE_BITS = 22, RESIZE_ROOM = 64;

namespace baseline { extern const ResizeRows resize_rows; }
#if defined(__x86_64__)
namespace avx2 { extern const ResizeRows resize_rows; }
namespace avx512 { extern const ResizeRows resize_rows; }
#endif

}  // namespace foveate::cpu
