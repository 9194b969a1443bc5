// SPDX-License-Identifier: Apache-2.0
// The rows of the stage relevance: plain loops that the compiler turns into vectors, whole numbers but for the
// Fourier transform.
#include "engine/cpu/instructions.h"
#include "engine/cpu/rows.h"
#include "shared/relevance.h"

namespace foveate::cpu::FOVEATE_ISA {

namespace {

template <std::uint32_t STRIDE>
void luma_bytes(const std::uint8_t* r, const std::uint8_t* g, const std::uint8_t* b, std::uint32_t n,
                std::uint16_t* __restrict out)
{
    for (std::uint32_t x = 0; x < n; ++x)  // shared::luma_of() of bytes * 256
        out[x] = std::uint16_t(76 * r[x * STRIDE] + 150 * g[x * STRIDE] + 30 * b[x * STRIDE]);
}

void luma_u8(const std::uint8_t* r, const std::uint8_t* g, const std::uint8_t* b, std::uint32_t stride,
             std::uint32_t n, std::uint16_t* out)
{
    switch (stride) {
    case 1: return luma_bytes<1>(r, g, b, n, out);
    case 2: return luma_bytes<2>(r, g, b, n, out);
    case 3: return luma_bytes<3>(r, g, b, n, out);
    default: return luma_bytes<4>(r, g, b, n, out);
    }
}

std::uint32_t capped(std::uint16_t value) { return value < LUMA_MAX ? value : LUMA_MAX; }

template <class T, class F>
void luma_row(const T* r, const T* g, const T* b, std::uint32_t stride, std::uint32_t n,
              std::uint16_t* __restrict out, F&& fixed)
{
    if (r == g && stride == 1)
        for (std::uint32_t x = 0; x < n; ++x) out[x] = std::uint16_t(fixed(r[x]));
    else if (stride == 1)
        for (std::uint32_t x = 0; x < n; ++x)
            out[x] = std::uint16_t(shared::luma_of(fixed(r[x]), fixed(g[x]), fixed(b[x])));
    else
        for (std::uint64_t x = 0, at = 0; x < n; ++x, at += stride)
            out[x] = std::uint16_t(shared::luma_of(fixed(r[at]), fixed(g[at]), fixed(b[at])));
}

void luma_u16(const std::uint16_t* r, const std::uint16_t* g, const std::uint16_t* b, std::uint32_t stride,
              std::uint32_t n, std::uint16_t* out)
{
    luma_row(r, g, b, stride, n, out, capped);
}

void luma_f32(const float* r, const float* g, const float* b, std::uint32_t stride, std::uint32_t n,
              std::uint16_t* out)
{
    luma_row(r, g, b, stride, n, out, [](float value) {
        const float inside = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
        return std::uint32_t(std::int32_t(inside * 65280.0f + 0.5f));
    });
}

void add(const std::uint16_t* row, std::uint32_t n, std::uint32_t* __restrict sums)
{
    for (std::uint32_t x = 0; x < n; ++x) sums[x] += row[x];
}

std::uint32_t apart(std::uint32_t a, std::uint32_t b) { return a < b ? b - a : a - b; }

std::uint32_t gradient(const std::uint16_t* above, const std::uint16_t* row, const std::uint16_t* below,
                       std::uint32_t left, std::uint32_t x, std::uint32_t right)
{
    const std::uint32_t sum = apart(row[right], row[left]) + apart(below[x], above[x]);
    return sum < RELEVANCE_ONE ? sum : RELEVANCE_ONE;
}

void add_gradient(const std::uint16_t* above, const std::uint16_t* row, const std::uint16_t* below,
                  std::uint32_t n, std::uint32_t* __restrict sums)
{
    sums[0] += gradient(above, row, below, 0, 0, n > 1 ? 1 : 0);
    std::uint32_t x = 1;
#if defined(__SSE4_1__)
    const auto load = [](const auto* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); };
    const auto store = [](std::uint32_t* to, __m128i words) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), words);
    };
    const auto difference = [](__m128i a, __m128i b) {
        return _mm_or_si128(_mm_subs_epu16(a, b), _mm_subs_epu16(b, a));
    };
    for (; x + 9 <= n; x += 8) {
        const __m128i sum = _mm_adds_epu16(difference(load(row + x + 1), load(row + x - 1)),
                                           difference(load(below + x), load(above + x)));
        const __m128i low = _mm_cvtepu16_epi32(sum), high = _mm_unpackhi_epi16(sum, _mm_setzero_si128());
        store(sums + x, _mm_add_epi32(load(sums + x), low));
        store(sums + x + 4, _mm_add_epi32(load(sums + x + 4), high));
    }
#endif
    for (; x + 1 < n; ++x) sums[x] += gradient(above, row, below, x - 1, x, x + 1);
    if (n > 1) sums[n - 1] += gradient(above, row, below, n - 2, n - 1, n - 1);
}

void add_motion(const std::uint16_t* row, const std::uint16_t* previous, std::uint32_t n,
                std::uint32_t* __restrict sums)
{
    for (std::uint32_t x = 0; x < n; ++x) sums[x] += apart(row[x], previous[x]);
}

void butterfly(float* __restrict u_re, float* __restrict u_im, float* __restrict v_re, float* __restrict v_im,
               float w_re, float w_im, std::uint32_t n)
{
    for (std::uint32_t x = 0; x < n; ++x) {
        const float t_re = v_re[x] * w_re - v_im[x] * w_im;
        const float t_im = v_re[x] * w_im + v_im[x] * w_re;
        const float re = u_re[x], im = u_im[x];
        u_re[x] = re + t_re;
        u_im[x] = im + t_im;
        v_re[x] = re - t_re;
        v_im[x] = im - t_im;
    }
}

}  // namespace

extern const RelevanceRows relevance_rows = {
    .luma_u8 = luma_u8,
    .luma_u16 = luma_u16,
    .luma_f32 = luma_f32,
    .add = add,
    .add_gradient = add_gradient,
    .add_motion = add_motion,
    .butterfly = butterfly,
};

}  // namespace foveate::cpu::FOVEATE_ISA
