// SPDX-License-Identifier: Apache-2.0
// Rows of the sample stage: blended down, gathered, normalised, rounded; and tokens of whole texels in one go.
#include "engine/cpu/rows.h"

#include <bit>

#include "engine/cpu/lanes.h"

namespace foveate::cpu::FOVEATE_ISA {

namespace {

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

// Eight lanes at most: a patch of 14 is two such vectors that overlap.
#if defined(__AVX2__)
typedef float Part __attribute__((vector_size(32)));
typedef std::int32_t PartInts __attribute__((vector_size(32)));
PartInts widen_part(const std::uint16_t* from) { return (PartInts)_mm256_cvtepu16_epi32(load<__m128i>(from)); }
#else
typedef Floats Part;
typedef Ints PartInts;
PartInts widen_part(const std::uint16_t* from) { return widen(from); }
#endif
constexpr std::uint32_t PART = sizeof(Part) / sizeof(float);

// What a texel is made of: a row or several of them blended, or a pair of texels of one row (exact, so that it does
// not matter that it is not summed as gather() sums).
template <int COUNT>
struct Blend {
    static constexpr std::uint32_t STEP = 1;

    template <class V>
    static V at(const WholeLine& line, std::uint64_t i)
    {
        const std::uint32_t count = COUNT ? COUNT : line.count;
        const V base = value<V>(line.rows[0] + i);
        V sum = base;
        for (std::uint32_t k = 1; k < count; ++k) sum = sum + line.weights[k] * (value<V>(line.rows[k] + i) - base);
        return sum;
    }

    template <class V>
    static V value(const std::uint16_t* from)
    {
        if constexpr (sizeof(V) == sizeof(float)) return float(*from);
        else return __builtin_convertvector(widen_part(from), Part);
    }
};

struct Pair {
    static constexpr std::uint32_t STEP = 2;

    template <class V>
    static V at(const WholeLine& line, std::uint64_t i)
    {
        if constexpr (sizeof(V) == sizeof(float)) {
            return float(line.rows[0][i] + line.rows[0][i + 1]) * 0.5f;
        } else {
            const auto both = load<PartInts>(line.rows[0] + i);
            return __builtin_convertvector((both & 65535) + (both >> 16 & 65535), Part) * 0.5f;
        }
    }
};

template <class Texel>
void whole_line(const WholeLine line)  // by value: what is stored cannot change it
{
    const std::uint32_t n = line.patch;
    for (std::uint32_t c = 0; c < 3; ++c)
        for (std::uint32_t part = 0; part < line.parts; ++part) {
            const std::uint64_t from = c * line.plane + part * n * Texel::STEP;
            const float scale = line.scale[c], bias = line.bias[c];
            float* __restrict out = line.out + part * line.part + c * line.channel;
            if (n < PART) {
                for (std::uint32_t i = 0; i < n; ++i)
                    out[i] = Texel::template at<float>(line, from + i * Texel::STEP) * scale + bias;
                continue;
            }
            for (std::uint32_t i = 0;; i = i + 2 * PART <= n ? i + PART : n - PART) {
                const Part value = Texel::template at<Part>(line, from + i * Texel::STEP) * scale + bias;
                std::memcpy(out + i, &value, sizeof value);
                if (i + PART >= n) break;
            }
        }
}

void whole_u16(const WholeLine& line)
{
    if (line.pairs) return whole_line<Pair>(line);
    switch (line.count) {
    case 1: return whole_line<Blend<1>>(line);
    case 2: return whole_line<Blend<2>>(line);
    default: return whole_line<Blend<0>>(line);
    }
}

// Half of the lanes as the upper bytes of words.
template <int FROM, int... J>
Bytes words_of(Bytes bytes, std::integer_sequence<int, J...>)
{
    return __builtin_shufflevector(bytes, Bytes{}, (J % 2 ? FROM + J / 2 : LANES)...);
}

template <int S, int C>
void spread_channel(const Bytes* pixels, std::uint16_t* out)
{
    const Bytes bytes = pick<S, C>(pixels, pixels[0]);
    const auto lanes = std::make_integer_sequence<int, LANES>();
    const Bytes low = words_of<0>(bytes, lanes), high = words_of<LANES / 2>(bytes, lanes);
    std::memcpy(out, &low, sizeof low);
    std::memcpy(out + LANES / 2, &high, sizeof high);
}

template <int S>
void planes_of(const std::uint8_t* pixels, std::uint32_t n, std::uint16_t* out, std::uint64_t plane)
{
    for (std::uint32_t i = 0; i < n; i += LANES) {
        Bytes from[S];
        for (int k = 0; k < S; ++k) from[k] = load<Bytes>(pixels + std::uint64_t(S) * i + k * LANES);
        spread_channel<S, 0>(from, out + i);
        spread_channel<S, 1>(from, out + plane + i);
        spread_channel<S, 2>(from, out + 2 * plane + i);
    }
}

void planes_u8(const std::uint8_t* pixels, std::uint32_t stride, std::uint32_t n, std::uint16_t* out,
               std::uint64_t plane)
{
    (stride == 3 ? planes_of<3> : planes_of<4>)(pixels, n, out, plane);
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

}  // namespace

extern const SampleRows sample_rows = {
    .blend_u8 = blend<std::uint8_t>,
    .blend_u16 = blend<std::uint16_t>,
    .blend_f32 = blend<float>,
    .interleave = interleave,
    .gather = gather,
    .normalise_plane = normalise_plane,
    .normalise_pixels = normalise_pixels,
    .whole_u16 = whole_u16,
    .planes_u8 = planes_u8,
    .round_f16 = round_row<ToF16>,
    .round_bf16 = round_row<ToBf16>,
};

}  // namespace foveate::cpu::FOVEATE_ISA
