// SPDX-License-Identifier: Apache-2.0
// The region of interest of a heat map, which Python asks for by itself too.
#pragma once

#include <array>
#include <span>

#include "engine/spec.h"

namespace foveate {

struct GazePoint {
    double x, y;  // px
};

// At least one value above 0, none below, 256 rows and columns at most.
void check_heat(const Heat& heat);
void check_rho(double rho);
// The mass of a Gaussian around every point, of `sigma` of the longer side, on rows x columns.
Heat heat_of(std::span<const GazePoint> points, std::uint32_t width, std::uint32_t height, std::uint32_t rows,
             std::uint32_t columns, double sigma);
// The box (x0, y0, x1, y1) of cells with the least area of all that hold rho of the mass, read as whole numbers
// of 1/65535 of the largest; of several the one whose centre is nearest to the centroid, then the topmost, then
// the leftmost.
std::array<std::uint32_t, 4> roi_box(const Heat& heat, double rho);

}  // namespace foveate
