// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/backend.h"

#include <cstring>

#include "engine/error.h"

namespace foveate::cpu {

CpuBackend::CpuBackend(std::uint32_t threads, const std::string& isa, std::uint64_t memory_budget)
    : rows_(rows_named(isa)), threads_(threads ? threads : Threads::available()),
      memory_(new Memory(memory_budget, this))
{
    caps_.backend = "cpu";
    caps_.device = std::to_string(threads_.count()) + " threads";
    caps_.isa = rows_.name;
    caps_.memory_budget = memory_budget;
    caps_.image_bytes_max = ~0ull;
}

CpuBackend::~CpuBackend() { memory_->close(); }

Counters CpuBackend::counters() const
{
    Counters counters;
    counters.records = records_;
    counters.memory_used = memory_->used();
    counters.memory_peak = memory_->peak();
    return counters;
}

Ref<Record> CpuBackend::begin()
{
    ++records_;
    return Ref<Record>(new Record);
}

Image CpuBackend::image(Record&, Image image) { return image; }

Pyramid CpuBackend::pyramid(Record&, Image image, const PyramidPlan& plan)
{
    Pyramid pyramid = pyramid_of(plan);
    if (plan.level_count > 1) {
        pyramid.levels = memory_->allocate(plan.level_elements * element_size(plan.element));
        if (plan.edge == Edge::exact)
            build_exact_pyramid(image, plan, reinterpret_cast<float*>(pyramid.levels->host()), threads_);
        else
            build_pyramid(image, plan, pyramid.levels->host(), rows_, threads_);
    }
    pyramid.image = std::move(image);
    return pyramid;
}

TileRates CpuBackend::rate_tiles(Record&, const Image& image, const RateTilesPlan& plan)
{
    TileRates rates = tile_rates_of(plan);
    rates.codes = memory_->allocate(plan.tile_count);
    write_rate_tiles(image, plan, reinterpret_cast<std::uint8_t*>(rates.codes->host()), tile_kernels(rows_.name),
                     threads_);
    return rates;
}

Relevance CpuBackend::relevance(Record&, const Pyramid& pyramid, const RelevancePlan& plan)
{
    Relevance relevance = relevance_of(plan);
    relevance.cells = memory_->allocate(std::uint64_t(plan.params.cell_count) * sizeof(std::uint32_t));
    std::uint16_t* luma = nullptr;
    if (plan.luma_elements) {
        relevance.luma = memory_->allocate(plan.luma_elements * sizeof(std::uint16_t));
        luma = reinterpret_cast<std::uint16_t*>(relevance.luma->host());
    }
    find_relevance(pyramid, plan, luma, reinterpret_cast<std::uint32_t*>(relevance.cells->host()), rows_, threads_);
    return relevance;
}

Rates CpuBackend::rate(Record&, const Image& image, const Relevance* relevance, const RatePlan& plan)
{
    Rates rates = rates_of(plan);
    const std::uint64_t cells = plan.params.cell_count;
    rates.codes = memory_->allocate(cells * sizeof(std::uint32_t));
    const std::uint64_t values = std::max<std::uint64_t>(1, cells * 4 * plan.params.max_log2);
    rates.detail = memory_->allocate(values * sizeof(std::uint32_t));
    auto* detail = reinterpret_cast<std::uint32_t*>(rates.detail->host());
    rate_detail(image, plan, detail, rows_, threads_);
    rate_codes(plan, detail, relevance ? reinterpret_cast<const std::uint32_t*>(relevance->cells->host()) : nullptr,
               reinterpret_cast<std::uint32_t*>(rates.codes->host()), threads_);
    return rates;
}

Layout CpuBackend::layout(Record&, const LayoutPlan& plan, const Rates* rates)
{
    Layout layout = layout_of(plan);
    layout.tokens = memory_->allocate(std::uint64_t(plan.image_count) * plan.rows * sizeof(Token));
    auto* tokens = reinterpret_cast<Token*>(layout.tokens->host());
    if (rates)
        write_rate_layout(plan, reinterpret_cast<const std::uint32_t*>(rates->codes->host()), tokens);
    else
        write_layout(plan, tokens);
    return layout;
}

Patches CpuBackend::sample(Record&, const Pyramid& pyramid, const Layout& layout, const SamplePlan& plan)
{
    Patches patches = patches_of(layout, plan);
    patches.data = memory_->allocate(patches.patch_count() * patches.patch_elements() * dtype_size(patches.dtype));
    sample_patches(pyramid, reinterpret_cast<const Token*>(layout.tokens->host()), plan,
                   patches.data->host(), rows_, threads_);
    return patches;
}

Warped CpuBackend::warp(Record&, const Pyramid& pyramid, const WarpPlan& plan)
{
    Warped warped = plan.shape;
    warped.data = memory_->allocate(warped.image_count * warped.image_stride);
    warp_images(pyramid, plan, warped.data->host(), rows_, threads_);
    return warped;
}

Shaded CpuBackend::sample_vrs(Record&, const Image& image, const VrsPlan& plan)
{
    Shaded shaded = shaded_of(image, plan);
    shaded.colors = memory_->allocate(std::uint64_t(shaded.width) * shaded.height * sizeof(std::uint32_t));
    shaded.codes = memory_->allocate(std::uint64_t(shaded.pitch) * shaded.height);
    shaded.counter = memory_->allocate(sizeof(std::uint32_t));
    shade_coarsely(image.views[0], plan, reinterpret_cast<std::uint32_t*>(shaded.colors->host()),
                   reinterpret_cast<std::uint8_t*>(shaded.codes->host()),
                   reinterpret_cast<std::uint32_t*>(shaded.counter->host()), threads_);
    return shaded;
}

Ref<Block> CpuBackend::tensor(Record&, const Ref<Block>& block) { return block; }

Ref<Block> CpuBackend::upload(Record&, const void* data, std::uint64_t size)
{
    Ref<Block> block = memory_->allocate(size);
    std::memcpy(block->host(), data, size);
    return block;
}

// Its memory is the process's own.
SharedMemory CpuBackend::share(const Ref<Block>&, bool)
{
    fail(ErrorKind::unsupported, "Engine: share", "memory of the cpu backend", "of vulkan",
         "Use Engine(backend=\"vulkan\", share=True).");
}

Ref<Block> CpuBackend::attach(SharedMemory)
{
    fail(ErrorKind::unsupported, "Engine: attach", "the cpu backend", "vulkan",
         "Use Engine(backend=\"vulkan\", share=True).");
}

SharedSemaphore CpuBackend::expect()
{
    fail(ErrorKind::unsupported, "Engine: expect", "the cpu backend", "vulkan",
         "Use Engine(backend=\"vulkan\", share=True).");
}

void CpuBackend::wait(SharedSemaphore point)
{
    require(point.kind == Sync::host, "Engine: wait", "the cpu backend", "vulkan",
            "Use Engine(backend=\"vulkan\", share=True).", ErrorKind::unsupported);
}

}  // namespace foveate::cpu
