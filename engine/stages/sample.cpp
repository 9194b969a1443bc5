// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

constexpr std::size_t FILTERED = 256;   // images at once: drivers bound how many they may have

template <class T>
void in_range(const char* what, T got, T low, T high)
{
    require(got >= low && got <= high, what, got, std::to_string(low) + ".." + std::to_string(high));
}

}  // namespace

std::uint32_t sample_taps(const SampleSpec& spec)
{
    require(spec.taps >= 1 && spec.taps <= limits::TAPS, "sample: taps", spec.taps,
            "1.." + std::to_string(limits::TAPS));
    require(spec.lod_bias >= -4 && spec.lod_bias <= 4, "sample: lod_bias", spec.lod_bias, "-4..4");
    return std::uint32_t(std::floor(spec.taps * std::exp2(-spec.lod_bias) * FIXED_ONE + 0.5));
}

std::uint32_t sample_levels(std::uint32_t step_max, std::uint32_t taps)
{
    // The two ways sample_level() finds one: a footprint on the level's grid, and any other.
    const std::uint32_t aligned = step_max >> FIXED_BITS ? std::bit_width(step_max >> FIXED_BITS) : 1;
    const std::uint32_t ratio = step_max / taps;
    return std::max(aligned, std::uint32_t(ratio ? std::bit_width(ratio) : 1));
}

bool filterable(const Image& image, Color color, std::uint32_t filter_side)
{
    return filter_side > 0 && image.element == Element::u8 && color == Color::encoded && image.views.size() <= FILTERED;
}

std::uint32_t fast_levels(const Pyramid& pyramid, const Layout& layout, const SamplePlan& plan,
                          std::uint32_t filter_side)
{
    if (!filterable(pyramid.image, pyramid.color, filter_side)) return 0;
    const std::uint32_t asked = sample_levels(layout.step_max, plan.params.taps) + FAST_LEVELS;
    const std::uint32_t levels = std::min(asked, pyramid.level_count), unit = 1u << (levels - 1);
    for (const auto& [width, height] : layout.sizes)    // whole texels of the last level
        if ((std::max(width, height) + unit - 1) / unit * unit > filter_side) return 0;
    return levels;
}

SamplePlan plan_sample(const Pyramid& pyramid, const Layout& layout, const SampleSpec& spec)
{
    in_range("sample: patch", spec.patch, 1u, limits::PATCH);
    in_range("sample: merge", spec.merge, 1u, limits::MERGE);
    in_range("sample: frames", spec.frames, 1u, limits::FRAMES);
    require(spec.dtype == Dtype::f32 || spec.patch % 2 == 0, "sample: patch", spec.patch,
            "an even number for 16-bit output", "Use dtype=\"float32\".");
    require(spec.patch * spec.merge == layout.cell, "sample: cell",
            std::to_string(spec.patch * spec.merge) + " (patch * merge)",
            std::to_string(layout.cell) + ", which the layout was made for",
            "Make the layout with the same model or cell.");
    require(pyramid.edge == Edge::aligned, "sample: pyramid edge", "\"exact\"", "\"aligned\"",
            "Build the pyramid with edge=\"aligned\": its texels lie on the px grid.");
    require(layout.sizes == image_sizes(pyramid.image), "sample: layout", "other image sizes",
            "the sizes of the pyramid's images", "Make the layout from the same images.");
    require(spec.mean.size() == spec.std.size(), "sample: mean and std",
            std::to_string(spec.mean.size()) + " and " + std::to_string(spec.std.size()) + " values",
            "as many of each");
    const auto channels = std::uint32_t(spec.mean.size());
    require(channels == 3 || (channels == 1 && pyramid.image.channels == 1), "sample: mean",
            std::to_string(channels) + " values for " + std::to_string(pyramid.image.channels) + " channels",
            "3, or 1 for gray images");
    for (std::uint32_t c = 0; c < channels; ++c) {
        require(std::isfinite(spec.mean[c]), "sample: mean", spec.mean[c], "a finite number");
        require(std::isfinite(spec.std[c]) && spec.std[c] > 0, "sample: std", spec.std[c], "a number above 0");
    }

    SamplePlan plan;
    auto& params = plan.params;
    params.token_count = layout.image_count * layout.rows;
    params.cell = layout.cell;
    params.patch_size = spec.patch;
    params.merge = spec.merge;
    params.frames = spec.frames;
    params.channels = channels;
    params.image_channels = pyramid.image.channels;
    params.channels_last = spec.channels_last;
    params.dtype = std::uint32_t(spec.dtype);
    params.level_element = std::uint32_t(pyramid.element);
    params.linear = pyramid.color == Color::linear;
    params.level_max = pyramid.level_count - 1;
    params.taps = sample_taps(spec);
    float* scales[] = {&params.scale0, &params.scale1, &params.scale2, &params.scale3};
    float* biases[] = {&params.bias0, &params.bias1, &params.bias2, &params.bias3};
    const double unit = params.linear ? 1.0 : pyramid.unit;  // the encode table gives 0..1
    for (std::uint32_t c = 0; c < channels; ++c) {
        *scales[c] = float(1.0 / (unit * double(spec.std[c])));
        // +0 for a mean of 0: a bias of -0 would keep the sign of a zero.
        *biases[c] = spec.mean[c] == 0 ? 0.0f : float(-double(spec.mean[c]) / double(spec.std[c]));
    }
    params.quantise = 65535.0f / pyramid.unit;
    if (params.linear) {
        plan.decode = srgb_decode();
        plan.encode = srgb_encode();
    }
    const std::uint64_t bytes = patches_of(layout, plan).patch_count() *
                                patches_of(layout, plan).patch_elements() * dtype_size(spec.dtype);
    require(bytes <= (1ull << 36), "sample: output", std::to_string(bytes) + " bytes", "at most 68719476736",
            "Send fewer images at once.", ErrorKind::limit);
    return plan;
}

}  // namespace foveate
