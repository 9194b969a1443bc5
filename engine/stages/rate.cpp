// SPDX-License-Identifier: Apache-2.0
// Rates for tokens: a block of cells starts as one token and is halved where that gains most, until there are
// exactly as many tokens as the budget says. Splits are ordered by their slopes in cost-complexity pruning
// (Breiman, Friedman, Olshen, Stone: Classification and Regression Trees, 1984, chapter 3), block by block.
#include <bit>
#include <cmath>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

constexpr std::uint32_t CELL_MAX = limits::PATCH * limits::MERGE;
constexpr std::uint32_t SCALE_MAX = 8;         // 16 cells of 8 px a texel: what three bits of a code can say
constexpr double NOISE = 2;                    // of a camera, in steps of 8-bit luma: one sigma
constexpr std::uint64_t CELLS_MAX = 1u << 24;  // of a call: what one buffer of slopes can hold on every device

std::uint64_t blocks_of(const CellGrid& grid, std::uint32_t edge)
{
    return std::uint64_t((grid.columns + edge - 1) / edge) * ((grid.rows + edge - 1) / edge);
}

bool fits(std::span<const CellGrid> grids, std::uint32_t edge, std::uint64_t budget)
{
    for (const CellGrid& grid : grids)
        if (blocks_of(grid, edge) > budget) return false;
    return true;
}

// The smallest block that leaves three quarters of the budget to splits.
std::uint32_t edge_for(std::span<const CellGrid> grids, std::uint32_t budget)
{
    return fits(grids, 4, budget / 4) ? 4 : fits(grids, 8, budget / 4) ? 8 : 16;
}

// A block's gains, weighted with 65535 / 65536, must stay below 2^32; half of that leaves room for hysteresis.
std::uint32_t drop_for(std::uint32_t edge_px, std::uint32_t shift, bool held)
{
    const std::uint64_t variance = 16256;  // of bytes, at most
    std::uint64_t most = std::uint64_t(edge_px) * edge_px * variance << shift;
    std::uint32_t drop = 0;
    for (; most >= (held ? 1ull << 31 : 1ull << 32); most >>= 1) ++drop;
    return drop;
}

void check_previous(const RatePlan& plan, const Rates& previous)
{
    const bool same = previous.sizes == plan.sizes && previous.cell == plan.params.cell &&
                      previous.max_rate == 1u << plan.params.max_log2 &&
                      previous.square == (plan.params.square != 0);
    require(same, "rate: previous", "rates of other sizes or options", "those of the frame before",
            "Leave it out when the size, the cell or max_rate changes.");
}

}  // namespace

std::vector<CellGrid> cell_grids(const char* stage, Sizes sizes, std::uint32_t cell)
{
    require(cell >= 1 && cell <= CELL_MAX, std::string(stage) + ": cell", cell,
            "1.." + std::to_string(CELL_MAX) + " px");
    std::vector<CellGrid> grids;
    std::uint64_t first = 0;
    for (const auto& [width, height] : sizes) {
        CellGrid grid{};
        grid.first = std::uint32_t(first);
        grid.columns = (width + cell - 1) / cell;
        grid.rows = (height + cell - 1) / cell;
        grid.width = width;
        grid.height = height;
        first += std::uint64_t(grid.columns) * grid.rows;
        require(first <= CELLS_MAX, std::string(stage) + ": cells", "more than " + std::to_string(CELLS_MAX),
                "fewer", "Send fewer images at once, or use larger cells.", ErrorKind::limit);
        grids.push_back(grid);
    }
    return grids;
}

void check_relevance(const RatePlan& plan, const Relevance& relevance)
{
    require(relevance.sizes == plan.sizes && relevance.cell == plan.params.cell, "rate: relevance",
            "that of other images or cells", "that of these images and this cell",
            "Make it from the same images with the same model or cell.");
}

RatePlan plan_rate(const Image& image, const RateSpec& spec, const Rates* previous, bool fixed)
{
    require(spec.budget >= 1 && spec.budget <= limits::IMAGE_TOKENS, "rate: budget", spec.budget,
            "1.." + std::to_string(limits::IMAGE_TOKENS) + " tokens");
    require(spec.max_rate == 0 || (std::has_single_bit(spec.max_rate) && spec.max_rate <= 16), "rate: max_rate",
            spec.max_rate, "1, 2, 4, 8 or 16, or None");
    require(spec.hysteresis >= 0 && spec.hysteresis <= 1, "rate: hysteresis", spec.hysteresis, "0..1");
    RatePlan plan;
    plan.sizes = image_sizes(image);
    plan.grids = cell_grids("rate", plan.sizes, spec.cell);
    plan.budget = spec.budget;
    std::uint32_t cell = spec.cell;
    if (spec.max_rate == 0 && !fixed)
        for (; !fits(plan.grids, 16, spec.budget) && plan.scale < SCALE_MAX && 2 * cell <= CELL_MAX; plan.scale *= 2)
            plan.grids = cell_grids("rate", plan.sizes, cell *= 2);
    const std::uint32_t edge = spec.max_rate ? spec.max_rate : edge_for(plan.grids, spec.budget);
    auto& params = plan.params;
    params.image_count = std::uint32_t(plan.sizes.size());
    params.cell_count = plan.grids.back().first + plan.grids.back().columns * plan.grids.back().rows;
    params.cell = cell;
    params.max_log2 = std::uint32_t(std::countr_zero(edge));
    params.square = spec.square;
    params.shift = cell <= 128 ? 4 : cell <= 256 ? 2 : 0;
    params.hysteresis = previous ? std::uint32_t(std::lround(spec.hysteresis * 256)) : 0;
    params.hold = params.hysteresis > 0;
    params.steady = previous && spec.steady;
    const double variance = NOISE * NOISE * double(1u << params.shift);
    params.noise_slope = float(256 * variance);
    params.noise_rest = float(128 * variance * variance * cell * cell);
    params.drop = drop_for(edge * cell, params.shift, params.hold);
    params.element = std::uint32_t(image.element);
    params.channels = image.channels;
    for (const CellGrid& grid : plan.grids) {
        const std::uint64_t blocks = blocks_of(grid, edge);
        require(blocks <= spec.budget, "rate: budget", spec.budget,
                std::to_string(blocks) + " or more for " + std::to_string(grid.columns) + " x " +
                    std::to_string(grid.rows) + " cells in blocks of " + std::to_string(edge),
                "Raise max_rate or the budget.");
        shared::RateImage one{};
        one.luma = std::uint32_t(plan.luma_words);
        one.pitch = (grid.width + 3) / 4;
        one.need = spec.budget - std::uint32_t(blocks);
        one.block_columns = (grid.columns + edge - 1) / edge;
        one.block_rows = (grid.rows + edge - 1) / edge;
        plan.luma_words += std::uint64_t(one.pitch) * grid.height;
        params.width_max = std::max(params.width_max, one.pitch);
        params.height_max = std::max(params.height_max, grid.height);
        params.blocks_max = std::max(params.blocks_max, std::uint32_t(blocks));
        plan.images.push_back(one);
    }
    for (std::uint32_t k = 0; k <= RATE_NODES; ++k) plan.inverse.push_back(float(1.0 / std::max(1u, k)));
    if (previous) {
        check_previous(plan, *previous);
        plan.previous_codes = previous->codes;
        plan.previous_detail = previous->detail;
    }
    return plan;
}

}  // namespace foveate
