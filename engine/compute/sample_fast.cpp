// SPDX-License-Identifier: Apache-2.0
// A texture for each image, and a dispatch for each: an image's tokens follow one another. The rows that textures are
// filled from are as many as fit one window at a time, so that a batch needs little more memory than its textures.
#include <algorithm>

#include "engine/compute/backend.h"

namespace foveate::compute {

namespace {

// As many levels as the tokens look at, or as there are. Devices halve by rounding down and pyramids by rounding up:
// sides that are whole texels of the last level are the same to both.
TextureShape shape_of(const Pyramid& pyramid, std::uint32_t image, std::uint32_t levels)
{
    const shared::LevelDesc* const table = &pyramid.table[image * MAX_LEVELS];
    TextureShape shape;
    while (shape.levels < levels && table[shape.levels].width > 0) ++shape.levels;
    const std::uint32_t unit = 1u << (shape.levels - 1);
    shape.width = (table[0].width + unit - 1) / unit * unit;
    shape.height = (table[0].height + unit - 1) / unit * unit;
    return shape;
}

}  // namespace

Patches ComputeBackend::sample_fast(ComputeRecord& recording, const Pyramid& pyramid, const Layout& layout,
                                    const SamplePlan& plan)
{
    shared::SampleParams params = plan.params;
    Patches patches = patches_of(layout, plan);
    const std::uint64_t token_texels = std::uint64_t(params.cell) * params.cell;
    const std::uint64_t token_bytes =
        token_texels * params.channels * params.frames * dtype_size(patches.dtype);
    const Ref<Block> output = recording.buffer(params.token_count * token_bytes);
    patches.data = output;
    const Ref<Block> tokens = own(recording, layout.tokens, "sample: layout");
    check_range("sample: layout", tokens->size(), limits().range);

    std::vector<TextureRows> all;
    std::uint64_t room = 0, end = 0;
    for (std::uint32_t image = 0; image < layout.image_count; ++image) {
        const TextureShape shape = shape_of(pyramid, image, plan.fast_levels);
        if (end + shape.size() > WINDOW) end = 0;
        all.push_back({image, shape, end});
        end += shape.size();
        room = std::max(room, end);
    }
    const Ref<Block> rows = recording.buffer(room);
    std::vector<Ref<Block>> textures;
    for (auto first = all.begin(); first != all.end();) {
        const auto last = std::find_if(first + 1, all.end(), [](const TextureRows& one) { return one.offset == 0; });
        texture_rows(recording, pyramid, {first, last}, rows);
        for (; first != last; ++first) textures.push_back(recording.texture(rows, first->offset, first->shape));
    }

    const Program& program = this->program("sample_fast", 1);
    const std::uint64_t token_items = token_texels * dtype_size(patches.dtype) / 4;   // one makes a word a channel
    const TokenChunk chunk = token_chunk(limits(), program, token_bytes, token_items);
    std::vector<Binding> bindings{{"Tokens", tokens.get()}, {"pyramid"}, {"Output", output.get()}};
    recording.begin_stage();
    for (const TextureRows& one : all) {
        params.level_max = one.shape.levels - 1;
        params.per_width = 1.0f / (float(one.shape.width) * FIXED_ONE);
        params.per_height = 1.0f / (float(one.shape.height) * FIXED_ONE);
        bindings[1].buffer = textures[one.image].get();
        const std::uint64_t end_token = std::uint64_t(one.image + 1) * layout.rows;
        for (std::uint64_t at = end_token - layout.rows; at < end_token; at += params.token_count) {
            const std::uint64_t bound = at / chunk.step * chunk.step;   // where a binding may begin
            params.first_token = std::uint32_t(at);
            params.first_slot = std::uint32_t(at - bound);
            params.token_count = std::uint32_t(std::min(bound + chunk.count, end_token) - at);
            bindings[2].offset = bound * token_bytes;
            bindings[2].size = (params.first_slot + params.token_count) * token_bytes;
            recording.dispatch(program, bytes_of(params), bindings,
                               flat_groups(program, params.token_count * token_items));
        }
    }
    return patches;
}

}  // namespace foveate::compute
