// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include "engine/stages/plan.h"

namespace foveate {

namespace {

std::uint32_t next_extent(std::uint32_t extent, Edge edge)
{
    return edge == Edge::aligned ? (extent + 1) / 2 : std::max(1u, extent / 2);
}

// The box over [i * n_in / n_out, (i + 1) * n_in / n_out): exact area, so the mean is kept at odd extents.
shared::AxisTap exact_tap(std::uint32_t in, std::uint32_t out, std::uint32_t i)
{
    if (in == 1) return {0, 1.0f, 0.0f, 0.0f};
    if (in % 2 == 0) return {2 * i, 0.5f, 0.5f, 0.0f};
    const double n = out, extent = in;
    return {2 * i, float((n - i) / extent), float(n / extent), float((i + 1) / extent)};
}

void plan_taps(PyramidPlan& plan, std::uint32_t image_count)
{
    plan.taps_offset.assign(plan.level_count, 0);
    plan.taps_stride.assign(plan.level_count, 0);
    plan.taps_rows.assign(plan.level_count, 0);
    for (std::uint32_t level = 1; level < plan.level_count; ++level) {
        std::uint32_t columns = 0, rows = 0;
        for (std::uint32_t i = 0; i < image_count; ++i) {
            columns = std::max(columns, plan.table[i * MAX_LEVELS + level].width);
            rows = std::max(rows, plan.table[i * MAX_LEVELS + level].height);
        }
        plan.taps_offset[level] = std::uint32_t(plan.taps.size());
        plan.taps_stride[level] = columns + rows;
        plan.taps_rows[level] = columns;
        plan.taps.resize(plan.taps.size() + std::size_t(image_count) * (columns + rows));
        for (std::uint32_t i = 0; i < image_count; ++i) {
            const auto& in = plan.table[i * MAX_LEVELS + level - 1];
            const auto& out = plan.table[i * MAX_LEVELS + level];
            shared::AxisTap* to = &plan.taps[plan.taps_offset[level] + std::size_t(i) * (columns + rows)];
            for (std::uint32_t x = 0; x < out.width; ++x) to[x] = exact_tap(in.width, out.width, x);
            for (std::uint32_t y = 0; y < out.height; ++y) to[columns + y] = exact_tap(in.height, out.height, y);
        }
    }
}

}  // namespace

std::uint32_t pyramid_levels(std::uint32_t width, std::uint32_t height, Edge edge)
{
    std::uint32_t levels = 1;
    for (; width > 1 || height > 1; ++levels) {
        width = next_extent(width, edge);
        height = next_extent(height, edge);
    }
    return levels;
}

PyramidPlan plan_pyramid(const Image& image, const PyramidSpec& spec)
{
    require(spec.levels <= MAX_LEVELS, "pyramid: levels", spec.levels,
            "0 (all) or 1.." + std::to_string(MAX_LEVELS));
    require(spec.color == Color::encoded || image.element == Element::u8, "pyramid: color",
            "\"linear\" with 16-bit or float pixels", "\"encoded\"",
            "Only 8-bit images are decoded from sRGB; give others in the space they are to be averaged in.");

    PyramidPlan plan;
    plan.edge = spec.edge;
    plan.color = spec.color;
    const bool integers = spec.edge == Edge::aligned && image.element != Element::f32;
    plan.element = integers ? Element::u16 : Element::f32;
    plan.unit = image.element == Element::f32                                      ? 1.0f
                : image.element == Element::u16 || spec.color == Color::linear ? 65535.0f
                                                                                   : 65280.0f;
    plan.decode = spec.color == Color::linear ? srgb_decode() : nullptr;
    plan.table.assign(image.views.size() * MAX_LEVELS, {});
    for (std::size_t i = 0; i < image.views.size(); ++i) {
        const ImageView& view = image.views[i];
        const std::uint32_t all = pyramid_levels(view.width, view.height, spec.edge);
        const std::uint32_t levels = spec.levels ? std::min(spec.levels, all) : all;
        plan.level_count = std::max(plan.level_count, levels);
        std::uint32_t width = view.width, height = view.height;
        for (std::uint32_t level = 0; level < levels; ++level) {
            const std::uint32_t pitch = (width + 1) / 2 * 2;
            plan.table[i * MAX_LEVELS + level] = {std::uint32_t(plan.level_elements), width, height, pitch};
            if (level > 0) plan.level_elements += std::uint64_t(pitch) * height * image.channels;
            width = next_extent(width, spec.edge);
            height = next_extent(height, spec.edge);
        }
    }
    require(plan.level_elements <= 0xffffffffull, "pyramid: size",
            std::to_string(plan.level_elements) + " texels", "at most 4294967295 in one batch",
            "Send fewer images at once.", ErrorKind::limit);
    if (spec.edge == Edge::exact) plan_taps(plan, std::uint32_t(image.views.size()));
    return plan;
}

// Devices halve the sides of an image downwards.
void check_texture(const Pyramid& pyramid, std::uint32_t image)
{
    const std::size_t images = pyramid.table.size() / MAX_LEVELS;
    require(image < images, "pyramid: image", image, "0.." + std::to_string(images - 1));
    require(pyramid.image.element == Element::u8, "pyramid: texture", "16-bit or float pixels", "8-bit ones",
            "Share the level itself.");
    require(pyramid.color == Color::encoded, "pyramid: texture: color", "\"linear\"", "\"encoded\"",
            "Its levels are light, and level 0 is not.");
    const shared::LevelDesc* const levels = &pyramid.table[image * MAX_LEVELS];
    const auto text = [](std::uint32_t height, std::uint32_t width) {
        return std::to_string(height) + " x " + std::to_string(width);
    };
    for (std::uint32_t level = 1; level < MAX_LEVELS && levels[level].width > 0; ++level) {
        const std::uint32_t width = std::max(1u, levels[0].width >> level);
        const std::uint32_t height = std::max(1u, levels[0].height >> level);
        require(levels[level].width == width && levels[level].height == height,
                "pyramid: texture: level " + std::to_string(level), text(levels[level].height, levels[level].width),
                text(height, width) + ", as devices halve", "Build the pyramid with edge=\"exact\".");
    }
}

}  // namespace foveate
