// SPDX-License-Identifier: Apache-2.0
// Up to five dispatches: luma of the content level, statistics of each cell, the surround and the spectrum of
// each image, and all terms together. Those that no term asks for are left out.
#include <algorithm>

#include "engine/compute/backend.h"

namespace foveate::compute {

namespace {

Groups luma_groups(const RelevancePlan& plan, const std::array<std::uint32_t, 3>& local)
{
    std::uint32_t words = 0, rows = 0;
    for (const shared::RelevanceImage& image : plan.images) {
        words = std::max(words, image.luma_pitch / 2);
        rows = std::max(rows, image.level_height);
    }
    return {(words + local[0] - 1) / local[0], (rows + local[1] - 1) / local[1], plan.params.image_count};
}

}  // namespace

Relevance ComputeBackend::relevance(Record& record, const Pyramid& pyramid, const RelevancePlan& plan)
{
    ComputeRecord& recording = this->recording(record);
    const std::uint64_t range = limits().range;
    const std::uint64_t cells = plan.params.cell_count;
    shared::RelevanceParams params = plan.params;
    const std::uint32_t images = params.image_count, saliency = params.saliency;
    const std::uint64_t map_size = std::uint64_t(SPECTRAL_SIZE) * SPECTRAL_SIZE * sizeof(std::uint32_t);
    check_range("relevance: cells", cells * (plan.luma_elements ? STAT_COUNT : 2) * sizeof(std::uint32_t), range);
    check_range("relevance: luma", plan.luma_elements * sizeof(std::uint16_t), range);
    check_range("relevance: falloff", plan.falloff.size() * sizeof(std::uint32_t), range);

    Relevance relevance = relevance_of(plan);
    const Ref<Block> output = recording.buffer(cells * sizeof(std::uint32_t));
    relevance.cells = output;
    const Ref<Block> cuts = recording.upload(plan.images), points = recording.upload(plan.points);
    const Ref<Block> falloff = recording.upload(plan.falloff), shrink = recording.upload(plan.shrink);
    const Ref<Block> maps = recording.upload(plan.maps);
    Ref<Block> previous, stats, largest, spectral_map;
    if (params.smooth_on) previous = own(recording, plan.previous_cells, "relevance: previous");

    if (plan.luma_elements) {
        Image image = pyramid.image;
        const Ref<Block> pixels = pixels_of(recording, image);
        Ref<Block> levels, previous_luma, entropy;
        if (pyramid.levels) {
            check_range("relevance: levels", pyramid.levels->size(), WINDOWS * WINDOW);
            levels = own(recording, pyramid.levels, "relevance: pyramid");
        }
        params.source_element = std::uint32_t(image.element);
        params.level_element = std::uint32_t(pyramid.element);
        params.channels = image.channels;
        const Ref<Block> luma = recording.buffer(plan.luma_elements * sizeof(std::uint16_t));
        relevance.luma = luma;
        const Ref<Block> descs = recording.upload(image.table), table = recording.upload(pyramid.table);
        std::vector<Binding> bindings{
            {"Images", descs.get()}, {"LevelTable", table.get()}, {"Cuts", cuts.get()}, {"Luma", luma.get()}};
        add_windows(bindings, PIXEL_WINDOWS, pixels);
        add_windows(bindings, LEVEL_WINDOWS, levels);
        const Program& program = program_for("relevance_luma", pixels, levels);
        const Groups groups = luma_groups(plan, program.reflection().local);
        check_groups(program, groups);
        recording.begin_stage();
        recording.dispatch(program, bytes_of(params), bindings, groups);

        stats = recording.buffer(cells * STAT_COUNT * sizeof(std::uint32_t));
        largest = recording.upload(std::vector<std::uint32_t>(2 * std::size_t(images)));
        if (plan.entropy) entropy = recording.upload(plan.entropy, ENTROPY_SIZE * sizeof(std::uint32_t));
        if (params.motion_on) previous_luma = own(recording, plan.previous_luma, "relevance: previous luma");
        const Binding statistics[] = {{"Cuts", cuts.get()},       {"Luma", luma.get()},
                                      {"Stats", stats.get()},     {"PreviousLuma", previous_luma.get()},
                                      {"Entropy", entropy.get()}, {"Largest", largest.get()}};
        recording.begin_stage();
        const Program& measure = program_for("relevance_cells");
        recording.dispatch(measure, bytes_of(params), statistics, flat_groups(measure, cells));
        if (saliency & SALIENCY_SPECTRAL) {
            check_range("relevance: spectra", 3 * images * map_size, range);
            const Ref<Block> spectra = recording.buffer(3 * images * map_size);
            const Ref<Block> tables = recording.upload(plan.spectral, SPECTRAL_TABLE * sizeof(float));
            spectral_map = recording.buffer(images * map_size);
            const Binding spectrum[] = {{"Cuts", cuts.get()},
                                        {"Luma", luma.get()},
                                        {"SpectralTable", tables.get()},
                                        {"Spectrum", spectra.get()},
                                        {"SpectralMap", spectral_map.get()}};
            const Program& program = program_for("relevance_spectral");
            const Groups groups{images, 1, 1};
            check_groups(program, groups);
            recording.begin_stage();    // the table's upload may be a copy
            recording.dispatch(program, bytes_of(params), spectrum, groups);
        }
        if (saliency & SALIENCY_SURROUND) {
            const Binding around[] = {{"Cuts", cuts.get()}, {"Stats", stats.get()}, {"Largest", largest.get()}};
            const Program& program = program_for("relevance_surround");
            recording.begin_stage();
            recording.dispatch(program, bytes_of(params), around, flat_groups(program, cells));
        }
    }
    const Binding bindings[] = {{"Cuts", cuts.get()},       {"Stats", stats.get()},
                                {"Largest", largest.get()}, {"SpectralMap", spectral_map.get()},
                                {"Points", points.get()},   {"Falloff", falloff.get()},
                                {"Shrink", shrink.get()},   {"Maps", maps.get()},
                                {"Previous", previous.get()}, {"Output", output.get()}};
    const Program& program = program_for("relevance");
    recording.begin_stage();
    recording.dispatch(program, bytes_of(params), bindings, flat_groups(program, cells));
    return relevance;
}

}  // namespace foveate::compute
