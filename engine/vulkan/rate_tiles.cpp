// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/vulkan/stages.h"

namespace foveate::vulkan {

TileRates VulkanBackend::rate_tiles(Record& record, const Image& image, const RateTilesPlan& plan)
{
    VulkanRecord& recording = this->recording(record);
    const std::uint64_t range = device_->limits().maxStorageBufferRange;
    check_range("rate: codes", plan.tile_count, range);
    check_range("rate: grids", plan.grids.size() * sizeof plan.grids[0], range);
    check_range("rate: tables", plan.tables.size() * sizeof plan.tables[0], range);
    check_range("rate: maps", plan.maps.size() * sizeof plan.maps[0], range);

    TileRates rates = tile_rates_of(plan);
    const Ref<Buffer> codes = recording.buffer(Use::device, plan.tile_count);
    rates.codes = codes;
    const Ref<Buffer> grids = recording.upload(plan.grids.data(), plan.grids.size() * sizeof plan.grids[0]);
    const Ref<Buffer> tables = recording.upload(plan.tables.data(), plan.tables.size() * sizeof plan.tables[0]);
    Ref<Buffer> maps, pixels, images;
    if (!plan.maps.empty()) maps = recording.upload(plan.maps.data(), plan.maps.size() * sizeof plan.maps[0]);
    if (plan.params.content != TILE_CONTENT_NONE) {
        Image packed = image;
        pixels = pixels_of(recording, packed);
        images = recording.upload(packed.table.data(), packed.table.size() * sizeof packed.table[0]);
    }
    std::vector<Binding> bindings{{"Grids", grids.get()}, {"Tables", tables.get()},  {"Maps", maps.get()},
                                  {"Codes", codes.get()}, {"Images", images.get()}, {"LevelTable"}};
    add_windows(bindings, PIXEL_WINDOWS, pixels.get());
    add_windows(bindings, LEVEL_WINDOWS, nullptr);

    const Program& program = this->program("rate_tiles", pixels.get());
    const std::uint32_t threads = std::min(plan.params.tile * plan.params.tile / 16, 16u);
    const std::uint32_t words = program.invocations() / threads / 4;    // of a group
    Groups groups{(plan.params.words + words - 1) / words, 1, plan.params.image_count};
    for (const shared::TileGrid& grid : plan.grids) groups[1] = std::max(groups[1], grid.rows);
    check_groups(program, groups);
    recording.begin_stage();
    recording.dispatch(program, bytes_of(plan.params), bindings, groups);
    return rates;
}

}  // namespace foveate::vulkan
