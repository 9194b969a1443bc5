// SPDX-License-Identifier: Apache-2.0
// What each split of a token would gain, for one cell a group: boxes of every slot that touch the cell, each
// with the share of its px that lies in it. Integer sums, so their order does not matter.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/rate.h"

PARAMS(RateParams);
layout(local_size_x = 32) in;
layout(std430, binding = 0) readonly buffer Grids { CellGrid grids[]; };
layout(std430, binding = 1) readonly buffer RateImages { RateImage rate_images[]; };
layout(std430, binding = 2) readonly buffer Luma { uint luma[]; };
layout(std430, binding = 3) readonly buffer Before { uint before[]; };
layout(std430, binding = 4) writeonly buffer Detail { uint detail[]; };
layout(std430, binding = 5) writeonly buffer Slopes { uint slopes[]; };

shared uint sums[RATE_SLOTS];

struct Source
{
    uint first;             // word
    uint pitch;
    uint width;
    uint height;
};

// Luma over `n` px of a row, a power of two from a multiple of it on; the edge px are repeated.
uint row_sum(Source source, uint x, uint y, uint n)
{
    uint row = source.first + min(y, source.height - 1u) * source.pitch;
    uint sum = 0u;
    if (n >= 4u && x + n <= source.width) {
        for (uint word = x >> 2; word < (x + n) >> 2; ++word) {
            uint bits = luma[row + word];
            uint pairs = (bits & 0x00ff00ffu) + ((bits >> 8) & 0x00ff00ffu);
            sum += (pairs & 0xffffu) + (pairs >> 16);
        }
        return sum;
    }
    for (uint i = x; i < x + n; ++i) {
        uint at = min(i, source.width - 1u);
        sum += (luma[row + (at >> 2)] >> ((at & 3u) * 8u)) & 255u;
    }
    return sum;
}

uint box_sum(Source source, uint x, uint y, uint w, uint h)
{
    uint sum = 0u;
    for (uint j = y; j < y + h; ++j) sum += row_sum(source, x, j, w);
    return sum;
}

uint gain_of(Source source, uint x, uint y, uint log2_w, uint log2_h, bool along_y)
{
    uint w = 1u << log2_w >> (along_y ? 0u : 1u);
    uint h = 1u << log2_h >> (along_y ? 1u : 0u);
    int a = int(box_sum(source, x, y, w, h));
    int b = int(along_y ? box_sum(source, x, y + h, w, h) : box_sum(source, x + w, y, w, h));
    return rate_gain(uint(abs(a - b)), log2_w + log2_h, p.shift);
}

void main()
{
    uint index = gl_WorkGroupID.z;
    uint lane = gl_LocalInvocationID.x;
    CellGrid grid = grids[index];
    if (gl_WorkGroupID.x >= grid.columns || gl_WorkGroupID.y >= grid.rows) return;
    Source source = Source(rate_images[index].luma, rate_images[index].pitch, grid.width, grid.height);
    uint cell = grid.first + gl_WorkGroupID.y * grid.columns + gl_WorkGroupID.x;
    uint x0 = gl_WorkGroupID.x * p.cell;
    uint y0 = gl_WorkGroupID.y * p.cell;
    uint x1 = min(x0 + p.cell, grid.width);
    uint y1 = min(y0 + p.cell, grid.height);
    if (lane < RATE_SLOTS) sums[lane] = 0u;
    barrier();

    for (uint slot = 0u; slot < 4u * p.max_log2; ++slot) {
        bool along_y = (slot & 1u) != 0u;
        uint longer = slot / 4u + 1u;
        bool even = (slot & 2u) != 0u;
        uint log2_w = even || !along_y ? longer : longer - 1u;
        uint log2_h = even || along_y ? longer : longer - 1u;
        uint log2_n = log2_w + log2_h;
        uint across = ((x1 - 1u) >> log2_w) - (x0 >> log2_w) + 1u;
        uint boxes = across * (((y1 - 1u) >> log2_h) - (y0 >> log2_h) + 1u);
        uint sum = 0u;
        for (uint box = lane; box < boxes; box += 32u) {
            uint x = ((x0 >> log2_w) + box % across) << log2_w;
            uint y = ((y0 >> log2_h) + box / across) << log2_h;
            uint gain = gain_of(source, x, y, log2_w, log2_h, along_y);
            uint count = (min(x + (1u << log2_w), x1) - max(x, x0)) * (min(y + (1u << log2_h), y1) - max(y, y0));
            sum += count == 1u << log2_n ? gain : rate_share(gain, log2_n, count);
        }
        atomicAdd(sums[slot], sum);
    }
    barrier();
    if (lane < 4u * p.max_log2) {
        uint at = lane * p.cell_count + cell;
        detail[at] = sums[lane];
        if (p.steady != 0u)
            detail[at] = rate_steady(sums[lane], before[at], p.shift, rate_log2_n(lane), p.noise_slope, p.noise_rest);
    }
    // nothing begins here yet
    if (lane < 2u * p.max_log2) slopes[lane * p.cell_count + cell] = RATE_NONE;
}
