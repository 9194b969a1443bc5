// SPDX-License-Identifier: Apache-2.0
// grid: the image in rows x columns equal cells, the baseline at any budget.
#include <algorithm>
#include <cmath>
#include <string>

#include "engine/stages/plan.h"

namespace foveate {

LayoutSpan grid_span(std::int64_t x, std::int64_t y, std::uint64_t w, std::uint64_t h, std::uint32_t rows,
                     std::uint32_t columns, std::uint32_t cell)
{
    LayoutSpan span{};
    span.count = rows * columns;
    span.columns = columns;
    span.rows = rows;
    span.x = std::int32_t(x);
    span.y = std::int32_t(y);
    span.w = std::uint32_t(w);
    span.h = std::uint32_t(h);
    const std::uint32_t step_w = span.w / columns / cell, step_h = span.h / rows / cell;
    // A step under 1/65536 px cannot be told from none; a box is never narrower than a texel anyway.
    span.inv_w = float(1.0 / std::max(1u, step_w));
    span.inv_h = float(1.0 / std::max(1u, step_h));
    span.rate = rate_code(double(w) / columns / cell, double(h) / rows / cell);
    return span;
}

// The grid of at most `budget` cells that are nearest to square; integers, so that a tie is a tie everywhere.
std::array<std::uint32_t, 2> grid_from_budget(std::uint32_t width, std::uint32_t height, std::uint32_t budget)
{
    std::uint64_t best_long = 0, best_short = 1;
    std::array<std::uint32_t, 2> best = {0, 0};
    for (std::uint32_t rows = 1; rows <= budget; ++rows) {
        const std::uint32_t columns = budget / rows;
        const std::uint64_t a = std::uint64_t(width) * rows, b = std::uint64_t(height) * columns;
        const std::uint64_t longer = std::max(a, b), shorter = std::min(a, b);
        // longer / shorter < best_long / best_short, each below 2^31
        if (best[0] == 0 || longer * best_short < best_long * shorter) {
            best_long = longer;
            best_short = shorter;
            best = {rows, columns};
        }
    }
    return best;
}

void plan_grid(LayoutPlan& plan, Sizes sizes, const LayoutSpec& spec)
{
    const bool given = spec.rows > 0 || spec.columns > 0;
    const std::uint64_t cells = std::uint64_t(spec.rows) * spec.columns;
    if (given) {
        require(spec.rows > 0 && spec.columns > 0 && cells <= 65536, "layout: grid",
                std::to_string(spec.rows) + " x " + std::to_string(spec.columns),
                "(rows, columns) of 1 or more, 65536 cells at most");
        require(spec.budget == 0 || cells <= spec.budget, "layout: grid", std::to_string(cells) + " cells",
                "at most the budget of " + std::to_string(spec.budget), "Raise the budget or leave it out.");
    } else {
        require(spec.budget > 0, "layout: budget", spec.budget, "1..65536 tokens");
    }
    plan.rows = spec.budget ? spec.budget : std::uint32_t(cells);
    plan.fixations = 0;
    for (std::uint32_t i = 0; i < plan.image_count; ++i) {
        const auto [width, height] = sizes[i];
        const std::array<std::uint32_t, 2> grid =
            given ? std::array{spec.rows, spec.columns} : grid_from_budget(width, height, spec.budget);
        LayoutSpan span = grid_span(0, 0, std::uint64_t(width) << FIXED_BITS,
                                    std::uint64_t(height) << FIXED_BITS, grid[0], grid[1], spec.cell);
        add_span(plan, span, i, 0, width, height);
        pad_image(plan, i);
    }
}

}  // namespace foveate
