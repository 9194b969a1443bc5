// SPDX-License-Identifier: Apache-2.0
// views with rho: an overview, and the smallest box that holds a share rho of the gaze's mass, after "Gaze-VLM",
// 2025. The box is exact: of every pair of rows the narrowest window, by two pointers over an integral image.
#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"
#include "engine/stages/roi.h"

namespace foveate {

namespace {

__extension__ typedef unsigned __int128 Wide;

constexpr std::uint32_t GRID = 32;      // rows and columns of the heat of gaze points

std::string text_of(double value)
{
    std::ostringstream text;
    text << value;
    return text.str();
}

// Whole numbers, 65535 the largest: sums are exact, so "smallest" has one meaning.
std::vector<std::uint64_t> whole_mass(const Heat& heat)
{
    const double most = *std::max_element(heat.mass.begin(), heat.mass.end());
    std::vector<std::uint64_t> mass;
    for (double value : heat.mass) mass.push_back(std::uint64_t(std::floor(value / most * 65535 + 0.5)));
    return mass;
}

}  // namespace

void check_heat(const Heat& heat)
{
    require(heat.rows >= 1 && heat.columns >= 1 && heat.rows <= limits::HEAT && heat.columns <= limits::HEAT &&
                heat.mass.size() == std::size_t(heat.rows) * heat.columns,
            "layout: heat", std::to_string(heat.rows) + " x " + std::to_string(heat.columns),
            "rows and columns of 1.." + std::to_string(limits::HEAT), "Average it onto a smaller grid.");
    double most = 0;
    for (double value : heat.mass) {
        require(std::isfinite(value) && value >= 0, "layout: heat", text_of(value), "finite numbers of 0 or more");
        most = std::max(most, value);
    }
    require(most > 0, "layout: heat", "no mass", "a value above 0");
}

void check_rho(double rho)
{
    require(rho > 0 && rho <= 1, "layout: rho", text_of(rho), "above 0, and 1 at most");
}

Heat heat_of(std::span<const GazePoint> points, std::uint32_t width, std::uint32_t height, std::uint32_t rows,
             std::uint32_t columns, double sigma)
{
    Heat heat{rows, columns, std::vector<double>(std::size_t(rows) * columns, 0.0)};
    const double spread = sigma * std::max(width, height) * std::sqrt(2.0);
    // The Gaussian's mass in each cell of an axis, not its value at the middle: a narrow one is never lost.
    const auto masses = [&](double at, std::uint32_t extent, std::uint32_t count) {
        std::vector<double> result;
        for (std::uint32_t i = 0; i < count; ++i)
            result.push_back((std::erf((double(extent) * (i + 1) / count - at) / spread) -
                              std::erf((double(extent) * i / count - at) / spread)) * 0.5);
        return result;
    };
    for (const GazePoint& point : points) {
        const std::vector<double> across = masses(point.x, width, columns), down = masses(point.y, height, rows);
        for (std::uint32_t r = 0; r < rows; ++r)
            for (std::uint32_t c = 0; c < columns; ++c) heat.mass[r * columns + c] += down[r] * across[c];
    }
    return heat;
}

std::array<std::uint32_t, 4> roi_box(const Heat& heat, double rho)
{
    check_heat(heat);
    check_rho(rho);
    const std::uint32_t rows = heat.rows, columns = heat.columns;
    const std::vector<std::uint64_t> mass = whole_mass(heat);
    std::vector<std::uint64_t> above((rows + 1) * columns, 0);  // sum of a column over the rows before
    std::uint64_t total = 0, sum_x = 0, sum_y = 0;
    for (std::uint32_t y = 0; y < rows; ++y)
        for (std::uint32_t x = 0; x < columns; ++x) {
            const std::uint64_t value = mass[y * columns + x];
            above[(y + 1) * columns + x] = above[y * columns + x] + value;
            total += value;
            sum_x += value * (2 * x + 1);
            sum_y += value * (2 * y + 1);
        }
    const auto least = std::max<std::uint64_t>(1, std::uint64_t(std::ceil(rho * double(total))));

    std::array<std::uint32_t, 4> best = {0, 0, columns, rows};
    std::uint64_t best_area = std::uint64_t(rows) * columns + 1;
    Wide best_distance = 0;
    // Squared distance of a box's centre to the centroid, in half cells times the total: whole numbers.
    const auto distance_of = [&](const std::array<std::uint32_t, 4>& box) {
        const auto gap = [](std::uint64_t a, std::uint64_t b) { return Wide(a > b ? a - b : b - a); };
        const Wide dx = gap(total * (box[0] + box[2]), sum_x), dy = gap(total * (box[1] + box[3]), sum_y);
        return dx * dx + dy * dy;
    };
    for (std::uint32_t y0 = 0; y0 < rows; ++y0)
        for (std::uint32_t y1 = y0 + 1; y1 <= rows && y1 - y0 <= best_area; ++y1) {
            const auto column = [&](std::uint32_t x) { return above[y1 * columns + x] - above[y0 * columns + x]; };
            std::uint64_t sum = 0;
            std::uint32_t x0 = 0;
            for (std::uint32_t x1 = 1; x1 <= columns; ++x1) {
                sum += column(x1 - 1);
                while (sum - column(x0) >= least) sum -= column(x0++);
                if (sum < least) continue;
                const std::uint64_t area = std::uint64_t(x1 - x0) * (y1 - y0);
                if (area > best_area) continue;
                const std::array<std::uint32_t, 4> box = {x0, y0, x1, y1};
                const Wide distance = distance_of(box);
                const bool first = std::pair(box[1], box[0]) < std::pair(best[1], best[0]);
                if (area < best_area || distance < best_distance || (distance == best_distance && first)) {
                    best = box;
                    best_area = area;
                    best_distance = distance;
                }
            }
        }
    return best;
}

void check_roi(const LayoutSpec& spec, std::size_t images)
{
    check_rho(spec.rho);
    require(spec.views.empty() && spec.passes == 2, "layout: rho",
            spec.views.empty() ? std::to_string(spec.passes) + " passes" : std::string("views"),
            "rho alone, without views or passes");
    require(spec.heat.size() <= 1 || spec.heat.size() == images, "layout: heat",
            std::to_string(spec.heat.size()) + " maps for " + std::to_string(images) + " images",
            "one for all images, or one for each");
    require(!spec.heat.empty() || !spec.gaze.points.empty(), "layout: rho", "neither heat nor gaze", "one of them");
    require(spec.sigma >= 0.001 && spec.sigma <= 1, "layout: sigma", text_of(spec.sigma),
            "0.001..1 of the longer side");
    require(spec.rows <= limits::HEAT && spec.columns <= limits::HEAT && !spec.rows == !spec.columns, "layout: grid",
            std::to_string(spec.rows) + " x " + std::to_string(spec.columns),
            "a heat grid of 1.." + std::to_string(limits::HEAT) + " rows and columns");
    require(spec.budget >= 2, "layout: budget", spec.budget, "2 or more for an overview and a region");
    for (const Heat& heat : spec.heat) check_heat(heat);
}

void roi_views(LayoutPlan& plan, std::uint32_t index, const LayoutSpec& spec)
{
    const auto [width, height] = plan.sizes[index];
    Heat heat;
    if (spec.heat.empty())
        heat = heat_of(gaze_of("layout", spec.gaze, index, width, height), width, height,
                       spec.rows ? spec.rows : GRID, spec.columns ? spec.columns : GRID, spec.sigma);
    else
        heat = spec.heat[spec.heat.size() == 1 ? 0 : index];
    const auto [x0, y0, x1, y1] = roi_box(heat, spec.rho);
    const auto at = [](std::uint32_t extent, std::uint32_t line, std::uint32_t count) {
        return std::int64_t((std::uint64_t(extent) << FIXED_BITS) * line / count);
    };
    const std::int64_t left = at(width, x0, heat.columns), right = at(width, x1, heat.columns);
    const std::int64_t top = at(height, y0, heat.rows), bottom = at(height, y1, heat.rows);
    const auto w = std::uint32_t(right - left), h = std::uint32_t(bottom - top);

    // Half the budget; but no more cells than px, for more would show the same px again.
    const auto cells_of = [&](std::uint32_t extent) {
        const std::uint32_t cell = spec.cell << FIXED_BITS;
        return (extent + cell - 1) / cell;
    };
    auto grid = grid_from_budget(w, h, spec.budget / 2);
    grid = {std::min(grid[0], cells_of(h)), std::min(grid[1], cells_of(w))};
    const auto rest = grid_from_budget(width, height, spec.budget - grid[0] * grid[1]);
    add_span(plan,
             grid_span(0, 0, std::uint64_t(width) << FIXED_BITS, std::uint64_t(height) << FIXED_BITS, rest[0],
                       rest[1], spec.cell),
             index, 0, width, height);
    add_span(plan, grid_span(left, top, w, h, grid[0], grid[1], spec.cell), index, 0, width, height);
}

}  // namespace foveate
