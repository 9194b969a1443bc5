// SPDX-License-Identifier: Apache-2.0
// How a token's footprint becomes texels: a separable box over one pyramid level.
#ifndef FOVEATE_SHARED_SAMPLE_H
#define FOVEATE_SHARED_SAMPLE_H
#include "api.h"
SHARED_BEGIN

#define DTYPE_F32 0u
#define DTYPE_F16 1u
#define DTYPE_BF16 2u

struct SampleParams         // 28 words
{
    uint first_token;       // this dispatch writes tokens [first_token, first_token + token_count)
    uint token_count;
    uint cell;              // texels per token edge: patch * merge
    uint patch_size;        // `patch` is a GLSL word
    uint merge;
    uint frames;            // how often a patch is written: 2 for Qwen's temporal pair
    uint channels;          // written channels
    uint image_channels;    // stored channels: 1 is repeated
    uint channels_last;
    uint dtype;             // DTYPE_*
    uint level_element;
    uint linear;            // 1: averages go through the encode table
    uint level_max;
    uint taps;              // least texels under a footprint's edge, in 1/65536: taps * 2^-lod_bias
    float scale0;           // out = value * scale + bias
    float scale1;
    float scale2;
    float scale3;
    float bias0;
    float bias1;
    float bias2;
    float bias3;
    float quantise;         // to an index of the encode table: 65535 / largest value
    uint first_slot;        // the rest is sample_fast's: where in the bound output this dispatch begins, tokens
    float per_width;        // 1 / (width of the texture, px in 1/65536)
    float per_height;
    uint pad0;
    uint pad1;
};

// A footprint whose sides are powers of two, on the grid of the shorter one, is whole texels of that one's level: one,
// or a row of them.
SHARED_FUNCTION bool sample_whole(int x, int y, uint w, uint h, uint cell)
{
    uint step_x = w / cell;
    uint step_y = h / cell;
    uint step = min(step_x, step_y);
    uint longer = max(step_x, step_y);
    return step >= FIXED_ONE && (step & (step - 1u)) == 0u && (longer & (longer - 1u)) == 0u && step_x * cell == w &&
           step_y * cell == h && ((uint(x) | uint(y)) & (step - 1u)) == 0u;
}

// The level a token is read from: that of its whole texels, else the coarsest that still puts `taps` texels under the
// shorter edge.
SHARED_FUNCTION uint sample_level(int x, int y, uint w, uint h, uint cell, uint taps, uint level_max)
{
    uint step = min(w / cell, h / cell);
    if (sample_whole(x, y, w, h, cell)) return min(uint(find_msb(step)) - FIXED_BITS, level_max);
    uint ratio = step / taps;
    return ratio == 0u ? 0u : min(uint(find_msb(ratio)), level_max);
}

// Left edge of texel `index`, px in 1/65536.
SHARED_FUNCTION int sample_edge(int x, uint w, uint cell, uint index)
{
    return x + int((w / cell) * index + ((w % cell) * index) / cell);
}

// The box of one texel along one axis, px in 1/65536: at least one texel of the level wide, so that
// enlarging is linear interpolation.
SHARED_FUNCTION uint sample_width(uint w, uint cell, uint level)
{
    return max(w / cell, FIXED_ONE << level);
}
SHARED_FUNCTION int sample_low(int edge, uint step, uint width)
{
    return edge - (int(width - step) >> 1);
}

// How much of the box lies on texel `index` of the level, in 1/65536 texel.
SHARED_FUNCTION uint sample_cover(int low, uint width, uint level, int index)
{
    int size = int(FIXED_ONE << level);
    int left = max(low, index * size);
    int right = min(low + int(width), (index + 1) * size);
    return uint(max(right - left, 0)) >> level;
}

#ifdef __cplusplus
static_assert(sizeof(SampleParams) == 112);
#endif

SHARED_END
#endif
