// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/compute/backend.h"

namespace foveate::compute {

namespace {

std::uint32_t groups_for(std::uint64_t items, std::uint32_t local)
{
    return std::uint32_t((items + local - 1) / local);
}

shared::PyramidParams params_of(const Image& image, const PyramidPlan& plan, std::uint32_t level)
{
    shared::PyramidParams params{};
    params.image_count = std::uint32_t(image.views.size());
    params.level = level;
    params.source_element = std::uint32_t(image.element);
    params.level_element = std::uint32_t(plan.element);
    params.linear = plan.color == Color::linear;
    params.exact = plan.edge == Edge::exact;
    params.channels = image.channels;
    if (params.exact) {
        params.taps_offset = plan.taps_offset[level];
        params.taps_stride = plan.taps_stride[level];
        params.taps_rows = plan.taps_rows[level];
    }
    for (std::size_t i = 0; i < image.views.size(); ++i) {
        const shared::LevelDesc& desc = plan.table[i * MAX_LEVELS + level];
        params.width_max = std::max(params.width_max, desc.width);
        params.height_max = std::max(params.height_max, desc.height);
    }
    return params;
}

}  // namespace

Pyramid ComputeBackend::pyramid(Record& record, Image image, const PyramidPlan& plan)
{
    ComputeRecord& recording = this->recording(record);
    Pyramid pyramid = pyramid_of(plan);
    if (plan.level_count > 1) {
        const std::uint64_t size = plan.level_elements * element_size(plan.element);
        check_range("pyramid: levels", size, WINDOWS * WINDOW);
        check_range("pyramid: taps", plan.taps.size() * sizeof(shared::AxisTap), limits().range);
        const Ref<Block> pixels = pixels_of(recording, image);
        const Ref<Block> levels = recording.buffer(size);
        const Ref<Block> images = recording.upload(image.table), table = recording.upload(plan.table);
        const Ref<Block> taps = recording.upload(plan.taps);
        Ref<Block> decode;
        if (plan.decode) decode = recording.upload(plan.decode, 256 * sizeof(float));

        std::vector<Binding> bindings{{"Images", images.get()},
                                      {"LevelTable", table.get()},
                                      {"Taps", taps.get()},
                                      {"Decode", decode.get()}};
        add_windows(bindings, PIXEL_WINDOWS, pixels);
        add_windows(bindings, LEVEL_WINDOWS, levels);
        const Program& program = program_for("pyramid", pixels, levels);
        const auto& local = program.reflection().local;
        const std::uint32_t in_item = plan.element == Element::u16 ? 2 : 1;  // texels in one word
        for (std::uint32_t level = 1; level < plan.level_count; ++level) {
            const shared::PyramidParams params = params_of(image, plan, level);
            const Groups groups{groups_for((params.width_max + in_item - 1) / in_item, local[0]),
                                groups_for(std::uint64_t(params.height_max) * params.channels, local[1]),
                                groups_for(params.image_count, local[2])};
            check_groups(program, groups);
            recording.begin_stage();
            recording.dispatch(program, bytes_of(params), bindings, groups);
        }
        pyramid.levels = levels;
    }
    pyramid.image = std::move(image);
    return pyramid;
}

}  // namespace foveate::compute
