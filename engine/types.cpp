// SPDX-License-Identifier: Apache-2.0
#include "engine/types.h"

#include "engine/plan.h"

namespace foveate {

Pyramid pyramid_of(const PyramidPlan& plan)
{
    Pyramid pyramid;
    pyramid.table = plan.table;
    pyramid.level_count = plan.level_count;
    pyramid.element = plan.element;
    pyramid.edge = plan.edge;
    pyramid.color = plan.color;
    pyramid.unit = plan.unit;
    return pyramid;
}

Rates rates_of(const RatePlan& plan)
{
    return {.codes = {},
            .detail = {},
            .grids = plan.grids,
            .cell = plan.params.cell,
            .budget = plan.budget,
            .max_rate = 1u << plan.params.max_log2,
            .scale = plan.scale,
            .square = plan.params.square != 0,
            .sizes = plan.sizes};
}

Layout layout_of(const LayoutPlan& plan)
{
    return {.tokens = {},
            .image_count = plan.image_count,
            .rows = plan.rows,
            .cell = plan.cell,
            .fixations = plan.fixations,
            .step_max = plan.step_max,
            .sizes = plan.sizes};
}

Relevance relevance_of(const RelevancePlan& plan)
{
    return {.cells = {}, .luma = {}, .grids = plan.grids, .cell = plan.params.cell, .sizes = plan.sizes};
}

TileRates tile_rates_of(const RateTilesPlan& plan)
{
    return {.codes = {}, .grids = plan.grids, .tile = plan.params.tile};
}

Patches patches_of(const Layout& layout, const SamplePlan& plan)
{
    const auto& params = plan.params;
    return {.data = {},
            .image_count = layout.image_count,
            .rows = layout.rows,
            .patch = params.patch_size,
            .merge = params.merge,
            .frames = params.frames,
            .channels = params.channels,
            .channels_last = params.channels_last != 0,
            .dtype = static_cast<Dtype>(params.dtype)};
}

}  // namespace foveate
