// SPDX-License-Identifier: Apache-2.0
// A warp as a table: each output pixel is a weighted sum of texels from a few pyramid levels. The geometry, with
// its logarithms, has become positions and whole weights on the host; what is left is a sum of integers.
#ifndef FOVEATE_SHARED_WARP_H
#define FOVEATE_SHARED_WARP_H
#include "api.h"
SHARED_BEGIN

#define WARP_BITS 14u           // the weights of a pixel sum to 2^14: times 16-bit texels that fits 32 bits
#define WARP_ONE 16384u
#define WARP_RUN 4u             // texels in a run
#define WARP_LEVEL_SHIFT 28u
#define WARP_PLACE_MASK 0xfffffffu
#define WARP_ROW_SHIFT 14u      // level 0: column | row << 14
#define WARP_COLUMN_MASK 16383u

// Four neighbours in a row of one level. Where a level is narrower than a run the texels past its end have
// weight 0 and are not read.
struct WarpRun                  // 3 words
{
    uint place;                 // level << 28 | column | row << 14 at level 0, row * pitch + column above
    uint weights01;             // of texels 0 and 1: low half, high half
    uint weights23;
};

struct WarpHead                 // one output pixel, 2 words
{
    uint first;                 // its runs are [first, first + count)
    uint count;                 // bits 0..15: how many; 16..23: how many of the first one's level; 24..31: of
                                // the next level. They are in order of their level.
};

struct WarpParams               // one dispatch warps a part of one image
{
    uint image;
    uint first_pixel;           // of this dispatch; heads are counted from the image's first one
    uint element_count;         // to write: pixels * channels
    uint first_run;             // index of the first run that is bound
    uint channels;
    uint source_element;        // ELEMENT_* of level 0
    uint level_element;
    uint output_element;        // ELEMENT_*
    uint linear;                // 1: level 0 goes through the decode table, sums through the encode table
    float scale;                // float output of integer sums: value = sum / 64 * scale
    float quantise;             // to an index of the encode table: 65535 / largest value
    uint pad0;
};

#ifdef __cplusplus
static_assert(sizeof(WarpRun) == 12 && sizeof(WarpHead) == 8 && sizeof(WarpParams) == 48);
#endif

SHARED_END
#endif
