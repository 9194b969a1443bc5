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

enum class LayoutKind : std::uint32_t { grid, rings, views, logpolar, cortical };

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

struct SampleSpec {
    std::uint32_t patch = 16, merge = 1, frames = 1;
    std::vector<float> mean = {0, 0, 0}, std = {1, 1, 1};   // their length is the number of written channels
    bool channels_last = false;
    Dtype dtype = Dtype::f32;
    double taps = 3.0, lod_bias = 0.0;
};

struct TokensSpec {
    PyramidSpec pyramid;
    LayoutSpec layout;
    SampleSpec sample;
};

}  // namespace foveate
