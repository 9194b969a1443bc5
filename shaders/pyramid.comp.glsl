// SPDX-License-Identifier: Apache-2.0
// One level of the pyramid of every image of a batch: 2x2 averages, or the exact area average of an odd extent.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/pyramid.h"

#define LEVEL_ACCESS
#include "lib/pixels.glsl"

PARAMS(PyramidParams);
layout(local_size_x = 32, local_size_y = 4) in;
layout(std430, binding = 10) readonly buffer Taps { AxisTap taps[]; };
layout(std430, binding = 11) readonly buffer Decode { float decode[]; };

void store_word(uint word, uint bits)
{
    if (WINDOWS == 1u) {
        levels0[word] = bits;
        return;
    }
    uint at = word & WINDOW_MASK;
    switch (word >> WINDOW_BITS) {
    case 0u: levels0[at] = bits; break;
    case 1u: levels1[at] = bits; break;
    case 2u: levels2[at] = bits; break;
    default: levels3[at] = bits; break;
    }
}

struct Source               // the level above the one that is made
{
    ImageDesc image;
    LevelDesc level;
};

// A texel of it as the number it stands for: byte * 256, decoded light, 16 bits or a float.
uint fetch_bits(Source source, uint x, uint y, uint channel)
{
    if (p.level > 1u) return level_bits(source.level, p.level_element, x, y, channel);
    uint bits = image_bits(source.image, x, y, channel);
    if (p.source_element != ELEMENT_U8) return bits;
    return p.linear != 0u ? uint(decode[bits]) : bits << 8;
}

float fetch(Source source, uint x, uint y, uint channel)
{
    uint bits = fetch_bits(source, x, y, channel);
    bool is_float = p.level > 1u ? p.level_element == ELEMENT_F32 : p.source_element == ELEMENT_F32;
    return is_float ? uintBitsToFloat(bits) : float(bits);
}

uint average_u16(Source source, uint x, uint y, uint channel)
{
    uint x1 = min(2u * x + 1u, source.level.width - 1u);
    uint y1 = min(2u * y + 1u, source.level.height - 1u);
    return (fetch_bits(source, 2u * x, 2u * y, channel) + fetch_bits(source, x1, 2u * y, channel) +
            fetch_bits(source, 2u * x, y1, channel) + fetch_bits(source, x1, y1, channel) + 2u) >> 2;
}

float average_f32(Source source, uint x, uint y, uint channel)
{
    uint x1 = min(2u * x + 1u, source.level.width - 1u);
    uint y1 = min(2u * y + 1u, source.level.height - 1u);
    precise float upper = fetch(source, 2u * x, 2u * y, channel) + fetch(source, x1, 2u * y, channel);
    precise float lower = fetch(source, 2u * x, y1, channel) + fetch(source, x1, y1, channel);
    precise float mean = (upper + lower) * 0.25;
    return mean;
}

float three_taps(AxisTap tap, float a, float b, float c)
{
    precise float sum = (tap.w0 * a + tap.w1 * b) + tap.w2 * c;
    return sum;
}

float column(Source source, AxisTap row, uint x, uint channel)
{
    return three_taps(row, fetch(source, x, row.first, channel),
                      fetch(source, x, min(row.first + 1u, source.level.height - 1u), channel),
                      fetch(source, x, min(row.first + 2u, source.level.height - 1u), channel));
}

float average_exact(Source source, uint image, uint x, uint y, uint channel)
{
    uint first = p.taps_offset + image * p.taps_stride;
    AxisTap across = taps[first + x];
    AxisTap down = taps[first + p.taps_rows + y];
    return three_taps(across, column(source, down, across.first, channel),
                      column(source, down, min(across.first + 1u, source.level.width - 1u), channel),
                      column(source, down, min(across.first + 2u, source.level.width - 1u), channel));
}

void main()
{
    uint image = gl_GlobalInvocationID.z;
    uint channel = gl_GlobalInvocationID.y % p.channels;
    uint y = gl_GlobalInvocationID.y / p.channels;
    LevelDesc level = level_table[image * MAX_LEVELS + p.level];
    bool paired = p.level_element == ELEMENT_U16;
    uint x = paired ? 2u * gl_GlobalInvocationID.x : gl_GlobalInvocationID.x;
    if (x >= level.width || y >= level.height) return;

    Source source = Source(images[image], level_table[image * MAX_LEVELS + p.level - 1u]);
    uint at = level.offset + (channel * level.height + y) * level.pitch + x;
    if (paired) {
        uint left = average_u16(source, x, y, channel);
        uint right = x + 1u < level.width ? average_u16(source, x + 1u, y, channel) : 0u;
        store_word(at >> 1, left | right << 16);
    } else {
        float mean = p.exact != 0u ? average_exact(source, image, x, y, channel)
                                   : average_f32(source, x, y, channel);
        store_word(at, floatBitsToUint(mean));
    }
}
