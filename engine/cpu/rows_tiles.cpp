// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/rows_tiles.h"

#include <algorithm>
#include <cstring>

#include "engine/cpu/instructions.h"
#include "shared/rate_tiles.h"

namespace foveate::cpu::FOVEATE_ISA {

namespace {

#if defined(__AVX512VBMI__)
constexpr int WIDTH = 64;
#elif defined(__AVX2__)
constexpr int WIDTH = 32;
#else
constexpr int WIDTH = 16;
#endif

typedef std::uint16_t Words __attribute__((vector_size(WIDTH)));
typedef std::uint32_t Doubles __attribute__((vector_size(WIDTH)));

template <class V, class T>
V load(const T* from)
{
    V value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class V>
V larger(V a, V b) { return a > b ? a : b; }
template <class V>
V smaller(V a, V b) { return a < b ? a : b; }

std::uint8_t luma_of(std::uint32_t r, std::uint32_t g, std::uint32_t b)
{
    return std::uint8_t(shared::luma_of(r, g, b));
}

// ---- luma -------------------------------------------------------------------------------------------------
// Multiply-and-add of byte pairs: (r, g) by (38, 75) and (b, any) by (15, 0), the halves of a register.

#if defined(__AVX512VBMI__)
// Zero-masked forms: the plain ones make GCC 12 warn of an undefined source. 19238 is 75 << 8 | 38.
// 16 pixels of 3 bytes: their r, g below, their b above.
__m512i weighted(const std::uint8_t* in)
{
    alignas(64) static constexpr std::uint8_t ORDER[64] = {
        0,  1,  3,  4,  6,  7,  9,  10, 12, 13, 15, 16, 18, 19, 21, 22, 24, 25, 27, 28, 30, 31, 33, 34, 36, 37, 39, 40,
        42, 43, 45, 46, 2,  0,  5,  0,  8,  0,  11, 0,  14, 0,  17, 0,  20, 0,  23, 0,  26, 0,  29, 0,  32, 0,  35, 0,
        38, 0,  41, 0,  44, 0,  47, 0};
    alignas(64) static constexpr std::uint16_t WEIGHTS[32] = {
        19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238, 19238,
        15,    15,    15,    15,    15,    15,    15,    15,    15,    15,    15,    15,    15,    15,    15,    15};
    const __m512i pixels = _mm512_maskz_permutexvar_epi8(~0ull, load<__m512i>(ORDER), load<__m512i>(in));
    return _mm512_maddubs_epi16(pixels, load<__m512i>(WEIGHTS));
}

std::uint32_t luma_rgb_whole(const std::uint8_t* in, std::uint32_t n, std::uint8_t* out)
{
    std::uint32_t i = 0;
    for (; 3 * i + 48 + 64 <= 3 * n; i += 32) {
        const __m512i a = weighted(in + 3 * i), b = weighted(in + 3 * i + 48);
        const __m512i rg = _mm512_maskz_shuffle_i64x2(0xff, a, b, 0x44);
        const __m512i blue = _mm512_maskz_shuffle_i64x2(0xff, a, b, 0xee);
        const Words sum = ((Words)rg + (Words)blue + 64) >> 7;
        _mm256_storeu_si256((__m256i*)(out + i), _mm512_maskz_cvtepi16_epi8(~0u, (__m512i)sum));
    }
    return i;
}
#elif defined(__SSE4_1__)
// 4 pixels of 3 bytes: r, g of each below, b above.
__m128i weighted(const std::uint8_t* in)
{
    const __m128i order = _mm_setr_epi8(0, 1, 3, 4, 6, 7, 9, 10, 2, -1, 5, -1, 8, -1, 11, -1);
    const __m128i weights = _mm_setr_epi8(38, 75, 38, 75, 38, 75, 38, 75, 15, 0, 15, 0, 15, 0, 15, 0);
    return _mm_maddubs_epi16(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)in), order), weights);
}

__m128i eight(const std::uint8_t* in)
{
    const __m128i a = weighted(in), b = weighted(in + 12);
    const __m128i sum = _mm_add_epi16(_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b));
    return _mm_srli_epi16(_mm_add_epi16(sum, _mm_set1_epi16(64)), 7);
}

std::uint32_t luma_rgb_whole(const std::uint8_t* in, std::uint32_t n, std::uint8_t* out)
{
    std::uint32_t i = 0;
    for (; 3 * i + 36 + 16 <= 3 * n; i += 16)
        _mm_storeu_si128((__m128i*)(out + i), _mm_packus_epi16(eight(in + 3 * i), eight(in + 3 * i + 24)));
    return i;
}
#else
std::uint32_t luma_rgb_whole(const std::uint8_t*, std::uint32_t, std::uint8_t*) { return 0; }
#endif

void luma_pixels(const std::uint8_t* __restrict in, std::uint32_t stride, std::uint32_t n, std::uint8_t* __restrict out)
{
    if (stride == 4) {
        for (std::uint32_t i = 0; i < n; ++i) out[i] = luma_of(in[4 * i], in[4 * i + 1], in[4 * i + 2]);
        return;
    }
    for (std::uint32_t i = luma_rgb_whole(in, n, out); i < n; ++i)
        out[i] = luma_of(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
}

void luma_planes(const std::uint8_t* __restrict r, const std::uint8_t* __restrict g, const std::uint8_t* __restrict b,
                 std::uint32_t n, std::uint8_t* __restrict out)
{
    for (std::uint32_t i = 0; i < n; ++i) out[i] = luma_of(r[i], g[i], b[i]);
}

// ---- ffx --------------------------------------------------------------------------------------------------

template <class V>
struct Quad {
    V x, y, z, sum;
};

// Each lane of `a` and `b` holds two neighbours: below and above BITS.
template <int BITS, class V>
Quad<V> quad_of(V a, V b)
{
    constexpr auto MASK = (1u << BITS) - 1;
    const V a0 = a & MASK, a1 = a >> BITS, b0 = b & MASK, b1 = b >> BITS;
    const V a_most = larger(a0, a1), a_least = smaller(a0, a1), b_most = larger(b0, b1), b_least = smaller(b0, b1);
    return {larger<V>(a_most - a_least, b_most - b_least),
            larger<V>(larger(a0, b0) - smaller(a0, b0), larger(a1, b1) - smaller(a1, b1)),
            larger(a_most, b_most) - smaller(a_least, b_least), (a0 + a1) + (b0 + b1)};
}

void keep_larger(std::uint32_t* to, Doubles value)
{
    value = larger(load<Doubles>(to), value);
    std::memcpy(to, &value, sizeof value);
}

Doubles folded(Words a, Words b)
{
    const Doubles both = (Doubles)larger(a, b);
    return larger<Doubles>(both & 65535, both >> 16);
}

void contrast(const std::uint8_t* const* rows, std::uint32_t n, std::uint32_t* planes, std::uint32_t plane)
{
    const std::uint8_t *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    for (std::uint32_t i = 0; i < n; i += WIDTH) {
        const Quad<Words> upper = quad_of<8>(load<Words>(a + i), load<Words>(b + i));
        const Quad<Words> lower = quad_of<8>(load<Words>(c + i), load<Words>(d + i));
        const Quad<Doubles> coarse = quad_of<16>((Doubles)upper.sum, (Doubles)lower.sum);
        std::uint32_t* to = planes + i / 4;
        keep_larger(to + FINE_X * plane, folded(upper.x, lower.x));
        keep_larger(to + FINE_Y * plane, folded(upper.y, lower.y));
        keep_larger(to + FINE_Z * plane, folded(upper.z, lower.z));
        keep_larger(to + COARSE_X * plane, coarse.x);
        keep_larger(to + COARSE_Y * plane, coarse.y);
        keep_larger(to + COARSE_Z * plane, coarse.z);
    }
}

void halve(std::uint32_t* planes, std::uint32_t plane, std::uint32_t n)
{
    for (std::uint32_t k = 0; k < CONTRASTS; ++k) {
        std::uint32_t* values = planes + k * plane;
        std::uint32_t room[64];
        for (std::uint32_t i = 0; i < n; i += 64) {
            const std::uint32_t count = std::min(64u, n - i);
            const std::uint32_t* from = values + 2 * i;
            for (std::uint32_t j = 0; j < count; ++j) room[j] = std::max(from[2 * j], from[2 * j + 1]);
            std::memcpy(values + i, room, count * sizeof *room);
        }
    }
}

void codes_ffx(const std::uint32_t* __restrict planes, std::uint32_t plane,
               const std::uint32_t* __restrict half_weights, const std::uint32_t* __restrict quarter_weights,
               std::uint32_t fine, std::uint32_t coarse, std::uint32_t n, std::uint8_t* __restrict codes)
{
    for (std::uint32_t i = 0; i < n; ++i) {
        const std::uint32_t* d = planes + i;
        const std::uint32_t first = shared::rate_detail(d[FINE_X * plane], d[FINE_Y * plane], d[FINE_Z * plane],
                                                        half_weights[i], fine);
        const std::uint32_t second = shared::rate_detail(d[COARSE_X * plane], d[COARSE_Y * plane],
                                                         d[COARSE_Z * plane], quarter_weights[i], coarse);
        codes[i] = std::uint8_t(shared::rate_of_details(first, second));
    }
}

// ---- jnd --------------------------------------------------------------------------------------------------

void light(const std::uint8_t* __restrict luma, std::uint32_t n, std::uint8_t* __restrict out)
{
    for (std::uint32_t i = 0; i < n; ++i) out[i] = std::uint8_t(shared::rate_light(luma[i]));
}

void squares(const std::uint8_t* __restrict row, const std::uint8_t* __restrict below,
             const std::uint8_t* __restrict inside, std::uint32_t n, std::uint32_t* __restrict across,
             std::uint32_t* __restrict down, std::uint32_t* __restrict sum)
{
    for (std::uint32_t i = 0; i + 1 < n; ++i) {
        const std::int32_t difference = (std::int32_t(row[i + 1]) - std::int32_t(row[i])) * inside[i];
        across[i] += std::uint32_t(difference * difference);
    }
    for (std::uint32_t i = 0; i < n; ++i) sum[i] += row[i];
    if (!below) return;
    for (std::uint32_t i = 0; i < n; ++i) {
        const std::int32_t difference = std::int32_t(below[i]) - std::int32_t(row[i]);
        down[i] += std::uint32_t(difference * difference);
    }
}

// ---- gaze -------------------------------------------------------------------------------------------------

void gaze(const std::uint32_t* points, std::uint32_t count, std::uint32_t tile, std::uint32_t y,
          const std::uint32_t* cuts, std::uint32_t cut_count, std::uint32_t cut_codes, std::uint32_t n,
          std::uint8_t* codes)
{
    constexpr std::uint32_t ROOM = 256;
    std::uint32_t least[ROOM], code[ROOM];
    for (std::uint32_t start = 0; start < n; start += ROOM) {
        const std::uint32_t here = std::min(ROOM, n - start);
        for (std::uint32_t i = 0; i < here; ++i) least[i] = ~0u, code[i] = cut_codes & 15;
        for (std::uint32_t k = 0; k < count; ++k) {
            const std::uint32_t x = points[2 * k], dy = y - points[2 * k + 1], dy2 = dy * dy;
            for (std::uint32_t i = 0; i < here; ++i) {
                const std::uint32_t dx = (2 * (start + i) + 1) * tile - x;
                least[i] = std::min(least[i], dx * dx + dy2);
            }
        }
        for (std::uint32_t k = 0; k < cut_count; ++k) {
            const std::uint32_t cut = cuts[k], next = cut_codes >> (4 * k + 4) & 15;
            for (std::uint32_t i = 0; i < here; ++i) code[i] = least[i] >= cut ? next : code[i];
        }
        for (std::uint32_t i = 0; i < here; ++i) codes[start + i] = std::uint8_t(code[i]);
    }
}

void join(std::uint32_t op, const std::uint8_t* __restrict other, std::uint32_t n, std::uint8_t* __restrict codes)
{
    if (op == RATE_MIN)
        for (std::uint32_t i = 0; i < n; ++i) codes[i] = std::uint8_t(shared::rate_join(RATE_MIN, codes[i], other[i]));
    else
        for (std::uint32_t i = 0; i < n; ++i) codes[i] = std::uint8_t(shared::rate_join(RATE_MAX, codes[i], other[i]));
}

}  // namespace

const TileKernels& tile_kernels()
{
    static const TileKernels kernels = {
        .luma_pixels = luma_pixels,
        .luma_planes = luma_planes,
        .contrast = contrast,
        .halve = halve,
        .codes_ffx = codes_ffx,
        .light = light,
        .squares = squares,
        .gaze = gaze,
        .join = join,
    };
    return kernels;
}

}  // namespace foveate::cpu::FOVEATE_ISA
