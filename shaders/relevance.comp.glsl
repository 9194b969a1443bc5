// SPDX-License-Identifier: Apache-2.0
// The terms of one cell per invocation, together: gaze by table, the statistics made before, the host's maps.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/relevance.h"

PARAMS(RelevanceParams);
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer Cuts { RelevanceImage cuts[]; };
layout(std430, binding = 1) readonly buffer Stats { uint stats[]; };
layout(std430, binding = 2) readonly buffer Largest { uint largest[]; };
layout(std430, binding = 3) readonly buffer SpectralMap { uint spectral_map[]; };
layout(std430, binding = 4) readonly buffer Points { uint points[]; };
layout(std430, binding = 5) readonly buffer Falloff { uint falloff[]; };
layout(std430, binding = 6) readonly buffer Shrink { float shrink[]; };
layout(std430, binding = 7) readonly buffer Maps { uint maps[]; };
layout(std430, binding = 8) readonly buffer Previous { uint previous[]; };
layout(std430, binding = 9) writeonly buffer Output { uint output_cells[]; };

#include "lib/cells.glsl"

uint spectral_bin(uint at, uint level, uint size)
{
    return min(((2u * at + 1u) * p.cell) >> (level + 1u), size - 1u) * SPECTRAL_SIZE / size;
}

uint saliency_of(RelevanceImage cut, Cell cell, uint index)
{
    bool gradient = (p.saliency & SALIENCY_GRADIENT) != 0u;
    bool surround = (p.saliency & SALIENCY_SURROUND) != 0u;
    if ((p.saliency & SALIENCY_SPECTRAL) != 0u) {
        if (cell.x >= cut.filled_columns || cell.y >= cut.filled_rows) return 0u;
        uint bin = spectral_bin(cell.y, cut.level, cut.level_height) * SPECTRAL_SIZE +
                   spectral_bin(cell.x, cut.level, cut.level_width);
        return spectral_map[cell.image * SPECTRAL_SIZE * SPECTRAL_SIZE + bin];
    }
    uint sum = 0u;
    if (gradient)
        sum += relevance_normalise(stats[STAT_GRADIENT * p.cell_count + index], largest[2u * cell.image]);
    if (surround)
        sum += relevance_normalise(stats[STAT_SURROUND * p.cell_count + index], largest[2u * cell.image + 1u]);
    return gradient && surround ? sum >> 1 : sum;
}

uint gaze_of(RelevanceImage cut, Cell cell, uint saliency)
{
    int center_x = int((2u * cell.x + 1u) * p.cell);
    int center_y = int((2u * cell.y + 1u) * p.cell);
    uint nearest = 0xffffffffu;
    for (uint k = 0u; k < cut.gaze_count; ++k) {
        int dx = center_x - int(points[2u * (cut.gaze_first + k)]);
        int dy = center_y - int(points[2u * (cut.gaze_first + k) + 1u]);
        nearest = min(nearest, uint(dx * dx) + uint(dy * dy));
    }
    precise float distance = float(nearest) * cut.gaze_scale;
    if (p.shrink_on != 0u) distance = distance * shrink[saliency >> 8];
    int bin = int(floatBitsToUint(distance) >> GAZE_SHIFT) - int(GAZE_BASE);
    return falloff[cut.gaze_table + uint(clamp(bin, 0, int(GAZE_BINS) - 1))];
}

void main()
{
    uint index = flat_index();
    if (index >= p.cell_count) return;
    Cell cell = cell_of(index);
    RelevanceImage cut = cuts[cell.image];
    uint saliency = (p.terms & TERM_SALIENCY) != 0u ? saliency_of(cut, cell, index) : 0u;
    uint gaze = (p.terms & TERM_GAZE) != 0u ? gaze_of(cut, cell, saliency) : 0u;
    uint information = (p.terms & TERM_INFORMATION) != 0u ? stats[STAT_INFORMATION * p.cell_count + index] : 0u;
    uint motion = p.motion_on != 0u ? stats[STAT_MOTION * p.cell_count + index] : 0u;
    uint query = (p.terms & TERM_QUERY) != 0u ? maps[index] : 0u;
    uint roi = (p.terms & TERM_ROI) != 0u ? maps[p.roi_first + index] : 0u;
    uint result = relevance_combine(p, gaze, information, saliency, query, motion, roi);
    result = max(result, p.floor_value);
    output_cells[index] = p.smooth_on != 0u ? relevance_smooth(p, result, previous[index]) : result;
}
