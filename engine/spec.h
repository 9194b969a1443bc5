// SPDX-License-Identifier: Apache-2.0
// What a caller may ask of each stage. The stages check every range; see engine/stages.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/types.h"

namespace foveate {

struct PyramidSpec {
    Edge edge = Edge::aligned;
    Color color = Color::encoded;
    std::uint32_t levels = 0;           // 0: to 1x1; 1: the image alone
};

enum class LayoutKind : std::uint32_t { grid, rings, views };

struct Gaze {
    double x = 0.5, y = 0.5;
};

struct GazeSpec {
    std::vector<std::vector<Gaze>> points;          // per image; one entry serves all; empty: the centre
    bool in_px = false;                             // px, not uv
    bool clamp = false;                             // move points into the image, else refuse them
};

struct View {                           // a rectangle and its own grid
    double x0 = 0, y0 = 0, x1 = 1, y1 = 1;
    std::uint32_t rows = 0, columns = 0;
};

struct LayoutSpec {
    LayoutKind kind = LayoutKind::grid;
    std::uint32_t budget = 273;                     // tokens an image; rings: 0 or the pattern's own count
    std::uint32_t cell = 16;                        // texels per token edge: patch * merge
    std::uint32_t rows = 0, columns = 0;            // grid: 0 lets the budget choose
    std::vector<std::uint32_t> strides, grids;      // rings
    bool level_order = false;                       // rings: by level from the centre, not raster
    std::vector<View> views;                        // empty: an overview and one fovea per gaze point
    GazeSpec gaze;                                  // its unit is that of the views too
};

struct SampleSpec {
    std::uint32_t patch = 16, merge = 1, frames = 1;
    std::vector<float> mean = {0, 0, 0}, std = {1, 1, 1};   // their length is the number of written channels
    bool channels_last = false;
    Dtype dtype = Dtype::f32;
    double taps = 3.0, lod_bias = 0.0;
};

enum class Falloff : std::uint32_t { table, polynomial, exponential, bands };
enum class TileContent : std::uint32_t { none, ffx, jnd };

struct RateRow {
    double limit = 0;                   // bands: eccentricity below which; else relevance above which
    std::uint32_t code = 0;
};

// What a device can do; engine/rate_codes.h has some by name. Everything: all rates of 1, 2 and 4.
struct RateProfile {
    std::uint32_t supported = 0x777;    // bit `code`
    std::uint32_t flags = RATE_STRICT | RATE_COMBINERS;
    std::uint32_t tile_min = 8, tile_max = 32;  // px
};

struct RateTilesSpec {
    std::uint32_t tile = 16;                        // px
    bool has_gaze = false;
    GazeSpec gaze;
    double fov_deg = 0;                             // of the image's width; 0: none, distances are fractions
    Falloff falloff = Falloff::table;
    std::vector<RateRow> rows;                      // the last one is for all that is left
    TileContent content = TileContent::none;
    double contrast = 0.05, ambient = 0.05;         // of white
    std::vector<std::vector<std::uint32_t>> velocity;   // per image and tile, 1/16 px a frame; empty: none
    std::vector<std::vector<std::uint32_t>> primitive;  // per image and tile, codes; empty: that below
    std::uint32_t pipeline_code = 0, primitive_code = 0;
    std::uint32_t terms = RATE_MAX;                 // of gaze, content and velocity: RATE_MIN or RATE_MAX
    std::uint32_t op0 = RATE_KEEP, op1 = RATE_REPLACE;
    RateProfile profile;
};

struct TokensSpec {
    PyramidSpec pyramid;
    LayoutSpec layout;
    SampleSpec sample;
};

}  // namespace foveate
