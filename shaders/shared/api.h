// SPDX-License-Identifier: Apache-2.0
// Words that read the same in C++, Vulkan GLSL, OpenGL GLSL and CUDA. VULKAN is tested here and nowhere else.
#ifndef FOVEATE_SHARED_API_H
#define FOVEATE_SHARED_API_H

#ifdef CUDA                 // the text that the build makes for it; lib/cuda.h has the rest
#define SHARED_BEGIN
#define SHARED_END
#define SHARED_FUNCTION __device__ __forceinline__
#define PRECISE
#define find_msb findMSB
#else
#ifdef __cplusplus
#include <algorithm>
#include <bit>
#include <cstdint>
namespace foveate::shared {
using uint = std::uint32_t;
using std::max;
using std::min;
static inline int find_msb(uint value) { return 31 - std::countl_zero(value); }
}
#define SHARED_BEGIN namespace foveate::shared {
#define SHARED_END }
// of each file its own: some are compiled for more than the machine may have
#define SHARED_FUNCTION static inline
#define PRECISE
#else
#define SHARED_BEGIN
#define SHARED_END
#define SHARED_FUNCTION
#define PRECISE precise
#define find_msb findMSB
#ifdef VULKAN
#define PARAMS(T) layout(push_constant, std430) uniform Params { T p; }
#define SPECIAL(ID, NAME, VALUE) layout(constant_id = ID) const uint NAME = VALUE
#else
#define PARAMS(T) layout(std140, binding = 15) uniform Params { T p; }
#define SPECIAL(ID, NAME, VALUE) const uint NAME = VALUE
#endif
#endif
#endif

#define FIXED_BITS 16u      // px are kept in 1/65536: a 16384 px side fits an int with its sign
#define FIXED_ONE 65536u
#define MAX_LEVELS 16u      // levels 0..15: a 16384 px side reaches 1x1 at level 14
#define MAX_CHANNELS 4u

#define ELEMENT_U8 0u       // how one stored value is written in memory
#define ELEMENT_U16 1u
#define ELEMENT_F32 2u

#endif
