// SPDX-License-Identifier: Apache-2.0
// The splits that fit into a budget: the place in the order of slopes where it is spent. One group an image, four
// rounds of eight bits over the slopes, then the places of those that tie.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/rate.h"

PARAMS(RateParams);
layout(local_size_x = 128) in;
layout(std430, binding = 0) readonly buffer Grids { CellGrid grids[]; };
layout(std430, binding = 1) readonly buffer RateImages { RateImage rate_images[]; };
layout(std430, binding = 2) readonly buffer Slopes { uint slopes[]; };
layout(std430, binding = 3) writeonly buffer Cuts { RateCut cuts[]; };

#include "lib/rate.glsl"

shared uint bins[256];
shared uint digit;
shared uint left;
shared uint stop;

uint slope_of(CellGrid grid, uint order)
{
    uint cells = grid.columns * grid.rows;
    return slopes[order / cells * p.cell_count + grid.first + order % cells] & ~RATE_AXIS_Y;
}

// Tokens that the split at this place adds.
uint added_at(CellGrid grid, uint order)
{
    if (p.square == 0u) return 1u;
    uint cells = grid.columns * grid.rows;
    uint side = p.max_log2 - order / cells;
    return added_by(grid, Place(order % cells % grid.columns, order % cells / grid.columns, side, side), false);
}

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint index = gl_WorkGroupID.x;
    CellGrid grid = grids[index];
    uint places = (p.square != 0u ? p.max_log2 : 2u * p.max_log2) * grid.columns * grid.rows;
    uint need = rate_images[index].need;
    uint found = 0u;                    // the digits of the slope at which the budget ends
    for (uint round = 0u; round < 4u; ++round) {
        uint bits = 24u - 8u * round;
        for (uint i = lane; i < 256u; i += 128u) bins[i] = 0u;
        barrier();
        for (uint order = lane; order < places; order += 128u) {
            uint slope = slope_of(grid, order);
            if (slope == RATE_NONE) continue;
            if (round > 0u && slope >> (bits + 8u) != found >> (bits + 8u)) continue;
            atomicAdd(bins[slope >> bits & 255u], added_at(grid, order));
        }
        barrier();
        if (lane == 0u) {
            digit = 0u;
            left = need;
            stop = 0u;
            for (int i = 255; i >= 0; --i) {
                if (bins[i] > left) {
                    digit = uint(i);
                    stop = 1u;
                    break;
                }
                left -= bins[i];
            }
        }
        barrier();
        if (stop == 0u) {               // everything fits
            if (lane == 0u) cuts[index] = RateCut(0u, 0u, 0u, 0u);
            return;
        }
        found |= digit << bits;
        need = left;
        barrier();
    }
    // Of the places with this very slope, the earliest ones. Each invocation looks at a run of them.
    uint run = (places + 127u) / 128u;
    uint from = min(lane * run, places);
    uint to = min(from + run, places);
    uint count = 0u;
    for (uint order = from; order < to; ++order)
        if (slope_of(grid, order) == found) count += added_at(grid, order);
    bins[lane] = count;
    barrier();
    uint before = 0u;
    for (uint i = 0u; i < lane; ++i) before += bins[i];
    if (before > need || before + count <= need) return;  // the first that does not fit lies in another run
    for (uint order = from; order < to; ++order) {
        if (slope_of(grid, order) != found) continue;
        uint added = added_at(grid, order);
        if (before + added > need) {
            cuts[index] = RateCut(found, order, 0u, 0u);
            return;
        }
        before += added;
    }
}
