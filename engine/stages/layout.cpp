// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

void validate(Sizes sizes, const LayoutSpec& spec)
{
    require(!sizes.empty(), "layout: images", 0, "at least 1");
    require(sizes.size() <= limits::BATCH_IMAGES, "layout: images", sizes.size(),
            "at most " + std::to_string(limits::BATCH_IMAGES), "Send them in several calls.", ErrorKind::limit);
    for (const auto& size : sizes)
        require(size[0] >= 1 && size[1] >= 1 && size[0] <= limits::IMAGE_SIDE && size[1] <= limits::IMAGE_SIDE,
                "layout: size", std::to_string(size[1]) + " x " + std::to_string(size[0]),
                "sides of 1.." + std::to_string(limits::IMAGE_SIDE) + " px");
    require(spec.cell >= 1 && spec.cell <= limits::PATCH * limits::MERGE, "layout: cell", spec.cell,
            "1.." + std::to_string(limits::PATCH * limits::MERGE) + " texels");
    require(spec.budget <= limits::IMAGE_TOKENS, "layout: budget", spec.budget,
            "1.." + std::to_string(limits::IMAGE_TOKENS) + " tokens", "", ErrorKind::limit);
    check_gaze("layout", spec.gaze, sizes.size());
}

}  // namespace

void check_gaze(const std::string& stage, const GazeSpec& gaze, std::size_t images)
{
    require(gaze.points.size() <= 1 || gaze.points.size() == images, stage + ": gaze",
            std::to_string(gaze.points.size()) + " sets for " + std::to_string(images) + " images",
            "one set for all images, or one for each");
    for (const auto& points : gaze.points)
        require(points.size() >= 1 && points.size() <= limits::FIXATIONS, stage + ": gaze",
                std::to_string(points.size()) + " points",
                "1.." + std::to_string(limits::FIXATIONS) + " points an image");
}

std::vector<GazePoint> gaze_of(const std::string& stage, const GazeSpec& gaze, std::uint32_t index,
                               std::uint32_t width, std::uint32_t height)
{
    if (gaze.points.empty()) return {{width * 0.5, height * 0.5}};
    std::vector<GazePoint> points;
    for (const Gaze& at : gaze.points[gaze.points.size() == 1 ? 0 : index]) {
        std::ostringstream text;
        text << '(' << at.x << ", " << at.y << ')';
        const std::string got = text.str();
        require(std::isfinite(at.x) && std::isfinite(at.y), stage + ": gaze", got, "finite numbers");
        GazePoint point{at.x, at.y};
        if (!gaze.in_px) point = {at.x * width, at.y * height};
        const bool inside = point.x >= 0 && point.x <= width && point.y >= 0 && point.y <= height;
        require(inside || gaze.clamp, stage + ": gaze", got,
                gaze.in_px ? "(0..width, 0..height) px" : "(0..1, 0..1)",
                "Use clamp=True to move it to the border.");
        points.push_back({std::clamp(point.x, 0.0, double(width)), std::clamp(point.y, 0.0, double(height))});
    }
    return points;
}

std::uint32_t rate_code(double texel_w, double texel_h)
{
    const auto side = [](double texel) {
        return std::uint32_t(std::clamp(std::lround(std::log2(texel / FIXED_ONE)), 0l, 3l));
    };
    return side(texel_w) << 2 | side(texel_h);
}

void add_span(LayoutPlan& plan, LayoutSpan span, std::uint32_t image, std::uint32_t fixation,
              std::uint32_t width, std::uint32_t height)
{
    const std::uint32_t base = image * plan.rows;
    const std::uint32_t next = plan.spans.empty() ? 0 : plan.spans.back().first + plan.spans.back().count;
    span.first = next;
    span.row = next - base;
    span.image = image;
    span.fixation = fixation;
    span.image_width = width;
    span.image_height = height;
    if (span.columns > 0)
        plan.step_max = std::max(plan.step_max, std::min(span.w / span.columns, span.h / span.rows) / plan.cell + 1);
    plan.spans.push_back(span);
}

void pad_image(LayoutPlan& plan, std::uint32_t image)
{
    const std::uint32_t next = plan.spans.empty() ? 0 : plan.spans.back().first + plan.spans.back().count;
    const std::uint32_t end = (image + 1) * plan.rows;
    if (next == end) return;
    LayoutSpan span{};
    span.count = end - next;
    add_span(plan, span, image, 0, plan.sizes[image][0], plan.sizes[image][1]);
}

LayoutPlan plan_layout(Sizes sizes, const LayoutSpec& spec, const RateShape* rates)
{
    validate(sizes, spec);
    LayoutPlan plan;
    plan.image_count = std::uint32_t(sizes.size());
    plan.cell = spec.cell;
    plan.sizes.assign(sizes.begin(), sizes.end());
    switch (spec.kind) {
    case LayoutKind::grid: plan_grid(plan, sizes, spec); break;
    case LayoutKind::rings: plan_rings(plan, sizes, spec); break;
    case LayoutKind::views: plan_views(plan, sizes, spec); break;
    case LayoutKind::rate:
        require(rates != nullptr, "layout: rates", "none", "the rates of these images",
                "Make them with Engine.rate(), or call Engine.tokens().");
        plan_rates(plan, spec, *rates);
        break;
    case LayoutKind::logpolar:
    case LayoutKind::cortical: plan_polar(plan, sizes, spec); break;
    }
    check_rows(plan);
    return plan;
}

void check_rows(const LayoutPlan& plan)
{
    const std::uint64_t rows = std::uint64_t(plan.rows) * plan.image_count;
    require(rows <= limits::BATCH_TOKENS, "layout: tokens", rows,
            "at most " + std::to_string(limits::BATCH_TOKENS) + " a call", "Send fewer images at once.",
            ErrorKind::limit);
}

}  // namespace foveate
