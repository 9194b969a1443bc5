// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/rows.h"

#include <bit>

#include "engine/cpu/lanes.h"

namespace foveate::cpu::FOVEATE_ISA {

namespace {

Words pair_sums(Bytes bytes)
{
#if defined(__AVX512VBMI__)
    return (Words)_mm512_maddubs_epi16((__m512i)bytes, _mm512_set1_epi8(1));
#elif defined(__SSSE3__)
    return (Words)_mm_maddubs_epi16((__m128i)bytes, _mm_set1_epi8(1));
#endif
    const Words words = std::bit_cast<Words>(bytes);  // little endian: low byte is the left texel
    return (words & 255) + (words >> 8);
}

template <int S, int C>
void reduce_channel(const Bytes* a, const Bytes* b, std::uint16_t* out)
{
    const Words sum = (pair_sums(pick<S, C>(a, a[0])) + pair_sums(pick<S, C>(b, b[0]))) << 6;
    std::memcpy(out, &sum, sizeof sum);
}

template <int S, int CHANNELS>
void reduce_pixels(const std::uint8_t* a, const std::uint8_t* b, std::uint32_t width, std::uint16_t* out,
                   std::uint64_t plane)
{
    const std::uint32_t count = (width + 1) / 2;
    std::uint32_t i = 0;
    // Not the last pixel where it has a channel that is not read: that one need not be the caller's.
    for (; 2 * i + LANES + (S > CHANNELS) <= width; i += LANES / 2) {
        Bytes from_a[S], from_b[S];
        for (int k = 0; k < S; ++k) {
            from_a[k] = load<Bytes>(a + 2 * S * i + k * LANES);
            from_b[k] = load<Bytes>(b + 2 * S * i + k * LANES);
        }
        reduce_channel<S, 0>(from_a, from_b, out + i);
        if constexpr (CHANNELS == 3) {
            reduce_channel<S, 1>(from_a, from_b, out + plane + i);
            reduce_channel<S, 2>(from_a, from_b, out + 2 * plane + i);
        }
    }
    for (; i < count; ++i) {
        const std::uint64_t left = std::uint64_t(S) * 2 * i;
        const std::uint64_t right = 2 * i + 1 < width ? left + S : left;
        for (int c = 0; c < CHANNELS; ++c)
            out[c * plane + i] = std::uint16_t((a[left + c] + a[right + c] + b[left + c] + b[right + c]) << 6);
    }
}

void reduce_u8(const std::uint8_t* a, const std::uint8_t* b, std::uint32_t width, std::uint32_t pixel_stride,
               std::uint32_t channels, std::uint16_t* out, std::uint64_t plane)
{
    if (channels == 3)
        (pixel_stride == 3 ? reduce_pixels<3, 3> : reduce_pixels<4, 3>)(a, b, width, out, plane);
    else if (pixel_stride == 1)
        reduce_pixels<1, 1>(a, b, width, out, plane);
    else
        (pixel_stride == 2   ? reduce_pixels<2, 1>
         : pixel_stride == 3 ? reduce_pixels<3, 1>
                             : reduce_pixels<4, 1>)(a, b, width, out, plane);
}

void reduce_u16(const std::uint16_t* __restrict a, const std::uint16_t* __restrict b, std::uint32_t width,
                std::uint32_t stride, std::uint16_t* __restrict out)
{
    const std::uint32_t whole = width / 2;
    if (stride == 1) {
        for (std::uint32_t i = 0; i < whole; ++i) {
            std::uint32_t x, y;  // two texels as one word: the pair is summed without a shuffle
            std::memcpy(&x, a + 2 * i, 4);
            std::memcpy(&y, b + 2 * i, 4);
            out[i] = std::uint16_t(((x & 65535) + (x >> 16) + (y & 65535) + (y >> 16) + 2) >> 2);
        }
    } else {
        for (std::uint32_t i = 0; i < whole; ++i) {
            const std::uint64_t left = std::uint64_t(2 * i) * stride, right = left + stride;
            out[i] = std::uint16_t((a[left] + a[right] + b[left] + b[right] + 2) >> 2);
        }
    }
    if (width & 1) {
        const std::uint64_t last = std::uint64_t(width - 1) * stride;
        out[whole] = std::uint16_t((2 * a[last] + 2 * b[last] + 2) >> 2);
    }
}

void reduce_f32(const float* __restrict a, const float* __restrict b, std::uint32_t width, std::uint32_t stride,
                float* __restrict out)
{
    for (std::uint32_t i = 0; i < width / 2; ++i) {
        const std::uint64_t left = std::uint64_t(2 * i) * stride, right = left + stride;
        out[i] = ((a[left] + a[right]) + (b[left] + b[right])) * 0.25f;
    }
    if (width & 1) {
        const std::uint64_t last = std::uint64_t(width - 1) * stride;
        out[width / 2] = ((a[last] + a[last]) + (b[last] + b[last])) * 0.25f;
    }
}

#define FOVEATE_TEXT_(x) #x
#define FOVEATE_TEXT(x) FOVEATE_TEXT_(x)

}  // namespace

const RowKernels& rows()
{
    static const RowKernels kernels = {
        .name = FOVEATE_TEXT(FOVEATE_ISA),
        .relevance = &relevance_rows,
        .sample = &sample_rows,
        .reduce_u8 = reduce_u8,
        .reduce_u16 = reduce_u16,
        .reduce_f32 = reduce_f32,
        .luma_u8 = luma_u8,
        .rate_units = rate_units,
        .rate_level = rate_level,
        .add_u32 = add_u32,
    };
    return kernels;
}

}  // namespace foveate::cpu::FOVEATE_ISA
