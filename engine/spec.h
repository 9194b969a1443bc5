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

struct RateSpec {
    std::uint32_t budget = 273;         // tokens an image
    std::uint32_t cell = 16;            // px a cell's edge: patch * merge
    std::uint32_t max_rate = 0;         // cells a block's edge: 1, 2, 4, 8 or 16; 0: what fits the budget,
                                        // where blocks of 16 are too many on cells of twice the edge, or 4, 8, ...
    bool square = false;                // squares only; else sides may differ by one doubling
    double hysteresis = 0.25;           // with previous rates: by how much their splits are preferred, 0..1
    bool steady = false;                // with previous rates: smooth what noise adds to the detail
};

enum class LayoutKind : std::uint32_t { grid, rings, views, logpolar, cortical, rate };

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

struct Heat {                           // where the mass of an image lies; rows x columns over the whole of it
    std::uint32_t rows = 0, columns = 0;
    std::vector<double> mass;           // 0 or more
};

struct LayoutSpec {
    LayoutKind kind = LayoutKind::grid;
    std::uint32_t budget = 273;                     // tokens an image; rings: 0 or the pattern's own count
    std::uint32_t cell = 16;                        // texels per token edge: patch * merge
    std::uint32_t rows = 0, columns = 0;            // grid: 0 lets the budget choose
    std::vector<std::uint32_t> strides, grids;      // rings
    bool level_order = false;                       // rings, logpolar, cortical: from the centre, not raster
    std::vector<View> views;                        // empty: an overview and one fovea per gaze point
    GazeSpec gaze;                                  // its unit is that of the views too
    double alpha = 0;                               // logpolar, in half image diagonals; 0: FOVEATION
    double e0 = 0;                                  // cortical, the same
    std::uint32_t passes = 2;                       // views: from the overview to the fovea
    double rho = 0;                                 // views: share of the heat in the region; 0: no region
    std::vector<Heat> heat;                         // one for all images or one each; empty: from the gaze,
    double sigma = 1.0 / 32;                        // smoothed by so much of the longer side, on rows x columns
};

enum class Falloff : std::uint32_t { cortical, polynomial, exponential, bands, geisler };
enum class Saliency : std::uint32_t { none, gradient, surround, both, spectral };
enum class Combine : std::uint32_t { automatic, opponent, max, mean, product, weights };

struct Map {                            // importance over a whole image, 0..1, row by row
    std::uint32_t width = 0, height = 0;
    std::vector<float> values;
};

struct Box {                            // of interest
    double x0 = 0, y0 = 0, x1 = 1, y1 = 1;
};

struct TracePoint {
    double x = 0.5, y = 0.5, weight = 1;
};

// Terms are off unless asked for. Lists by image: one entry serves all.
struct RelevanceSpec {
    std::uint32_t cell = 16;                        // px a cell's edge: patch * merge
    bool gaze_on = false;
    GazeSpec gaze;                                  // its unit is that of boxes and traces too
    Falloff falloff = Falloff::cortical;
    std::vector<double> falloff_values;             // empty: the documented ones; bands: pairs (e_max, value)
    double fov_deg = 0, viewing_px = 0;             // eccentricity in degrees, by one of them; 0: in half diagonals
    double beta = 0;                                // above 0: salient cells count as less eccentric
    bool information = false;
    Saliency saliency = Saliency::none;
    bool motion = false;                            // against the previous relevance's luma
    std::vector<Map> query;                         // empty: off
    std::vector<std::vector<Box>> boxes;         // roi is on with any of boxes, masks and traces
    std::vector<Map> masks;
    std::vector<std::vector<TracePoint>> traces;
    double sigma = 0.05;                            // of a trace's heat, in image widths
    Combine combine = Combine::automatic;           // opponent with two of its sides or more, else max
    double knobs[3] = {0.5, 0.5, 0.5};              // compress, exploit, focus
    double weights[6] = {};                         // gaze, information, saliency, query, motion, roi
    double floor = 0.02;
    double smooth = 0.5, band = 1.0 / 64;           // against the previous relevance
};

struct SampleSpec {
    std::uint32_t patch = 16, merge = 1, frames = 1;
    std::vector<float> mean = {0, 0, 0}, std = {1, 1, 1};   // their length is the number of written channels
    bool channels_last = false;
    Dtype dtype = Dtype::f32;
    double taps = 3.0, lod_bias = 0.0;
};

enum class TileFalloff : std::uint32_t { table, polynomial, exponential, bands };
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
    TileFalloff falloff = TileFalloff::table;
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

enum class WarpKind : std::uint32_t { logpolar, cartesian };

struct WarpSpec {
    WarpKind kind = WarpKind::logpolar;
    bool inverse = false;                           // from a warped image back to one of width x height
    bool round = false;                             // cartesian: circles to circles, not squares to squares
    std::uint32_t width = 0, height = 0;            // of the output; logpolar: radii and angles
    GazeSpec gaze;                                  // one point an image, in the image that is not warped
    double alpha = 0;                               // magnification is 1 / (r + alpha): px, or degrees with fov_deg
    double radius = 0;                              // px from the gaze to the end of the warped image
    double fov_deg = 0;                             // across the width of the image that is not warped
    std::uint32_t taps = 2;                         // along each side of an output pixel
    double lod_bias = -0.5;
    bool as_float = false;                          // 0..1, else of the image's own type
    Color color = Color::encoded;                   // of the pyramid
};

struct TokensSpec {
    PyramidSpec pyramid;
    // For the layout of kind rate; budget and cell are the layout's.
    bool weighted = false;              // by relevance
    RelevanceSpec relevance;
    RateSpec rate;
    LayoutSpec layout;
    SampleSpec sample;
    bool host = true;                   // patches where the host reads them, not only their device
};

}  // namespace foveate
