// SPDX-License-Identifier: Apache-2.0
// Luma of the content level of every image of a batch: a word of two texels per invocation.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/pyramid.h"
#include "shared/relevance.h"

#define LEVEL_ACCESS readonly
#include "lib/pixels.glsl"

PARAMS(RelevanceParams);
layout(local_size_x = 32, local_size_y = 4) in;
layout(std430, binding = 10) readonly buffer Cuts { RelevanceImage cuts[]; };
layout(std430, binding = 11) writeonly buffer Luma { uint luma[]; };

uint channel_of(RelevanceImage cut, uint image, uint x, uint y, uint channel)
{
    bool above = cut.level > 0u;
    uint element = above ? p.level_element : p.source_element;
    uint bits = above ? level_bits(level_table[image * MAX_LEVELS + cut.level], element, x, y, channel)
                      : image_bits(images[image], x, y, channel);
    if (element == ELEMENT_U8) return bits << 8;
    if (element == ELEMENT_U16) return min(bits, LUMA_MAX);
    precise float fixed_point = clamp(uintBitsToFloat(bits), 0.0, 1.0) * 65280.0 + 0.5;
    return uint(fixed_point);
}

uint luma_at(RelevanceImage cut, uint image, uint x, uint y)
{
    if (x >= cut.level_width) return 0u;
    uint red = channel_of(cut, image, x, y, 0u);
    if (p.channels == 1u) return red;
    return luma_of(red, channel_of(cut, image, x, y, 1u), channel_of(cut, image, x, y, 2u));
}

void main()
{
    uint image = gl_GlobalInvocationID.z;
    RelevanceImage cut = cuts[image];
    uint x = 2u * gl_GlobalInvocationID.x;
    uint y = gl_GlobalInvocationID.y;
    if (x >= cut.level_width || y >= cut.level_height) return;
    luma[(cut.luma_offset + y * cut.luma_pitch + x) >> 1] =
        luma_at(cut, image, x, y) | luma_at(cut, image, x + 1u, y) << 16;
}
