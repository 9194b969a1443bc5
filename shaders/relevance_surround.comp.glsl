// SPDX-License-Identifier: Apache-2.0
// How much the mean of a cell differs from those around it, one cell per invocation.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/relevance.h"

PARAMS(RelevanceParams);
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer Cuts { RelevanceImage cuts[]; };
layout(std430, binding = 1) buffer Stats { uint stats[]; };
layout(std430, binding = 2) buffer Largest { uint largest[]; };

#include "lib/cells.glsl"

uint difference(RelevanceImage cut, Cell cell, uint mean, uint reach)
{
    uint left = cell.x - min(cell.x, reach);
    uint right = min(cell.x + reach + 1u, cut.filled_columns);
    uint top = cell.y - min(cell.y, reach);
    uint bottom = min(cell.y + reach + 1u, cut.filled_rows);
    uint sum = 0u;
    for (uint y = top; y < bottom; ++y)
        for (uint x = left; x < right; ++x)
            sum += stats[STAT_MEAN * p.cell_count + cut.first + y * cut.columns + x];
    uint around = sum / ((right - left) * (bottom - top));
    return max(mean, around) - min(mean, around);
}

void main()
{
    uint index = flat_index();
    if (index >= p.cell_count) return;
    Cell cell = cell_of(index);
    RelevanceImage cut = cuts[cell.image];
    uint value = 0u;
    if (cell.x < cut.filled_columns && cell.y < cut.filled_rows) {
        uint mean = stats[STAT_MEAN * p.cell_count + index];
        value = max(difference(cut, cell, mean, 1u), difference(cut, cell, mean, 3u));
    }
    stats[STAT_SURROUND * p.cell_count + index] = value;
    atomicMax(largest[2u * cell.image + 1u], value);
}
