// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/relevance_spectral.comp.glsl. X. Hou and L. Zhang, "Saliency Detection: A Spectral Residual
// Approach" (CVPR 2007): what is left of the log spectrum when its own average is taken away.
#include <bit>
#include <memory>
#include <utility>

#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

constexpr std::uint32_t N = SPECTRAL_SIZE;

struct Spectrum {
    alignas(64) float re[N][N];
    alignas(64) float im[N][N];
};

std::uint32_t reversed(std::uint32_t i)
{
    return (i & 1) << 5 | (i & 2) << 3 | (i & 4) << 1 | (i & 8) >> 1 | (i & 16) >> 3 | (i & 32) >> 5;
}

void transpose(float (*plane)[N])
{
    for (std::uint32_t y = 0; y < N; ++y)
        for (std::uint32_t x = y + 1; x < N; ++x) std::swap(plane[y][x], plane[x][y]);
}

// Along y, all x at once. sign: -1 forward, 1 inverse, without scale.
void transform(Spectrum& s, const float* table, float sign, const RelevanceRows& rows)
{
    for (std::uint32_t i = 0; i < N; ++i)
        if (const std::uint32_t j = reversed(i); i < j) {
            std::swap(s.re[i], s.re[j]);
            std::swap(s.im[i], s.im[j]);
        }
    for (std::uint32_t m = 2; m <= N; m *= 2)
        for (std::uint32_t j = 0; j < m / 2; ++j) {
            const float w_re = table[SPECTRAL_COS + j * (N / m)], w_im = sign * table[SPECTRAL_SIN + j * (N / m)];
            for (std::uint32_t u = j; u < N; u += m) {
                const std::uint32_t v = u + m / 2;
                rows.butterfly(s.re[u], s.im[u], s.re[v], s.im[v], w_re, w_im, N);
            }
        }
}

void transform_both(Spectrum& s, const float* table, float sign, const RelevanceRows& rows)
{
    transpose(s.re);
    transpose(s.im);
    transform(s, table, sign, rows);
    transpose(s.re);
    transpose(s.im);
    transform(s, table, sign, rows);
}

void fill(Spectrum& s, const std::uint16_t* luma, const shared::RelevanceImage& image)
{
    for (std::uint32_t y = 0; y < N; ++y) {
        const std::uint32_t top = y * image.level_height / N;
        const std::uint32_t bottom = std::max(top + 1, (y + 1) * image.level_height / N);
        for (std::uint32_t x = 0; x < N; ++x) {
            const std::uint32_t left = x * image.level_width / N;
            const std::uint32_t right = std::max(left + 1, (x + 1) * image.level_width / N);
            std::uint32_t sum = 0;
            for (std::uint32_t row = top; row < bottom; ++row) {
                const std::uint16_t* texels = luma + std::uint64_t(row) * image.luma_pitch;
                for (std::uint32_t at = left; at < right; ++at) sum += texels[at];
            }
            s.re[y][x] = float(sum / ((bottom - top) * (right - left)));
            s.im[y][x] = 0;
        }
    }
}

float log_amplitude(float re, float im, const float* table)
{
    const float power = re * re + im * im;
    const auto bits = std::bit_cast<std::uint32_t>(power < 1e-6f ? 1e-6f : power);
    return 0.5f * (float(int(bits >> 23) - 127) + table[SPECTRAL_LOG + ((bits >> 11) & 4095)]);
}

// Divides by the neighbourhood's average amplitude.
void take_residual(Spectrum& s, const float* table)
{
    float logs[N][N];
    for (std::uint32_t y = 0; y < N; ++y)
        for (std::uint32_t x = 0; x < N; ++x) logs[y][x] = log_amplitude(s.re[y][x], s.im[y][x], table);
    for (std::uint32_t y = 0; y < N; ++y)
        for (std::uint32_t x = 0; x < N; ++x) {
            const std::uint32_t l = (x + N - 1) % N, r = (x + 1) % N;
            const float* a = logs[(y + N - 1) % N];
            const float* b = logs[y];
            const float* c = logs[(y + 1) % N];
            const float sum = a[l] + a[x] + a[r] + b[l] + b[x] + b[r] + c[l] + c[x] + c[r];
            const float mean = sum * (1.0f / 9.0f);
            const auto power = std::uint32_t((64.0f - mean) * 4096.0f + 0.5f);
            const float whole = std::bit_cast<float>(((power >> 12) + 63) << 23);
            const float factor = whole * table[SPECTRAL_EXP + (power & 4095)];
            s.re[y][x] *= factor;
            s.im[y][x] *= factor;
        }
    s.re[0][0] = s.im[0][0] = 0;  // the mean: a constant image has nothing salient
}

std::uint32_t at_edge(std::uint32_t i, int step)
{
    const int at = int(i) + step;
    return std::uint32_t(at < 0 ? 0 : at > int(N) - 1 ? int(N) - 1 : at);
}

float blurred(const float* w, float a, float b, float c, float d, float e)
{
    return (((w[2] * a + w[1] * b) + w[0] * c) + w[1] * d) + w[2] * e;
}

}  // namespace

void spectral_map(const std::uint16_t* luma, const shared::RelevanceImage& image, const float* table,
                  const RelevanceRows& rows, std::uint32_t* map)
{
    const auto made = std::make_unique<Spectrum>();
    Spectrum& s = *made;
    fill(s, luma, image);
    transform_both(s, table, -1.0f, rows);
    take_residual(s, table);
    transform_both(s, table, 1.0f, rows);

    const float* w = table + SPECTRAL_BLUR;
    for (std::uint32_t y = 0; y < N; ++y) {
        float e[N];
        for (std::uint32_t x = 0; x < N; ++x) e[x] = s.re[y][x] * s.re[y][x] + s.im[y][x] * s.im[y][x];
        for (std::uint32_t x = 0; x < N; ++x)
            s.im[y][x] = blurred(w, e[at_edge(x, -2)], e[at_edge(x, -1)], e[x], e[at_edge(x, 1)], e[at_edge(x, 2)]);
    }
    float most = 0;
    for (std::uint32_t y = 0; y < N; ++y) {
        const float* a = s.im[at_edge(y, -2)];
        const float* b = s.im[at_edge(y, -1)];
        const float* c = s.im[at_edge(y, 1)];
        const float* d = s.im[at_edge(y, 2)];
        for (std::uint32_t x = 0; x < N; ++x) {
            s.re[y][x] = blurred(w, a[x], b[x], s.im[y][x], c[x], d[x]);
            most = std::max(most, s.re[y][x]);
        }
    }
    float scale = 0;
    if (most > 0x1p-20f) {
        scale = std::bit_cast<float>(0x7ef311c7u - std::bit_cast<std::uint32_t>(most));  // 1 / most, to 12 %
        for (int step = 0; step < 4; ++step) scale = scale * (2.0f - most * scale);
        scale = scale * 65535.0f;
    }
    for (std::uint32_t y = 0; y < N; ++y)
        for (std::uint32_t x = 0; x < N; ++x)
            map[y * N + x] = std::min(std::uint32_t(s.re[y][x] * scale + 0.5f), RELEVANCE_ONE);
}

}  // namespace foveate::cpu
