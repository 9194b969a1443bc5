// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>

#include "engine/cpu/backend.h"
#include "engine/limits.h"
#include "engine/stages/plan.h"
#include "engine/stages/warp.h"
#include "engine/vulkan/backend.h"

namespace foveate {

struct Engine::State {
    pid_t pid = getpid();
    std::map<std::string, Ref<Backend>> backends;  // by name, made on first need
    std::array<Backend*, STAGE_COUNT> at{};        // stage -> backend
    WarpTables warp_tables;

    // A fork leaves the child without our threads and with a driver that no longer answers.
    void check_process() const
    {
        if (getpid() != pid) [[unlikely]]
            fail(ErrorKind::forked, "Engine: process " + std::to_string(getpid()), "an Engine made by its parent",
                 "one made after fork()", "Make a new Engine in the child, or start workers with spawn.");
    }
    Backend& backend(Stage stage) const { return *at[std::uint32_t(stage)]; }
    Backend& owner(const Ref<Block>& block) const
    {
        for (const auto& [name, backend] : backends)
            if (backend.get() == block->owner()) return *backend;
        fail(ErrorKind::input, "Engine: value", "one made by another Engine", "one made by this Engine",
             "Make every stage's input with the same Engine.");
    }
};

namespace {

// One call through the stages: a Record on every backend it meets, and values carried from one to another.
class Run {
public:
    ~Run() = default;

    Record& on(Backend& backend)
    {
        for (auto& [known, record] : records_)
            if (known == &backend) return *record;
        records_.emplace_back(&backend, backend.begin());
        return *records_.back().second;
    }

    void finish()
    {
        for (auto& [backend, record] : records_) backend->finish(*record);
        records_.clear();
    }

private:
    std::vector<std::pair<Backend*, Ref<Record>>> records_;
};

template <class Owner>
Ref<Block> carry(Run& run, Backend& to, const Ref<Block>& block, Owner&& owner)
{
    if (!block || block->owner() == &to) return block;
    Backend& from = owner(block);
    const Ref<Block> host = from.tensor(run.on(from), block);
    run.finish();
    return to.upload(run.on(to), host->host(), host->size());
}

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
        require(known, "Engine: stage", '"' + stage + '"', "\"*\", image, pyramid, relevance, rate, layout, sample, warp or tensor");
        require(name == "auto" || name == "cpu" || name == "vulkan", "Engine: backend", '"' + name + '"',
                "\"auto\", \"cpu\" or \"vulkan\"");
    }
    require(options.threads <= limits::THREADS, "Engine: threads", options.threads,
            "0 (all) or 1.." + std::to_string(limits::THREADS));
}

// "auto" takes a GPU where there is one. A driver that runs on this very cpu is a slower cpu backend.
std::string automatic(const EngineOptions& options)
{
    if (!options.device.empty()) return "vulkan";
    for (const Candidate& candidate : vulkan_candidates())
        if (candidate.usable && !candidate.software) return "vulkan";
    return "cpu";
}

}  // namespace

Engine::Engine(const EngineOptions& options) : state_(std::make_unique<State>())
{
    validate(options);
    const std::uint64_t budget = options.memory_budget ? options.memory_budget : limits::MEMORY_BUDGET;
    std::string chosen;
    for (std::uint32_t stage = 0; stage < STAGE_COUNT; ++stage) {
        std::string name = backend_for(options.backend, STAGE_NAMES[stage]);
        if (name == "auto") {
            if (chosen.empty()) chosen = automatic(options);
            name = chosen;
        }
        Ref<Backend>& backend = state_->backends[name];
        if (!backend)
            backend = name == "cpu"
                          ? Ref<Backend>(new cpu::CpuBackend(options.threads, options.isa, budget))
                          : make_vulkan_backend(options.device, options.memory_budget);
        state_->at[stage] = backend.get();
    }
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
    return gather_images(std::move(views));
}

Pyramid Engine::pyramid(const Image& image, const PyramidSpec& spec)
{
    state_->check_process();
    const PyramidPlan plan = plan_pyramid(image, spec);
    Backend& backend = state_->backend(Stage::pyramid);
    Run run;
    Record& record = run.on(backend);
    Pyramid pyramid = backend.pyramid(record, backend.image(record, image), plan);
    run.finish();
    return pyramid;
}

Layout Engine::layout(Sizes sizes, const LayoutSpec& spec)
{
    state_->check_process();
    const LayoutPlan plan = plan_layout(sizes, spec);
    Backend& backend = state_->backend(Stage::layout);
    Run run;
    Layout layout = backend.layout(run.on(backend), plan);
    run.finish();
    return layout;
}

Patches Engine::sample(const Pyramid& pyramid, const Layout& layout, const SampleSpec& spec)
{
    state_->check_process();
    const SamplePlan plan = plan_sample(pyramid, layout, spec);
    const auto owner = [&](const Ref<Block>& block) -> Backend& { return state_->owner(block); };
    Backend& backend = state_->backend(Stage::sample);
    if (pyramid.levels) state_->owner(pyramid.levels);
    state_->owner(layout.tokens);

    Run run;
    Pyramid from = pyramid;
    from.levels = carry(run, backend, pyramid.levels, owner);
    Layout rows = layout;
    rows.tokens = carry(run, backend, layout.tokens, owner);
    if (!from.image.pixels || from.image.pixels->owner() != &backend) {
        from.image.pixels = {};
        from.image = backend.image(run.on(backend), std::move(from.image));
    }
    Patches patches = backend.sample(run.on(backend), from, rows, plan);
    run.finish();
    return patches;
}

Warped Engine::warp(const Pyramid& pyramid, const WarpSpec& spec)
{
    state_->check_process();
    const WarpPlan plan = plan_warp(pyramid.image, spec, state_->warp_tables);
    check_warp_pyramid(pyramid, spec, plan);
    const auto owner = [&](const Ref<Block>& block) -> Backend& { return state_->owner(block); };
    Backend& backend = state_->backend(Stage::warp);
    if (pyramid.levels) state_->owner(pyramid.levels);
    Run run;
    Pyramid from = pyramid;
    from.levels = carry(run, backend, pyramid.levels, owner);
    if (!from.image.pixels || from.image.pixels->owner() != &backend) {
        from.image.pixels = {};
        from.image = backend.image(run.on(backend), std::move(from.image));
    }
    Warped warped = backend.warp(run.on(backend), from, plan);
    run.finish();
    return warped;
}

Warped Engine::warp(const Image& image, const WarpSpec& spec)
{
    state_->check_process();
    const WarpPlan plan = plan_warp(image, spec, state_->warp_tables);
    const PyramidSpec pyramid_spec{.color = spec.color, .levels = plan.level_count};
    const PyramidPlan pyramid_plan = plan_pyramid(image, pyramid_spec);
    Backend& pyramids = state_->backend(Stage::pyramid);
    if (&pyramids != &state_->backend(Stage::warp)) return warp(pyramid(image, pyramid_spec), spec);
    Run run;
    Record& record = run.on(pyramids);
    const Pyramid levels = pyramids.pyramid(record, pyramids.image(record, image), pyramid_plan);
    Warped warped = pyramids.warp(record, levels, plan);
    warped.data = pyramids.tensor(record, warped.data);
    run.finish();
    return warped;
}

Tokens Engine::tokens(std::vector<ImageView> views, const TokensSpec& spec)
{
    state_->check_process();
    const auto owner = [&](const Ref<Block>& block) -> Backend& { return state_->owner(block); };
    const Image image = gather_images(std::move(views));
    const LayoutPlan layout_plan = plan_layout(image_sizes(image), spec.layout);
    PyramidSpec pyramid_spec = spec.pyramid;
    if (pyramid_spec.levels == 0)
        pyramid_spec.levels = std::min(MAX_LEVELS, sample_levels(layout_plan.step_max, sample_taps(spec.sample)));
    const PyramidPlan pyramid_plan = plan_pyramid(image, pyramid_spec);

    Backend& pyramids = state_->backend(Stage::pyramid);
    Backend& layouts = state_->backend(Stage::layout);
    Backend& samples = state_->backend(Stage::sample);
    Run run;
    Pyramid pyramid = pyramids.pyramid(run.on(pyramids), pyramids.image(run.on(pyramids), image), pyramid_plan);
    Layout layout = layouts.layout(run.on(layouts), layout_plan);
    const SamplePlan sample_plan = plan_sample(pyramid, layout, spec.sample);

    const Ref<Block> tokens = layouts.tensor(run.on(layouts), layout.tokens);
    if (&pyramids != &samples || &layouts != &samples) {
        pyramid.levels = carry(run, samples, pyramid.levels, owner);
        layout.tokens = carry(run, samples, layout.tokens, owner);
        if (&pyramids != &samples) {
            pyramid.image.pixels = {};
            pyramid.image = samples.image(run.on(samples), std::move(pyramid.image));
        }
    }
    Tokens result;
    result.patches = samples.sample(run.on(samples), pyramid, layout, sample_plan);
    result.patches.data = samples.tensor(run.on(samples), result.patches.data);
    run.finish();
    result.table = token_table(reinterpret_cast<const Token*>(tokens->host()), layout, pyramid, spec.sample);
    return result;
}

Ref<Block> Engine::host(const Ref<Block>& block)
{
    state_->check_process();
    Backend& from = state_->owner(block);
    Run run;
    Ref<Block> readable = from.tensor(run.on(from), block);
    run.finish();
    return readable;
}

std::vector<Token> Engine::table(const Layout& layout, const Pyramid* pyramid, const SampleSpec* spec)
{
    const Ref<Block> rows = host(layout.tokens);
    const Token* tokens = reinterpret_cast<const Token*>(rows->host());
    if (pyramid && spec) return token_table(tokens, layout, *pyramid, *spec);
    return {tokens, tokens + std::size_t(layout.image_count) * layout.rows};
}

const Caps& Engine::caps(Stage stage) const { return state_->backend(stage).caps(); }

Counters Engine::counters() const
{
    state_->check_process();
    Counters sum;
    for (const auto& [name, backend] : state_->backends) {
        const Counters one = backend->counters();
        sum.records += one.records;
        sum.pipelines_created += one.pipelines_created;
        sum.image_copies += one.image_copies;
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
    found[0].usable = true;
    for (Candidate& candidate : vulkan_candidates()) found.push_back(std::move(candidate));
    return found;
}

}  // namespace foveate
