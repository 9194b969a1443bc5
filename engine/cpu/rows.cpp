// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/rows.h"

#include <bit>

#include "engine/cpu/lanes.h"

namespace foveate::cpu::FOVEATE_ISA {

namespace {

Words pair_sums(Bytes bytes)
{
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
        (pixel_stride == 2 ? reduce_pixels<2, 1> : reduce_pixels<4, 1>)(a, b, width, out, plane);
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

// Widening is the one thing the compiler's vectors do badly here: GCC 12 takes narrow lanes apart one by one.
#if defined(__AVX512VBMI__)
Ints widen(const std::uint8_t* from) { return (Ints)_mm512_maskz_cvtepu8_epi32(0xffff, load<__m128i>(from)); }
Ints widen(const std::uint16_t* from) { return (Ints)_mm512_maskz_cvtepu16_epi32(0xffff, load<__m256i>(from)); }
#elif defined(__AVX2__)
Ints widen(const std::uint8_t* from) { return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from)); }
Ints widen(const std::uint16_t* from) { return (Ints)_mm256_cvtepu16_epi32(load<__m128i>(from)); }
#elif defined(__SSE4_1__)
Ints widen(const std::uint8_t* from) { return (Ints)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(load<int>(from))); }
Ints widen(const std::uint16_t* from) { return (Ints)_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i*)from)); }
#else
template <class T>
Ints widen(const T* from)
{
    typedef T Narrow __attribute__((vector_size(FLOATS * sizeof(T))));
    return __builtin_convertvector(load<Narrow>(from), Ints);
}
#endif

Floats load_floats(const float* from) { return load<Floats>(from); }
template <class T>
Floats load_floats(const T* from)
{
    return __builtin_convertvector(widen(from), Floats);
}

template <int COUNT, class T>
void blend_rows(const T* const* rows, const float* weights, std::uint32_t n, float* __restrict out)
{
    const T* row[COUNT];
    float weight[COUNT];
    for (int k = 0; k < COUNT; ++k) row[k] = rows[k], weight[k] = weights[k];
    if (n < FLOATS) {
        for (std::uint32_t i = 0; i < n; ++i) {
            const float base = float(row[0][i]);
            float sum = base;
            for (int k = 1; k < COUNT; ++k) sum = sum + weight[k] * (float(row[k][i]) - base);
            out[i] = sum;
        }
        return;
    }
    // The last block starts early enough to end with the row, and writes a few results twice.
    for (std::uint32_t i = 0;; i = i + 2 * FLOATS <= n ? i + FLOATS : n - FLOATS) {
        const Floats base = load_floats(row[0] + i);
        Floats sum = base;
        for (int k = 1; k < COUNT; ++k) sum = sum + weight[k] * (load_floats(row[k] + i) - base);
        std::memcpy(out + i, &sum, sizeof sum);
        if (i + FLOATS >= n) return;
    }
}

template <class T>
void blend(const T* const* rows, const float* weights, std::uint32_t count, std::uint32_t n, float* out)
{
    switch (count) {
    case 1: return blend_rows<1>(rows, weights, n, out);
    case 2: return blend_rows<2>(rows, weights, n, out);
    case 3: return blend_rows<3>(rows, weights, n, out);
    case 4: return blend_rows<4>(rows, weights, n, out);
    case 5: return blend_rows<5>(rows, weights, n, out);
    }
    for (std::uint32_t i = 0; i < n; ++i) {
        const float base = float(rows[0][i]);
        float sum = base;
        for (std::uint32_t k = 1; k < count; ++k) sum = sum + weights[k] * (float(rows[k][i]) - base);
        out[i] = sum;
    }
}

void interleave(const float* __restrict r, const float* __restrict g, const float* __restrict b,
                std::uint32_t n, float* __restrict out)
{
    std::uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const auto red = load<Float4>(r + i), green = load<Float4>(g + i), blue = load<Float4>(b + i);
        const Float4 low = __builtin_shufflevector(red, green, 0, 4, 1, 5);
        const Float4 high = __builtin_shufflevector(red, green, 2, 6, 3, 7);
        // One store each: gathered into an array first, they would be read back before they had been written.
        const Float4 t0 = __builtin_shufflevector(low, blue, 0, 1, 4, 4);
        const Float4 t1 = __builtin_shufflevector(low, blue, 2, 3, 5, 5);
        const Float4 t2 = __builtin_shufflevector(high, blue, 0, 1, 6, 6);
        const Float4 t3 = __builtin_shufflevector(high, blue, 2, 3, 7, 7);
        std::memcpy(out + 4 * i, &t0, sizeof t0);
        std::memcpy(out + 4 * i + 4, &t1, sizeof t1);
        std::memcpy(out + 4 * i + 8, &t2, sizeof t2);
        std::memcpy(out + 4 * i + 12, &t3, sizeof t3);
    }
    for (; i < n; ++i) out[4 * i] = r[i], out[4 * i + 1] = g[i], out[4 * i + 2] = b[i], out[4 * i + 3] = 0;
}

template <int TAPS>
void gather_taps(const float* v, std::uint32_t stride, const std::uint32_t* first, const float* weights,
                 std::uint32_t taps, std::uint32_t texels, float* out)
{
    const std::uint32_t count = TAPS ? TAPS : taps;
    for (std::uint32_t i = 0; i < texels; ++i, weights += count) {
        const float* from = v + std::uint64_t(first[i]) * stride;
        const Float4 base = load<Float4>(from);
        Float4 sum = base;
        for (std::uint32_t k = 1; k < count; ++k)
            sum = sum + weights[k] * (load<Float4>(from + k * stride) - base);
        std::memcpy(out + 4 * i, &sum, sizeof sum);
    }
}

void gather(const float* v, std::uint32_t stride, const std::uint32_t* first, const float* weights,
            std::uint32_t taps, std::uint32_t texels, float* out)
{
    switch (taps) {
    case 2: return gather_taps<2>(v, stride, first, weights, taps, texels, out);
    case 3: return gather_taps<3>(v, stride, first, weights, taps, texels, out);
    case 4: return gather_taps<4>(v, stride, first, weights, taps, texels, out);
    case 5: return gather_taps<5>(v, stride, first, weights, taps, texels, out);
    default: return gather_taps<0>(v, stride, first, weights, taps, texels, out);
    }
}

void normalise_plane(const float* __restrict in, std::uint32_t n, float scale, float bias, float* __restrict out)
{
    for (std::uint32_t i = 0; i < n; ++i) out[i] = in[i] * scale + bias;
}

// Four pixels in, four texels of each channel out; whole groups of four, so both ends have room for them.
void normalise_pixels(const float* in, std::uint32_t stride, std::uint32_t n, const float* scale,
                      const float* bias, float* out, std::uint32_t plane)
{
    for (std::uint32_t i = 0; i < n; i += 4) {
        const auto a = load<Float4>(in + i * stride), b = load<Float4>(in + (i + 1) * stride);
        const auto c = load<Float4>(in + (i + 2) * stride), d = load<Float4>(in + (i + 3) * stride);
        const Float4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
        const Float4 red = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) * scale[0] + bias[0];
        const Float4 green = __builtin_shufflevector(ab, cd, 2, 3, 6, 7) * scale[1] + bias[1];
        const Float4 ab_high = __builtin_shufflevector(a, b, 2, 6, 2, 6);
        const Float4 cd_high = __builtin_shufflevector(c, d, 2, 6, 2, 6);
        const Float4 blue = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5) * scale[2] + bias[2];
        std::memcpy(out + i, &red, sizeof red);
        std::memcpy(out + plane + i, &green, sizeof green);
        std::memcpy(out + 2 * plane + i, &blue, sizeof blue);
    }
}

// Written out so that it does not depend on an instruction, nor on how a GPU packs halves.
struct ToF16 {
    static std::uint16_t round(float value)
    {
        const auto bits = std::bit_cast<std::uint32_t>(value);
        const std::uint32_t magnitude = bits & 0x7fffffffu;
        const std::uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1)) >> 13;
        // Below 2^-14: adding 0.5 leaves the mantissa of the half at the bottom, rounded to even by the adder.
        const auto shifted = std::bit_cast<float>(magnitude) + 0.5f;
        const std::uint32_t tiny = std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u;
        std::uint32_t half = magnitude < 0x38800000u ? tiny : normal;
        half = magnitude > 0x477fefffu ? (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u) : half;
        return std::uint16_t(half | (bits >> 16 & 0x8000u));
    }
};

struct ToBf16 {
    static std::uint16_t round(float value)
    {
        const auto bits = std::bit_cast<std::uint32_t>(value);
        const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
        return std::uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16 | 0x40u) : rounded);
    }
};

template <class To>
void round_row(const float* __restrict in, std::uint32_t n, std::uint16_t* __restrict out)
{
    for (std::uint32_t i = 0; i < n; ++i) out[i] = To::round(in[i]);
}

#define FOVEATE_TEXT_(x) #x
#define FOVEATE_TEXT(x) FOVEATE_TEXT_(x)

}  // namespace

const RowKernels& rows()
{
    static const RowKernels kernels = {
        .name = FOVEATE_TEXT(FOVEATE_ISA),
        .relevance = &relevance_rows,
        .reduce_u8 = reduce_u8,
        .reduce_u16 = reduce_u16,
        .reduce_f32 = reduce_f32,
        .blend_u8 = blend<std::uint8_t>,
        .blend_u16 = blend<std::uint16_t>,
        .blend_f32 = blend<float>,
        .interleave = interleave,
        .gather = gather,
        .normalise_plane = normalise_plane,
        .normalise_pixels = normalise_pixels,
        .round_f16 = round_row<ToF16>,
        .round_bf16 = round_row<ToBf16>,
        .luma_u8 = luma_u8,
        .rate_units = rate_units,
        .rate_level = rate_level,
        .add_u32 = add_u32,
    };
    return kernels;
}

}  // namespace foveate::cpu::FOVEATE_ISA
