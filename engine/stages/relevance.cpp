// SPDX-License-Identifier: Apache-2.0
// Centre and surround: L. Itti, C. Koch and E. Niebur (1998). Spectral: X. Hou and L. Zhang, "Saliency Detection: A
// Spectral Residual Approach" (2007). The opponent combiner sets motives against each other as J. Vervaeke,
// T. Lillicrap and B. Richards, "Relevance Realization and the Emerging Framework in Cognitive Science" (2012), do.
#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

void unit_interval(const std::string& name, double value)
{
    require(value >= 0 && value <= 1, "relevance: " + name, value, "0..1");
}

void validate(Sizes sizes, const RelevanceSpec& spec)
{
    require(!sizes.empty() && sizes.size() <= limits::BATCH_IMAGES, "relevance: images", sizes.size(),
            "1.." + std::to_string(limits::BATCH_IMAGES));
    for (const auto& size : sizes)
        require(size[0] >= 1 && size[1] >= 1 && size[0] <= limits::IMAGE_SIDE && size[1] <= limits::IMAGE_SIDE,
                "relevance: size", std::to_string(size[1]) + " x " + std::to_string(size[0]),
                "sides of 1.." + std::to_string(limits::IMAGE_SIDE) + " px");
    require(spec.cell >= 1 && spec.cell <= limits::PATCH * limits::MERGE, "relevance: cell", spec.cell,
            "1.." + std::to_string(limits::PATCH * limits::MERGE) + " px");
    unit_interval("floor", spec.floor);
    unit_interval("smooth", spec.smooth);
    unit_interval("band", spec.band);
    for (const double knob : spec.knobs) unit_interval("knobs", knob);
    require(spec.beta >= 0 && spec.beta <= 1000, "relevance: beta", spec.beta, "0..1000");
    require(spec.beta == 0 || (spec.gaze_on && spec.saliency != Saliency::none), "relevance: beta", spec.beta,
            "0 without both gaze and saliency", "Turn both terms on.");
}

std::uint32_t terms_of(const RelevanceSpec& spec)
{
    const bool roi = !spec.boxes.empty() || !spec.masks.empty() || !spec.traces.empty();
    return (spec.gaze_on ? TERM_GAZE : 0) | (spec.information ? TERM_INFORMATION : 0) |
           (spec.saliency != Saliency::none ? TERM_SALIENCY : 0) | (!spec.query.empty() ? TERM_QUERY : 0) |
           (spec.motion ? TERM_MOTION : 0) | (roi ? TERM_ROI : 0);
}

std::uint32_t saliency_of(Saliency method)
{
    switch (method) {
    case Saliency::none: return 0;
    case Saliency::gradient: return SALIENCY_GRADIENT;
    case Saliency::surround: return SALIENCY_SURROUND;
    case Saliency::both: return SALIENCY_GRADIENT | SALIENCY_SURROUND;
    case Saliency::spectral: return SALIENCY_SPECTRAL;
    }
    return 0;
}

std::uint32_t combine_of(Combine combine, std::uint32_t terms)
{
    switch (combine) {
    case Combine::automatic: {
        const int sides = ((terms & TERM_INFORMATION) != 0) + ((terms & TERM_SALIENCY) != 0) +
                          ((terms & (TERM_QUERY | TERM_GAZE)) != 0);
        return sides > 1 ? COMBINE_OPPONENT : COMBINE_MAX;
    }
    case Combine::opponent: return COMBINE_OPPONENT;
    case Combine::max: return COMBINE_MAX;
    case Combine::mean: return COMBINE_MEAN;
    case Combine::product: return COMBINE_PRODUCT;
    case Combine::weights: return COMBINE_WEIGHTS;
    }
    return COMBINE_MAX;
}

std::uint32_t rounded(double value) { return std::uint32_t(std::floor(value + 0.5)); }

void plan_weights(shared::RelevanceParams& params, const RelevanceSpec& spec)
{
    static constexpr const char* names[] = {"gaze", "information", "saliency", "query", "motion", "roi"};
    std::uint32_t* weights[] = {&params.weight_gaze,  &params.weight_information, &params.weight_saliency,
                                &params.weight_query, &params.weight_motion,      &params.weight_roi};
    double sum = 0;
    for (int i = 0; i < 6; ++i) {
        const double weight = spec.weights[i];
        require(weight >= 0 && weight <= 1e6, "relevance: weights", weight, "0..1000000");
        require(weight == 0 || (params.terms >> i & 1), "relevance: weights", names[i],
                "a term that is on", "Turn the term on, or leave its weight out.");
        sum += weight;
    }
    require(sum > 0, "relevance: weights", 0, "one above 0");
    for (int i = 0; i < 6; ++i) *weights[i] = rounded(65536 * spec.weights[i] / sum);
}

std::uint32_t content_level(std::uint32_t cell)
{
    std::uint32_t level = 0;
    while ((cell >> level) > CONTENT_TEXELS) ++level;
    return level;
}

// Cells, content level and luma of each image.
void plan_images(RelevancePlan& plan, Sizes sizes, bool content)
{
    const std::uint32_t cell = plan.params.cell;
    const std::uint32_t level = content_level(cell);
    std::uint64_t cells = 0;
    for (const auto& [width, height] : sizes) {
        shared::RelevanceImage image{};
        image.first = std::uint32_t(cells);
        image.columns = (width + cell - 1) / cell;
        image.rows = (height + cell - 1) / cell;
        cells += std::uint64_t(image.columns) * image.rows;
        require(cells <= limits::BATCH_TOKENS, "relevance: cells", cells,
                "at most " + std::to_string(limits::BATCH_TOKENS) + " a call",
                "Use a larger cell, or send fewer images at once.", ErrorKind::limit);
        const std::uint32_t all = pyramid_levels(width, height, Edge::aligned);
        image.level = std::min(level, all - 1);
        const std::uint32_t round = (1u << image.level) - 1;
        image.level_width = (width + round) >> image.level;
        image.level_height = (height + round) >> image.level;
        const auto filled = [&](std::uint32_t count, std::uint32_t size) {
            return count - (shared::relevance_first(cell, image.level, count - 1, size) == size ? 1 : 0);
        };
        image.filled_columns = filled(image.columns, image.level_width);
        image.filled_rows = filled(image.rows, image.level_height);
        image.luma_pitch = (image.level_width + 1) / 2 * 2;
        image.luma_offset = std::uint32_t(plan.luma_elements);
        if (content) {
            plan.luma_elements += std::uint64_t(image.luma_pitch) * image.level_height;
            plan.levels = std::max(plan.levels, image.level + 1);
        }
        plan.images.push_back(image);
        plan.grids.push_back({image.first, image.columns, image.rows, width, height, 0, 0, 0});
    }
    require(plan.luma_elements <= 0xffffffffull, "relevance: luma", std::to_string(plan.luma_elements) + " texels",
            "at most 4294967295 in one batch", "Send fewer images at once.", ErrorKind::limit);
    plan.params.cell_count = std::uint32_t(cells);
}

void plan_previous(RelevancePlan& plan, const RelevanceSpec& spec, const Relevance* previous)
{
    if (!previous) return;
    require(previous->cell == spec.cell, "relevance: previous", std::to_string(previous->cell) + " px cells",
            std::to_string(spec.cell) + " px cells", "Leave previous out where the cell changes.");
    require(previous->sizes == plan.sizes, "relevance: previous", "other image sizes", "those of these images",
            "Leave previous out where the video changes its size.");
    require(!spec.motion || previous->luma, "relevance: previous", "one without luma",
            "one made with motion, information or saliency", "Pass the same terms for every frame.");
    plan.params.smooth_on = spec.smooth > 0;
    plan.params.motion_on = spec.motion;
    plan.previous_cells = previous->cells;
    if (spec.motion) plan.previous_luma = previous->luma;
}

}  // namespace

// In 1/4096 bit: what a cell's histogram is looked up in. k log2 k, so that no logarithm is taken per cell.
const std::uint32_t* entropy_table()
{
    static const auto table = [] {
        std::array<std::uint32_t, ENTROPY_SIZE> values{};
        for (std::uint32_t k = 1; k < ENTROPY_SIZE; ++k) values[k] = rounded(k * std::log2(double(k)) * 4096);
        return values;
    }();
    return table.data();
}

const float* spectral_table()
{
    static const auto table = [] {
        const double pi = 3.14159265358979323846;
        std::array<float, SPECTRAL_TABLE> values{};
        for (std::uint32_t k = 0; k < 32; ++k) {
            values[SPECTRAL_COS + k] = k == 16 ? 0.0f : float(std::cos(2 * pi * k / 64));
            values[SPECTRAL_SIN + k] = float(std::sin(2 * pi * k / 64));
        }
        for (std::uint32_t i = 0; i < 4096; ++i) {
            values[SPECTRAL_LOG + i] = float(std::log2(1 + (i + 0.5) / 4096));
            values[SPECTRAL_EXP + i] = float(std::exp2(i / 4096.0));
        }
        const double w1 = std::exp(-1 / 2.88), w2 = std::exp(-4 / 2.88), sum = 1 + 2 * w1 + 2 * w2;
        values[SPECTRAL_BLUR] = float(1 / sum);
        values[SPECTRAL_BLUR + 1] = float(w1 / sum);
        values[SPECTRAL_BLUR + 2] = float(w2 / sum);
        return values;
    }();
    return table.data();
}

RelevancePlan plan_relevance(Sizes sizes, const RelevanceSpec& spec, const Relevance* previous)
{
    validate(sizes, spec);
    RelevancePlan plan;
    plan.sizes.assign(sizes.begin(), sizes.end());
    auto& params = plan.params;
    params.image_count = std::uint32_t(sizes.size());
    params.cell = spec.cell;
    params.terms = terms_of(spec);
    params.saliency = saliency_of(spec.saliency);
    params.combine = combine_of(spec.combine, params.terms);
    params.knob_compress = rounded(65536 * spec.knobs[0]);
    params.knob_exploit = rounded(65536 * spec.knobs[1]);
    params.knob_focus = rounded(65536 * spec.knobs[2]);
    if (params.combine == COMBINE_WEIGHTS) plan_weights(params, spec);
    params.floor_value = rounded(65535 * spec.floor);
    params.keep = rounded(256 * (1 - spec.smooth));
    params.band = rounded(65535 * spec.band);
    params.shrink_on = spec.beta > 0;

    plan_images(plan, sizes, (params.terms & (TERM_INFORMATION | TERM_SALIENCY | TERM_MOTION)) != 0);
    if (spec.gaze_on) plan_gaze(plan, spec);
    plan_maps(plan, spec);
    plan_previous(plan, spec, previous);
    if (spec.information) plan.entropy = entropy_table();
    if (params.saliency & SALIENCY_SPECTRAL) plan.spectral = spectral_table();
    if (spec.beta > 0)
        for (int i = 0; i < 256; ++i) {
            const double grown = 1 + spec.beta * i / 255;
            plan.shrink.push_back(float(1 / (grown * grown)));
        }
    return plan;
}

void check_relevance(const Pyramid& pyramid, const RelevancePlan& plan)
{
    require(image_sizes(pyramid.image) == plan.sizes, "relevance: pyramid", "other image sizes",
            "the sizes it was planned for");
    if (plan.luma_elements == 0) return;
    require(pyramid.edge == Edge::aligned, "relevance: pyramid edge", "\"exact\"", "\"aligned\"",
            "Build the pyramid with edge=\"aligned\": its texels lie on the px grid.");
    require(pyramid.level_count >= plan.levels, "relevance: pyramid levels", pyramid.level_count,
            std::to_string(plan.levels) + " or more for cells of " + std::to_string(plan.params.cell) + " px",
            "Build the pyramid with more levels.");
}

}  // namespace foveate
