// SPDX-License-Identifier: Apache-2.0
// One table of limits. Each is tested at the limit and one past it.
#pragma once

#include <cstdint>

namespace foveate::limits {

inline constexpr std::uint32_t IMAGE_SIDE = 16384;                // px; 16.16 fixed point with its sign
inline constexpr std::uint64_t IMAGE_PIXELS = 64ull << 20;        // 64 Mpx an image
inline constexpr std::uint32_t BATCH_IMAGES = 4096;               // images a call
inline constexpr std::uint32_t IMAGE_TOKENS = 65536;              // tokens an image
inline constexpr std::uint32_t BATCH_TOKENS = 1u << 24;           // tokens a call
inline constexpr std::uint32_t PATCH = 64;                        // texels a patch edge
inline constexpr std::uint32_t MERGE = 8;                         // patches a token edge
inline constexpr std::uint32_t FRAMES = 2;                        // copies of a patch in time
inline constexpr std::uint32_t FIXATIONS = 64;                    // gaze points an image
inline constexpr std::uint32_t VIEWS = 64;                        // views an image
inline constexpr std::uint32_t RINGS = 16;                        // levels of a ring pattern
inline constexpr std::uint32_t HEAT = 256;                        // rows and columns of a heat map
inline constexpr std::uint32_t STRIDE = 64;                       // px a texel of a ring
inline constexpr std::uint32_t TAPS = 8;                          // least texels under a footprint edge
inline constexpr std::uint32_t WARP_TAPS = 4;                     // taps along a side of a warped pixel
inline constexpr std::uint64_t WARP_PIXELS = 8ull << 20;          // 8 Mpx a warped image
inline constexpr std::uint64_t WARP_CACHE = 256ull << 20;         // bytes of tables an Engine keeps
inline constexpr std::uint64_t WARP_TABLE = 1ull << 30;           // bytes of one table
inline constexpr std::uint32_t THREADS = 256;
inline constexpr std::uint64_t MEMORY_BUDGET = 4ull << 30;        // bytes, unless the caller says otherwise
inline constexpr std::uint64_t WAIT_NS = 30ull * 1000000000ull;   // no wait is longer than this

}  // namespace foveate::limits
