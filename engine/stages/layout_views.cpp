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

bool overlap(std::span<const std::array<std::int64_t, 2>> corners, std::int64_t w, std::int64_t h)
{
    for (std::size_t i = 0; i < corners.size(); ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (std::abs(corners[i][0] - corners[j][0]) < w && std::abs(corners[i][1] - corners[j][1]) < h)
                return true;
    return false;
}

// A square of n x n tokens of `side` px a token at every gaze point, moved into the image; where two of them
// would overlap, as many cells of one lattice instead, so that no px is shown twice.
void squares(LayoutPlan& plan, std::uint32_t index, std::span<const GazePoint> points, std::uint32_t n,
             std::uint32_t side)
{
    const auto [width, height] = plan.sizes[index];
    const std::uint32_t square_w = std::min(n * side, width), square_h = std::min(n * side, height);
    std::vector<std::array<std::int64_t, 2>> corners;
    for (const GazePoint& point : points) {
        const double x = std::floor(point.x - square_w * 0.5);
        const double y = std::floor(point.y - square_h * 0.5);
        corners.push_back({std::int64_t(std::clamp(x, 0.0, double(width - square_w))),
                           std::int64_t(std::clamp(y, 0.0, double(height - square_h)))});
    }
    if (overlap(corners, square_w, square_h)) {
        lattice_views(plan, index, points, side, n * n * std::uint32_t(points.size()));
        return;
    }
    for (std::uint32_t fixation = 0; fixation < points.size(); ++fixation)
        add_span(plan,
                 grid_span(corners[fixation][0] << FIXED_BITS, corners[fixation][1] << FIXED_BITS,
                           std::uint64_t(square_w) << FIXED_BITS, std::uint64_t(square_h) << FIXED_BITS, n, n,
                           plan.cell),
                 index, fixation, width, height);
}

// An overview of the whole image, then squares around the gaze points, pass by pass smaller and finer, the last
// at full resolution. Every pass has an equal share of the budget, as far as whole squares use it up; the
// overview has what they leave.
void default_views(LayoutPlan& plan, std::uint32_t index, const LayoutSpec& spec)
{
    const auto [width, height] = plan.sizes[index];
    const auto points = gaze_of("layout", spec.gaze, index, width, height);
    const auto count = std::uint32_t(points.size());
    require(spec.budget >= spec.passes * count, "layout: budget", spec.budget,
            std::to_string(spec.passes * count) + " or more for an overview and " + std::to_string(count) +
                " gaze points");
    const std::uint32_t share = spec.budget / spec.passes;
    const double coarse = std::sqrt(double(width) * height / share) / spec.cell;  // an overview's token, in cells
    std::vector<std::array<std::uint32_t, 2>> passes;                             // n, px a token; finest first
    std::uint32_t left = spec.budget;
    for (std::uint32_t pass = 0; pass + 1 < spec.passes; ++pass) {
        const double wider = std::pow(coarse, double(pass) / (spec.passes - 1));
        const auto side = std::uint32_t(std::floor(spec.cell * std::max(1.0, wider) + 0.5));
        if (!passes.empty() && side <= passes.back()[1]) continue;  // the image is too small for this pass
        std::uint32_t n = std::max(1u, std::uint32_t(std::sqrt(double(share / count))));
        while (n > 1 && n * side > std::min(width, height)) --n;
        passes.push_back({n, side});
        left -= n * n * count;
    }
    const auto [rows, columns] = grid_from_budget(width, height, left);
    add_span(plan,
             grid_span(0, 0, std::uint64_t(width) << FIXED_BITS, std::uint64_t(height) << FIXED_BITS, rows, columns,
                       spec.cell),
             index, 0, width, height);
    for (std::size_t pass = passes.size(); pass-- > 0;)
        squares(plan, index, points, passes[pass][0], passes[pass][1]);
}

}  // namespace

void plan_views(LayoutPlan& plan, Sizes sizes, const LayoutSpec& spec)
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
    require(spec.passes >= 2 && spec.passes <= 4, "layout: passes", spec.passes, "2..4");
    const bool region = spec.rho != 0 || !spec.heat.empty();
    if (region) check_roi(spec, sizes.size());
    require(spec.views.empty() || spec.passes == 2, "layout: passes", spec.passes, "none with views of your own");
    plan.rows = spec.budget ? spec.budget : std::uint32_t(tokens);
    plan.fixations = 0;
    if (spec.views.empty() && !region) {
        plan.fixations = 1;
        for (const auto& points : spec.gaze.points)
            plan.fixations = std::max(plan.fixations, std::uint32_t(points.size()));
    }
    for (std::uint32_t i = 0; i < plan.image_count; ++i) {
        if (region)
            roi_views(plan, i, spec);
        else if (spec.views.empty())
            default_views(plan, i, spec);
        else
            given_views(plan, i, spec);
        pad_image(plan, i);
    }
}

}  // namespace foveate
