// SPDX-License-Identifier: Apache-2.0
// Statistics of the texels of one cell per invocation: information, gradient, mean, motion.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/relevance.h"

PARAMS(RelevanceParams);
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer Cuts { RelevanceImage cuts[]; };
layout(std430, binding = 1) readonly buffer Luma { uint luma[]; };
layout(std430, binding = 2) readonly buffer PreviousLuma { uint previous_luma[]; };
layout(std430, binding = 3) readonly buffer Entropy { uint entropy[]; };
layout(std430, binding = 4) writeonly buffer Stats { uint stats[]; };
layout(std430, binding = 5) buffer Largest { uint largest[]; };

#include "lib/cells.glsl"

// Two bins to a word: a cell of the content level has fewer texels than 65536.
shared uint bins[ENTROPY_BINS / 2u * 64u];

uint luma_at(RelevanceImage cut, uint x, uint y)
{
    uint at = cut.luma_offset + y * cut.luma_pitch + x;
    return (luma[at >> 1] >> ((at & 1u) * 16u)) & 65535u;
}

uint previous_at(RelevanceImage cut, uint x, uint y)
{
    uint at = cut.luma_offset + y * cut.luma_pitch + x;
    return (previous_luma[at >> 1] >> ((at & 1u) * 16u)) & 65535u;
}

uint apart(uint a, uint b) { return max(a, b) - min(a, b); }

uint gradient(RelevanceImage cut, uint x, uint y)
{
    uint left = luma_at(cut, max(x, 1u) - 1u, y);
    uint right = luma_at(cut, min(x + 1u, cut.level_width - 1u), y);
    uint above = luma_at(cut, x, max(y, 1u) - 1u);
    uint below = luma_at(cut, x, min(y + 1u, cut.level_height - 1u));
    return min(apart(left, right) + apart(above, below), RELEVANCE_ONE);
}

uint information(uint count)
{
    uint sum = 0u;
    for (uint k = 0u; k < ENTROPY_BINS / 2u; ++k) {
        uint pair = bins[k * 64u + gl_LocalInvocationID.x];
        sum += entropy[pair & 65535u] + entropy[pair >> 16];
    }
    uint all = entropy[count];
    return relevance_information(all - min(all, sum), count);
}

void main()
{
    uint index = flat_index();
    if (index >= p.cell_count) return;
    Cell cell = cell_of(index);
    RelevanceImage cut = cuts[cell.image];
    uint left = relevance_first(p.cell, cut.level, cell.x, cut.level_width);
    uint right = relevance_first(p.cell, cut.level, cell.x + 1u, cut.level_width);
    uint top = relevance_first(p.cell, cut.level, cell.y, cut.level_height);
    uint bottom = relevance_first(p.cell, cut.level, cell.y + 1u, cut.level_height);
    uint count = (right - left) * (bottom - top);
    bool has_gradient = (p.saliency & SALIENCY_GRADIENT) != 0u;
    bool has_information = (p.terms & TERM_INFORMATION) != 0u;

    for (uint k = 0u; k < ENTROPY_BINS / 2u; ++k) bins[k * 64u + gl_LocalInvocationID.x] = 0u;
    uint gradients = 0u;
    uint sum = 0u;
    uint motion = 0u;
    for (uint y = top; y < bottom; ++y) {
        for (uint x = left; x < right; ++x) {
            uint value = luma_at(cut, x, y);
            sum += value;
            uint bin = value >> 11;
            if (has_information) bins[(bin >> 1) * 64u + gl_LocalInvocationID.x] += 1u << ((bin & 1u) * 16u);
            if (has_gradient) gradients += gradient(cut, x, y);
            if (p.motion_on != 0u) motion += apart(value, previous_at(cut, x, y));
        }
    }
    uint divisor = max(count, 1u);
    stats[STAT_INFORMATION * p.cell_count + index] = has_information && count > 0u ? information(count) : 0u;
    stats[STAT_GRADIENT * p.cell_count + index] = gradients / divisor;
    stats[STAT_MEAN * p.cell_count + index] = sum / divisor;
    stats[STAT_MOTION * p.cell_count + index] = min(8u * (motion / divisor), RELEVANCE_ONE);
    if (has_gradient) atomicMax(largest[2u * cell.image], gradients / divisor);
}
