// SPDX-License-Identifier: Apache-2.0
// What the caller says about places -- query maps, boxes, masks, traces -- as one value for each cell.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <sstream>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

void check_count(const std::string& name, std::size_t count, std::size_t images)
{
    require(count <= 1 || count == images, "relevance: " + name,
            std::to_string(count) + " for " + std::to_string(images) + " images",
            "one for all images, or one for each");
}

void check_map(const std::string& name, const Map& map)
{
    require(map.width >= 1 && map.height >= 1 && map.width <= limits::IMAGE_SIDE && map.height <= limits::IMAGE_SIDE &&
                map.values.size() == std::size_t(map.width) * map.height,
            "relevance: " + name, std::to_string(map.height) + " x " + std::to_string(map.width),
            "sides of 1.." + std::to_string(limits::IMAGE_SIDE));
    const auto inside = [](float value) { return (value >= 0) & (value <= 1); };
    int wrong = 0;                      // counted, not searched for: a loop that becomes vectors
    for (const float value : map.values) wrong |= !inside(value);
    if (wrong)
        require(false, "relevance: " + name, *std::find_if_not(map.values.begin(), map.values.end(), inside),
                "values of 0..1");
}

template <class T>
const T* entry(const std::vector<T>& list, std::size_t image)
{
    return list.empty() ? nullptr : &list[list.size() == 1 ? 0 : image];
}

// How much of each map texel lies on each cell of one axis, both stretched over `size` px.
struct Cover {
    std::uint32_t cell, texel;
    double part;                        // of the cell
};

std::vector<Cover> cover_of(std::uint32_t size, std::uint32_t cell, std::uint32_t texels)
{
    std::vector<Cover> covers;
    const double step = double(size) / texels;
    for (std::uint32_t c = 0; c * cell < size; ++c) {
        const double low = double(c) * cell, high = std::min(low + cell, double(size));
        std::uint32_t t = std::uint32_t(low / step);
        if (t > 0) --t;
        for (; t < texels && t * step < high; ++t) {
            const double part = std::min(high, (t + 1) * step) - std::max(low, t * step);
            if (part > 0) covers.push_back({c, t, part / (high - low)});
        }
    }
    return covers;
}

// Down first, whole rows at a time: a mask has as many texels as the image.
std::vector<double> map_mean(const shared::RelevanceImage& image, std::array<std::uint32_t, 2> size,
                             std::uint32_t cell, const Map& map)
{
    const std::vector<Cover> across = cover_of(size[0], cell, map.width);
    const std::vector<Cover> down = cover_of(size[1], cell, map.height);
    std::vector<double> cells(std::size_t(image.columns) * image.rows), line(map.width);
    for (auto at = down.begin(); at != down.end();) {
        const std::uint32_t row = at->cell;
        std::fill(line.begin(), line.end(), 0.0);
        for (; at != down.end() && at->cell == row; ++at) {
            const float* values = &map.values[std::size_t(at->texel) * map.width];
            for (std::uint32_t x = 0; x < map.width; ++x) line[x] += at->part * double(values[x]);
        }
        double* to = &cells[std::size_t(row) * image.columns];
        for (const Cover& part : across) to[part.cell] += part.part * line[part.texel];
    }
    return cells;
}

// The nudge keeps a tie from hanging on the last bit of a sum.
std::uint32_t quantised(double value)
{
    return std::uint32_t(std::floor(RELEVANCE_ONE * std::clamp(value, 0.0, 1.0) + 0.5 + 0x1p-20));
}

std::string text(std::initializer_list<double> numbers)
{
    std::ostringstream made;
    for (const double number : numbers) made << (made.tellp() > 0 ? ", " : "(") << number;
    return made.str() + ')';
}

// In px, whatever the caller's unit.
std::vector<Box> boxes_px(const std::vector<Box>& boxes, bool in_px, double width, double height)
{
    std::vector<Box> result;
    for (const Box& box : boxes) {
        // False of NaN as well.
        const bool good = box.x0 < box.x1 && box.y0 < box.y1 && std::abs(box.x0) + std::abs(box.y0) < 1e9 &&
                          std::abs(box.x1) + std::abs(box.y1) < 1e9;
        if (!good) require(false, "relevance: roi", text({box.x0, box.y0, box.x1, box.y1}),
                           "finite numbers, x0 below x1 and y0 below y1");
        const double x = in_px ? 1 : width, y = in_px ? 1 : height;
        result.push_back({box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y});
    }
    return result;
}

std::vector<TracePoint> trace_px(const std::vector<TracePoint>& points, const GazeSpec& unit, double width,
                                 double height)
{
    std::vector<TracePoint> result;
    double sum = 0;
    for (const TracePoint& given : points) {
        TracePoint point = given;
        if (!std::isfinite(point.x) || !std::isfinite(point.y))
            require(false, "relevance: trace", text({point.x, point.y}), "finite numbers");
        require(point.weight >= 0 && point.weight <= 1e9, "relevance: trace weight", point.weight, "0..1000000000");
        if (!unit.in_px) point.x *= width, point.y *= height;
        const bool inside = point.x >= 0 && point.x <= width && point.y >= 0 && point.y <= height;
        if (!inside && !unit.clamp)
            require(false, "relevance: trace", text({given.x, given.y}),
                    unit.in_px ? "(0..width, 0..height) px" : "(0..1, 0..1)",
                    "Use clamp=True to move it to the border.");
        point.x = std::clamp(point.x, 0.0, width);
        point.y = std::clamp(point.y, 0.0, height);
        sum += point.weight;
        result.push_back(point);
    }
    require(sum > 0, "relevance: trace", "no points with weight", "one or more");
    return result;
}

}  // namespace

void plan_maps(RelevancePlan& plan, const RelevanceSpec& spec)
{
    const std::size_t count = plan.images.size();
    const std::uint32_t terms = plan.params.terms;
    check_count("query", spec.query.size(), count);
    check_count("roi", spec.boxes.size(), count);
    check_count("roi", spec.masks.size(), count);
    check_count("trace", spec.traces.size(), count);
    for (const Map& map : spec.query) check_map("query", map);
    for (const Map& map : spec.masks) check_map("roi", map);
    require(spec.sigma > 0 && spec.sigma <= 1, "relevance: sigma", spec.sigma, "above 0, at most 1");

    const std::uint32_t cells = plan.params.cell_count, cell = spec.cell;
    plan.params.roi_first = terms & TERM_QUERY ? cells : 0;
    plan.maps.resize(std::size_t(cells) * ((terms & TERM_QUERY ? 1 : 0) + (terms & TERM_ROI ? 1 : 0)));
    for (std::size_t i = 0; i < count; ++i) {
        const shared::RelevanceImage& image = plan.images[i];
        const auto size = plan.sizes[i];
        if (const Map* map = entry(spec.query, i)) {
            const std::vector<double> values = map_mean(image, size, cell, *map);
            std::transform(values.begin(), values.end(), plan.maps.begin() + image.first, quantised);
        }
        if (!(terms & TERM_ROI)) continue;
        std::vector<double> roi(std::size_t(image.columns) * image.rows);
        const auto join = [&](const std::vector<double>& values) {
            std::transform(roi.begin(), roi.end(), values.begin(), roi.begin(),
                           [](double a, double b) { return std::max(a, b); });
        };
        if (const auto* boxes = entry(spec.boxes, i))
            join(box_cover(image, size, cell, boxes_px(*boxes, spec.gaze.in_px, size[0], size[1])));
        if (const Map* map = entry(spec.masks, i)) join(map_mean(image, size, cell, *map));
        if (const auto* points = entry(spec.traces, i))
            join(trace_heat(image, cell, spec.sigma * size[0], trace_px(*points, spec.gaze, size[0], size[1])));
        std::transform(roi.begin(), roi.end(), plan.maps.begin() + plan.params.roi_first + image.first, quantised);
    }
}

}  // namespace foveate
