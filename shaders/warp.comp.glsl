// SPDX-License-Identifier: Apache-2.0
// Warped images: one word of output per invocation, each element a weighted sum over the runs of its pixel.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/pyramid.h"
#include "shared/warp.h"

#define LEVEL_ACCESS readonly
#include "lib/pixels.glsl"

PARAMS(WarpParams);
layout(local_size_x = 64) in;
layout(std430, binding = 10) readonly buffer Heads { WarpHead heads[]; };
layout(std430, binding = 11) readonly buffer Runs { WarpRun runs[]; };
layout(std430, binding = 12) readonly buffer Decode { float decode[]; };
layout(std430, binding = 13) readonly buffer Encode { float encode[]; };
layout(std430, binding = 14) writeonly buffer Output { uint output_words[]; };

// A texel as it is stored: 8.8 or 16 bits, light, or the bits of a float.
uint fetch(WarpRun run, uint k, uint channel)
{
    uint level = run.place >> WARP_LEVEL_SHIFT;
    uint place = run.place & WARP_PLACE_MASK;
    if (level > 0u) {
        LevelDesc desc = level_table[p.image * MAX_LEVELS + level];
        desc.offset += place;
        return level_bits(desc, p.level_element, k, 0u, channel);
    }
    uint bits = image_bits(images[p.image], (place & WARP_COLUMN_MASK) + k, place >> WARP_ROW_SHIFT, channel);
    if (p.source_element != ELEMENT_U8) return bits;
    return p.linear != 0u ? uint(decode[bits]) : bits << 8;
}

uint weight_of(WarpRun run, uint k)
{
    return ((k < 2u ? run.weights01 : run.weights23) >> (16u * (k & 1u))) & 65535u;
}

uint sum_u16(WarpHead head, uint channel)
{
    uint sum = 0u;
    for (uint i = 0u; i < (head.count & 65535u); ++i) {
        WarpRun run = runs[head.first - p.first_run + i];
        for (uint k = 0u; k < WARP_RUN; ++k) {
            uint weight = weight_of(run, k);
            if (weight != 0u) sum += weight * fetch(run, k, channel);
        }
    }
    return sum;
}

// The first texel and weighted differences from it, so that a constant stays what it is.
float sum_f32(WarpHead head, uint channel)
{
    float base = 0.0;
    precise float sum = 0.0;
    bool first = true;
    for (uint i = 0u; i < (head.count & 65535u); ++i) {
        WarpRun run = runs[head.first - p.first_run + i];
        for (uint k = 0u; k < WARP_RUN; ++k) {
            uint weight = weight_of(run, k);
            if (weight == 0u) continue;
            float value = uintBitsToFloat(fetch(run, k, channel));
            if (first) {
                base = value;
                sum = value;
                first = false;
            }
            precise float part = float(weight) * (1.0 / 16384.0);
            precise float difference = value - base;
            precise float term = part * difference;
            sum = sum + term;
        }
    }
    return sum;
}

// One element of the output, as bits.
uint element(uint at)
{
    WarpHead head = heads[p.first_pixel + at / p.channels];
    uint channel = at % p.channels;
    if (p.source_element == ELEMENT_F32) return floatBitsToUint(sum_f32(head, channel));
    uint sum = sum_u16(head, channel);
    if (p.output_element == ELEMENT_U16) return (sum + (1u << 13)) >> 14;
    if (p.output_element == ELEMENT_U8 && p.linear == 0u) return (sum + (1u << 21)) >> 22;
    precise float value = p.linear != 0u ? encode[(sum + (1u << 13)) >> 14] : float((sum + 32u) >> 6) * p.scale;
    if (p.output_element == ELEMENT_F32) return floatBitsToUint(value);
    precise float scaled = value * 255.0 + 0.5;
    return uint(floor(scaled));
}

void main()
{
    uint item = gl_WorkGroupID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x) + gl_GlobalInvocationID.x;
    uint in_word = p.output_element == ELEMENT_U8 ? 4u : p.output_element == ELEMENT_U16 ? 2u : 1u;
    if (item >= (p.element_count + in_word - 1u) / in_word) return;

    uint word = 0u;
    for (uint k = 0u; k < in_word; ++k)
        if (item * in_word + k < p.element_count) word |= element(item * in_word + k) << (32u / in_word * k);
    output_words[item] = word;
}
