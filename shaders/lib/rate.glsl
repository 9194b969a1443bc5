// SPDX-License-Identifier: Apache-2.0
// Places in the tree of splits of a block, as in engine/cpu/rate.cpp. Needs `p` of RateParams.

struct Place                // of a token: cells of its image, sides as logarithms
{
    uint x;
    uint y;
    uint log2_w;
    uint log2_h;
};

uint depth_of(Place at)
{
    return p.square != 0u ? p.max_log2 - at.log2_w : 2u * p.max_log2 - at.log2_w - at.log2_h;
}

uint order_of(CellGrid grid, Place at) { return (depth_of(at) * grid.rows + at.y) * grid.columns + at.x; }

uint slope_at(CellGrid grid, Place at)
{
    return depth_of(at) * p.cell_count + grid.first + at.y * grid.columns + at.x;
}

// Halves that lie outside the image cost nothing to drop.
Place inside(CellGrid grid, Place at)
{
    for (uint i = 0u; i < RATE_DEPTHS; ++i) {
        bool past_x = at.x + (1u << at.log2_w >> 1) >= grid.columns;
        bool past_y = at.y + (1u << at.log2_h >> 1) >= grid.rows;
        if (p.square != 0u) {
            if (at.log2_w == 0u || !past_x || !past_y) return at;
            --at.log2_w;
            --at.log2_h;
        } else if (rate_splits_x(at.log2_w, at.log2_h) && past_x) {
            --at.log2_w;
        } else if (rate_splits_y(at.log2_w, at.log2_h) && past_y) {
            --at.log2_h;
        } else {
            return at;
        }
    }
    return at;
}

// Part `k` of a split in raster order: a half, or a quarter. It may lie outside.
Place part_of(Place at, bool along_y, uint k)
{
    bool square = p.square != 0u;
    if (square || !along_y) --at.log2_w;
    if (square || along_y) --at.log2_h;
    if (square || !along_y) at.x += (k & 1u) << at.log2_w;
    if (square) k >>= 1;
    if (square || along_y) at.y += (k & 1u) << at.log2_h;
    return at;
}

uint parts_max() { return p.square != 0u ? 4u : 2u; }

// Tokens that a split adds.
uint added_by(CellGrid grid, Place at, bool along_y)
{
    uint count = 0u;
    for (uint k = 0u; k < parts_max(); ++k) {
        Place part = part_of(at, along_y, k);
        count += part.x < grid.columns && part.y < grid.rows ? 1u : 0u;
    }
    return count - 1u;
}
