// SPDX-License-Identifier: Apache-2.0
// Images shaded at coarse rates: what the rasteriser with a shading rate attachment and the compute shader that
// follows the same rules both read. Coarse fragments lie on the grid of their own size.
#ifndef FOVEATE_SHARED_SAMPLE_VRS_H
#define FOVEATE_SHARED_SAMPLE_VRS_H
#include "rate_tiles.h"
SHARED_BEGIN

#define VRS_BLOCK 4u            // px: the largest fragment's edge; an invocation of the compute shader shades so much

struct VrsParams
{
    uint width;                 // px
    uint height;
    uint tile;                  // px a code: a multiple of VRS_BLOCK
    uint columns;               // codes a row
    uint finals_low;            // what is shaded where the attachment says 0..7, four bits each
    uint finals_high;           // ... 8..15
    uint primitive;             // raster alone: the code of what is drawn
    uint channels;              // 1 or 3
};

SHARED_FUNCTION uint vrs_final(VrsParams params, uint code)
{
    return (code < 8u ? params.finals_low : params.finals_high) >> (4u * (code & 7u)) & 15u;
}

// px from row to row of the codes that are written: whole words.
SHARED_FUNCTION uint vrs_pitch(uint width) { return (width + VRS_BLOCK - 1u) / VRS_BLOCK * VRS_BLOCK; }

// The two texels along one axis that meet at the fragment's centre; for 1 px both are that px. Outside of the image its
// edge is repeated.
SHARED_FUNCTION uint vrs_before(uint origin, uint log_side, uint size)
{
    return min(origin + ((1u << log_side) - 1u) / 2u, size - 1u);
}

SHARED_FUNCTION uint vrs_after(uint origin, uint log_side, uint size)
{
    return min(origin + (1u << log_side) / 2u, size - 1u);
}

#ifdef __cplusplus
static_assert(sizeof(VrsParams) == 32);
#endif

SHARED_END
#endif
