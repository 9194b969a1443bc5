// SPDX-License-Identifier: Apache-2.0
// The spectral residual of one image per work group, after X. Hou and L. Zhang (CVPR 2007): what is left of the
// log spectrum when its own average is taken away. Each invocation has a row, or a column, of 64 x 64.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/relevance.h"

PARAMS(RelevanceParams);
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer Cuts { RelevanceImage cuts[]; };
layout(std430, binding = 1) readonly buffer Luma { uint luma[]; };
layout(std430, binding = 2) readonly buffer SpectralTable { float table[]; };
layout(std430, binding = 3) coherent buffer Spectrum { float spectrum[]; };
layout(std430, binding = 4) writeonly buffer SpectralMap { uint spectral_map[]; };

#define N SPECTRAL_SIZE
shared float row_most[N];

// Three planes of 64 x 64 for each image: real, imaginary, and what is made from both.
uint plane_at(uint plane) { return (gl_WorkGroupID.x * 3u + plane) * N * N; }

void settle()
{
    memoryBarrierBuffer();
    barrier();
}

uint reversed(uint i) { return bitfieldReverse(i) >> 26; }

void swap(uint a, uint b)
{
    float kept = spectrum[a];
    spectrum[a] = spectrum[b];
    spectrum[b] = kept;
}

// Radix 2, decimation in time, in place. direction: -1 forward, 1 inverse, without scale. Unrolled, these loops are
// 180 KB of CUDA and spill registers; GLSL compilers ignore the pragma.
void transform(uint first, uint stride, float direction)
{
    uint re = plane_at(0u) + first;
    uint im = plane_at(1u) + first;
#pragma unroll 1
    for (uint i = 0u; i < N; ++i) {
        uint j = reversed(i);
        if (i < j) {
            swap(re + i * stride, re + j * stride);
            swap(im + i * stride, im + j * stride);
        }
    }
#pragma unroll 1
    for (uint m = 2u; m <= N; m *= 2u) {
#pragma unroll 1
        for (uint j = 0u; j < m / 2u; ++j) {
            float w_re = table[SPECTRAL_COS + j * (N / m)];
            float w_im = direction * table[SPECTRAL_SIN + j * (N / m)];
            for (uint k = j; k < N; k += m) {
                uint u = k * stride;
                uint v = (k + m / 2u) * stride;
                float u_re = spectrum[re + u];
                float u_im = spectrum[im + u];
                float v_re = spectrum[re + v];
                float v_im = spectrum[im + v];
                precise float t_re = v_re * w_re - v_im * w_im;
                precise float t_im = v_re * w_im + v_im * w_re;
                precise float sum_re = u_re + t_re;
                precise float sum_im = u_im + t_im;
                precise float difference_re = u_re - t_re;
                precise float difference_im = u_im - t_im;
                spectrum[re + u] = sum_re;
                spectrum[im + u] = sum_im;
                spectrum[re + v] = difference_re;
                spectrum[im + v] = difference_im;
            }
        }
    }
}

void transform_both(uint line, float direction)
{
    transform(line * N, 1u, direction);
    settle();
    transform(line, N, direction);
    settle();
}

float bin_mean(RelevanceImage cut, uint column, uint row)
{
    uint left = column * cut.level_width / N;
    uint right = max(left + 1u, (column + 1u) * cut.level_width / N);
    uint top = row * cut.level_height / N;
    uint bottom = max(top + 1u, (row + 1u) * cut.level_height / N);
    uint sum = 0u;
    for (uint y = top; y < bottom; ++y) {
        for (uint x = left; x < right; ++x) {
            uint at = cut.luma_offset + y * cut.luma_pitch + x;
            sum += (luma[at >> 1] >> ((at & 1u) * 16u)) & 65535u;
        }
    }
    return float(sum / ((bottom - top) * (right - left)));
}

float energy(uint at)
{
    float re = spectrum[plane_at(0u) + at];
    float im = spectrum[plane_at(1u) + at];
    precise float sum = re * re + im * im;
    return sum;
}

float log_amplitude(uint at)
{
    uint bits = floatBitsToUint(max(energy(at), 1e-6));
    precise float exponent = float(int(bits >> 23) - 127) + table[SPECTRAL_LOG + ((bits >> 11) & 4095u)];
    return 0.5 * exponent;
}

void take_residual(uint x, uint y)
{
    uint left = (x + N - 1u) % N;
    uint right = (x + 1u) % N;
    uint logs = plane_at(2u);
    precise float sum = 0.0;
    for (uint k = 0u; k < 3u; ++k) {
        uint row = logs + (y + N - 1u + k) % N * N;
        sum = sum + spectrum[row + left];
        sum = sum + spectrum[row + x];
        sum = sum + spectrum[row + right];
    }
    precise float mean = sum * (1.0 / 9.0);
    precise float power = (64.0 - mean) * 4096.0 + 0.5;
    uint index = uint(power);
    precise float factor = uintBitsToFloat(((index >> 12) + 63u) << 23) * table[SPECTRAL_EXP + (index & 4095u)];
    if (x + y == 0u) factor = 0.0;  // the mean: a constant image has nothing salient
    precise float re = spectrum[plane_at(0u) + y * N + x] * factor;
    precise float im = spectrum[plane_at(1u) + y * N + x] * factor;
    spectrum[plane_at(0u) + y * N + x] = re;
    spectrum[plane_at(1u) + y * N + x] = im;
}

float blurred(uint base, uint stride, uint i)
{
    float far = table[SPECTRAL_BLUR + 2u];
    float near = table[SPECTRAL_BLUR + 1u];
    float a = spectrum[base + (max(i, 2u) - 2u) * stride];
    float b = spectrum[base + (max(i, 1u) - 1u) * stride];
    float c = spectrum[base + i * stride];
    float d = spectrum[base + min(i + 1u, N - 1u) * stride];
    float e = spectrum[base + min(i + 2u, N - 1u) * stride];
    precise float sum = (((far * a + near * b) + table[SPECTRAL_BLUR] * c) + near * d) + far * e;
    return sum;
}

// 65535 / value without a division, which drivers round as they like.
float scale_of(float value)
{
    if (value <= 1.0 / 1048576.0) return 0.0;
    precise float inverse = uintBitsToFloat(0x7ef311c7u - floatBitsToUint(value));
    for (int step = 0; step < 4; ++step) inverse = inverse * (2.0 - value * inverse);
    precise float scale = inverse * 65535.0;
    return scale;
}

void main()
{
    uint line = gl_LocalInvocationID.x;
    RelevanceImage cut = cuts[gl_WorkGroupID.x];
    for (uint x = 0u; x < N; ++x) {
        spectrum[plane_at(0u) + line * N + x] = bin_mean(cut, x, line);
        spectrum[plane_at(1u) + line * N + x] = 0.0;
    }
    transform_both(line, -1.0);
    for (uint x = 0u; x < N; ++x) spectrum[plane_at(2u) + line * N + x] = log_amplitude(line * N + x);
    settle();
    for (uint x = 0u; x < N; ++x) take_residual(x, line);
    settle();
    transform_both(line, 1.0);

    for (uint x = 0u; x < N; ++x) spectrum[plane_at(2u) + line * N + x] = energy(line * N + x);
    settle();
    for (uint x = 0u; x < N; ++x) spectrum[plane_at(0u) + line * N + x] = blurred(plane_at(2u) + line * N, 1u, x);
    settle();
    float most = 0.0;
    for (uint y = 0u; y < N; ++y) {
        float value = blurred(plane_at(0u) + line, N, y);
        spectrum[plane_at(1u) + y * N + line] = value;
        most = max(most, value);
    }
    row_most[line] = most;
    settle();
    for (uint k = 0u; k < N; ++k) most = max(most, row_most[k]);
    float scale = scale_of(most);
    for (uint x = 0u; x < N; ++x) {
        precise float value = spectrum[plane_at(1u) + line * N + x] * scale + 0.5;
        spectral_map[gl_WorkGroupID.x * N * N + line * N + x] = min(uint(value), RELEVANCE_ONE);
    }
}
