// SPDX-License-Identifier: Apache-2.0
// The cells of a batch: one value of relevance, and one rate, for each.
#ifndef FOVEATE_SHARED_RELEVANCE_H
#define FOVEATE_SHARED_RELEVANCE_H
#include "api.h"
SHARED_BEGIN

#define RELEVANCE_ONE 65535u    // relevance and its terms are whole numbers, 0..65535 for 0..1

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

#ifdef __cplusplus
static_assert(sizeof(CellGrid) == 32);
#endif

SHARED_END
#endif
