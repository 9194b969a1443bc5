// SPDX-License-Identifier: Apache-2.0
// Patches from the pyramid: one word of output per invocation, averaged over a separable box, normalised and
// written in the model's order. Vertical sums come first, as on the cpu, so that the bytes are the same.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/pyramid.h"
#include "shared/layout.h"
#include "shared/sample.h"

#define LEVEL_ACCESS readonly
#include "lib/pixels.glsl"
#include "lib/half.glsl"

PARAMS(SampleParams);
layout(local_size_x = 64) in;
layout(std430, binding = 10) readonly buffer Tokens { Token tokens[]; };
layout(std430, binding = 11) readonly buffer Decode { float decode[]; };
layout(std430, binding = 12) readonly buffer Encode { float encode[]; };
layout(std430, binding = 13) writeonly buffer Output { uint output_words[]; };

struct Box                  // the taps of one texel along one axis
{
    int low;
    uint width;
    int first;
    int last;
    float scale;            // weight of a tap = cover * scale
};

Box box_of(int corner, uint extent, float inv, uint level, uint index)
{
    uint step = extent / p.cell;
    Box box;
    box.width = sample_width(extent, p.cell, level);
    box.low = sample_low(sample_edge(corner, extent, p.cell, index), step, box.width);
    box.first = box.low >> (FIXED_BITS + level);
    box.last = (box.low + int(box.width) - 1) >> (FIXED_BITS + level);
    precise float scale = box.width == step ? inv * float(1u << level) : 1.0 / 65536.0;
    box.scale = scale;
    return box;
}

struct Source               // the level that a token is read from
{
    uint level;
    LevelDesc desc;
    ImageDesc image;
};

float fetch(Source source, int x, int y, uint channel)
{
    uint column = uint(clamp(x, 0, int(source.desc.width) - 1));
    uint row = uint(clamp(y, 0, int(source.desc.height) - 1));
    if (source.level > 0u) {
        uint bits = level_bits(source.desc, p.level_element, column, row, channel);
        return p.level_element == ELEMENT_F32 ? uintBitsToFloat(bits) : float(bits);
    }
    uint bits = image_bits(source.image, column, row, channel);
    if (source.image.element == ELEMENT_F32) return uintBitsToFloat(bits);
    if (source.image.element == ELEMENT_U16) return float(bits);
    return p.linear != 0u ? decode[bits] : float(bits << 8);
}

float column(Source source, Box down, int x, uint channel)
{
    float base = fetch(source, x, down.first, channel);
    precise float sum = base;
    for (int y = down.first + 1; y <= down.last; ++y) {
        precise float weight = float(sample_cover(down.low, down.width, source.level, y)) * down.scale;
        precise float difference = fetch(source, x, y, channel) - base;
        sum = sum + weight * difference;
    }
    return sum;
}

float texel(Source source, Token token, uint x, uint y, uint channel)
{
    Box across = box_of(token.x, token.w, token.inv_w, source.level, x);
    Box down = box_of(token.y, token.h, token.inv_h, source.level, y);
    float base = column(source, down, across.first, channel);
    precise float sum = base;
    for (int at = across.first + 1; at <= across.last; ++at) {
        precise float weight = float(sample_cover(across.low, across.width, source.level, at)) * across.scale;
        precise float difference = column(source, down, at, channel) - base;
        sum = sum + weight * difference;
    }
    return sum;
}

float normalise(float value, uint channel)
{
    if (p.linear != 0u) {
        precise float index = value * p.quantise + 0.5;
        value = encode[uint(floor(index))];
    }
    float scale = channel == 0u ? p.scale0 : channel == 1u ? p.scale1 : channel == 2u ? p.scale2 : p.scale3;
    float bias = channel == 0u ? p.bias0 : channel == 1u ? p.bias1 : channel == 2u ? p.bias2 : p.bias3;
    precise float result = value * scale + bias;
    return result;
}

void main()
{
    uint item = gl_WorkGroupID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x) + gl_GlobalInvocationID.x;
    uint in_word = p.dtype == DTYPE_F32 ? 1u : 2u;
    uint area = p.patch_size * p.patch_size;
    uint patch_items = p.channels * area / in_word;
    uint token_items = patch_items * p.merge * p.merge;
    if (item >= p.token_count * token_items) return;

    uint slot = item / token_items;
    uint part = item % token_items / patch_items;
    uint element = item % patch_items * in_word;
    Token token = tokens[p.first_token + slot];
    Source source;
    if (token.w > 0u) {
        uint level = sample_level(token.x, token.y, token.w, token.h, p.cell, p.taps, p.level_max);
        // An image smaller than its batch mates has fewer levels: its last one is 1x1 and serves for the rest.
        while (level > 0u && level_table[token.image * MAX_LEVELS + level].width == 0u) --level;
        source = Source(level, level_table[token.image * MAX_LEVELS + level], images[token.image]);
    }

    uint word = 0u;
    for (uint k = 0u; k < in_word; ++k) {
        uint at = element + k;
        uint channel = p.channels_last != 0u ? at % p.channels : at / area;
        uint inside = p.channels_last != 0u ? at / p.channels : at % area;
        if (token.w == 0u) continue;  // a padding row is zero
        uint x = part % p.merge * p.patch_size + inside % p.patch_size;
        uint y = part / p.merge * p.patch_size + inside / p.patch_size;
        float value = normalise(texel(source, token, x, y, p.image_channels == 1u ? 0u : channel), channel);
        if (p.dtype == DTYPE_F32)
            word = floatBitsToUint(value);
        else
            word |= (p.dtype == DTYPE_F16 ? f16_from_float(value) : bf16_from_float(value)) << (16u * k);
    }

    uint channel = p.channels_last != 0u ? 0u : element / area;
    uint inside = p.channels_last != 0u ? element : element % area;
    uint frame_size = p.channels_last != 0u ? area * p.channels : area;
    uint first = (slot * p.merge * p.merge + part) * p.channels * p.frames * area + channel * p.frames * frame_size;
    for (uint frame = 0u; frame < p.frames; ++frame)
        output_words[(first + frame * frame_size + inside) / in_word] = word;
}
