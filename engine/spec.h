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
    LayoutSpec layout;
    SampleSpec sample;
};

}  // namespace foveate
