// SPDX-License-Identifier: Apache-2.0
// A shading of the image at the fragment's centre, and the rate that the device really shades at.
#version 450
#extension GL_GOOGLE_include_directive : enable
#extension GL_EXT_fragment_shading_rate : require
#include "shared/sample_vrs.h"

PARAMS(VrsParams);
// Two buffers and two outputs: as many as every device's fragment shaders have.
layout(std430, binding = 0) readonly buffer Pixels { uint pixel_words[]; };
layout(std430, binding = 1) buffer Counter { uint counted[]; };
layout(location = 0) out uvec4 color;
layout(location = 1) out uint final_code;

// Packed: row by row, px by px.
uint texel(uint x, uint y, uint channel)
{
    uint byte = (y * p.width + x) * p.channels + channel;
    return pixel_words[byte >> 2] >> (8u * (byte & 3u)) & 255u;
}
#include "lib/coarse.glsl"

void main()
{
    // Centres lie at halves, or where px meet: both sides are exact in float32 up to 2^22 px.
    uvec2 last = uvec2(p.width, p.height) - 1u;
    uvec2 low = min(uvec2(gl_FragCoord.xy - 0.5), last);
    uvec2 high = min(uvec2(gl_FragCoord.xy), last);
    uint word = shade(p.channels, low.x, low.y, high.x, high.y);
    color = uvec4(word & 255u, word >> 8 & 255u, word >> 16 & 255u, word >> 24);
    final_code = uint(gl_ShadingRateEXT);
    if (!gl_HelperInvocation) atomicAdd(counted[0], 1u);
}
