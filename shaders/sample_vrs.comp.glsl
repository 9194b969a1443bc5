// SPDX-License-Identifier: Apache-2.0
// A rasteriser's coarse shading in compute: one shading for each fragment, broadcast to its px. One block of the
// largest fragment's size per invocation: no fragment lies in two of them.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/pyramid.h"
#include "shared/sample_vrs.h"

#define LEVEL_ACCESS readonly
#include "lib/pixels.glsl"

PARAMS(VrsParams);
layout(local_size_x = 64) in;
layout(std430, binding = 10) readonly buffer Codes { uint code_words[]; };
layout(std430, binding = 11) writeonly buffer Output { uint output_words[]; };
layout(std430, binding = 12) writeonly buffer Finals { uint final_words[]; };
layout(std430, binding = 13) buffer Counter { uint counted[]; };

uint texel(uint x, uint y, uint channel) { return image_bits(images[0], x, y, channel); }
#include "lib/coarse.glsl"

void main()
{
    uint pitch = vrs_pitch(p.width);
    uint columns = pitch / VRS_BLOCK;
    uint item = gl_WorkGroupID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x) + gl_GlobalInvocationID.x;
    if (item >= columns * ((p.height + VRS_BLOCK - 1u) / VRS_BLOCK)) return;

    uint left = item % columns * VRS_BLOCK;
    uint top = item / columns * VRS_BLOCK;
    uint right = min(left + VRS_BLOCK, p.width);
    uint bottom = min(top + VRS_BLOCK, p.height);
    uint tile = top / p.tile * p.columns + left / p.tile;
    uint code = vrs_final(p, code_words[tile >> 2] >> (8u * (tile & 3u)) & 255u);
    uint log_w = rate_log_w(code);
    uint log_h = rate_log_h(code);
    uint count = 0u;
    for (uint y = top; y < bottom; y += 1u << log_h)
        for (uint x = left; x < right; x += 1u << log_w) {
            uint word = shade(p.channels, vrs_before(x, log_w, p.width), vrs_before(y, log_h, p.height),
                              vrs_after(x, log_w, p.width), vrs_after(y, log_h, p.height));
            ++count;
            uint x_end = min(x + (1u << log_w), right);
            uint y_end = min(y + (1u << log_h), bottom);
            for (uint row = y; row < y_end; ++row)
                for (uint column = x; column < x_end; ++column) output_words[row * p.width + column] = word;
        }
    for (uint row = top; row < bottom; ++row) final_words[(row * pitch + left) >> 2] = code * 0x01010101u;
    atomicAdd(counted[0], count);
}
