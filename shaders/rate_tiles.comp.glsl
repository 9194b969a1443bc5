// SPDX-License-Identifier: Apache-2.0
// One shading rate for each tile. A group measures whole words of tiles, each by a fixed number of neighbouring
// invocations; what they find is joined by integer maxima and sums, whose order does not matter.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/pyramid.h"
#include "shared/rate_tiles.h"

#define LEVEL_ACCESS readonly
#include "lib/pixels.glsl"

PARAMS(RateTilesParams);
layout(local_size_x = 64) in;
layout(std430, binding = 10) readonly buffer Grids { TileGrid grids[]; };
layout(std430, binding = 11) readonly buffer Tables { uint tables[]; };
layout(std430, binding = 12) readonly buffer Maps { uint maps[]; };
layout(std430, binding = 13) writeonly buffer Codes { uint code_words[]; };

#define TILES_MAX 16u
shared uint found[TILES_MAX][6];    // ffx: the six contrasts; jnd: sums across, down, of light
shared uint tile_codes[TILES_MAX];

uint byte_at(ImageDesc image, uint x, uint y, uint channel)
{
    uint bits = image_bits(image, x, y, channel);
    if (image.element == ELEMENT_U8) return bits;
    if (image.element == ELEMENT_U16) return bits >> 8;
    precise float scaled = clamp(uintBitsToFloat(bits), 0.0, 1.0) * 255.0;
    precise float rounded = scaled + 0.5;
    return uint(rounded);
}

// px outside the image repeat its edge
uint luma(ImageDesc image, uint x, uint y)
{
    x = min(x, image.width - 1u);
    y = min(y, image.height - 1u);
    if (image.channels == 1u) return byte_at(image, x, y, 0u);
    return luma_of(byte_at(image, x, y, 0u), byte_at(image, x, y, 1u), byte_at(image, x, y, 2u));
}

uint apart(uint a, uint b) { return max(a, b) - min(a, b); }

// Largest difference across, down and at all within four values: (0, 0), (1, 0), (0, 1), (1, 1).
void keep_quad(uint tile, uint plane, uvec4 v)
{
    atomicMax(found[tile][plane], max(apart(v.x, v.y), apart(v.z, v.w)));
    atomicMax(found[tile][plane + 1u], max(apart(v.x, v.z), apart(v.y, v.w)));
    atomicMax(found[tile][plane + 2u], max(max(v.x, v.y), max(v.z, v.w)) - min(min(v.x, v.y), min(v.z, v.w)));
}

void measure_ffx(ImageDesc image, uint tile, uint x, uint y)
{
    uvec4 sums;
    for (uint quad = 0u; quad < 4u; ++quad) {
        uint left = x + 2u * (quad & 1u);
        uint top = y + 2u * (quad >> 1);
        uvec4 v = uvec4(luma(image, left, top), luma(image, left + 1u, top), luma(image, left, top + 1u),
                        luma(image, left + 1u, top + 1u));
        keep_quad(tile, 0u, v);
        sums[quad] = (v.x + v.y) + (v.z + v.w);
    }
    keep_quad(tile, 3u, sums);
}

// Pairs within the tile and the image only.
void measure_jnd(ImageDesc image, uint tile, uint x, uint y, uint x_end, uint y_end)
{
    uint across = 0u;
    uint down = 0u;
    uint sum = 0u;
    for (uint texel = 0u; texel < 16u; ++texel) {
        uint at_x = x + (texel & 3u);
        uint at_y = y + (texel >> 2);
        if (at_x >= x_end || at_y >= y_end) continue;
        uint here = rate_light(luma(image, at_x, at_y));
        uint right = at_x + 1u < x_end ? apart(here, rate_light(luma(image, at_x + 1u, at_y))) : 0u;
        uint below = at_y + 1u < y_end ? apart(here, rate_light(luma(image, at_x, at_y + 1u))) : 0u;
        across += right * right;
        down += below * below;
        sum += here;
    }
    atomicAdd(found[tile][0], across);
    atomicAdd(found[tile][1], down);
    atomicAdd(found[tile][2], sum);
}

uint jnd_code(uint tile, uint columns, uint rows, uint half_weight, uint quarter_weight)
{
    uint just = tables[p.jnd + found[tile][2] / (columns * rows)];
    uint across = rate_mean(found[tile][0], (columns - 1u) * rows);
    uint down = rate_mean(found[tile][1], columns * (rows - 1u));
    return rate_fix(rate_code(rate_jnd_log(across, just, half_weight, quarter_weight),
                              rate_jnd_log(down, just, half_weight, quarter_weight)));
}

uint gaze_code(TileGrid grid, uint column, uint row)
{
    uint least = 0xffffffffu;
    for (uint k = 0u; k < grid.point_count; ++k) {
        uint dx = (2u * column + 1u) * p.tile - tables[grid.points + 2u * k];
        uint dy = (2u * row + 1u) * p.tile - tables[grid.points + 2u * k + 1u];
        least = min(least, dx * dx + dy * dy);
    }
    uint code = p.cut_codes & 15u;
    for (uint k = 0u; k < p.cut_count; ++k)
        if (least >= tables[grid.cuts + k]) code = p.cut_codes >> (4u * k + 4u) & 15u;
    return code;
}

uint code_of(TileGrid grid, uint tile, uint column, uint row)
{
    uint map = p.maps != 0u ? maps[grid.first + row * grid.pitch + column] : p.primitive << 16;
    uint code = 0u;
    if (p.content != TILE_CONTENT_NONE || p.velocity != 0u) {
        uint velocity = p.velocity != 0u ? map & 65535u : 0u;
        uint half_weight = tables[p.curves + velocity];
        uint quarter_weight = tables[p.curves + RATE_CURVE + velocity];
        if (p.content == TILE_CONTENT_FFX)
            code = rate_of_details(
                rate_detail(found[tile][0], found[tile][1], found[tile][2], half_weight, p.fine),
                rate_detail(found[tile][3], found[tile][4], found[tile][5], quarter_weight, p.coarse));
        else if (p.content == TILE_CONTENT_JND)
            code = jnd_code(tile, min(p.tile, grid.width - column * p.tile), min(p.tile, grid.height - row * p.tile),
                            half_weight, quarter_weight);
        else
            code = rate_velocity(half_weight, quarter_weight);
    }
    if (p.gaze != 0u) {
        uint seen = gaze_code(grid, column, row);
        code = p.content == TILE_CONTENT_NONE && p.velocity == 0u ? seen : rate_join(p.terms, code, seen);
    }
    return tables[p.final_codes + (map >> 16) * RATE_CODES + code];
}

void main()
{
    uint threads = min(p.tile * p.tile / 16u, 16u);     // of one tile: one for each 4 x 4 px, up to 16
    uint tiles = 64u / threads;
    uint tile = gl_LocalInvocationID.x / threads;
    uint thread = gl_LocalInvocationID.x % threads;
    TileGrid grid = grids[gl_WorkGroupID.z];
    uint first = gl_WorkGroupID.x * tiles;
    uint column = first + tile;
    uint row = gl_WorkGroupID.y;
    bool inside = column < grid.columns && row < grid.rows;

    if (gl_LocalInvocationID.x < TILES_MAX)
        for (uint k = 0u; k < 6u; ++k) found[gl_LocalInvocationID.x][k] = 0u;
    barrier();
    if (inside && p.content != TILE_CONTENT_NONE) {
        ImageDesc image = images[gl_WorkGroupID.z];
        uint groups = p.tile / 4u;
        for (uint k = thread; k < groups * groups; k += threads) {
            uint x = column * p.tile + 4u * (k % groups);
            uint y = row * p.tile + 4u * (k / groups);
            if (p.content == TILE_CONTENT_FFX)
                measure_ffx(image, tile, x, y);
            else
                measure_jnd(image, tile, x, y, min((column + 1u) * p.tile, image.width),
                            min((row + 1u) * p.tile, image.height));
        }
    }
    barrier();
    if (thread == 0u) tile_codes[tile] = inside ? code_of(grid, tile, column, row) : 0u;
    barrier();
    uint word = gl_LocalInvocationID.x;
    if (word * 4u >= tiles || first + word * 4u >= grid.pitch || row >= grid.rows) return;
    uint bits = 0u;
    for (uint k = 0u; k < 4u; ++k) bits |= tile_codes[word * 4u + k] << (8u * k);
    code_words[(grid.first + row * grid.pitch + first) / 4u + word] = bits;
}
