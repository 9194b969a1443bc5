// SPDX-License-Identifier: Apache-2.0
// The pyramid in memory. Level 0 is the caller's image, as it came; levels 1.. are planar.
//   8-bit, color="encoded": u16 in 8.8 fixed point (byte * 256): box averages are exact down to level 4.
//   8-bit, color="linear":  u16, 65535 = white, decoded from sRGB by a host-made table.
//   16-bit images: u16 as they are. float images and edge="exact": f32.
#ifndef FOVEATE_SHARED_PYRAMID_H
#define FOVEATE_SHARED_PYRAMID_H
#include "api.h"
SHARED_BEGIN

struct ImageDesc            // one image of a batch, 12 words
{
    uint offset_word;       // first 4-byte word of its pixels in the pixel buffer
    uint width;
    uint height;
    uint channels;          // stored channels that are used, 1 or 3
    uint row_stride;        // bytes
    uint pixel_stride;      // bytes
    uint channel_stride;    // bytes
    uint element;           // ELEMENT_*
    uint offset_byte;       // 0..3 within the first word
    uint pad0;
    uint pad1;
    uint pad2;
};

struct LevelDesc            // one level of one image, 4 words; at [image * MAX_LEVELS + level], level 0 included
{
    uint offset;            // first element in the level buffer; a plane is pitch * height elements
    uint width;             // 0: this image has no such level
    uint height;
    uint pitch;             // elements from row to row, even
};

struct AxisTap              // edge="exact": one output texel of one axis, 4 words
{
    uint first;             // first source texel
    float w0;               // weights of first, first + 1, first + 2
    float w1;
    float w2;
};

struct PyramidParams        // one dispatch makes one level of every image of the batch
{
    uint image_count;
    uint level;             // the level that is made, from level - 1
    uint source_element;    // ELEMENT_* of the images
    uint level_element;     // ELEMENT_U16 or ELEMENT_F32
    uint linear;            // 1: level 0 goes through the decode table
    uint exact;             // 1: edge="exact", axis taps below
    uint taps_offset;       // first AxisTap of this level in the tap buffer
    uint width_max;         // largest output width and height in the batch
    uint height_max;
    uint channels;
    uint taps_stride;       // AxisTaps per image at this level: columns first,
    uint taps_rows;         // rows from here on
};

struct PyramidTextureParams // texels of one level of one 8-bit image as words of RGBA bytes
{
    uint image;             // which of the batch
    uint level;
    uint level_element;     // ELEMENT_U16 or ELEMENT_F32, of levels 1..
    uint channels;
    uint width;             // of a row, px: the level's or more
    uint first;             // texel, row by row, that becomes the first word
    uint count;
    uint pad0;
};

#ifdef __cplusplus
static_assert(sizeof(PyramidTextureParams) == 32);
static_assert(sizeof(ImageDesc) == 48 && sizeof(LevelDesc) == 16 && sizeof(AxisTap) == 16);
static_assert(sizeof(PyramidParams) == 48);
#endif

SHARED_END
#endif
