// SPDX-License-Identifier: Apache-2.0
// The code of each cell: from its block downwards through the splits that were taken.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/rate.h"

PARAMS(RateParams);
layout(local_size_x = 32, local_size_y = 2) in;
layout(std430, binding = 0) readonly buffer Grids { CellGrid grids[]; };
layout(std430, binding = 1) readonly buffer Slopes { uint slopes[]; };
layout(std430, binding = 2) readonly buffer Cuts { RateCut cuts[]; };
layout(std430, binding = 3) writeonly buffer Codes { uint codes[]; };

#include "lib/rate.glsl"

void main()
{
    uint x = gl_GlobalInvocationID.x;
    uint y = gl_GlobalInvocationID.y;
    CellGrid grid = grids[gl_GlobalInvocationID.z];
    if (x >= grid.columns || y >= grid.rows) return;
    RateCut cut = cuts[gl_GlobalInvocationID.z];
    Place at = Place(x >> p.max_log2 << p.max_log2, y >> p.max_log2 << p.max_log2, p.max_log2, p.max_log2);
    for (uint i = 0u; i <= RATE_DEPTHS; ++i) {
        at = inside(grid, at);
        if (at.log2_w + at.log2_h == 0u) break;
        uint slope = slopes[slope_at(grid, at)];
        uint value = slope & ~RATE_AXIS_Y;
        if (value < cut.slope || (value == cut.slope && order_of(grid, at) >= cut.order)) break;
        bool along_y = (slope & RATE_AXIS_Y) != 0u;
        for (uint k = 0u; k < parts_max(); ++k) {
            Place part = part_of(at, along_y, k);
            if (x - part.x < 1u << part.log2_w && y - part.y < 1u << part.log2_h) {
                at = part;
                break;
            }
        }
    }
    codes[grid.first + y * grid.columns + x] = rate_encode(at.log2_w, at.log2_h);
}
