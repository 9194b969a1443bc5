// SPDX-License-Identifier: Apache-2.0
// views of gaze points that lie close together: unique cells of one lattice, by their distance to the nearest.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "engine/stages/plan.h"

namespace foveate {

namespace {

struct Choice {
    std::uint32_t row, column;
    std::int64_t distance;              // Chebyshev, of its centre, in 1/131072 px
    std::uint32_t fixation;
};

struct Axis {
    std::uint32_t side, count;          // px a cell; whole cells of the image

    std::int64_t distance(std::uint32_t index, std::int64_t gaze) const
    {
        const std::int64_t centre2 = (std::int64_t(2 * index + 1) * side) << FIXED_BITS;
        return std::abs(centre2 - 2 * gaze);
    }
    std::int64_t index_of(std::int64_t gaze) const
    {
        return std::min<std::int64_t>((gaze >> FIXED_BITS) / side, count - 1);
    }
};

// How many of `count` indices are within `reach` of `at`.
std::uint64_t within(std::int64_t at, std::int64_t reach, std::uint32_t count)
{
    return std::uint64_t(std::min<std::int64_t>(at + reach, count - 1) - std::max<std::int64_t>(at - reach, 0) + 1);
}

}  // namespace

void lattice_views(LayoutPlan& plan, std::uint32_t index, std::span<const GazePoint> points, std::uint32_t side,
                   std::uint32_t count)
{
    const auto [width, height] = plan.sizes[index];
    const Axis across{std::min(side, width), std::max(1u, width / side)};
    const Axis down{std::min(side, height), std::max(1u, height / side)};
    const std::uint64_t all = std::uint64_t(across.count) * down.count;
    const std::uint64_t wanted = std::min<std::uint64_t>(count, all);

    // Around every point a window that alone would have enough of them; one cell more, for its centre is off.
    std::vector<Choice> found;
    for (std::uint32_t fixation = 0; fixation < points.size(); ++fixation) {
        const auto fixed = [](double px) { return std::int64_t(std::floor(px * FIXED_ONE + 0.5)); };
        const std::int64_t x = fixed(points[fixation].x), y = fixed(points[fixation].y);
        const std::int64_t column = across.index_of(x), row = down.index_of(y);
        std::int64_t reach = 0;
        while (within(column, reach, across.count) * within(row, reach, down.count) < wanted) ++reach;
        ++reach;
        for (std::int64_t r = std::max<std::int64_t>(row - reach, 0); r <= row + reach && r < down.count; ++r)
            for (std::int64_t c = std::max<std::int64_t>(column - reach, 0); c <= column + reach && c < across.count;
                 ++c)
                found.push_back({std::uint32_t(r), std::uint32_t(c),
                                 std::max(across.distance(std::uint32_t(c), x), down.distance(std::uint32_t(r), y)),
                                 fixation});
    }
    const auto raster = [](const Choice& a, const Choice& b) {
        return std::tie(a.row, a.column, a.distance, a.fixation) < std::tie(b.row, b.column, b.distance, b.fixation);
    };
    const auto nearest = [](const Choice& a, const Choice& b) {
        return std::tie(a.distance, a.fixation, a.row, a.column) < std::tie(b.distance, b.fixation, b.row, b.column);
    };
    std::sort(found.begin(), found.end(), raster);
    found.erase(std::unique(found.begin(), found.end(),
                            [](const Choice& a, const Choice& b) {
                                return a.row == b.row && a.column == b.column;
                            }),
                found.end());
    std::sort(found.begin(), found.end(), nearest);
    found.resize(wanted);
    std::sort(found.begin(), found.end(), raster);

    LayoutSpan span{};
    span.count = std::uint32_t(wanted);
    span.pattern = std::uint32_t(plan.cells.size()) + 1;
    span.w = span.h = FIXED_ONE;
    const std::uint32_t step_w = (across.side << FIXED_BITS) / plan.cell;
    const std::uint32_t step_h = (down.side << FIXED_BITS) / plan.cell;
    for (const Choice& at : found) {
        LayoutCell cell{};
        cell.x = std::int32_t(at.column * across.side);
        cell.y = std::int32_t(at.row * down.side);
        cell.w = across.side;
        cell.h = down.side;
        cell.inv_w = float(1.0 / step_w);
        cell.inv_h = float(1.0 / step_h);
        cell.rate = rate_code(step_w, step_h);
        cell.fixation = at.fixation;
        plan.cells.push_back(cell);
    }
    plan.step_max = std::max(plan.step_max, std::min(step_w, step_h) + 1);
    add_span(plan, span, index, 0, width, height);
}

}  // namespace foveate
