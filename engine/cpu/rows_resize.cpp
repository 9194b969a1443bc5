// SPDX-License-Identifier: Apache-2.0
// A lane of 128 bits is a source row: it takes four taps of three channels, one dword of four bytes a channel.
// Weights have 24 bits, which no multiplication of bytes takes at once: they come apart, and sums of the parts join.
#include "engine/cpu/rows_resize.h"

#include <cstring>

// Its own header's "undefined" vectors: GCC bug 105593.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include "engine/cpu/instructions.h"

namespace foveate::cpu::FOVEATE_ISA {

namespace {

constexpr std::int32_t HALF = 1 << (RESIZE_BITS - 1);

#if defined(__SSSE3__)

#if defined(__AVX512VNNI__)
typedef __m512i Vector;
#define VECTOR(name) _mm512_##name
constexpr std::uint32_t LINES = 4;
Vector load_lines(const std::uint8_t* const* rows, std::uint64_t at)
{
    const auto row = [&](int k) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[k] + at)); };
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(row(2)), row(3), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
void store_lines(Vector value, std::uint8_t* const* out, std::uint64_t at)
{
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out[0] + at), _mm512_castsi512_si128(value));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out[1] + at), _mm512_extracti32x4_epi32(value, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out[2] + at), _mm512_extracti32x4_epi32(value, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out[3] + at), _mm512_extracti32x4_epi32(value, 3));
}
Vector in_every_lane(__m128i value) { return _mm512_broadcast_i32x4(value); }
#elif defined(__AVX2__)
typedef __m256i Vector;
#define VECTOR(name) _mm256_##name
constexpr std::uint32_t LINES = 2;
Vector load_lines(const std::uint8_t* const* rows, std::uint64_t at)
{
    const auto row = [&](int k) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[k] + at)); };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
}
void store_lines(Vector value, std::uint8_t* const* out, std::uint64_t at)
{
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out[0] + at), _mm256_castsi256_si128(value));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out[1] + at), _mm256_extracti128_si256(value, 1));
}
Vector in_every_lane(__m128i value) { return _mm256_broadcastsi128_si256(value); }
#else
typedef __m128i Vector;
#define VECTOR(name) _mm_##name
constexpr std::uint32_t LINES = 1;
Vector load_lines(const std::uint8_t* const* rows, std::uint64_t at)
{
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[0] + at));
}
void store_lines(Vector value, std::uint8_t* const* out, std::uint64_t at)
{
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out[0] + at), value);
}
Vector in_every_lane(__m128i value) { return value; }
#endif

Vector load(const std::uint8_t* from)
{
    Vector value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

Vector four(std::uint32_t word) { return VECTOR(set1_epi32)(int(word)); }

// Sums of taps by weights, in two or three parts of the weight.
#if defined(__AVX512VNNI__)
constexpr std::uint32_t WORDS = 3;

struct Sums {
    Vector low = _mm512_set1_epi32(HALF), middle = _mm512_setzero_si512(), high = _mm512_setzero_si512();

    void add(Vector taps, const std::uint32_t* words)
    {
        low = _mm512_dpbusd_epi32(low, taps, four(words[0]));
        middle = _mm512_dpbusd_epi32(middle, taps, four(words[1]));
        high = _mm512_dpbusd_epi32(high, taps, four(words[2]));
    }

    Vector value() const
    {
        const Vector upper = _mm512_add_epi32(_mm512_slli_epi32(high, 8), middle);
        return _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(upper, 8), low), RESIZE_BITS);
    }
};

// Signed bytes: weight = b0 + (b1 << 8) + (b2 << 16).
void pack(const std::int32_t* weights, std::uint32_t* words)
{
    words[0] = words[1] = words[2] = 0;
    for (int k = 0; k < 4; ++k) {
        std::int32_t rest = weights[k];
        for (int part = 0; part < 3; ++part) {
            const auto byte = std::int8_t(std::uint8_t(rest));
            words[part] |= std::uint32_t(std::uint8_t(byte)) << (8 * k);
            rest = (rest - byte) >> 8;
        }
    }
}
#else
constexpr std::uint32_t WORDS = 4;
constexpr int LOW = 11;  // bits of the lower part, which is not negative

struct Sums {
    Vector low = VECTOR(set1_epi32)(HALF), high = VECTOR(set1_epi32)(0);

    void add(Vector taps, const std::uint32_t* words)
    {
        const Vector even = four(0x00ff00ffu) & taps, odd = VECTOR(srli_epi16)(taps, 8);
        low = VECTOR(add_epi32)(low, VECTOR(madd_epi16)(even, four(words[0])));
        low = VECTOR(add_epi32)(low, VECTOR(madd_epi16)(odd, four(words[1])));
        high = VECTOR(add_epi32)(high, VECTOR(madd_epi16)(even, four(words[2])));
        high = VECTOR(add_epi32)(high, VECTOR(madd_epi16)(odd, four(words[3])));
    }

    Vector value() const
    {
        return VECTOR(srai_epi32)(VECTOR(add_epi32)(VECTOR(slli_epi32)(high, LOW), low), RESIZE_BITS);
    }
};

// Pairs of 16 bits: weight = low + (high << 11), taps 0 and 2 together, and 1 and 3.
void pack(const std::int32_t* weights, std::uint32_t* words)
{
    const auto pair = [](std::int32_t a, std::int32_t b) {
        return std::uint32_t(std::uint16_t(a)) | std::uint32_t(std::uint16_t(b)) << 16;
    };
    const std::int32_t mask = (1 << LOW) - 1;
    for (int k = 0; k < 2; ++k) {
        words[k] = pair(weights[k] & mask, weights[k + 2] & mask);
        words[2 + k] = pair(weights[k] >> LOW, weights[k + 2] >> LOW);
    }
}
#endif

// Four values a lane each to bytes, clipped: the order inside a lane is a, b, c, d.
Vector clipped(Vector a, Vector b, Vector c, Vector d)
{
    return VECTOR(packus_epi16)(VECTOR(packs_epi32)(a, b), VECTOR(packs_epi32)(c, d));
}

// Bytes of four pixels to a dword a channel.
__m128i by_channel(std::uint32_t stride)
{
    alignas(16) std::uint8_t from[16];
    for (std::uint32_t i = 0; i < 16; ++i)
        from[i] = i >= 12 ? 0x80 : std::uint8_t(i % 4 * stride + (stride >= 3 ? i / 4 : 0));
    return _mm_load_si128(reinterpret_cast<const __m128i*>(from));
}

template <int GROUPS>
void across_groups(const std::uint8_t* const* rows, std::uint32_t stride, const ResizeAxis& axis,
                   std::uint8_t* const* out)
{
    const std::uint32_t groups = GROUPS ? GROUPS : axis.groups;
    const Vector order = in_every_lane(by_channel(stride));
    const std::uint32_t* words = axis.words;
    const std::uint8_t* row[LINES];
    std::uint8_t* to[LINES];
    for (std::uint32_t k = 0; k < LINES; ++k) row[k] = rows[k], to[k] = out[k];
    for (std::uint32_t x = 0; x < axis.count; x += 4) {
        Vector pixels[4];
        for (int j = 0; j < 4; ++j) {
            const std::uint64_t at = std::uint64_t(axis.first[x + j]) * stride;
            Sums sums;
            for (std::uint32_t g = 0; g < groups; ++g, words += WORDS)
                sums.add(VECTOR(shuffle_epi8)(load_lines(row, at + 4 * g * stride), order), words);
            pixels[j] = sums.value();
        }
        store_lines(clipped(pixels[0], pixels[1], pixels[2], pixels[3]), to, 4 * x);
    }
}

void across(const std::uint8_t* const* rows, std::uint32_t stride, const ResizeAxis& axis, std::uint8_t* const* out)
{
    switch (axis.groups) {
    case 1: return across_groups<1>(rows, stride, axis, out);
    case 2: return across_groups<2>(rows, stride, axis, out);
    case 3: return across_groups<3>(rows, stride, axis, out);
    case 4: return across_groups<4>(rows, stride, axis, out);
    default: return across_groups<0>(rows, stride, axis, out);
    }
}

void down(const std::uint8_t* const* rows, const std::uint32_t* words, std::uint32_t groups, std::uint32_t bytes,
          std::uint8_t* out)
{
    for (std::uint32_t i = 0; i < bytes; i += sizeof(Vector)) {
        Sums sums[4];
        for (std::uint32_t g = 0; g < groups; ++g) {
            const std::uint8_t* const* row = rows + 4 * g;
            const Vector a = load(row[0] + i), b = load(row[1] + i), c = load(row[2] + i), d = load(row[3] + i);
            const Vector ab = VECTOR(unpacklo_epi8)(a, b), cd = VECTOR(unpacklo_epi8)(c, d);
            sums[0].add(VECTOR(unpacklo_epi16)(ab, cd), words + WORDS * g);
            sums[1].add(VECTOR(unpackhi_epi16)(ab, cd), words + WORDS * g);
            const Vector ab_high = VECTOR(unpackhi_epi8)(a, b), cd_high = VECTOR(unpackhi_epi8)(c, d);
            sums[2].add(VECTOR(unpacklo_epi16)(ab_high, cd_high), words + WORDS * g);
            sums[3].add(VECTOR(unpackhi_epi16)(ab_high, cd_high), words + WORDS * g);
        }
        const Vector value = clipped(sums[0].value(), sums[1].value(), sums[2].value(), sums[3].value());
        std::memcpy(out + i, &value, sizeof value);
    }
}

#else  // no shuffle of bytes

constexpr std::uint32_t LINES = 1, WORDS = 4;

void pack(const std::int32_t* weights, std::uint32_t* words) { std::memcpy(words, weights, 16); }

std::uint8_t clipped(std::int32_t sum)
{
    const std::int32_t value = sum >> RESIZE_BITS;
    return std::uint8_t(value < 0 ? 0 : value > 255 ? 255 : value);
}

void across(const std::uint8_t* const* rows, std::uint32_t stride, const ResizeAxis& axis, std::uint8_t* const* out)
{
    const std::uint32_t taps = 4 * axis.groups;
    for (std::uint32_t x = 0; x < axis.count; ++x)
        for (std::uint32_t c = 0; c < 3; ++c) {
            const std::uint8_t* from = rows[0] + std::uint64_t(axis.first[x]) * stride + (stride >= 3 ? c : 0);
            std::int32_t sum = HALF;
            for (std::uint32_t k = 0; k < taps; ++k)
                sum += from[k * stride] * std::int32_t(axis.words[x * taps + k]);
            out[0][4 * x + c] = clipped(sum);
        }
}

void down(const std::uint8_t* const* rows, const std::uint32_t* words, std::uint32_t groups, std::uint32_t bytes,
          std::uint8_t* out)
{
    for (std::uint32_t i = 0; i < bytes; ++i) {
        std::int32_t sum = HALF;
        for (std::uint32_t k = 0; k < 4 * groups; ++k) sum += rows[k][i] * std::int32_t(words[k]);
        out[i] = clipped(sum);
    }
}

#endif

void weave(const std::uint8_t* __restrict r, const std::uint8_t* __restrict g, const std::uint8_t* __restrict b,
           std::uint32_t n, std::uint8_t* __restrict out)
{
    for (std::uint32_t i = 0; i < n; ++i) {
        const std::uint32_t pixel = r[i] | std::uint32_t(g[i]) << 8 | std::uint32_t(b[i]) << 16;
        std::memcpy(out + 4 * i, &pixel, 4);
    }
}

void narrow(const std::uint8_t* __restrict pixels, std::uint32_t n, std::uint32_t channels,
            std::uint8_t* __restrict out)
{
    for (std::uint32_t i = 0; i < n; ++i)
        for (std::uint32_t c = 0; c < channels; ++c) out[channels * i + c] = pixels[4 * i + c];
}

void copy_plane(const float* from, std::uint32_t n, [[maybe_unused]] bool stream, float* to)
{
#if defined(__SSE2__)
    if (stream && n % 4 == 0 && reinterpret_cast<std::uintptr_t>(to) % 16 == 0) {
        for (std::uint32_t i = 0; i < n; i += 4) _mm_stream_ps(to + i, _mm_load_ps(from + i));
        return;
    }
#endif
    std::memcpy(to, from, n * sizeof(float));
}

void patches(const PatchLine& line)
{
    const std::uint32_t patch = line.patch, texels = patch * patch;
    alignas(64) float plane[64 * 64];
    for (std::uint32_t column = 0; column < line.columns; ++column) {
        const std::uint64_t index =
            std::uint64_t(column / line.merge) * line.merge * line.merge + column % line.merge;
        float* out = line.out + index * 3 * line.frames * texels;
        for (std::uint32_t c = 0; c < 3; ++c) {
            const float* table = line.table + 256 * c;
            const std::uint8_t* from = line.rows + 4ull * column * patch + c;
            for (std::uint32_t y = 0; y < patch; ++y, from += line.pitch)
                for (std::uint32_t x = 0; x < patch; ++x) plane[y * patch + x] = table[from[4 * x]];
            for (std::uint32_t frame = 0; frame < line.frames; ++frame, out += texels)
                copy_plane(plane, texels, line.stream, out);
        }
    }
#if defined(__SSE2__)
    if (line.stream) _mm_sfence();  // other threads see it when this one is done
#endif
}

}  // namespace

extern const ResizeRows resize_rows = {
    .lines = LINES,
    .words = WORDS,
    .pack = pack,
    .across = across,
    .down = down,
    .weave = weave,
    .narrow = narrow,
    .patches = patches,
};

}  // namespace foveate::cpu::FOVEATE_ISA
