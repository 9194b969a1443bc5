// SPDX-License-Identifier: Apache-2.0
// Rates of tokens: the code of a rate, what splitting a token gains, and the tree of splits of a block.
#ifndef FOVEATE_SHARED_RATE_H
#define FOVEATE_SHARED_RATE_H
#include "relevance.h"
SHARED_BEGIN

#define RATE_SLOTS 16u      // splits that a block of 16 x 16 cells can have, 4 for each doubling
#define RATE_DEPTHS 8u      // halvings from 16 x 16 cells to one
#define RATE_NODES 256u     // more than a block has split nodes
#define RATE_NONE 0u        // slope of a place where no split begins
#define RATE_AXIS_Y 0x80000000u  // in a slope: split along y; else along x

struct RateParams           // 20 words
{
    uint image_count;
    uint cell_count;        // over the batch
    uint cell;              // px a cell's edge
    uint max_log2;          // log2 of a block's edge in cells
    uint square;            // 1: quarters only
    uint shift;             // gains are in 2^-shift of a squared luma step
    uint drop;              // bits that leave with the weighting, so that a block's sum fits
    uint weighted;          // 1: relevance is bound
    uint steady;            // 1: gains are smoothed against the previous ones
    uint hold;              // 1: splits of the previous rates gain hysteresis / 256 more
    uint hysteresis;
    uint element;           // ELEMENT_* of the images
    uint channels;
    uint width_max;         // words of the widest luma row
    uint height_max;        // px of the tallest image
    uint blocks_max;        // blocks of the image with most
    uint pad0;
    uint pad1;
    uint pad2;
    uint pad3;
};

struct RateImage            // one image of the batch, 8 words
{
    uint luma;              // first word of its luma plane: bytes, rows of `pitch` words
    uint pitch;
    uint need;              // tokens to add to its blocks
    uint block_columns;
    uint block_rows;
    uint pad0;
    uint pad1;
    uint pad2;
};

struct RateCut              // what selection leaves for one image, 4 words
{
    uint slope;             // splits above this slope are taken,
    uint order;             // and those of this very slope before this place
    uint pad0;
    uint pad1;
};

// log2 w << 2 | log2 h as in Vulkan and Direct3D; the third bits, which 16 needs, lie above.
SHARED_FUNCTION uint rate_encode(uint log2_w, uint log2_h)
{
    return (log2_w & 3u) << 2 | (log2_h & 3u) | (log2_w >> 2) << 5 | (log2_h >> 2) << 4;
}
SHARED_FUNCTION uint rate_log2_w(uint code) { return (code >> 2 & 3u) | (code >> 5 & 1u) << 2; }
SHARED_FUNCTION uint rate_log2_h(uint code) { return (code & 3u) | (code >> 4 & 1u) << 2; }

// The slot of a split: x halves (2s, s) or (2s, 2s), y halves (s, 2s) or (2s, 2s), s = 1, 2, 4, 8.
SHARED_FUNCTION uint rate_slot(uint log2_w, uint log2_h, bool along_y)
{
    uint longer = max(log2_w, log2_h) - 1u;
    return 4u * longer + (log2_w == log2_h ? 2u : 0u) + (along_y ? 1u : 0u);
}

// May a token of this rate be halved so? Sides differ by one doubling at most.
SHARED_FUNCTION bool rate_splits_x(uint log2_w, uint log2_h) { return log2_w > 0u && log2_w >= log2_h; }
SHARED_FUNCTION bool rate_splits_y(uint log2_w, uint log2_h) { return log2_h > 0u && log2_h >= log2_w; }

// Gain of halving a box of 2^log2_n px whose halves sum to luma that is `d` apart.
SHARED_FUNCTION uint rate_gain(uint d, uint log2_n, uint shift)
{
    return shift >= log2_n ? d * d << (shift - log2_n) : d * d >> (log2_n - shift);
}

// The part of a box's gain that falls to `count` of its 2^log2_n px.
SHARED_FUNCTION uint rate_share(uint gain, uint log2_n, uint count)
{
    uint rest = gain & ((1u << log2_n) - 1u);
    return (gain >> log2_n) * count + ((rest * count) >> log2_n);
}

// A gain held where it differs little from the one before, else drawn towards it; a change of scene is taken at
// once.
SHARED_FUNCTION uint rate_steady(uint now, uint before, uint shift)
{
    uint room = 16u << shift;
    if (now > 4u * min(before, 0x3fffffffu - room) + room) return now;
    if (before > 4u * min(now, 0x3fffffffu - room) + room) return now;
    uint apart = now >= before ? now - before : before - now;
    if (apart <= before / 8u) return before;
    return now >= before ? before + apart / 8u : before - apart / 8u;
}

// A gain that the previous rates have already taken.
SHARED_FUNCTION uint rate_held(uint gain, uint hysteresis)
{
    return gain + (gain >> 8) * hysteresis + (((gain & 255u) * hysteresis) >> 8);
}

#ifdef __cplusplus
static_assert(sizeof(RateParams) == 80 && sizeof(RateImage) == 32 && sizeof(RateCut) == 16);
#endif

SHARED_END
#endif
