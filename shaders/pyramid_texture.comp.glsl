// SPDX-License-Identifier: Apache-2.0
// Texels of one level as words of RGBA bytes, row after row, for a copy into an image. Where the image is larger than
// the level, its edge goes on.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/pyramid.h"

#define LEVEL_ACCESS readonly
#include "lib/pixels.glsl"

PARAMS(PyramidTextureParams);
layout(local_size_x = 64) in;
layout(std430, binding = 10) writeonly buffer Texels { uint texel_words[]; };

// The nearest byte; half way goes up.
uint byte_of(uint x, uint y, uint channel)
{
    if (p.level == 0u) return image_bits(images[p.image], x, y, channel);
    uint bits = level_bits(level_table[p.image * MAX_LEVELS + p.level], p.level_element, x, y, channel);
    if (p.level_element == ELEMENT_U16) return (bits + 128u) >> 8;
    precise float scaled = uintBitsToFloat(bits) * 0.00390625;
    precise float rounded = scaled + 0.5;
    return min(uint(rounded), 255u);
}

void main()
{
    uint item = gl_WorkGroupID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x) + gl_GlobalInvocationID.x;
    if (item >= p.count) return;
    LevelDesc level = level_table[p.image * MAX_LEVELS + p.level];
    uint x = min((p.first + item) % p.width, level.width - 1u);
    uint y = min((p.first + item) / p.width, level.height - 1u);
    uint word = byte_of(x, y, 0u) * 0x010101u;
    if (p.channels == 3u) word = byte_of(x, y, 0u) | byte_of(x, y, 1u) << 8 | byte_of(x, y, 2u) << 16;
    texel_words[item] = word | 0xff000000u;
}
