// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/compute/backend.h"

namespace foveate::compute {

void ComputeBackend::texture_rows(ComputeRecord& recording, const Pyramid& pyramid, std::span<const TextureRows> all,
                                  const Ref<Block>& texels)
{
    constexpr std::uint64_t TEXEL = TextureShape::TEXEL;
    Image read = pyramid.image;
    const Ref<Block> pixels = pixels_of(recording, read);
    Ref<Block> levels;
    if (pyramid.levels) levels = own(recording, pyramid.levels, "pyramid: texture");
    const Ref<Block> images = recording.upload(read.table), table = recording.upload(pyramid.table);
    std::vector<Binding> bindings{{"Texels", texels.get()}, {"Images", images.get()}, {"LevelTable", table.get()}};
    add_windows(bindings, PIXEL_WINDOWS, pixels);
    add_windows(bindings, LEVEL_WINDOWS, levels);
    const Program& program = program_for("pyramid_texture", pixels, levels);

    recording.begin_stage();
    for (const TextureRows& rows : all)
        for (std::uint32_t level = 0; level < rows.shape.levels; ++level) {
            shared::PyramidTextureParams params{};
            params.image = rows.image;
            params.level = level;
            params.level_element = std::uint32_t(pyramid.element);
            params.channels = read.channels;
            params.width = rows.shape.width_at(level);
            const std::uint64_t count = rows.shape.texels(level);
            for (std::uint64_t first = 0; first < count; first += WINDOW / TEXEL) {
                params.first = std::uint32_t(first);
                params.count = std::uint32_t(std::min(count - first, WINDOW / TEXEL));
                bindings[0].offset = rows.offset + rows.shape.offset(level) + first * TEXEL;
                bindings[0].size = params.count * TEXEL;
                recording.dispatch(program, bytes_of(params), bindings, flat_groups(program, params.count));
            }
        }
}

}  // namespace foveate::compute
