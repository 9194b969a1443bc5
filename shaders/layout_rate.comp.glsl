// SPDX-License-Identifier: Apache-2.0
// Tokens from rates: a cell whose place is a multiple of its token's size begins a token. One group an image
// counts them in raster order, so that every token finds its row without asking the host.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/layout.h"
#include "shared/rate.h"

PARAMS(LayoutParams);
layout(local_size_x = 128) in;
layout(std430, binding = 0) readonly buffer Grids { LayoutGrid grids[]; };
layout(std430, binding = 1) readonly buffer Gaze { LayoutGaze gaze[]; };
layout(std430, binding = 2) readonly buffer Codes { uint codes[]; };
layout(std430, binding = 3) writeonly buffer Tokens { Token tokens[]; };

shared uint counts[128];

uint nearest(LayoutGrid grid, Token token)
{
    int x = 2 * (token.x >> FIXED_BITS) + int(token.w >> FIXED_BITS);
    int y = 2 * (token.y >> FIXED_BITS) + int(token.h >> FIXED_BITS);
    uint best = 0u;
    uint least = 0xffffffffu;
    for (uint i = 0u; i < grid.gaze_count; ++i) {
        int dx = x - gaze[grid.gaze + i].x;
        int dy = y - gaze[grid.gaze + i].y;
        uint distance = uint(dx * dx) + uint(dy * dy);
        if (distance < least) {
            least = distance;
            best = i;
        }
    }
    return best;
}

Token token_of(LayoutGrid grid, uint image, uint cell, uint code, uint row)
{
    uint w = 1u << rate_log2_w(code);
    uint h = 1u << rate_log2_h(code);
    int x = int((cell % grid.columns) * p.cell << FIXED_BITS);
    int y = int((cell / grid.columns) * p.cell << FIXED_BITS);
    uint log2_w = rate_log2_w(code) + p.scale_log2;     // px a texel
    uint log2_h = rate_log2_h(code) + p.scale_log2;
    float inv_w = uintBitsToFloat((111u - log2_w) << 23);  // 2^-16 / px
    float inv_h = uintBitsToFloat((111u - log2_h) << 23);
    Token token = Token(x, y, w * p.cell << FIXED_BITS, h * p.cell << FIXED_BITS, inv_w, inv_h, image, 0u,
                        rate_encode(log2_w, log2_h), 1u, row, 0u);
    token.fixation = nearest(grid, token);
    return token;
}

void main()
{
    uint image = gl_WorkGroupID.x;
    uint lane = gl_LocalInvocationID.x;
    LayoutGrid grid = grids[image];
    uint cells = grid.columns * grid.rows;
    // Each invocation takes a run of cells: it counts, learns where its rows begin, and writes.
    uint run = (cells + 127u) / 128u;
    uint from = min(lane * run, cells);
    uint to = min(from + run, cells);
    uint count = 0u;
    for (uint cell = from; cell < to; ++cell) {
        uint code = codes[grid.first + cell];
        uint inside = ((cell % grid.columns) & ((1u << rate_log2_w(code)) - 1u)) |
                      ((cell / grid.columns) & ((1u << rate_log2_h(code)) - 1u));
        count += inside == 0u ? 1u : 0u;
    }
    counts[lane] = count;
    barrier();
    uint row = 0u;
    uint total = 0u;
    for (uint i = 0u; i < 128u; ++i) {
        row += i < lane ? counts[i] : 0u;
        total += counts[i];
    }
    uint base = image * p.token_count;
    for (uint cell = from; cell < to; ++cell) {
        uint code = codes[grid.first + cell];
        uint inside = ((cell % grid.columns) & ((1u << rate_log2_w(code)) - 1u)) |
                      ((cell / grid.columns) & ((1u << rate_log2_h(code)) - 1u));
        if (inside != 0u || row >= p.token_count) continue;
        tokens[base + row] = token_of(grid, image, cell, code, row);
        ++row;
    }
    for (uint padding = total + lane; padding < p.token_count; padding += 128u)
        tokens[base + padding] = Token(0, 0, 0u, 0u, 0.0, 0.0, image, 0u, 0u, 0u, padding, 0u);
}
