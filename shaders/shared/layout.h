// SPDX-License-Identifier: Apache-2.0
// The layout table: one row per token, and the spans it is written from.
#ifndef FOVEATE_SHARED_LAYOUT_H
#define FOVEATE_SHARED_LAYOUT_H
#include "api.h"
SHARED_BEGIN

struct Token                // 12 words; px in 1/65536
{
    int x;                  // top left corner, may lie outside the image
    int y;
    uint w;                 // footprint; 0 in a padding row
    uint h;
    float inv_w;            // 1 / texel footprint of its span in 1/65536 px, made by the host
    float inv_h;
    uint image;
    uint fixation;
    uint rate;              // as rate_encode() of shared/rate.h; not of kind rate: nearest of 1, 2, 4 and 8
    uint valid;             // 1: overlaps the image
    uint row;               // index within its image
    uint level;             // pyramid level it is read from; known once a sample stage has run
};

struct LayoutSpan           // a run of rows laid out by one rule, 20 words
{
    uint first;             // first row it writes, over the whole batch
    uint count;
    uint columns;           // grid: cells per row; 0: rows follow the pattern; pattern == 0 too: padding
    uint rows;
    int x;                  // origin, px in 1/65536
    int y;
    uint w;                 // extent of the whole grid; pattern: the unit of its cells
    uint h;
    float inv_w;
    float inv_h;
    uint image;
    uint fixation;
    uint image_width;       // px
    uint image_height;
    uint pattern;           // first LayoutCell + 1, or 0
    uint rate;
    uint row;               // index of `first` within its image
    uint pad0;
    uint pad1;
    uint pad2;
};

struct LayoutCell           // one token of a pattern, 8 words
{
    int x;                  // corner from the span's origin, in units of its w and h
    int y;
    uint w;                 // in the same units
    uint h;
    float inv_w;            // 1 / texel footprint in 1/65536 px, made by the host
    float inv_h;
    uint rate;
    uint fixation;          // added to the span's
};

struct LayoutGrid           // rate: the cells of one image, 8 words
{
    uint first;             // its first cell over the whole batch
    uint columns;
    uint rows;
    uint gaze;              // its gaze points: first and how many
    uint gaze_count;
    uint pad0;
    uint pad1;
    uint pad2;
};

struct LayoutGaze           // half px
{
    int x;
    int y;
};

struct LayoutParams
{
    uint token_count;       // rows over the whole batch; rate: rows of each image
    uint span_count;        // rate: images
    uint cell;              // rate: px a cell's edge
    uint scale_log2;        // rate: log2 of the px a texel of the finest token
};

// Where column `index` of `count` begins in an extent: integers only, so neighbours share their edge.
SHARED_FUNCTION uint layout_edge(uint extent, uint count, uint index)
{
    return (extent / count) * index + ((extent % count) * index) / count;
}

#ifdef __cplusplus
static_assert(sizeof(Token) == 48 && sizeof(LayoutSpan) == 80 && sizeof(LayoutCell) == 32);
static_assert(sizeof(LayoutGrid) == 32 && sizeof(LayoutGaze) == 8 && sizeof(LayoutParams) == 16);
#endif

SHARED_END
#endif
