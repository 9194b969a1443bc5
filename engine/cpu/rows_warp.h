// SPDX-License-Identifier: Apache-2.0
// The integer sums of a warp, compiled once for each instruction set like rows.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/cpu/rows.h"
#include "engine/plan.h"

namespace foveate::cpu {

// One image and its levels, for runs of texels.
struct WarpSource {
    const std::byte* pixels = nullptr;            // level 0
    std::uint64_t safe = 0;                       // from this offset on 16 bytes may not all be the caller's
    std::uint64_t row_stride = 0, pixel_stride = 0, channel_stride = 0;
    std::uint32_t channels = 0, width = 0;
    bool wide = false;                            // level 0 is 16-bit
    const std::uint16_t* decode = nullptr;        // bytes of level 0 as light; null: byte * 256
    const std::uint16_t* levels[MAX_LEVELS] = {};
    std::uint64_t planes[MAX_LEVELS] = {};        // elements from channel to channel
    std::uint32_t widths[MAX_LEVELS] = {};
};

// The weights of a pixel sum to WARP_ONE. Pixels are order[0] .. order[count - 1], and `runs` is the first one's.
struct WarpRows {
    // Sums as they are, four words a pixel: sums[4 * i + channel] of pixel order[i].index.
    void (*sums)(const WarpSource& source, const shared::WarpRun* runs, const WarpTable::Pixel* order,
                 std::uint32_t count, std::uint32_t* sums);
    // Three channels of 8.8, rounded to bytes: out[3 * order[i].index + channel].
    void (*bytes)(const WarpSource& source, const shared::WarpRun* runs, const WarpTable::Pixel* order,
                  std::uint32_t count, std::uint8_t* out);
};

namespace baseline { extern const WarpRows warp_rows; }
#if defined(__x86_64__)
namespace avx2 { extern const WarpRows warp_rows; }
namespace avx512 { extern const WarpRows warp_rows; }
#endif

}  // namespace foveate::cpu
