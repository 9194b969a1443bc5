// SPDX-License-Identifier: Apache-2.0
// A block of px per invocation.
#include "engine/compute/backend.h"

namespace foveate::compute {

Shaded ComputeBackend::sample_vrs(Record& record, const Image& from, const VrsPlan& plan)
{
    ComputeRecord& recording = this->recording(record);
    Shaded shaded = shaded_of(from, plan);
    const std::uint64_t colors_size = std::uint64_t(shaded.width) * shaded.height * sizeof(std::uint32_t);
    check_range("sample: vrs colors", colors_size, limits().range);
    shaded.colors = recording.buffer(colors_size);
    shaded.codes = recording.buffer(std::uint64_t(shaded.pitch) * shaded.height);
    const std::uint32_t none = 0;
    shaded.counter = recording.upload(&none, sizeof none);

    Image image = from;
    const Ref<Block> pixels = pixels_of(recording, image);
    const Ref<Block> images = recording.upload(image.table), codes = recording.upload(plan.codes);
    std::vector<Binding> bindings{{"Images", images.get()},        {"LevelTable"},
                                  {"Codes", codes.get()},          {"Output", shaded.colors.get()},
                                  {"Finals", shaded.codes.get()},  {"Counter", shaded.counter.get()}};
    add_windows(bindings, PIXEL_WINDOWS, pixels);
    add_windows(bindings, LEVEL_WINDOWS, {});
    const Program& program = program_for("sample_vrs", pixels);
    const std::uint64_t blocks =
        std::uint64_t(shaded.pitch / VRS_BLOCK) * ((shaded.height + VRS_BLOCK - 1) / VRS_BLOCK);
    recording.begin_stage();    // after the uploads, which may be copies
    recording.dispatch(program, bytes_of(plan.params), bindings, flat_groups(program, blocks));
    return shaded;
}

}  // namespace foveate::compute
