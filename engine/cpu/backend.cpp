// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/backend.h"

#include <cstring>

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

Layout CpuBackend::layout(Record&, const LayoutPlan& plan)
{
    Layout layout = layout_of(plan);
    layout.tokens = memory_->allocate(std::uint64_t(plan.image_count) * plan.rows * sizeof(Token));
    write_layout(plan, reinterpret_cast<Token*>(layout.tokens->host()));
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

Ref<Block> CpuBackend::tensor(Record&, const Ref<Block>& block) { return block; }

Ref<Block> CpuBackend::upload(Record&, const void* data, std::uint64_t size)
{
    Ref<Block> block = memory_->allocate(size);
    std::memcpy(block->host(), data, size);
    return block;
}

}  // namespace foveate::cpu
