// SPDX-License-Identifier: Apache-2.0
// Row kernels of the stage rate. Integers only: every instruction set gives the same sums.
#include <bit>

#include "engine/cpu/lanes.h"
#include "shared/luma.h"

namespace foveate::cpu::FOVEATE_ISA {

namespace {

std::uint8_t luma_of(const std::uint8_t* pixel)
{
    return std::uint8_t(shared::luma_of(pixel[0], pixel[1], pixel[2]));
}

template <int S>
void luma_pixels(const std::uint8_t* pixels, std::uint32_t width, std::uint8_t* out)
{
    std::uint32_t i = 0;
    // Not the last pixel where it has a channel that is not read: that one need not be the caller's.
    for (; i + LANES + (S > 3) <= width; i += LANES) {
        Bytes from[S];
        for (int k = 0; k < S; ++k) from[k] = load<Bytes>(pixels + std::uint64_t(S) * i + k * LANES);
        const Words r = std::bit_cast<Words>(pick<S, 0>(from, from[0]));
        const Words g = std::bit_cast<Words>(pick<S, 1>(from, from[0]));
        const Words b = std::bit_cast<Words>(pick<S, 2>(from, from[0]));
        const auto luma = [](Words red, Words green, Words blue) {
            return (red * LUMA_R + green * LUMA_G + blue * LUMA_B + LUMA_HALF) >> LUMA_BITS;
        };
        const Words even = luma(r & 255, g & 255, b & 255), odd = luma(r >> 8, g >> 8, b >> 8);
        const Words both = even | odd << 8;
        std::memcpy(out + i, &both, sizeof both);
    }
    for (; i < width; ++i) out[i] = luma_of(pixels + std::uint64_t(S) * i);
}

#if defined(__AVX512BW__)
#define VECTOR __m512i
#define V(name) _mm512_##name
#elif defined(__AVX2__)
#define VECTOR __m256i
#define V(name) _mm256_##name
#elif defined(__SSE4_1__)
#define VECTOR __m128i
#define V(name) _mm_##name
#endif

#ifdef VECTOR
// 16-bit lanes squared, two neighbours to one sum of 32 bits.
VECTOR squares(VECTOR x) { return V(madd_epi16)(x, x); }
// 32-bit lanes that fit 16 bits, squared.
VECTOR square(VECTOR x)
{
    x &= V(set1_epi32)(0xffff);
    return V(madd_epi16)(x, x);
}
typedef std::int32_t Scaled __attribute__((vector_size(sizeof(VECTOR))));
typedef std::uint16_t Halves __attribute__((vector_size(sizeof(VECTOR))));
VECTOR scaled(VECTOR x, int bits) { return VECTOR(Scaled(x) << bits); }
VECTOR halves(VECTOR x) { return VECTOR(Halves(x) >> 8); }
#endif

void unit_of(const std::uint8_t* luma, std::uint64_t pitch, std::uint32_t* gains, std::uint64_t plane,
             std::uint32_t* sum)
{
    int s[4][4];
    for (int y = 0; y < 4; ++y)
        for (int x = 0; x < 4; ++x) s[y][x] = luma[std::uint64_t(y) * pitch + std::uint64_t(x)];
    const auto sum_of = [&](int x, int y, int w, int h) {
        int total = 0;
        for (int j = y; j < y + h; ++j)
            for (int i = x; i < x + w; ++i) total += s[j][i];
        return total;
    };
    const auto gain_of = [&](int w, int h, bool along_y) {
        int total = 0;
        for (int y = 0; y < 4; y += h)
            for (int x = 0; x < 4; x += w) {
                const int d = along_y ? sum_of(x, y, w, h / 2) - sum_of(x, y + h / 2, w, h / 2)
                                      : sum_of(x, y, w / 2, h) - sum_of(x + w / 2, y, w / 2, h);
                total += d * d;
            }
        return std::uint32_t(total) * 16u / std::uint32_t(w * h);
    };
    gains[0] += gain_of(2, 1, false);
    gains[plane] += gain_of(1, 2, true);
    gains[2 * plane] += gain_of(2, 2, false);
    gains[3 * plane] += gain_of(2, 2, true);
    gains[4 * plane] += gain_of(4, 2, false);
    gains[5 * plane] += gain_of(2, 4, true);
    gains[6 * plane] += gain_of(4, 4, false);
    gains[7 * plane] += gain_of(4, 4, true);
    *sum = std::uint32_t(sum_of(0, 0, 4, 4));
}

}  // namespace

void luma_u8(const std::uint8_t* pixels, std::uint32_t width, std::uint32_t stride, std::uint32_t channels,
             std::uint8_t* out)
{
    if (channels == 3 && stride == 3)
        luma_pixels<3>(pixels, width, out);
    else if (channels == 3 && stride == 4)
        luma_pixels<4>(pixels, width, out);
    else if (channels == 3)
        for (std::uint32_t i = 0; i < width; ++i) out[i] = luma_of(pixels + std::uint64_t(stride) * i);
    else
        for (std::uint32_t i = 0; i < width; ++i) out[i] = pixels[std::uint64_t(stride) * i];
}

void rate_units(const std::uint8_t* luma, std::uint64_t pitch, std::uint32_t units, std::uint32_t* gains,
                std::uint64_t plane, std::uint32_t* sums)
{
    std::uint32_t unit = 0;
#ifdef VECTOR
    constexpr std::uint32_t STEP = sizeof(VECTOR) / 4;
    const VECTOR plus = V(set1_epi16)(0x0101), minus = V(set1_epi16)(std::int16_t(0xff01));
    const VECTOR ones = V(set1_epi16)(1), differ = V(set1_epi32)(std::int32_t(0xffff0001));
    const VECTOR low = V(set1_epi16)(0x00ff);
    for (; unit < units; unit += STEP) {
        VECTOR row[4], pair[4], step[4];
        for (int y = 0; y < 4; ++y) {
            row[y] = load<VECTOR>(luma + std::uint64_t(y) * pitch + 4ull * unit);
            pair[y] = V(maddubs_epi16)(row[y], plus);
            step[y] = V(maddubs_epi16)(row[y], minus);
        }
        const auto add = [](VECTOR a, VECTOR b) { return V(add_epi32)(a, b); };
        const auto down = [&](VECTOR a, VECTOR b) {  // (1, 2): each px against the one below
            const VECTOR d = V(sub_epi8)(V(max_epu8)(a, b), V(min_epu8)(a, b));
            return add(squares(d & low), squares(halves(d)));
        };
        const VECTOR upper = V(add_epi16)(pair[0], pair[1]), lower = V(add_epi16)(pair[2], pair[3]);
        const VECTOR tall = V(add_epi16)(upper, lower);
        const VECTOR wide_up = V(madd_epi16)(upper, ones), wide_low = V(madd_epi16)(lower, ones);
        // squares of a split of n px, times 16 / n
        const VECTOR gain[8] = {
            scaled(add(add(squares(step[0]), squares(step[1])), add(squares(step[2]), squares(step[3]))), 3),
            scaled(add(down(row[0], row[1]), down(row[2], row[3])), 3),
            scaled(add(squares(V(add_epi16)(step[0], step[1])), squares(V(add_epi16)(step[2], step[3]))), 2),
            scaled(add(squares(V(sub_epi16)(pair[0], pair[1])), squares(V(sub_epi16)(pair[2], pair[3]))), 2),
            scaled(add(square(V(madd_epi16)(upper, differ)), square(V(madd_epi16)(lower, differ))), 1),
            scaled(squares(V(sub_epi16)(upper, lower)), 1),
            square(V(madd_epi16)(tall, differ)),
            square(V(sub_epi32)(wide_up, wide_low)),
        };
        const VECTOR sum = add(wide_up, wide_low);
        for (int slot = 0; slot < 8; ++slot) {
            std::uint32_t* to = gains + std::uint64_t(slot) * plane + unit;
            const VECTOR total = add(load<VECTOR>(to), gain[slot]);
            std::memcpy(to, &total, sizeof total);
        }
        std::memcpy(sums + unit, &sum, sizeof sum);
    }
#endif
    for (; unit < units; ++unit) unit_of(luma + 4ull * unit, pitch, gains + unit, plane, sums + unit);
}

void rate_level(const std::uint32_t* top, const std::uint32_t* low, std::uint32_t boxes, std::uint32_t half,
                std::uint32_t* const* out)
{
    const auto square = [](std::uint32_t a, std::uint32_t b) {
        const std::int32_t d = std::int32_t(a - b);
        return std::uint32_t(d * d);
    };
    std::uint32_t *upper = out[0], *lower = out[1], *down = out[2], *across = out[3], *along = out[4];
    for (std::uint32_t i = 0; i < boxes; ++i) {
        const std::uint32_t a = top[2 * i], b = top[2 * i + 1], c = low[2 * i], d = low[2 * i + 1];
        upper[i] = square(a, b) >> half;
        lower[i] = square(c, d) >> half;
        across[i] = square(a + c, b + d) >> (half + 1);
        along[i] = square(a + b, c + d) >> (half + 1);
    }
    for (std::uint32_t i = 0; i < 2 * boxes; ++i) down[i] = square(top[i], low[i]) >> half;
}

void add_u32(const std::uint32_t* from, std::uint32_t n, std::uint32_t* to)
{
    for (std::uint32_t i = 0; i < n; ++i) to[i] += from[i];
}

}  // namespace foveate::cpu::FOVEATE_ISA
