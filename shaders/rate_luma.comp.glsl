// SPDX-License-Identifier: Apache-2.0
// Luma of 8 bits, four px to a word: what the splits of the stage rate are judged by.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/pyramid.h"
#include "shared/rate.h"

#define LEVEL_ACCESS readonly
#include "lib/pixels.glsl"

PARAMS(RateParams);
layout(local_size_x = 32, local_size_y = 2) in;
layout(std430, binding = 10) readonly buffer Grids { CellGrid grids[]; };
layout(std430, binding = 11) readonly buffer RateImages { RateImage rate_images[]; };
layout(std430, binding = 12) writeonly buffer Luma { uint luma[]; };

uint byte_of(ImageDesc image, uint x, uint y, uint channel)
{
    uint bits = image_bits(image, x, y, channel);
    if (image.element == ELEMENT_U8) return bits;
    if (image.element == ELEMENT_U16) return bits >> 8;
    precise float scaled = min(max(uintBitsToFloat(bits), 0.0), 1.0) * 255.0 + 0.5;
    return uint(floor(scaled));
}

void main()
{
    uint index = gl_GlobalInvocationID.z;
    uint word = gl_GlobalInvocationID.x;
    uint y = gl_GlobalInvocationID.y;
    CellGrid grid = grids[index];
    RateImage into = rate_images[index];
    if (word >= into.pitch || y >= grid.height) return;
    ImageDesc image = images[index];
    uint bits = 0u;
    for (uint k = 0u; k < 4u; ++k) {
        uint x = min(4u * word + k, grid.width - 1u);  // the edge px is repeated
        uint value = byte_of(image, x, y, 0u);
        if (p.channels == 3u)
            value = luma_of(value, byte_of(image, x, y, 1u), byte_of(image, x, y, 2u));
        bits |= value << (8u * k);
    }
    luma[into.luma + y * into.pitch + word] = bits;
}
