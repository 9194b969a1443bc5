// SPDX-License-Identifier: Apache-2.0
// Patches by hardware filters: each texel is the mean of trilinear taps from an image with mip levels. One invocation
// reads one texel of every channel, or two that share words of 16-bit values.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/layout.h"
#include "shared/sample.h"
#include "lib/half.glsl"

#define TAP_TEXELS 1.41421356   // between taps: n of them across a footprint are read at log2(footprint / n) - 0.5
#define UNIT 65280.0            // of the exact pyramid: bytes in 8.8 fixed point

PARAMS(SampleParams);
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer Tokens { Token tokens[]; };
layout(binding = 1) uniform sampler2D pyramid;
layout(std430, binding = 2) writeonly buffer Output { uint output_words[]; };

struct Taps                 // of a token's texels
{
    float lod;
    uint across;
    uint down;
};

// Taps across a footprint's edge of so many px in 1/65536. The remainder keeps n texels from becoming n + 1 taps.
uint taps_along(uint step, float between)
{
    return uint(max(ceil(float(step) / between - 0.01), 1.0));
}

Taps taps_of(Token token)
{
    uint step_x = token.w / p.cell;
    uint step_y = token.h / p.cell;
    uint level = sample_level(token.x, token.y, token.w, token.h, p.cell, p.taps, p.level_max);
    if (sample_whole(token.x, token.y, token.w, token.h, p.cell))
        return Taps(float(level), step_x >> (FIXED_BITS + level), step_y >> (FIXED_BITS + level));
    float area = float(step_x) * float(step_y);
    float lod = clamp(0.5 * log2(area) - log2(float(p.taps)) - 0.5, 0.0, float(p.level_max));
    float between = exp2(lod) * (float(FIXED_ONE) * TAP_TEXELS);
    return Taps(lod, taps_along(step_x, between), taps_along(step_y, between));
}

// The mean, as the exact pyramid has its values.
vec4 texel(Token token, Taps taps, uint x, uint y)
{
    vec2 corner;
    corner.x = float(sample_edge(token.x, token.w, p.cell, x));
    corner.y = float(sample_edge(token.y, token.h, p.cell, y));
    vec2 between = vec2(float(token.w / p.cell) / float(taps.across), float(token.h / p.cell) / float(taps.down));
    vec4 sum = vec4(0.0, 0.0, 0.0, 0.0);
    for (uint j = 0u; j < taps.down; ++j)
        for (uint i = 0u; i < taps.across; ++i) {
            float u = (corner.x + (float(i) + 0.5) * between.x) * p.per_width;
            float v = (corner.y + (float(j) + 0.5) * between.y) * p.per_height;
            sum = sum + textureLod(pyramid, vec2(u, v), taps.lod);
        }
    return sum * (UNIT / float(taps.across * taps.down));
}

float normalise(vec4 color, uint channel)
{
    float value = channel == 0u ? color.x : channel == 1u ? color.y : color.z;
    float scale = channel == 0u ? p.scale0 : channel == 1u ? p.scale1 : p.scale2;
    float bias = channel == 0u ? p.bias0 : channel == 1u ? p.bias1 : p.bias2;
    precise float result = floor(value + 0.5) * scale + bias;
    return result;
}

uint half_bits(float value) { return p.dtype == DTYPE_F16 ? f16_from_float(value) : bf16_from_float(value); }

void main()
{
    uint item = gl_WorkGroupID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x) + gl_GlobalInvocationID.x;
    uint in_word = p.dtype == DTYPE_F32 ? 1u : 2u;
    uint area = p.patch_size * p.patch_size;
    uint patch_items = area / in_word;
    uint token_items = patch_items * p.merge * p.merge;
    if (item >= p.token_count * token_items) return;

    uint slot = item / token_items;
    uint part = item % token_items / patch_items;
    uint inside = item % patch_items * in_word;
    Token token = tokens[p.first_token + slot];
    vec4 here = vec4(0.0, 0.0, 0.0, 0.0);
    vec4 next = here;
    if (token.w > 0u) {
        uint x = part % p.merge * p.patch_size + inside % p.patch_size;
        uint y = part / p.merge * p.patch_size + inside / p.patch_size;
        Taps taps = taps_of(token);
        here = texel(token, taps, x, y);
        if (in_word == 2u) next = texel(token, taps, x + 1u, y);
    }

    uint frame_size = p.channels_last != 0u ? area * p.channels : area;
    uint first = ((p.first_slot + slot) * p.merge * p.merge + part) * p.channels * p.frames * area;
    for (uint k = 0u; k < p.channels; ++k) {
        // of two texels the words hold channel by channel, or one texel's channels and then the other's
        uint a = in_word == 2u && p.channels_last != 0u ? 2u * k : k;
        uint b = p.channels_last != 0u ? a + 1u : p.channels + k;
        float low = normalise(a < p.channels ? here : next, a % p.channels);
        float high = normalise(b < p.channels ? here : next, b % p.channels);
        uint word = in_word == 1u ? floatBitsToUint(low) : half_bits(low) | half_bits(high) << 16u;
        if (token.w == 0u) word = 0u;   // a padding row
        for (uint frame = 0u; frame < p.frames; ++frame) {
            uint plane = p.channels_last != 0u ? frame * frame_size : (k * p.frames + frame) * frame_size;
            uint at = p.channels_last != 0u ? inside * p.channels + k * in_word : inside;
            output_words[(first + plane + at) / in_word] = word;
        }
    }
}
