// SPDX-License-Identifier: Apache-2.0
// The SIMD seam: everything the cpu backend does to a row of numbers. rows.cpp is compiled once for each
// instruction set with vectors of the compiler's own; the widest set that the machine has is chosen at run
// time. All of them give the same bytes: no fused multiply-add, and no sum changes its order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace foveate::cpu {

// Relevance, in rows_relevance.cpp.
struct RelevanceRows {
    // Luma 0..65280 of `n` texels; channels may be one plane thrice. From bytes `stride` apart, and from planes.
    void (*luma_u8)(const std::uint8_t* r, const std::uint8_t* g, const std::uint8_t* b, std::uint32_t stride,
                    std::uint32_t n, std::uint16_t* out);
    void (*luma_u16)(const std::uint16_t* r, const std::uint16_t* g, const std::uint16_t* b, std::uint32_t stride,
                     std::uint32_t n, std::uint16_t* out);
    void (*luma_f32)(const float* r, const float* g, const float* b, std::uint32_t stride, std::uint32_t n,
                     std::uint16_t* out);
    // Onto sums by texel column: the luma, its central differences, its difference from another frame's.
    void (*add)(const std::uint16_t* row, std::uint32_t n, std::uint32_t* sums);
    void (*add_gradient)(const std::uint16_t* above, const std::uint16_t* row, const std::uint16_t* below,
                         std::uint32_t n, std::uint32_t* sums);
    void (*add_motion)(const std::uint16_t* row, const std::uint16_t* previous, std::uint32_t n,
                       std::uint32_t* sums);
    // One butterfly of a Fourier transform on `n` columns: u, v = u + w v, u - w v.
    void (*butterfly)(float* u_re, float* u_im, float* v_re, float* v_im, float w_re, float w_im,
                      std::uint32_t n);
};

// A line of a token of whole texels: from three planes `plane` elements apart to patches of `patch` texels, `part`
// elements of `out` apart, each channel `channel` after the one before it.
struct WholeLine {
    const std::uint16_t* const* rows;  // of the first plane
    const float* weights;              // [k] of row k
    std::uint32_t count;               // of rows
    bool pairs;                        // a texel is the mean of two; one row then
    std::uint64_t plane;
    const float *scale, *bias;         // by channel
    std::uint32_t patch, parts;
    float* out;
    std::uint64_t part, channel;
};

// Sample, in rows_sample.cpp.
struct SampleRows {
    // Vertical: out[i] = rows[0][i] + sum over k >= 1 of weights[k] * (rows[k][i] - rows[0][i]).
    void (*blend_u8)(const std::uint8_t* const* rows, const float* weights, std::uint32_t count,
                     std::uint32_t n, float* out);
    void (*blend_u16)(const std::uint16_t* const* rows, const float* weights, std::uint32_t count,
                      std::uint32_t n, float* out);
    void (*blend_f32)(const float* const* rows, const float* weights, std::uint32_t count, std::uint32_t n,
                      float* out);
    // Three planes to RGBx.
    void (*interleave)(const float* r, const float* g, const float* b, std::uint32_t n, float* out);

    // Horizontal, on pixels of `stride` floats: out texel i is a pixel of 4 floats,
    // v[first[i]] + sum over k >= 1 of weights[i * taps + k] * (v[first[i] + k] - v[first[i]]).
    // Reads 4 floats at every pixel: `v` has 4 floats of room after its end.
    void (*gather)(const float* v, std::uint32_t stride, const std::uint32_t* first, const float* weights,
                   std::uint32_t taps, std::uint32_t texels, float* out);

    // value * scale + bias: a row of one channel, or pixels of 3 or 4 floats to three planes. Pixels come in
    // whole groups of 4: up to 3 more are read and written than n.
    void (*normalise_plane)(const float* in, std::uint32_t n, float scale, float bias, float* out);
    void (*normalise_pixels)(const float* in, std::uint32_t stride, std::uint32_t n, const float* scale,
                             const float* bias, float* out, std::uint32_t plane);

    // Tokens of whole texels: blend_u16 and normalise_plane at once.
    void (*whole_u16)(const WholeLine& line);
    // Interleaved bytes, 3 or 4 to a pixel, as three planes of 8.8. Whole vectors: 63 pixels more than n are read,
    // and as many written.
    void (*planes_u8)(const std::uint8_t* pixels, std::uint32_t stride, std::uint32_t n, std::uint16_t* out,
                      std::uint64_t plane);

    // To 16 bits, to nearest even.
    void (*round_f16)(const float* in, std::uint32_t n, std::uint16_t* out);
    void (*round_bf16)(const float* in, std::uint32_t n, std::uint16_t* out);
};

struct RowKernels {
    const char* name;
    const RelevanceRows* relevance;
    const SampleRows* sample;

    // Pyramid: two source rows of `width` texels to one of (width + 1) / 2, the last texel repeated if odd.
    // Interleaved bytes to planar 8.8; planes of `out` lie `plane` elements apart.
    void (*reduce_u8)(const std::uint8_t* a, const std::uint8_t* b, std::uint32_t width,
                      std::uint32_t pixel_stride, std::uint32_t channels, std::uint16_t* out,
                      std::uint64_t plane);
    // Any channel of an interleaved row, `stride` elements from texel to texel.
    void (*reduce_u16)(const std::uint16_t* a, const std::uint16_t* b, std::uint32_t width,
                       std::uint32_t stride, std::uint16_t* out);
    void (*reduce_f32)(const float* a, const float* b, std::uint32_t width, std::uint32_t stride, float* out);

    // Luma of 8 bits of a row of byte pixels: (38 r + 75 g + 15 b + 64) >> 7, or the one channel.
    void (*luma_u8)(const std::uint8_t* pixels, std::uint32_t width, std::uint32_t stride,
                    std::uint32_t channels, std::uint8_t* out);
    // Rate: four rows of luma, `pitch` bytes apart, as units of 4 x 4 px. Adds to gains[slot * plane + unit], of
    // the eight splits inside a unit, in 1/16 of a squared step; writes the sum of each unit. Whole vectors: 16
    // units of room after the last one.
    void (*rate_units)(const std::uint8_t* luma, std::uint64_t pitch, std::uint32_t units, std::uint32_t* gains,
                       std::uint64_t plane, std::uint32_t* sums);
    // Two rows of sums of units to the gains of splits of 2 x 2 units: of the upper and the lower pairs along x,
    // of all pairs along y, and of the whole along x and along y. `half`: log2 of what a pair is divided by.
    void (*rate_level)(const std::uint32_t* top, const std::uint32_t* low, std::uint32_t boxes,
                       std::uint32_t half, std::uint32_t* const* out);
    void (*add_u32)(const std::uint32_t* from, std::uint32_t n, std::uint32_t* to);
};

namespace baseline {
const RowKernels& rows();
extern const RelevanceRows relevance_rows;
extern const SampleRows sample_rows;
}
#if defined(__x86_64__)
namespace avx2 {
const RowKernels& rows();
extern const RelevanceRows relevance_rows;
extern const SampleRows sample_rows;
}
namespace avx512 {
const RowKernels& rows();
extern const RelevanceRows relevance_rows;
extern const SampleRows sample_rows;
}
#endif

// What this machine can run, best first. `name` empty: the best; FOVEATE_ISA narrows it for tests.
std::vector<const RowKernels*> rows_available();
const RowKernels& rows_named(const std::string& name);

}  // namespace foveate::cpu
