// SPDX-License-Identifier: Apache-2.0
// The cells of a batch: one value of relevance, and one rate, for each. What both backends do to whole numbers is
// written here once.
#ifndef FOVEATE_SHARED_RELEVANCE_H
#define FOVEATE_SHARED_RELEVANCE_H
#include "luma.h"
SHARED_BEGIN

#define RELEVANCE_ONE 65535u    // relevance and its terms are whole numbers, 0..65535 for 0..1

#define TERM_GAZE 1u            // bits of the terms that are on
#define TERM_INFORMATION 2u
#define TERM_SALIENCY 4u
#define TERM_QUERY 8u
#define TERM_MOTION 16u
#define TERM_ROI 32u

#define SALIENCY_GRADIENT 1u    // bits: both of the first two are averaged
#define SALIENCY_SURROUND 2u
#define SALIENCY_SPECTRAL 4u

#define COMBINE_OPPONENT 0u
#define COMBINE_MAX 1u
#define COMBINE_MEAN 2u
#define COMBINE_PRODUCT 3u
#define COMBINE_WEIGHTS 4u

#define GAZE_BINS 2048u         // squared distances by their float's upper bits: 64 steps an octave
#define GAZE_BASE 6848u         // bits of 2^-20 >> 17; the table ends at 2^12
#define GAZE_SHIFT 17u

#define LUMA_MAX 65280u         // 8.8: byte * 256
#define CONTENT_TEXELS 16u      // the content level has at most this many texels along a cell's edge, and one more
#define ENTROPY_BINS 32u
#define ENTROPY_SIZE 1025u      // k log2 k * 4096 for k = 0..1024
#define ENTROPY_MAX 20480u      // 5 bits * 4096
#define CONTRAST_MIN 1311u      // 0.02: flat images are not blown up to full contrast

#define STAT_INFORMATION 0u     // rows of the statistics buffer, a word for each cell of the batch
#define STAT_GRADIENT 1u
#define STAT_MEAN 2u
#define STAT_MOTION 3u
#define STAT_SURROUND 4u
#define STAT_COUNT 5u

#define SPECTRAL_SIZE 64u       // the picture whose spectrum is taken, on a side
#define SPECTRAL_COS 0u         // parts of its table
#define SPECTRAL_SIN 32u
#define SPECTRAL_LOG 64u        // log2 of 1 + (i + 0.5) / 4096
#define SPECTRAL_EXP 4160u      // 2^(i / 4096)
#define SPECTRAL_BLUR 8256u     // 3 weights, the middle one first
#define SPECTRAL_TABLE 8260u

struct CellGrid             // the cells of one image, 8 words; the last ones may overhang it
{
    uint first;             // index of its first cell over the whole batch, row by row from there
    uint columns;           // ceil(width / cell)
    uint rows;              // ceil(height / cell)
    uint width;             // of the image, px
    uint height;
    uint pad0;
    uint pad1;
    uint pad2;
};

struct RelevanceImage       // one image of a batch, 16 words
{
    uint first;             // index of its first cell over the whole batch
    uint columns;
    uint rows;
    uint filled_columns;    // the last column and row may hold no texel's centre
    uint filled_rows;
    uint level;             // the content level, and its size
    uint level_width;
    uint level_height;
    uint luma_offset;       // first u16 of its luma, even
    uint luma_pitch;        // u16 from row to row, even
    uint gaze_first;        // first point
    uint gaze_count;
    uint gaze_table;        // first value of its falloff
    float gaze_scale;       // squared half px to squared units of eccentricity
    uint pad0;
    uint pad1;
};

struct RelevanceParams      // 28 words
{
    uint image_count;
    uint cell_count;        // over the whole batch
    uint cell;              // px a cell's edge
    uint terms;             // TERM_* bits
    uint saliency;          // SALIENCY_* bits
    uint combine;           // COMBINE_*
    uint knob_compress;     // of 65536
    uint knob_exploit;
    uint knob_focus;
    uint weight_gaze;       // of 65536
    uint weight_information;
    uint weight_saliency;
    uint weight_query;
    uint weight_motion;
    uint weight_roi;
    uint floor_value;
    uint keep;              // of 256: how much of a change is taken at once
    uint band;              // a change up to here is none
    uint smooth_on;         // 1: against the previous cells
    uint motion_on;         // 1: against the previous luma
    uint shrink_on;         // 1: scene-aware
    uint roi_first;         // index of roi in the maps, query comes first
    uint source_element;    // ELEMENT_* of the images and of the levels
    uint level_element;
    uint channels;
    uint pad0;
    uint pad1;
    uint pad2;
};

// First texel of a cell along one axis: the first whose centre is not left of it.
SHARED_FUNCTION uint relevance_first(uint cell, uint level, uint index, uint size)
{
    return min(((2u * cell * index + (1u << level) - 1u) >> level) >> 1, size);
}

SHARED_FUNCTION uint relevance_information(uint entropy, uint count)
{
    return min((entropy / count) * RELEVANCE_ONE / ENTROPY_MAX, RELEVANCE_ONE);
}
SHARED_FUNCTION uint relevance_normalise(uint value, uint largest)
{
    return value * RELEVANCE_ONE / max(largest, CONTRAST_MIN);
}

SHARED_FUNCTION uint relevance_tension(uint a, bool has_a, uint b, bool has_b, uint knob)
{
    if (!has_a) return b;
    return has_b ? (a * (65536u - knob) + b * knob) >> 16 : a;
}

// Terms that are off come as 0.
SHARED_FUNCTION uint relevance_combine(RelevanceParams p, uint gaze, uint information, uint saliency, uint query,
                                       uint motion, uint roi)
{
    bool has_information = (p.terms & TERM_INFORMATION) != 0u;
    bool has_saliency = (p.terms & TERM_SALIENCY) != 0u;
    bool has_query = (p.terms & TERM_QUERY) != 0u;
    bool has_gaze = (p.terms & TERM_GAZE) != 0u;
    if (p.terms == 0u) return RELEVANCE_ONE;
    if (p.combine == COMBINE_OPPONENT) {
        bool has_focus = has_query || has_gaze;
        uint focus = has_query ? query : gaze;
        uint count = uint(has_information || has_saliency) + uint(has_focus || has_information) +
                     uint(has_saliency || has_focus);
        uint sum = relevance_tension(information, has_information, saliency, has_saliency, p.knob_compress) +
                   relevance_tension(focus, has_focus, information, has_information, p.knob_exploit) +
                   relevance_tension(saliency, has_saliency, focus, has_focus, p.knob_focus);
        return max(count > 0u ? sum / count : 0u, max(motion, roi));
    }
    if (p.combine == COMBINE_MAX) return max(max(max(gaze, information), max(saliency, query)), max(motion, roi));
    if (p.combine == COMBINE_MEAN) {
        uint count = uint(has_gaze) + uint(has_information) + uint(has_saliency) + uint(has_query) +
                     uint((p.terms & TERM_MOTION) != 0u) + uint((p.terms & TERM_ROI) != 0u);
        return (gaze + information + saliency + query + motion + roi) / count;
    }
    if (p.combine == COMBINE_PRODUCT) {
        uint result = RELEVANCE_ONE;
        if (has_gaze) result = (result * gaze + 32767u) / RELEVANCE_ONE;
        if (has_information) result = (result * information + 32767u) / RELEVANCE_ONE;
        if (has_saliency) result = (result * saliency + 32767u) / RELEVANCE_ONE;
        if (has_query) result = (result * query + 32767u) / RELEVANCE_ONE;
        if ((p.terms & TERM_MOTION) != 0u) result = (result * motion + 32767u) / RELEVANCE_ONE;
        if ((p.terms & TERM_ROI) != 0u) result = (result * roi + 32767u) / RELEVANCE_ONE;
        return result;
    }
    return min(((gaze * p.weight_gaze) >> 16) + ((information * p.weight_information) >> 16) +
                   ((saliency * p.weight_saliency) >> 16) + ((query * p.weight_query) >> 16) +
                   ((motion * p.weight_motion) >> 16) + ((roi * p.weight_roi) >> 16),
               RELEVANCE_ONE);
}

// A part of the way from the previous value, and none of it where they are close, in proportion: no cell flickers.
SHARED_FUNCTION uint relevance_smooth(RelevanceParams p, uint value, uint previous)
{
    uint change = max(value, previous) - min(value, previous);
    if (change <= p.band + previous / 3u) return previous;
    uint part = max(change * p.keep / 256u, 1u);
    return value > previous ? previous + part : previous - part;
}

#ifdef __cplusplus
static_assert(sizeof(CellGrid) == 32 && sizeof(RelevanceImage) == 64 && sizeof(RelevanceParams) == 112);
#endif

SHARED_END
#endif
