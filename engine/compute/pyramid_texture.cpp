// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/compute/backend.h"

namespace foveate::compute {

namespace {

constexpr std::uint64_t TEXEL = 4;          // bytes
constexpr std::uint64_t ALIGNMENT = 256;    // bytes: what any device binds at

}  // namespace

ComputeBackend::TextureRows ComputeBackend::texture_rows(ComputeRecord& recording, const Pyramid& pyramid,
                                                         std::uint32_t image)
{
    Image read = pyramid.image;
    const Ref<Block> pixels = pixels_of(recording, read);
    Ref<Block> levels;
    if (pyramid.levels) levels = own(recording, pyramid.levels, "pyramid: texture");
    const auto level_at = [&](std::uint32_t level) { return pyramid.table[image * MAX_LEVELS + level]; };

    TextureRows rows;
    std::uint64_t size = 0;
    for (std::uint32_t level = 0; level < MAX_LEVELS && level_at(level).width > 0; ++level) {
        rows.offsets.push_back(size);
        const std::uint64_t bytes = std::uint64_t(level_at(level).width) * level_at(level).height * TEXEL;
        size += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    rows.texels = recording.buffer(size);
    const Ref<Block> images = recording.upload(read.table), table = recording.upload(pyramid.table);
    std::vector<Binding> bindings{{"Texels", rows.texels.get()}, {"Images", images.get()}, {"LevelTable", table.get()}};
    add_windows(bindings, PIXEL_WINDOWS, pixels);
    add_windows(bindings, LEVEL_WINDOWS, levels);
    const Program& program = program_for("pyramid_texture", pixels, levels);

    recording.begin_stage();
    for (std::uint32_t level = 0; level < rows.offsets.size(); ++level) {
        shared::PyramidTextureParams params{};
        params.image = image;
        params.level = level;
        params.level_element = std::uint32_t(pyramid.element);
        params.channels = read.channels;
        params.width = level_at(level).width;
        const std::uint64_t texels = std::uint64_t(params.width) * level_at(level).height;
        for (std::uint64_t first = 0; first < texels; first += WINDOW / TEXEL) {
            params.first = std::uint32_t(first);
            params.count = std::uint32_t(std::min(texels - first, WINDOW / TEXEL));
            bindings[0].offset = rows.offsets[level] + first * TEXEL;
            bindings[0].size = params.count * TEXEL;
            recording.dispatch(program, bytes_of(params), bindings, flat_groups(program, params.count));
        }
    }
    return rows;
}

}  // namespace foveate::compute
