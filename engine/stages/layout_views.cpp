// SPDX-License-Identifier: Apache-2.0
// views: rectangles, each with a grid of its own: a global view and a fovea, an overview and regions.
#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

std::string view_text(const View& view)
{
    std::ostringstream text;
    text << '(' << view.x0 << ", " << view.y0 << ", " << view.x1 << ", " << view.y1 << ") as " << view.rows << " x "
         << view.columns;
    return text.str();
}

std::int64_t fixed(double px) { return std::int64_t(std::floor(px * FIXED_ONE + 0.5)); }

void given_views(LayoutPlan& plan, std::uint32_t index, const LayoutSpec& spec)
{
    const auto [width, height] = plan.sizes[index];
    for (const View& view : spec.views) {
        const double sx = spec.gaze.in_px ? 1 : width, sy = spec.gaze.in_px ? 1 : height;
        const std::int64_t x0 = fixed(view.x0 * sx), x1 = fixed(view.x1 * sx);
        const std::int64_t y0 = fixed(view.y0 * sy), y1 = fixed(view.y1 * sy);
        require(x0 >= 0 && y0 >= 0 && x1 <= std::int64_t(width) << FIXED_BITS &&
                    y1 <= std::int64_t(height) << FIXED_BITS && x1 - x0 >= FIXED_ONE && y1 - y0 >= FIXED_ONE,
                "layout: views", view_text(view), "x0 < x1 and y0 < y1 inside the image, 1 px or more");
        add_span(plan,
                 grid_span(x0, y0, std::uint64_t(x1 - x0), std::uint64_t(y1 - y0), view.rows, view.columns,
                           spec.cell),
                 index, 0, width, height);
    }
}

// An overview of the whole image, then at every gaze point a square of it at full resolution. Half the budget
// goes to the foveas, as far as whole squares use it up.
void default_views(LayoutPlan& plan, std::uint32_t index, const LayoutSpec& spec)
{
    const auto [width, height] = plan.sizes[index];
    const auto points = gaze_of("layout", spec.gaze, index, width, height);
    const auto count = std::uint32_t(points.size());
    require(spec.budget >= 2 * count, "layout: budget", spec.budget,
            std::to_string(2 * count) + " or more for an overview and " + std::to_string(count) + " gaze points");
    std::uint32_t side = std::max(1u, std::uint32_t(std::sqrt(double(spec.budget / 2 / count))));
    while (side > 1 && side * spec.cell > std::min(width, height)) --side;
    const std::uint32_t wanted = side * spec.cell;
    const std::uint32_t fovea_w = std::min(wanted, width), fovea_h = std::min(wanted, height);

    const auto grid = grid_from_budget(width, height, spec.budget - side * side * count);
    add_span(plan,
             grid_span(0, 0, std::uint64_t(width) << FIXED_BITS, std::uint64_t(height) << FIXED_BITS, grid[0],
                       grid[1], spec.cell),
             index, 0, width, height);
    for (std::uint32_t fixation = 0; fixation < count; ++fixation) {
        const double x = std::floor(points[fixation].x - fovea_w * 0.5);
        const double y = std::floor(points[fixation].y - fovea_h * 0.5);
        const std::int64_t left = std::int64_t(std::clamp(x, 0.0, double(width - fovea_w)));
        const std::int64_t top = std::int64_t(std::clamp(y, 0.0, double(height - fovea_h)));
        add_span(plan,
                 grid_span(left << FIXED_BITS, top << FIXED_BITS, std::uint64_t(fovea_w) << FIXED_BITS,
                           std::uint64_t(fovea_h) << FIXED_BITS, side, side, spec.cell),
                 index, fixation, width, height);
    }
}

}  // namespace

void plan_views(LayoutPlan& plan, Sizes, const LayoutSpec& spec)
{
    require(spec.views.size() <= limits::VIEWS, "layout: views", spec.views.size(),
            "at most " + std::to_string(limits::VIEWS), "", ErrorKind::limit);
    std::uint64_t tokens = 0;
    for (const View& view : spec.views) {
        require(view.rows > 0 && view.columns > 0 && std::isfinite(view.x0 + view.y0 + view.x1 + view.y1) &&
                    std::uint64_t(view.rows) * view.columns <= limits::IMAGE_TOKENS,
                "layout: views", view_text(view), "finite corners and 1 or more rows and columns");
        tokens += std::uint64_t(view.rows) * view.columns;
    }
    if (spec.views.empty())
        require(spec.budget > 0, "layout: budget", spec.budget, "1..65536 tokens");
    else
        require(tokens <= (spec.budget ? spec.budget : limits::IMAGE_TOKENS), "layout: budget", spec.budget,
                std::to_string(tokens) + " or more for these views", "Leave the budget out.");
    plan.rows = spec.budget ? spec.budget : std::uint32_t(tokens);
    plan.fixations = 0;
    if (spec.views.empty()) {
        plan.fixations = 1;
        for (const auto& points : spec.gaze.points)
            plan.fixations = std::max(plan.fixations, std::uint32_t(points.size()));
    }
    for (std::uint32_t i = 0; i < plan.image_count; ++i) {
        if (spec.views.empty())
            default_views(plan, i, spec);
        else
            given_views(plan, i, spec);
        pad_image(plan, i);
    }
}

}  // namespace foveate
