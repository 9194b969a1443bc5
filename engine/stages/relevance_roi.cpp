// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "engine/stages/plan.h"

namespace foveate {

namespace {

// Area of the union of some rectangles: strips between neighbouring x, in each the union of intervals of y.
double union_area(const std::vector<Box>& boxes)
{
    std::vector<double> edges;
    for (const Box& box : boxes) edges.insert(edges.end(), {box.x0, box.x1});
    std::sort(edges.begin(), edges.end());
    double area = 0;
    for (std::size_t k = 0; k + 1 < edges.size(); ++k) {
        if (edges[k] == edges[k + 1]) continue;
        std::vector<std::pair<double, double>> spans;
        for (const Box& box : boxes)
            if (box.x0 <= edges[k] && box.x1 >= edges[k + 1]) spans.emplace_back(box.y0, box.y1);
        std::sort(spans.begin(), spans.end());
        double height = 0, reached = spans.empty() ? 0 : spans.front().first;
        for (const auto& [low, high] : spans) {
            height += std::max(high - std::max(low, reached), 0.0);
            reached = std::max(reached, high);
        }
        area += height * (edges[k + 1] - edges[k]);
    }
    return area;
}

}  // namespace

std::vector<double> box_cover(const shared::RelevanceImage& image, std::array<std::uint32_t, 2> size,
                              std::uint32_t cell, const std::vector<Box>& boxes_px)
{
    std::vector<double> cover(std::size_t(image.columns) * image.rows);
    std::vector<Box> inside;
    for (std::uint32_t y = 0; y < image.rows; ++y) {
        for (std::uint32_t x = 0; x < image.columns; ++x) {
            const double left = double(x) * cell, right = std::min(left + cell, double(size[0]));
            const double top = double(y) * cell, bottom = std::min(top + cell, double(size[1]));
            inside.clear();
            for (const Box& box : boxes_px) {
                const Box cut{std::max(box.x0, left), std::max(box.y0, top), std::min(box.x1, right),
                                 std::min(box.y1, bottom)};
                if (cut.x0 < cut.x1 && cut.y0 < cut.y1) inside.push_back(cut);
            }
            if (!inside.empty())
                cover[std::size_t(y) * image.columns + x] = union_area(inside) / ((right - left) * (bottom - top));
        }
    }
    return cover;
}

// Points summed by cell, then a Gaussian over the cells: the cost does not grow with a long trace.
std::vector<double> trace_heat(const shared::RelevanceImage& image, std::uint32_t cell, double sigma_px,
                               const std::vector<TracePoint>& points_px)
{
    const int columns = int(image.columns), rows = int(image.rows);
    std::vector<double> heat(std::size_t(columns) * rows), across(heat.size());
    for (const TracePoint& point : points_px) {
        const int x = std::min(int(point.x / cell), columns - 1), y = std::min(int(point.y / cell), rows - 1);
        heat[std::size_t(y) * columns + x] += point.weight;
    }
    const int reach = std::min(int(std::ceil(3 * sigma_px / cell)), std::max(columns, rows));
    std::vector<double> taps(2 * reach + 1);
    for (int k = -reach; k <= reach; ++k) {
        const double z = k * (cell / sigma_px);
        taps[k + reach] = std::exp(-0.5 * z * z);
    }
    for (int y = 0; y < rows; ++y)
        for (int x = 0; x < columns; ++x)
            for (int at = std::max(x - reach, 0); at <= std::min(x + reach, columns - 1); ++at)
                across[std::size_t(y) * columns + x] +=
                    taps[at - x + reach] * heat[std::size_t(y) * columns + at];
    std::fill(heat.begin(), heat.end(), 0.0);
    for (int y = 0; y < rows; ++y)
        for (int at = std::max(y - reach, 0); at <= std::min(y + reach, rows - 1); ++at)
            for (int x = 0; x < columns; ++x)
                heat[std::size_t(y) * columns + x] +=
                    taps[at - y + reach] * across[std::size_t(at) * columns + x];
    const double most = *std::max_element(heat.begin(), heat.end());
    for (double& value : heat) value /= most;
    return heat;
}

}  // namespace foveate
