// SPDX-License-Identifier: Apache-2.0
// The output may be larger than what a device binds at once, so tokens go in chunks, each writing its own
// part.
#include <algorithm>
#include <numeric>

#include "engine/compute/backend.h"

namespace foveate::compute {

TokenChunk token_chunk(const Limits& limits, const Program& program, std::uint64_t token_bytes,
                       std::uint64_t token_items)
{
    const std::uint64_t groups = std::uint64_t(limits.groups[0]) *
                                 std::min(limits.groups[1], 65535u);
    // The shader numbers items in 32 bits, those of the last row's idle groups included.
    const std::uint64_t items = std::min<std::uint64_t>(groups * program.invocations(), 1u << 31);
    const std::uint64_t most = std::min(limits.range / token_bytes, items / token_items);
    const std::uint64_t alignment = std::max<std::uint64_t>(limits.alignment, 4);
    const std::uint64_t step = alignment / std::gcd(alignment, token_bytes);
    return {most / step * step, step};
}

Patches ComputeBackend::sample(Record& record, const Pyramid& pyramid, const Layout& layout,
                              const SamplePlan& plan)
{
    ComputeRecord& recording = this->recording(record);
    if (plan.fast_levels && plan.params.token_count) return sample_fast(recording, pyramid, layout, plan);
    shared::SampleParams params = plan.params;
    Patches patches = patches_of(layout, plan);
    const std::uint64_t token_elements =
        patches.patch_elements() * params.merge * params.merge;
    const std::uint64_t token_bytes = token_elements * dtype_size(patches.dtype);
    const Ref<Block> output = recording.buffer(params.token_count * token_bytes);
    patches.data = output;
    if (params.token_count == 0) return patches;

    Image image = pyramid.image;
    const Ref<Block> pixels = pixels_of(recording, image);
    const Ref<Block> tokens = own(recording, layout.tokens, "sample: layout");
    Ref<Block> levels, decode, encode;
    if (pyramid.levels) {
        check_range("sample: levels", pyramid.levels->size(), WINDOWS * WINDOW);
        levels = own(recording, pyramid.levels, "sample: pyramid");
    }
    check_range("sample: layout", tokens->size(), limits().range);
    if (plan.decode) decode = recording.upload(plan.decode, 256 * sizeof(float));
    if (plan.encode) encode = recording.upload(plan.encode, 65536 * sizeof(float));
    const Ref<Block> images = recording.upload(image.table), table = recording.upload(pyramid.table);

    std::vector<Binding> bindings{{"Output", output.get()},    {"Images", images.get()},
                                  {"LevelTable", table.get()}, {"Tokens", tokens.get()},
                                  {"Decode", decode.get()},    {"Encode", encode.get()}};
    add_windows(bindings, PIXEL_WINDOWS, pixels);
    add_windows(bindings, LEVEL_WINDOWS, levels);

    const Program& program = program_for("sample", pixels, levels);
    const std::uint64_t in_item = 4 / dtype_size(patches.dtype);  // elements in one word
    const std::uint64_t token_items = token_elements / params.frames / in_item;
    const std::uint64_t chunk = token_chunk(limits(), program, token_bytes, token_items).count;
    const std::uint64_t first = plan.params.first_token, count = plan.params.token_count;
    recording.begin_stage();
    for (std::uint64_t at = 0; at < count; at += chunk) {
        params.first_token = std::uint32_t(first + at);
        params.token_count = std::uint32_t(std::min(chunk, count - at));
        bindings[0].offset = at * token_bytes;
        bindings[0].size = params.token_count * token_bytes;
        recording.dispatch(program, bytes_of(params), bindings,
                           flat_groups(program, params.token_count * token_items));
    }
    return patches;
}

}  // namespace foveate::compute
