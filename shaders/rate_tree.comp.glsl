// SPDX-License-Identifier: Apache-2.0
// The tree of splits of one block a group, and the slope at which cost-complexity pruning would cut each split:
// again and again the weakest link goes, with all that hangs on it. Nodes are numbered as in a heap, the root 1.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/rate.h"

PARAMS(RateParams);
layout(local_size_x = 32) in;
layout(std430, binding = 0) readonly buffer Grids { CellGrid grids[]; };
layout(std430, binding = 1) readonly buffer RateImages { RateImage rate_images[]; };
layout(std430, binding = 2) readonly buffer Detail { uint detail[]; };
layout(std430, binding = 3) readonly buffer Weights { uint weights[]; };
layout(std430, binding = 4) readonly buffer Previous { uint previous[]; };
layout(std430, binding = 5) readonly buffer Inverse { float inverse[]; };
layout(std430, binding = 6) writeonly buffer Slopes { uint slopes[]; };

#include "lib/rate.glsl"

#define LIVE 0x80000000u
#define ALONG_Y 0x40000000u

shared uint places[RATE_NODES];     // flags, then x and y in the block, and the logarithms of the sides
shared uint sums[RATE_NODES];       // gains of the live subtree
shared uint counts[RATE_NODES];     // tokens it adds
shared uint best_slope[32];
shared uint best_order[32];
shared uint best_node[32];

uint child_of(uint node, uint k) { return p.square != 0u ? 4u * node - 2u + k : 2u * node + k; }
uint parent_of(uint node) { return p.square != 0u ? (node + 2u) / 4u : node / 2u; }

uint pack(Place at, uvec2 origin)
{
    return (at.x - origin.x) | (at.y - origin.y) << 5 | at.log2_w << 10 | at.log2_h << 13;
}

Place unpack(uint bits, uvec2 origin)
{
    return Place(origin.x + (bits & 31u), origin.y + (bits >> 5 & 31u), bits >> 10 & 7u, bits >> 13 & 7u);
}

// (gain * weight) >> (16 + drop), of 64 bits
uint weigh(uint gain, uint weight)
{
    uint high;
    uint low;
    umulExtended(gain, weight, high, low);
    uint bits = 16u + p.drop;
    return high << (32u - bits) | low >> bits;
}

uint gain_of(CellGrid grid, Place at, bool along_y)
{
    uint slot = rate_slot(at.log2_w, at.log2_h, along_y) * p.cell_count;
    // quarters: along x, then both halves along y
    uint more = p.square != 0u ? rate_slot(at.log2_w - 1u, at.log2_h, true) * p.cell_count : 0u;
    uint x1 = min(at.x + (1u << at.log2_w), grid.columns);
    uint y1 = min(at.y + (1u << at.log2_h), grid.rows);
    uint sum = 0u;
    bool held = p.hold != 0u;
    for (uint y = at.y; y < y1; ++y)
        for (uint x = at.x; x < x1; ++x) {
            uint cell = grid.first + y * grid.columns + x;
            uint gain = detail[slot + cell];
            if (p.square != 0u) gain += detail[more + cell];
            sum += weigh(gain, p.weighted != 0u ? weights[cell] : RELEVANCE_ONE);
            if (!held) continue;
            bool narrow = rate_log2_w(previous[cell]) < at.log2_w;
            bool low = rate_log2_h(previous[cell]) < at.log2_h;
            held = p.square != 0u ? narrow && low : along_y ? low : narrow;
        }
    return held ? rate_held(sum, p.hysteresis) : sum;
}

// Makes the node a split, or leaves it a token; its parts become nodes.
void grow(CellGrid grid, uint node, uvec2 origin)
{
    Place at = inside(grid, unpack(places[node], origin));
    if (at.log2_w + at.log2_h == 0u) {
        places[node] = 0u;
        return;
    }
    bool can_x = p.square != 0u || rate_splits_x(at.log2_w, at.log2_h);
    bool can_y = p.square == 0u && rate_splits_y(at.log2_w, at.log2_h);
    uint along_x = can_x ? gain_of(grid, at, false) : 0u;
    uint along_y = can_y ? gain_of(grid, at, true) : 0u;
    bool y = !can_x || (can_y && along_y > along_x);
    places[node] = pack(at, origin) | LIVE | (y ? ALONG_Y : 0u);
    sums[node] = y ? along_y : along_x;
    counts[node] = added_by(grid, at, y);
    for (uint k = 0u; k < parts_max(); ++k) {
        Place part = part_of(at, y, k);
        if (part.log2_w + part.log2_h == 0u || part.x >= grid.columns || part.y >= grid.rows) continue;
        places[child_of(node, k)] = pack(part, origin) | LIVE;
    }
}

void prune(CellGrid grid, uvec2 origin, uint nodes)
{
    uint lane = gl_LocalInvocationID.x;
    uint last = 0u;
    for (uint turn = 0u; turn < nodes; ++turn) {
        uint slope = 0xffffffffu;
        uint order = 0xffffffffu;
        uint weakest = 0u;
        for (uint node = lane; node < nodes; node += 32u) {
            if ((places[node] & LIVE) == 0u) continue;
            precise float ratio = float(sums[node]) * inverse[counts[node]];
            uint bits = floatBitsToUint(ratio);
            uint place = order_of(grid, unpack(places[node], origin));
            if (bits > slope || (bits == slope && place > order)) continue;
            slope = bits;
            order = place;
            weakest = node;
        }
        best_slope[lane] = slope;
        best_order[lane] = order;
        best_node[lane] = weakest;
        barrier();
        for (uint i = 0u; i < 32u; ++i) {
            if (best_slope[i] > slope || (best_slope[i] == slope && best_order[i] >= order)) continue;
            slope = best_slope[i];
            order = best_order[i];
            weakest = best_node[i];
        }
        if (weakest == 0u) return;
        last = max(last, slope);
        barrier();
        // Ancestors lose what the weakest has, then it and all below go.
        if (lane == 0u)
            for (uint node = parent_of(weakest); node > 0u; node = parent_of(node)) {
                sums[node] -= sums[weakest];
                counts[node] -= counts[weakest];
            }
        for (uint node = weakest + lane; node < nodes; node += 32u) {
            if ((places[node] & LIVE) == 0u) continue;
            uint up = node;
            while (up > weakest) up = parent_of(up);
            if (up != weakest) continue;
            uint axis = (places[node] & ALONG_Y) != 0u ? RATE_AXIS_Y : 0u;
            slopes[slope_at(grid, unpack(places[node], origin))] = (last + 1u) | axis;
            places[node] &= ~LIVE;
        }
        barrier();
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint index = gl_WorkGroupID.z;
    CellGrid grid = grids[index];
    if (gl_WorkGroupID.x >= rate_images[index].block_columns || gl_WorkGroupID.y >= rate_images[index].block_rows)
        return;
    uvec2 origin = uvec2(gl_WorkGroupID.x, gl_WorkGroupID.y) << p.max_log2;
    uint levels = p.square != 0u ? p.max_log2 : 2u * p.max_log2;
    uint nodes = 1u;
    for (uint level = 0u; level < levels; ++level) nodes = child_of(nodes, 0u);
    for (uint node = lane; node < nodes; node += 32u) {
        places[node] = node == 1u ? p.max_log2 << 10 | p.max_log2 << 13 | LIVE : 0u;
        sums[node] = 0u;
        counts[node] = 0u;
    }
    barrier();
    for (uint first = 1u; first < nodes; first = child_of(first, 0u)) {
        for (uint node = first + lane; node < child_of(first, 0u); node += 32u)
            if ((places[node] & LIVE) != 0u) grow(grid, node, origin);
        barrier();
    }
    if (lane == 0u)
        for (uint node = nodes - 1u; node > 1u; --node) {
            sums[parent_of(node)] += sums[node];
            counts[parent_of(node)] += counts[node];
        }
    barrier();
    prune(grid, origin, nodes);
}
