// SPDX-License-Identifier: Apache-2.0
// Vectors of the instruction set that a file of row kernels is compiled for, and how interleaved pixels come
// apart in them. Included by rows*.cpp only: everything here exists once per instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "engine/cpu/instructions.h"
#include "engine/cpu/rows.h"

namespace foveate::cpu::FOVEATE_ISA {

// rows_rate.cpp
void luma_u8(const std::uint8_t* pixels, std::uint32_t width, std::uint32_t stride, std::uint32_t channels,
             std::uint8_t* out);
void rate_units(const std::uint8_t* luma, std::uint64_t pitch, std::uint32_t units, std::uint32_t* gains,
                std::uint64_t plane, std::uint32_t* sums);
void rate_level(const std::uint32_t* top, const std::uint32_t* low, std::uint32_t boxes, std::uint32_t half,
                std::uint32_t* const* out);
void add_u32(const std::uint32_t* from, std::uint32_t n, std::uint32_t* to);

namespace {

// Byte shuffles are one instruction at 16 lanes from SSSE3 on, and at 64 lanes only with VBMI. Floats take
// the whole register.
#if defined(__AVX512VBMI__)
constexpr int LANES = 64, FLOATS = 16;
#elif defined(__AVX2__)
constexpr int LANES = 16, FLOATS = 8;
#else
constexpr int LANES = 16, FLOATS = 4;
#endif

typedef std::uint8_t Bytes __attribute__((vector_size(LANES)));
typedef std::uint16_t Words __attribute__((vector_size(LANES)));
typedef float Float4 __attribute__((vector_size(16)));
typedef float Floats __attribute__((vector_size(4 * FLOATS)));
typedef std::int32_t Ints __attribute__((vector_size(4 * FLOATS)));

template <class V, class T>
V load(const T* from)
{
    V value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// Where lane j of channel C comes from when register STEP joins those before it: interleaved pixels of S bytes.
template <int S, int C, int STEP>
constexpr int lane_source(int j)
{
    const int byte = S * j + C;
    if (byte >= LANES * STEP && byte < LANES * (STEP + 1)) return LANES + byte - LANES * STEP;
    return STEP == 1 && byte < LANES ? byte : j;
}

template <int S, int C, int STEP, int... J>
Bytes join(Bytes picked, Bytes next, std::integer_sequence<int, J...>)
{
    return __builtin_shufflevector(picked, next, lane_source<S, C, STEP>(J)...);
}

// LANES texels of channel C from S registers of interleaved pixels.
template <int S, int C, int STEP = 1>
Bytes pick(const Bytes* registers, Bytes picked)
{
    if constexpr (STEP >= S) {
        return picked;
    } else {
        return pick<S, C, STEP + 1>(
            registers, join<S, C, STEP>(picked, registers[STEP], std::make_integer_sequence<int, LANES>()));
    }
}

}  // namespace

}  // namespace foveate::cpu::FOVEATE_ISA
