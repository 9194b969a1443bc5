// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/compute/backend.h"

namespace foveate::compute {

namespace {

Groups cover(const Program& program, std::uint32_t x, std::uint32_t y, std::uint32_t z)
{
    const auto& local = program.reflection().local;
    return {(x + local[0] - 1) / local[0], (y + local[1] - 1) / local[1], (z + local[2] - 1) / local[2]};
}

}  // namespace

// luma, detail, tree, select, codes: what was asked for is decided on the device, and nothing is read back.
Rates ComputeBackend::rate(Record& record, const Image& from, const Relevance* relevance, const RatePlan& plan)
{
    ComputeRecord& recording = this->recording(record);
    shared::RateParams params = plan.params;
    params.weighted = relevance != nullptr;
    const std::uint64_t range = limits().range, word = sizeof(std::uint32_t);
    const std::uint64_t cells = params.cell_count * word;
    check_range("rate: luma", plan.luma_words * word, range);
    check_range("rate: detail", 4 * params.max_log2 * cells, range);

    Rates rates = rates_of(plan);
    Image image = from;
    const Ref<Block> pixels = pixels_of(recording, image);
    const Ref<Block> luma = recording.buffer(plan.luma_words * word);
    const Ref<Block> detail = recording.buffer(std::max(word, 4 * params.max_log2 * cells));
    const Ref<Block> slopes = recording.buffer(std::max(word, 2 * params.max_log2 * cells));
    const Ref<Block> cuts = recording.buffer(plan.images.size() * sizeof(shared::RateCut));
    const Ref<Block> codes = recording.buffer(cells);
    const Ref<Block> images = recording.upload(image.table), grids = recording.upload(plan.grids);
    const Ref<Block> rate_images = recording.upload(plan.images), inverse = recording.upload(plan.inverse);
    Ref<Block> weights, before, previous;
    if (relevance) weights = own(recording, relevance->cells, "rate: relevance");
    if (plan.previous_codes) {
        before = own(recording, plan.previous_detail, "rate: previous");
        previous = own(recording, plan.previous_codes, "rate: previous");
    }
    std::uint32_t columns = 0, rows = 0, block_columns = 0, block_rows = 0;
    for (std::size_t i = 0; i < plan.grids.size(); ++i) {
        columns = std::max(columns, plan.grids[i].columns);
        rows = std::max(rows, plan.grids[i].rows);
        block_columns = std::max(block_columns, plan.images[i].block_columns);
        block_rows = std::max(block_rows, plan.images[i].block_rows);
    }

    const auto run = [&](const Program& program, const Groups& groups, std::span<const Binding> bindings) {
        check_groups(program, groups);
        recording.begin_stage();
        recording.dispatch(program, bytes_of(params), bindings, groups);
    };
    const std::uint32_t count = params.image_count;
    std::vector<Binding> bindings{{"Images", images.get()},
                                  {"LevelTable"},
                                  {"Grids", grids.get()},
                                  {"RateImages", rate_images.get()},
                                  {"Luma", luma.get()}};
    add_windows(bindings, PIXEL_WINDOWS, pixels);
    add_windows(bindings, LEVEL_WINDOWS, {});
    const Program& find = program_for("rate_luma", pixels);
    run(find, cover(find, params.width_max, params.height_max, count), bindings);
    run(program_for("rate_detail"), {columns, rows, count},
        std::array<Binding, 6>{{{"Grids", grids.get()},
                                {"RateImages", rate_images.get()},
                                {"Luma", luma.get()},
                                {"Before", before.get()},
                                {"Detail", detail.get()},
                                {"Slopes", slopes.get()}}});
    run(program_for("rate_tree"), {block_columns, block_rows, count},
        std::array<Binding, 7>{{{"Grids", grids.get()},
                                {"RateImages", rate_images.get()},
                                {"Detail", detail.get()},
                                {"Weights", weights.get()},
                                {"Previous", previous.get()},
                                {"Inverse", inverse.get()},
                                {"Slopes", slopes.get()}}});
    run(program_for("rate_select"), {count, 1, 1},
        std::array<Binding, 4>{{{"Grids", grids.get()},
                                {"RateImages", rate_images.get()},
                                {"Slopes", slopes.get()},
                                {"Cuts", cuts.get()}}});
    run(program_for("rate"), cover(program_for("rate"), columns, rows, count),
        std::array<Binding, 4>{{{"Grids", grids.get()},
                                {"Slopes", slopes.get()},
                                {"Cuts", cuts.get()},
                                {"Codes", codes.get()}}});
    rates.codes = codes;
    rates.detail = detail;
    return rates;
}

}  // namespace foveate::compute
