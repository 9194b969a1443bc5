// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "engine/compute/backend.h"

namespace foveate::compute {

Layout ComputeBackend::layout(Record& record, const LayoutPlan& plan, const Rates* rates)
{
    ComputeRecord& recording = this->recording(record);
    const std::uint64_t count = std::uint64_t(plan.image_count) * plan.rows;
    const std::uint64_t range = limits().range;
    check_range("layout: tokens", count * sizeof(Token), range);
    check_range("layout: spans", plan.spans.size() * sizeof(LayoutSpan), range);
    check_range("layout: pattern", plan.cells.size() * sizeof(LayoutCell), range);

    Layout layout = layout_of(plan);
    const Ref<Block> tokens = recording.buffer(count * sizeof(Token));
    layout.tokens = tokens;
    if (count == 0) return layout;

    shared::LayoutParams params{};
    if (rates) {
        const Ref<Block> codes = own(recording, rates->codes, "layout: rates");
        const Ref<Block> grids = recording.upload(plan.grids);
        const Ref<Block> gaze = recording.upload(plan.gaze);
        params.token_count = plan.rows;
        params.span_count = plan.image_count;
        params.cell = plan.cell * plan.scale;
        params.scale_log2 = std::uint32_t(std::countr_zero(plan.scale));
        const Binding bindings[] = {{"Grids", grids.get()},
                                    {"Gaze", gaze.get()},
                                    {"Codes", codes.get()},
                                    {"Tokens", tokens.get()}};
        recording.begin_stage();
        recording.dispatch(program_for("layout_rate"), bytes_of(params), bindings, {plan.image_count, 1, 1});
        return layout;
    }
    const Program& program = program_for("layout");
    // One row of groups: the shader counts along x alone.
    const Groups groups{std::uint32_t((count + program.invocations() - 1) / program.invocations()), 1, 1};
    check_groups(program, groups);
    const Ref<Block> spans = recording.upload(plan.spans);
    const Ref<Block> cells = recording.upload(plan.cells);
    params.token_count = std::uint32_t(count);
    params.span_count = std::uint32_t(plan.spans.size());
    const Binding bindings[] = {{"Spans", spans.get()}, {"Cells", cells.get()}, {"Tokens", tokens.get()}};
    recording.begin_stage();
    recording.dispatch(program, bytes_of(params), bindings, groups);
    return layout;
}

}  // namespace foveate::compute
