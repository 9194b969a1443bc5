// SPDX-License-Identifier: Apache-2.0
// Luma in whole numbers: what relevance, rates and rates of tiles judge detail by.
#ifndef FOVEATE_SHARED_LUMA_H
#define FOVEATE_SHARED_LUMA_H
#include "api.h"
SHARED_BEGIN

#define LUMA_R 38u          // of 128: the weights of ITU-R BT.601, 0.299, 0.587, 0.114, so that 16 bits hold the sum
#define LUMA_G 75u
#define LUMA_B 15u
#define LUMA_HALF 64u
#define LUMA_BITS 7u

SHARED_FUNCTION uint luma_of(uint r, uint g, uint b)
{
    return (LUMA_R * r + LUMA_G * g + LUMA_B * b + LUMA_HALF) >> LUMA_BITS;
}

SHARED_END
#endif
