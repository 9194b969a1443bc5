// SPDX-License-Identifier: Apache-2.0
// Images one by one, each in parts: a part's runs are no more than a device binds at once.
#include <algorithm>

#include "engine/compute/backend.h"

namespace foveate::compute {

namespace {

// Whole parts of the table: they begin on a word, and on what any device aligns to.
constexpr std::uint32_t PART = WarpTable::PART;

}  // namespace

Warped ComputeBackend::warp(Record& record, const Pyramid& pyramid, const WarpPlan& plan)
{
    ComputeRecord& recording = this->recording(record);
    Warped warped = plan.shape;
    const Ref<Block> output = recording.buffer(warped.image_count * warped.image_stride);
    warped.data = output;

    Image image = pyramid.image;
    const Ref<Block> pixels = pixels_of(recording, image);
    Ref<Block> levels, decode, encode;
    if (pyramid.levels) {
        check_range("warp: levels", pyramid.levels->size(), WINDOWS * WINDOW);
        levels = own(recording, pyramid.levels, "warp: pyramid");
    }
    if (plan.decode) decode = recording.upload(plan.decode, 256 * sizeof(float));
    if (plan.encode) encode = recording.upload(plan.encode, 65536 * sizeof(float));
    const Ref<Block> images = recording.upload(image.table), table = recording.upload(pyramid.table);

    const Program& program = program_for("warp", pixels, levels);
    const std::uint64_t range = limits().range;
    const std::uint32_t count = warped.width * warped.height;
    const std::uint32_t pixel_bytes = warped.channels * element_size(warped.element);
    check_range("warp: pixels", std::uint64_t(count) * sizeof(shared::WarpHead), range);
    const WarpTable* last = nullptr;
    Ref<Block> heads;
    for (std::uint32_t index = 0; index < warped.image_count; ++index) {
        const WarpTable& runs = *plan.tables[index];
        if (&runs != last) heads = recording.upload(runs.heads.data(), count * sizeof runs.heads[0]);
        last = &runs;
        for (std::uint32_t from = 0, to; from < count; from = to) {
            const std::uint32_t first = runs.first_run(from);
            const auto bytes_to = [&](std::uint32_t end) {
                return std::uint64_t(runs.first_run(end) - first) * sizeof(shared::WarpRun);
            };
            to = std::min(count, from + PART);
            while (to < count && bytes_to(std::min(count, to + PART)) <= range) to = std::min(count, to + PART);
            const Ref<Block> part = recording.upload(&runs.runs[first], bytes_to(to));
            shared::WarpParams params = plan.params;
            params.image = index;
            params.first_pixel = from;
            params.first_run = first;
            params.element_count = (to - from) * warped.channels;
            std::vector<Binding> bindings{
                {"Output", output.get(), index * warped.image_stride + std::uint64_t(from) * pixel_bytes,
                 (std::uint64_t(to - from) * pixel_bytes + 3) / 4 * 4},
                {"Images", images.get()}, {"LevelTable", table.get()}, {"Heads", heads.get()},
                {"Runs", part.get()},     {"Decode", decode.get()},    {"Encode", encode.get()}};
            add_windows(bindings, PIXEL_WINDOWS, pixels);
            add_windows(bindings, LEVEL_WINDOWS, levels);
            const std::uint64_t words = (std::uint64_t(params.element_count) * element_size(warped.element) + 3) / 4;
            recording.begin_stage();    // after the uploads, which may be copies
            recording.dispatch(program, bytes_of(params), bindings, flat_groups(program, words));
        }
    }
    return warped;
}

}  // namespace foveate::compute
