// SPDX-License-Identifier: Apache-2.0
// Shading rates for hardware: one code for each tile of px, and the arithmetic of codes. Integers only.
// Vulkan specification, "Primitive Rasterization: Fragment Shading Rates"; D3D12 "Variable-rate shading".
#ifndef FOVEATE_SHARED_RATE_TILES_H
#define FOVEATE_SHARED_RATE_TILES_H
#include "luma.h"
SHARED_BEGIN

#define RATE_KEEP 0u            // D3D12: PASSTHROUGH
#define RATE_REPLACE 1u         // D3D12: OVERRIDE
#define RATE_MIN 2u
#define RATE_MAX 3u
#define RATE_MUL 4u             // D3D12: SUM, of logarithms

#define RATE_STRICT 1u          // a device whose MUL of 1 and 1 is 1; else it is 2
#define RATE_COMBINERS 2u       // ... that has MIN, MAX and MUL at all
#define RATE_TRANSPOSE 4u       // ... that may clamp to a rate which fits only when turned
#define RATE_TALL 8u            // ... that takes the tall one of two equals, not the wide one
#define RATE_CLAMP_INPUTS 16u   // ... that clamps what goes into a combiner as well (VK_KHR_maintenance6)

#define RATE_CODES 16u
#define RATE_CUTS 8u            // rows of a threshold table: four bits each fit a word
#define RATE_CURVE 1024u        // entries of the velocity curves, in 1/16 px a frame

#define TILE_CONTENT_NONE 0u
#define TILE_CONTENT_FFX 1u
#define TILE_CONTENT_JND 2u

struct TileGrid                 // the tiles of one image, 12 words
{
    uint first;                 // index of its first tile over the whole batch: a byte of codes, a word of maps
    uint columns;               // ceil(width / tile)
    uint rows;
    uint pitch;                 // from row to row, a multiple of 4
    uint width;                 // of the image, px
    uint height;
    uint points;                // in the tables: its gaze points, x and y in half px
    uint point_count;
    uint cuts;                  // in the tables: least squared distances, half px, of row 1, 2, ...
    uint pad0;
    uint pad1;
    uint pad2;
};

struct RateTilesParams
{
    uint image_count;
    uint tile;                  // px: 8, 16 or 32
    uint content;               // TILE_CONTENT_*
    uint cut_count;             // rows of the threshold table less one
    uint cut_codes;             // the code of row k in bits 4k ..
    uint gaze;                  // 1: there is a gaze term
    uint velocity;              // 1: there is a velocity
    uint maps;                  // 1: maps holds velocity | primitive code << 16 of each tile
    uint primitive;             // the code where maps does not say
    uint terms;                 // RATE_*: how gaze, content and velocity become one
    uint fine;                  // ffx: least contrast between neighbours, luma in 1/256
    uint coarse;                // ... and between 2x2 blocks, sums of four
    uint curves;                // in the tables: half[RATE_CURVE], then quarter[RATE_CURVE], in 1/256
    uint jnd;                   // ... jnd[256]: squared, luma in 1/4096
    uint final_codes;           // ... [primitive * RATE_CODES + attachment]: combined and clamped
    uint words;                 // 4 tiles to a word: most in a row of any image
};

SHARED_FUNCTION uint rate_code(uint log_w, uint log_h) { return log_w << 2 | log_h; }
SHARED_FUNCTION uint rate_log_w(uint code) { return code >> 2 & 3u; }
SHARED_FUNCTION uint rate_log_h(uint code) { return code & 3u; }

// What a combination makes may be larger than any code: logarithms in bytes, w above h.
SHARED_FUNCTION uint rate_wide(uint code) { return rate_log_w(code) << 8 | rate_log_h(code); }

SHARED_FUNCTION uint rate_combine_log(uint op, uint a, uint b, uint flags)
{
    if (op == RATE_KEEP) return a;
    if (op == RATE_REPLACE) return b;
    if (op == RATE_MIN) return min(a, b);
    if (op == RATE_MAX) return max(a, b);
    return a + b == 0u && (flags & RATE_STRICT) == 0u ? 1u : a + b;
}

// Along each axis by itself: the code is no number that min and max could order.
SHARED_FUNCTION uint rate_combine(uint op, uint a, uint b, uint flags)
{
    return rate_combine_log(op, a >> 8, b >> 8, flags) << 8 |
           rate_combine_log(op, a & 255u, b & 255u, flags);
}

// Two codes as one, by RATE_MIN or RATE_MAX.
SHARED_FUNCTION uint rate_join(uint op, uint a, uint b)
{
    if (op == RATE_MIN) return min(a & 12u, b & 12u) | min(a & 3u, b & 3u);
    return max(a & 12u, b & 12u) | max(a & 3u, b & 3u);
}

// The specification's choice of a rate that the device has, bit `code` of `supported`: of those no larger
// along either axis the largest area, then the least w + h, then always the wide or always the tall one.
SHARED_FUNCTION uint rate_clamp(uint wide, uint supported, uint flags)
{
    uint w = wide >> 8;
    uint h = wide & 255u;
    uint best = 0u;
    uint best_score = 0u;
    for (uint code = 0u; code < RATE_CODES; ++code) {
        uint log_w = rate_log_w(code);
        uint log_h = rate_log_h(code);
        bool straight = log_w <= w && log_h <= h;
        bool turned = (flags & RATE_TRANSPOSE) != 0u && log_h <= w && log_w <= h;
        if ((supported >> code & 1u) == 0u || !(straight || turned)) continue;
        if (log_w == w && log_h == h) return code;
        uint preferred = (log_h > log_w) == ((flags & RATE_TALL) != 0u) ? 1u : 0u;
        uint score = (log_w + log_h + 1u) << 8 | (31u - (1u << log_w) - (1u << log_h)) << 1 | preferred;
        if (score > best_score) {
            best_score = score;
            best = code;
        }
    }
    return best;
}

// Pipeline and primitive, then the attachment, then what the device has.
SHARED_FUNCTION uint rate_final(uint pipeline, uint primitive, uint attachment, uint op0, uint op1,
                                uint supported, uint flags)
{
    uint a = rate_wide(pipeline);
    uint b = rate_wide(primitive);
    uint c = rate_wide(attachment);
    if ((flags & RATE_CLAMP_INPUTS) != 0u) {
        a = rate_wide(rate_clamp(a, supported, flags));
        b = rate_wide(rate_clamp(b, supported, flags));
        c = rate_wide(rate_clamp(c, supported, flags));
    }
    uint ab = rate_combine(op0, a, b, flags);
    if ((flags & RATE_CLAMP_INPUTS) != 0u) ab = rate_wide(rate_clamp(ab, supported, flags));
    return rate_clamp(rate_combine(op1, ab, c, flags), supported, flags);
}

// An aspect of 2 at most, by taking from the longer side: never coarser than it was.
SHARED_FUNCTION uint rate_fix(uint code)
{
    uint log_w = rate_log_w(code);
    uint log_h = rate_log_h(code);
    return rate_code(min(log_w, log_h + 1u), min(log_h, log_w + 1u));
}

// VALAR's: 4x1 becomes 4x2, and 1x4 becomes 1x2.
SHARED_FUNCTION uint rate_fix_valar(uint code) { return code == 8u ? 9u : code == 2u ? 1u : code; }

// Fragments over `extent` px, the last one perhaps cut by the edge.
SHARED_FUNCTION uint rate_fragments(uint extent, uint log_side) { return (extent + (1u << log_side) - 1u) >> log_side; }

// FidelityFX Variable Shading's tree: bit 0, the tile needs the finer width; bit 1, the finer height. dx, dy and
// dz are the largest differences across, down and within a quad. A tie of dx and dy counts for both, so that a
// turned picture gives turned rates.
SHARED_FUNCTION uint rate_detail(uint dx, uint dy, uint dz, uint weight, uint cut)
{
    uint any = dz * weight >= cut ? 1u : 0u;
    uint x = dx >= dy || dx * weight >= cut ? 1u : 0u;
    uint y = dy >= dx || dy * weight >= cut ? 1u : 0u;
    return any * (x | y << 1);
}

SHARED_FUNCTION uint rate_of_details(uint fine, uint coarse)
{
    uint log_w = (fine & 1u) != 0u ? 0u : 2u - (coarse & 1u);
    uint log_h = (fine & 2u) != 0u ? 0u : 2u - (coarse >> 1);
    return rate_fix(rate_code(log_w, log_h));
}

// Light of a luma byte, the square as VALAR takes it: luma^2 / 255, rounded.
SHARED_FUNCTION uint rate_light(uint luma) { return (luma * luma + 128u + ((luma * luma + 128u) >> 8)) >> 8; }

// A mean of squares in 1/16.
SHARED_FUNCTION uint rate_mean(uint sum, uint count)
{
    return count == 0u ? 0u : sum / count * 16u + sum % count * 16u / count;
}

// VALAR: the error that a halved rate would make, against what is just noticeable.
SHARED_FUNCTION uint rate_jnd_log(uint mean, uint jnd, uint half_weight, uint quarter_weight)
{
    if (mean * half_weight >= jnd) return 0u;
    return mean * quarter_weight < jnd ? 2u : 1u;
}

// Velocity alone: as if the error were twice what is just noticeable.
SHARED_FUNCTION uint rate_velocity(uint half_weight, uint quarter_weight)
{
    uint log_side = half_weight >= 128u ? 0u : quarter_weight >= 128u ? 1u : 2u;
    return rate_code(log_side, log_side);
}

#ifdef __cplusplus
static_assert(sizeof(TileGrid) == 48 && sizeof(RateTilesParams) == 64);
#endif

SHARED_END
#endif
