// SPDX-License-Identifier: Apache-2.0
// Every stage in one go: all plans are made first, so that a wrong option costs nothing, and then everything is
// recorded without asking the device for what it found.
#include <algorithm>

#include "engine/range.h"
#include "engine/run.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

struct Plans {
    PyramidPlan pyramid;
    RelevancePlan relevance;
    RatePlan rate;
    LayoutPlan layout;
    SamplePlan sample;
    bool rated = false, weighted = false;
};

Plans plans_of(const Image& image, const TokensSpec& spec, const Tokens* previous, std::uint32_t filter_side)
{
    Plans plans;
    const auto sizes = image_sizes(image);
    plans.rated = spec.layout.kind == LayoutKind::rate;
    plans.weighted = plans.rated && spec.weighted;
    RateShape shape;
    if (plans.rated) {
        RateSpec rate = spec.rate;
        rate.budget = spec.layout.budget;
        rate.cell = spec.layout.cell;
        plans.rate = plan_rate(image, rate, previous && previous->rates.codes ? &previous->rates : nullptr);
        const auto& params = plans.rate.params;
        shape = {plans.rate.grids, params.cell, rate.budget, 1u << params.max_log2, plans.rate.scale};
    }
    if (plans.weighted) {
        RelevanceSpec relevance = spec.relevance;
        relevance.cell = plans.rate.params.cell;
        plans.relevance =
            plan_relevance(sizes, relevance, previous && previous->relevance.cells ? &previous->relevance : nullptr);
    }
    plans.layout = plan_layout(sizes, spec.layout, plans.rated ? &shape : nullptr);
    PyramidSpec pyramid = spec.pyramid;
    if (pyramid.levels == 0) {
        std::uint32_t read = sample_levels(plans.layout.step_max, sample_taps(spec.sample));
        if (filterable(image, pyramid.color, filter_side)) read += FAST_LEVELS;
        pyramid.levels = std::min(MAX_LEVELS, std::max(read, plans.relevance.levels));
    }
    plans.pyramid = plan_pyramid(image, pyramid);
    Pyramid levels = pyramid_of(plans.pyramid);
    levels.image = image;
    const Layout layout = layout_of(plans.layout);
    plans.sample = plan_sample(levels, layout, spec.sample);
    plans.sample.fast_levels = fast_levels(levels, layout, plans.sample, filter_side);
    return plans;
}

}  // namespace

std::vector<Token> TokenTable::tokens() const
{
    const Token* rows = reinterpret_cast<const Token*>(layout.tokens->host());
    if (!pyramid.table.empty()) return token_table(rows, layout, pyramid, sample);
    return {rows, rows + std::size_t(layout.image_count) * layout.rows};
}

Tokens Engine::tokens(std::vector<ImageView> views, const TokensSpec& spec, const Tokens* previous)
{
    state_->check_process();
    const Range range("tokens");
    const Image image = gather_images(std::move(views));
    Plans plans = plans_of(image, spec, previous, state_->filter_side);
    state_->fast_samples += plans.sample.fast_levels > 0;

    Run run(*state_);
    Tokens result;
    Backend& pyramids = state_->backend(Stage::pyramid);
    Backend& layouts = state_->backend(Stage::layout);
    Backend& samples = state_->backend(Stage::sample);
    // What comes from other backends is brought over before anything is recorded.
    if (plans.weighted) {
        Backend& backend = state_->backend(Stage::relevance);
        plans.relevance.previous_cells = run.carry(backend, plans.relevance.previous_cells);
        plans.relevance.previous_luma = run.carry(backend, plans.relevance.previous_luma);
    }
    if (plans.rated) {
        Backend& backend = state_->backend(Stage::rate);
        plans.rate.previous_codes = run.carry(backend, plans.rate.previous_codes);
        plans.rate.previous_detail = run.carry(backend, plans.rate.previous_detail);
    }
    Pyramid pyramid = in_range("pyramid", [&] {
        return pyramids.pyramid(run.on(pyramids), pyramids.image(run.on(pyramids), image), plans.pyramid);
    });
    if (plans.weighted) {
        Backend& backend = state_->backend(Stage::relevance);
        const Pyramid from = plans.relevance.luma_elements ? run.carry(backend, pyramid) : pyramid;
        result.relevance =
            in_range("relevance", [&] { return backend.relevance(run.on(backend), from, plans.relevance); });
    }
    if (plans.rated) {
        Backend& backend = state_->backend(Stage::rate);
        Relevance weights;
        weights.cells = run.carry(backend, result.relevance.cells);
        const Image& read = &backend == &pyramids ? pyramid.image : image;
        result.rates = in_range("rate", [&] {
            return backend.rate(run.on(backend), read, plans.weighted ? &weights : nullptr, plans.rate);
        });
    }
    Rates rates = result.rates;
    rates.codes = run.carry(layouts, rates.codes);
    Layout layout = in_range("layout", [&] {
        return layouts.layout(run.on(layouts), plans.layout, plans.rated ? &rates : nullptr);
    });

    result.table.layout = layout;
    result.table.layout.tokens = layouts.tensor(run.on(layouts), layout.tokens);
    result.table.pyramid.table = pyramid.table;
    result.table.pyramid.level_count = pyramid.level_count;
    result.table.sample = spec.sample;
    pyramid = run.carry(samples, std::move(pyramid));
    layout.tokens = run.carry(samples, layout.tokens);
    result.patches =
        in_range("sample", [&] { return samples.sample(run.on(samples), pyramid, layout, plans.sample); });
    const Range last("tensor");     // where what was recorded runs
    if (spec.host) result.patches.data = samples.tensor(run.on(samples), result.patches.data);
    run.finish();
    return result;
}

}  // namespace foveate
