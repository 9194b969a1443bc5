// SPDX-License-Identifier: Apache-2.0
// rate: the tokens that the rates of the stage before describe, in raster order of their corners.
#include <algorithm>
#include <cmath>
#include <string>

#include "engine/stages/plan.h"

namespace foveate {

void plan_rates(LayoutPlan& plan, const LayoutSpec& spec, const RateShape& rates)
{
    require(rates.cell == plan.cell * rates.scale, "layout: cell", plan.cell,
            std::to_string(rates.cell / rates.scale) + ", as of the rates",
            "Make the rates with the same model or cell.");
    plan.rows = rates.budget;
    plan.scale = rates.scale;
    plan.step_max = rates.max_rate * rates.scale << FIXED_BITS;
    plan.fixations = 0;
    for (std::uint32_t i = 0; i < plan.image_count; ++i) {
        const CellGrid& grid = rates.grids[i];
        shared::LayoutGrid one{};
        one.first = grid.first;
        one.columns = grid.columns;
        one.rows = grid.rows;
        one.gaze = std::uint32_t(plan.gaze.size());
        if (!spec.gaze.points.empty())
            for (const GazePoint& at : gaze_of("layout", spec.gaze, i, grid.width, grid.height))
                plan.gaze.push_back({int(std::floor(at.x * 2 + 0.5)), int(std::floor(at.y * 2 + 0.5))});
        one.gaze_count = std::uint32_t(plan.gaze.size()) - one.gaze;
        plan.fixations = std::max(plan.fixations, one.gaze_count);
        plan.grids.push_back(one);
    }
}

}  // namespace foveate
