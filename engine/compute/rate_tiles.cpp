// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/compute/backend.h"

namespace foveate::compute {

TileRates ComputeBackend::rate_tiles(Record& record, const Image& image, const RateTilesPlan& plan)
{
    ComputeRecord& recording = this->recording(record);
    const std::uint64_t range = limits().range;
    check_range("rate: codes", plan.tile_count, range);
    check_range("rate: grids", plan.grids.size() * sizeof plan.grids[0], range);
    check_range("rate: tables", plan.tables.size() * sizeof plan.tables[0], range);
    check_range("rate: maps", plan.maps.size() * sizeof plan.maps[0], range);

    TileRates rates = tile_rates_of(plan);
    const Ref<Block> codes = recording.buffer(plan.tile_count);
    rates.codes = codes;
    const Ref<Block> grids = recording.upload(plan.grids);
    const Ref<Block> tables = recording.upload(plan.tables);
    const Ref<Block> maps = recording.upload(plan.maps);
    Ref<Block> pixels, images;
    if (plan.params.content != TILE_CONTENT_NONE) {
        Image packed = image;
        pixels = pixels_of(recording, packed);
        images = recording.upload(packed.table);
    }
    std::vector<Binding> bindings{{"Grids", grids.get()}, {"Tables", tables.get()},  {"Maps", maps.get()},
                                  {"Codes", codes.get()}, {"Images", images.get()}, {"LevelTable"}};
    add_windows(bindings, PIXEL_WINDOWS, pixels);
    add_windows(bindings, LEVEL_WINDOWS, {});

    const Program& program = program_for("rate_tiles", pixels);
    const std::uint32_t threads = std::min(plan.params.tile * plan.params.tile / 16, 16u);
    const std::uint32_t words = program.invocations() / threads / 4;    // of a group
    Groups groups{(plan.params.words + words - 1) / words, 1, plan.params.image_count};
    for (const shared::TileGrid& grid : plan.grids) groups[1] = std::max(groups[1], grid.rows);
    check_groups(program, groups);
    recording.begin_stage();
    recording.dispatch(program, bytes_of(plan.params), bindings, groups);
    return rates;
}

}  // namespace foveate::compute
