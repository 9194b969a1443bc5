// SPDX-License-Identifier: Apache-2.0
// rings: concentric grids around a gaze point, each coarser than the one inside it. Geometry after
// "Segment This Thing", Schmidt and Newcombe, CVPR 2025: level l has texels of s_l px on a g_l x g_l grid,
// with the square that level l - 1 covers left out.
#include <algorithm>
#include <cmath>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

std::string list_text(std::span<const std::uint32_t> values)
{
    std::string text = "(";
    for (std::uint32_t value : values) text += (text.size() > 1 ? ", " : "") + std::to_string(value);
    return text + ")";
}

void validate(std::span<const std::uint32_t> strides, std::span<const std::uint32_t> grids)
{
    require(!strides.empty() && strides.size() <= limits::RINGS && strides.size() == grids.size(),
            "layout: strides and grids", list_text(strides) + " and " + list_text(grids),
            "two lists of the same length, 1.." + std::to_string(limits::RINGS));
    std::uint64_t inside = 0;  // what the levels before cover, in stride-1 tokens
    for (std::size_t l = 0; l < strides.size(); ++l) {
        const std::uint64_t stride = strides[l], grid = grids[l], covers = stride * grid;
        require(stride >= 1 && stride <= limits::STRIDE && grid >= 1 && grid <= 256, "layout: strides and grids",
                list_text(strides) + " and " + list_text(grids),
                "strides of 1.." + std::to_string(limits::STRIDE) + " px and grids of 1..256");
        if (l > 0) {
            require(stride > strides[l - 1] && covers > inside, "layout: strides and grids",
                    list_text(strides) + " and " + list_text(grids),
                    "strides and extents (stride * grid) that grow from level to level");
            require(inside % stride == 0 && (grid - inside / stride) % 2 == 0, "layout: strides and grids",
                    list_text(strides) + " and " + list_text(grids),
                    "levels that leave out a whole, centred number of their own tokens");
        }
        inside = covers;
    }
}

}  // namespace

std::vector<std::uint32_t> ring_counts(std::span<const std::uint32_t> strides,
                                       std::span<const std::uint32_t> grids)
{
    validate(strides, grids);
    std::vector<std::uint32_t> counts;
    for (std::size_t l = 0; l < strides.size(); ++l) {
        const std::uint32_t inner = l ? strides[l - 1] * grids[l - 1] / strides[l] : 0;
        counts.push_back(grids[l] * grids[l] - inner * inner);
    }
    return counts;
}

namespace {

// Level by level from the centre; within a ring the rows above, then left and right of each middle row, then
// the rows below.
std::vector<LayoutCell> pattern_of(const LayoutSpec& spec)
{
    const std::int32_t whole = std::int32_t(spec.strides.back() * spec.grids.back());
    std::vector<LayoutCell> cells;
    for (std::size_t l = 0; l < spec.strides.size(); ++l) {
        const std::int32_t stride = std::int32_t(spec.strides[l]), grid = std::int32_t(spec.grids[l]);
        const std::int32_t inner = l ? std::int32_t(spec.strides[l - 1] * spec.grids[l - 1]) / stride : 0;
        const std::int32_t border = (grid - inner) / 2, origin = (whole - stride * grid) / 2;
        for (std::int32_t row = 0; row < grid; ++row)
            for (std::int32_t column = 0; column < grid; ++column) {
                const bool hole = l > 0 && row >= border && row < border + inner && column >= border &&
                                  column < border + inner;
                if (hole) continue;
                LayoutCell cell{};
                cell.x = origin + stride * column;
                cell.y = origin + stride * row;
                cell.w = cell.h = std::uint32_t(stride);
                cell.rate = rate_code(double(stride) * FIXED_ONE, double(stride) * FIXED_ONE);
                cell.inv_w = cell.inv_h = float(1.0 / (double(stride) * FIXED_ONE));
                cells.push_back(cell);
            }
    }
    if (!spec.level_order)
        std::stable_sort(cells.begin(), cells.end(), [](const LayoutCell& a, const LayoutCell& b) {
            const auto key = [](const LayoutCell& c) {
                return std::pair(2 * c.y + std::int32_t(c.h), 2 * c.x + std::int32_t(c.w));
            };
            return key(a) < key(b);
        });
    return cells;
}

}  // namespace

void plan_rings(LayoutPlan& plan, Sizes sizes, const LayoutSpec& spec)
{
    validate(spec.strides, spec.grids);
    const std::uint32_t whole = spec.strides.back() * spec.grids.back();
    require(std::uint64_t(whole) * spec.cell <= limits::IMAGE_SIDE, "layout: strides and grids",
            std::to_string(std::uint64_t(whole) * spec.cell) + " px across",
            "at most " + std::to_string(limits::IMAGE_SIDE) + " px");
    plan.cells = pattern_of(spec);
    const auto count = std::uint32_t(plan.cells.size());
    plan.fixations = 1;
    for (const auto& points : spec.gaze.points) plan.fixations = std::max(plan.fixations, std::uint32_t(points.size()));
    const std::uint64_t tokens = std::uint64_t(count) * plan.fixations;
    require(spec.budget == 0 || tokens <= spec.budget, "layout: budget", spec.budget,
            std::to_string(tokens) + " or more for this pattern and gaze", "Leave the budget out.");
    require(tokens <= limits::IMAGE_TOKENS, "layout: tokens", tokens,
            "at most " + std::to_string(limits::IMAGE_TOKENS) + " an image", "", ErrorKind::limit);
    plan.rows = spec.budget ? spec.budget : std::uint32_t(tokens);
    plan.step_max = spec.strides.back() * FIXED_ONE;

    const std::int64_t half_whole = std::int64_t(whole) * spec.cell;  // in half px
    for (std::uint32_t i = 0; i < plan.image_count; ++i) {
        const auto [width, height] = sizes[i];
        const auto points = gaze_of("layout", spec.gaze, i, width, height);
        for (std::uint32_t fixation = 0; fixation < points.size(); ++fixation) {
            LayoutSpan span{};
            span.count = count;
            span.pattern = 1;
            span.x = std::int32_t(std::floor(points[fixation].x - half_whole * 0.5)) * std::int32_t(FIXED_ONE);
            span.y = std::int32_t(std::floor(points[fixation].y - half_whole * 0.5)) * std::int32_t(FIXED_ONE);
            span.w = span.h = spec.cell << FIXED_BITS;
            add_span(plan, span, i, fixation, width, height);
        }
        pad_image(plan, i);
    }
}

}  // namespace foveate
