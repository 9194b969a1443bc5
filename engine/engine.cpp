// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <cstring>

#include "engine/cpu/backend.h"
#include "engine/limits.h"
#include "engine/range.h"
#include "engine/run.h"
#include "engine/stages/plan.h"
#include "engine/vulkan/backend.h"

namespace foveate {

namespace {

std::string backend_for(const std::map<std::string, std::string>& wanted, const char* stage)
{
    const auto found = wanted.find(stage);
    if (found != wanted.end()) return found->second;
    const auto any = wanted.find("*");
    return any == wanted.end() ? "auto" : any->second;
}

void validate(const EngineOptions& options)
{
    for (const auto& [stage, name] : options.backend) {
        const bool known = stage == "*" || std::find_if(std::begin(STAGE_NAMES), std::end(STAGE_NAMES),
                                                        [&](const char* s) { return stage == s; }) !=
                                               std::end(STAGE_NAMES);
        require(known, "Engine: stage", '"' + stage + '"',
                "\"*\", image, pyramid, relevance, rate, layout, sample, warp or tensor");
        require(name == "auto" || name == "cpu" || name == "vulkan" || options.others.contains(name),
                "Engine: backend", '"' + name + '"', "\"auto\", \"cpu\", \"vulkan\", \"opengl\" or \"cuda\"");
    }
    require(options.threads <= limits::THREADS, "Engine: threads", options.threads,
            "0 (all) or 1.." + std::to_string(limits::THREADS));
}

// "auto" takes a GPU where there is one. A driver that runs on this very cpu is a slower cpu backend.
std::string automatic(const EngineOptions& options)
{
    if (!options.device.empty() || options.share) return "vulkan";
    for (const Candidate& candidate : vulkan_candidates())
        if (candidate.usable && !candidate.software) return "vulkan";
    return "cpu";
}

Ref<Backend> make_backend(const std::string& name, const EngineOptions& options)
{
    const auto other = options.others.find(name);
    if (other != options.others.end()) return other->second(options);
    if (name == "vulkan")
        return make_vulkan_backend(options.device, options.memory_budget, 
                                   {options.share, options.trace, options.ahead});
    const std::uint64_t budget = options.memory_budget ? options.memory_budget : limits::MEMORY_BUDGET;
    return Ref<Backend>(new cpu::CpuBackend(options.threads, options.isa, budget));
}

}  // namespace

Engine::Engine(const EngineOptions& options) : state_(std::make_unique<State>())
{
    validate(options);
    std::string chosen;
    for (std::uint32_t stage = 0; stage < STAGE_COUNT; ++stage) {
        std::string name = backend_for(options.backend, STAGE_NAMES[stage]);
        if (name == "auto") {
            if (chosen.empty()) chosen = automatic(options);
            name = chosen;
        }
        Ref<Backend>& backend = state_->backends[name];
        if (!backend) backend = make_backend(name, options);
        state_->at[stage] = backend.get();
    }
    if (!options.exact) state_->filter_side = state_->backend(Stage::sample).caps().filter_side;
}

// In a child of fork() the backends are left alone: their threads and their driver are not there to be stopped.
Engine::~Engine() { close(); }

void Engine::close()
{
    if (state_ && getpid() != state_->pid) state_.release();
    state_.reset();
}

Image Engine::image(std::vector<ImageView> views)
{
    state_->check_process();
    const Range range("image");
    return gather_images(std::move(views));
}

Pyramid Engine::pyramid(const Image& image, const PyramidSpec& spec)
{
    state_->check_process();
    const Range range("pyramid");
    const PyramidPlan plan = plan_pyramid(image, spec);
    Backend& backend = state_->backend(Stage::pyramid);
    Run run(*state_);
    Record& record = run.on(backend);
    Pyramid pyramid = backend.pyramid(record, backend.image(record, image), plan);
    run.finish();
    return pyramid;
}

TileRates Engine::rate_tiles(Sizes sizes, const Image* image, const RateTilesSpec& spec)
{
    state_->check_process();
    const Range range("rate");
    const RateTilesPlan plan = plan_rate_tiles(sizes, image, spec);
    Backend& backend = state_->backend(Stage::rate);
    Run run(*state_);
    Image pixels;
    if (image && plan.params.content != TILE_CONTENT_NONE) pixels = *image;
    TileRates rates = backend.rate_tiles(run.on(backend), pixels, plan);
    run.finish();
    return rates;
}

Relevance Engine::relevance(const Pyramid& pyramid, const RelevanceSpec& spec, const Relevance* previous)
{
    state_->check_process();
    const Range range("relevance");
    RelevancePlan plan = plan_relevance(image_sizes(pyramid.image), spec, previous);
    check_relevance(pyramid, plan);
    Backend& backend = state_->backend(Stage::relevance);
    if (pyramid.levels) state_->owner(pyramid.levels);
    Run run(*state_);
    plan.previous_cells = run.carry(backend, plan.previous_cells);
    plan.previous_luma = run.carry(backend, plan.previous_luma);
    const Pyramid from = plan.luma_elements ? run.carry(backend, pyramid) : pyramid;
    Relevance relevance = backend.relevance(run.on(backend), from, plan);
    run.finish();
    return relevance;
}

Relevance Engine::relevance(const Image& image, const RelevanceSpec& spec, const Relevance* previous)
{
    state_->check_process();
    const Range range("relevance");
    RelevancePlan plan = plan_relevance(image_sizes(image), spec, previous);
    Backend& backend = state_->backend(Stage::relevance);
    Run run(*state_);
    plan.previous_cells = run.carry(backend, plan.previous_cells);
    plan.previous_luma = run.carry(backend, plan.previous_luma);
    Pyramid pyramid;
    pyramid.image = image;
    if (plan.luma_elements) {
        Backend& pyramids = state_->backend(Stage::pyramid);
        const PyramidPlan levels = plan_pyramid(image, {.levels = plan.levels});
        pyramid = pyramids.pyramid(run.on(pyramids), pyramids.image(run.on(pyramids), image), levels);
        pyramid = run.carry(backend, std::move(pyramid));
    }
    Relevance relevance = backend.relevance(run.on(backend), pyramid, plan);
    run.finish();
    return relevance;
}

Rates Engine::rate(const Image& image, const RateSpec& spec, const Relevance* relevance, const Rates* previous)
{
    state_->check_process();
    const Range range("rate");
    Backend& backend = state_->backend(Stage::rate);
    RatePlan plan = plan_rate(image, spec, previous, relevance != nullptr);
    if (relevance) check_relevance(plan, *relevance);

    Run run(*state_);
    plan.previous_codes = run.carry(backend, plan.previous_codes);
    plan.previous_detail = run.carry(backend, plan.previous_detail);
    Relevance weights;
    if (relevance) weights.cells = run.carry(backend, relevance->cells);
    Rates rates = backend.rate(run.on(backend), backend.image(run.on(backend), image), relevance ? &weights : nullptr,
                               plan);
    run.finish();
    return rates;
}

Layout Engine::layout(Sizes sizes, const LayoutSpec& spec, const Rates* rates)
{
    state_->check_process();
    const Range range("layout");
    RateShape shape;
    if (rates) {
        require(std::ranges::equal(sizes, rates->sizes), "layout: rates", "rates of other image sizes",
                "those of these images", "Make the rates from the same images.");
        shape = {rates->grids, rates->cell, rates->budget, rates->max_rate, rates->scale};
    }
    const LayoutPlan plan = plan_layout(sizes, spec, rates ? &shape : nullptr);
    Backend& backend = state_->backend(Stage::layout);
    Run run(*state_);
    Rates from;
    if (!plan.grids.empty()) {
        from = *rates;
        from.codes = run.carry(backend, rates->codes);
    }
    Layout layout = backend.layout(run.on(backend), plan, plan.grids.empty() ? nullptr : &from);
    run.finish();
    return layout;
}

Patches Engine::sample(const Pyramid& pyramid, const Layout& layout, const SampleSpec& spec)
{
    state_->check_process();
    const Range range("sample");
    SamplePlan plan = plan_sample(pyramid, layout, spec);
    plan.fast_levels = fast_levels(pyramid, layout, plan, state_->filter_side);
    state_->fast_samples += plan.fast_levels > 0;
    Backend& backend = state_->backend(Stage::sample);
    if (pyramid.levels) state_->owner(pyramid.levels);
    state_->owner(layout.tokens);

    Run run(*state_);
    const Pyramid from = run.carry(backend, pyramid);
    Layout rows = layout;
    rows.tokens = run.carry(backend, layout.tokens);
    Patches patches = backend.sample(run.on(backend), from, rows, plan);
    run.finish();
    return patches;
}

Warped Engine::warp(const Pyramid& pyramid, const WarpSpec& spec)
{
    state_->check_process();
    const Range range("warp");
    const WarpPlan plan = plan_warp(pyramid.image, spec, state_->warp_tables);
    check_warp_pyramid(pyramid, spec, plan);
    Backend& backend = state_->backend(Stage::warp);
    if (pyramid.levels) state_->owner(pyramid.levels);
    Run run(*state_);
    Warped warped = backend.warp(run.on(backend), run.carry(backend, pyramid), plan);
    run.finish();
    return warped;
}

Warped Engine::warp(const Image& image, const WarpSpec& spec, bool host)
{
    state_->check_process();
    const Range range("warp");
    const WarpPlan plan = plan_warp(image, spec, state_->warp_tables);
    const PyramidSpec pyramid_spec{.color = spec.color, .levels = plan.level_count};
    const PyramidPlan pyramid_plan = plan_pyramid(image, pyramid_spec);
    Backend& pyramids = state_->backend(Stage::pyramid);
    if (&pyramids != &state_->backend(Stage::warp)) return warp(pyramid(image, pyramid_spec), spec);
    Run run(*state_);
    Record& record = run.on(pyramids);
    const Pyramid levels = pyramids.pyramid(record, pyramids.image(record, image), pyramid_plan);
    Warped warped = pyramids.warp(record, levels, plan);
    if (host) warped.data = pyramids.tensor(record, warped.data);
    run.finish();
    return warped;
}

Shaded Engine::sample_vrs(const Image& image, const VrsSpec& spec)
{
    state_->check_process();
    Backend& backend = state_->backend(Stage::sample);
    const VrsPlan plan = plan_sample_vrs(image, spec, backend.caps().shading_rate);
    Run run(*state_);
    Record& record = run.on(backend);
    Shaded shaded = backend.sample_vrs(record, image, plan);
    for (Ref<Block>* block : {&shaded.colors, &shaded.codes, &shaded.counter}) *block = backend.tensor(record, *block);
    run.finish();
    std::uint32_t counted = 0;
    std::memcpy(&counted, shaded.counter->host(), sizeof counted);
    shaded.invocations = counted;
    return shaded;
}

Ref<Block> Engine::host(const Ref<Block>& block)
{
    state_->check_process();
    const Range range("tensor");
    Backend& from = state_->owner(block);
    Run run(*state_);
    Ref<Block> readable = from.tensor(run.on(from), block);
    run.finish();
    return readable;
}

TokenTable Engine::table(const Layout& layout, const Pyramid* pyramid, const SampleSpec* spec)
{
    TokenTable table;
    table.layout = layout;
    table.layout.tokens = host(layout.tokens);
    if (!pyramid || !spec) return table;
    table.pyramid.table = pyramid->table;
    table.pyramid.level_count = pyramid->level_count;
    table.sample = *spec;
    return table;
}

const Caps& Engine::caps(Stage stage) const { return state_->backend(stage).caps(); }

Counters Engine::counters() const
{
    state_->check_process();
    Counters sum;
    sum.fast_samples = state_->fast_samples;
    for (const auto& [name, backend] : state_->backends) {
        const Counters one = backend->counters();
        sum.records += one.records;
        sum.pipelines_created += one.pipelines_created;
        sum.image_copies += one.image_copies;
        sum.spans_dropped += one.spans_dropped;
        sum.host_waits += one.host_waits;
        sum.memory_used += one.memory_used;
        sum.memory_peak += one.memory_peak;
        sum.messages += one.messages;
    }
    return sum;
}

std::vector<Candidate> Engine::candidates()
{
    std::vector<Candidate> found(1);
    found[0].backend = "cpu";
    found[0].device = std::to_string(cpu::Threads::available()) + " threads, " + cpu::rows_named("").name;
    found[0].usable = found[0].software = found[0].in_place = true;
    for (Candidate& candidate : vulkan_candidates()) found.push_back(std::move(candidate));
    return found;
}

}  // namespace foveate
