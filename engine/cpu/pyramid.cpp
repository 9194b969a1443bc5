// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/pyramid.comp.glsl. Several levels are made band by band, so that a level is read back while
// it is still in cache: the image is read once, and memory sees little else.
#include <algorithm>

#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

constexpr std::uint32_t BAND_LEVELS = 4;       // levels made within one band: 16 image rows to one

struct Builder {
    const Image& image;
    const PyramidPlan& plan;
    std::byte* levels;
    const RowKernels& rows;

    const shared::LevelDesc& desc(std::uint32_t index, std::uint32_t level) const
    {
        return plan.table[index * MAX_LEVELS + level];
    }

    template <class T>
    T* row(const shared::LevelDesc& level, std::uint32_t channel, std::uint32_t y) const
    {
        return reinterpret_cast<T*>(levels) + level.offset +
               (std::uint64_t(channel) * level.height + y) * level.pitch;
    }

    void first_level_row(std::uint32_t index, std::uint32_t y, std::vector<std::uint16_t>& decoded) const;
    void next_level_row(std::uint32_t index, std::uint32_t level, std::uint32_t y) const;
    void rows_of(std::uint32_t index, std::uint32_t level, std::uint32_t from, std::uint32_t to,
                 std::vector<std::uint16_t>& decoded) const
    {
        const std::uint32_t end = std::min(to, desc(index, level).height);
        for (std::uint32_t y = from; y < end; ++y) {
            if (level == 1)
                first_level_row(index, y, decoded);
            else
                next_level_row(index, level, y);
        }
    }
};

void Builder::first_level_row(std::uint32_t index, std::uint32_t y, std::vector<std::uint16_t>& decoded) const
{
    const ImageView& view = image.views[index];
    const shared::LevelDesc& out = desc(index, 1);
    const std::byte* a = view.data + view.row_stride * (2 * y);
    const std::byte* b = view.data + view.row_stride * std::min(2 * y + 1, view.height - 1);
    const std::uint64_t plane = std::uint64_t(out.height) * out.pitch;
    const bool interleaved = view.channel_stride == element_size(view.element);

    if (view.element == Element::u8 && plan.color == Color::linear) {
        // Decoded first, texel by texel: light is averaged, not its code.
        const std::uint32_t n = view.width * view.channels;
        decoded.resize(2 * n);
        for (std::uint32_t x = 0; x < view.width; ++x)
            for (std::uint32_t c = 0; c < view.channels; ++c) {
                const std::uint64_t at = x * view.pixel_stride + c * view.channel_stride;
                decoded[x * view.channels + c] = std::uint16_t(plan.decode[std::uint8_t(a[at])]);
                decoded[n + x * view.channels + c] = std::uint16_t(plan.decode[std::uint8_t(b[at])]);
            }
        for (std::uint32_t c = 0; c < view.channels; ++c)
            rows.reduce_u16(decoded.data() + c, decoded.data() + n + c, view.width, view.channels,
                            row<std::uint16_t>(out, c, y));
    } else if (view.element == Element::u8 && interleaved) {
        rows.reduce_u8(reinterpret_cast<const std::uint8_t*>(a), reinterpret_cast<const std::uint8_t*>(b),
                       view.width, std::uint32_t(view.pixel_stride), view.channels,
                       row<std::uint16_t>(out, 0, y), plane);
    } else {
        for (std::uint32_t c = 0; c < view.channels; ++c) {
            const std::byte* from_a = a + c * view.channel_stride;
            const std::byte* from_b = b + c * view.channel_stride;
            const std::uint32_t stride = std::uint32_t(view.pixel_stride) / element_size(view.element);
            if (view.element == Element::u8)
                rows.reduce_u8(reinterpret_cast<const std::uint8_t*>(from_a),
                               reinterpret_cast<const std::uint8_t*>(from_b), view.width, stride, 1,
                               row<std::uint16_t>(out, c, y), plane);
            else if (view.element == Element::u16)
                rows.reduce_u16(reinterpret_cast<const std::uint16_t*>(from_a),
                                reinterpret_cast<const std::uint16_t*>(from_b), view.width, stride,
                                row<std::uint16_t>(out, c, y));
            else
                rows.reduce_f32(reinterpret_cast<const float*>(from_a), reinterpret_cast<const float*>(from_b),
                                view.width, stride, row<float>(out, c, y));
        }
    }
}

void Builder::next_level_row(std::uint32_t index, std::uint32_t level, std::uint32_t y) const
{
    const shared::LevelDesc& in = desc(index, level - 1);
    const shared::LevelDesc& out = desc(index, level);
    const std::uint32_t below = std::min(2 * y + 1, in.height - 1);
    for (std::uint32_t c = 0; c < image.channels; ++c) {
        if (plan.element == Element::u16)
            rows.reduce_u16(row<std::uint16_t>(in, c, 2 * y), row<std::uint16_t>(in, c, below), in.width, 1,
                            row<std::uint16_t>(out, c, y));
        else
            rows.reduce_f32(row<float>(in, c, 2 * y), row<float>(in, c, below), in.width, 1,
                            row<float>(out, c, y));
    }
}

float texel(const ImageView& view, const PyramidPlan& plan, std::uint32_t x, std::uint32_t y, std::uint32_t c)
{
    const std::byte* at =
        view.data + y * view.row_stride + x * view.pixel_stride + c * view.channel_stride;
    if (view.element == Element::f32) return *reinterpret_cast<const float*>(at);
    if (view.element == Element::u16) return *reinterpret_cast<const std::uint16_t*>(at);
    return plan.color == Color::linear ? plan.decode[std::uint8_t(*at)] : float(std::uint8_t(*at)) * 256.0f;
}

float three_taps(const shared::AxisTap& tap, float a, float b, float c)
{
    return (tap.w0 * a + tap.w1 * b) + tap.w2 * c;
}

}  // namespace

void build_pyramid(const Image& image, const PyramidPlan& plan, std::byte* levels, const RowKernels& rows,
                   Threads& threads)
{
    const Builder builder{image, plan, levels, rows};
    struct Step {
        std::uint32_t image, from, to;  // image rows
    };
    std::vector<Step> steps;
    const std::uint32_t in_band = std::min(BAND_LEVELS, plan.level_count - 1);
    const std::uint32_t band = 1u << in_band;
    for (std::uint32_t i = 0; i < image.views.size(); ++i) {
        const ImageView& view = image.views[i];
        const std::uint32_t bands = std::max(1u, STEP_PIXELS / (view.width * band));
        for (std::uint32_t y = 0; y < view.height; y += bands * band)
            steps.push_back({i, y, std::min(view.height, y + bands * band)});
    }
    threads.run(std::uint32_t(steps.size()), [&](std::uint32_t index) {
        const Step& step = steps[index];
        std::vector<std::uint16_t> decoded;
        for (std::uint32_t y = step.from; y < step.to; y += band)
            for (std::uint32_t level = 1; level <= in_band; ++level)
                builder.rows_of(step.image, level, y >> level, (y + band) >> level, decoded);
    });
    if (plan.level_count - 1 > in_band)
        threads.run(std::uint32_t(image.views.size()), [&](std::uint32_t index) {
            std::vector<std::uint16_t> decoded;
            for (std::uint32_t level = in_band + 1; level < plan.level_count; ++level)
                builder.rows_of(index, level, 0, ~0u, decoded);
        });
}

void build_exact_pyramid(const Image& image, const PyramidPlan& plan, float* levels, Threads& threads)
{
    for (std::uint32_t level = 1; level < plan.level_count; ++level) {
        threads.run(std::uint32_t(image.views.size()) * image.channels, [&](std::uint32_t step) {
            const std::uint32_t index = step / image.channels, c = step % image.channels;
            const shared::LevelDesc& in = plan.table[index * MAX_LEVELS + level - 1];
            const shared::LevelDesc& out = plan.table[index * MAX_LEVELS + level];
            if (out.width == 0) return;
            const ImageView& view = image.views[index];
            const std::uint64_t first = plan.taps_offset[level] + std::uint64_t(index) * plan.taps_stride[level];
            const shared::AxisTap* columns = &plan.taps[first];
            const shared::AxisTap* lines = &plan.taps[first + plan.taps_rows[level]];
            const auto fetch = [&](std::uint32_t x, std::uint32_t y) {
                if (level == 1) return texel(view, plan, x, y, c);
                return levels[in.offset + (std::uint64_t(c) * in.height + y) * in.pitch + x];
            };
            std::vector<float> line(in.width);
            for (std::uint32_t y = 0; y < out.height; ++y) {
                const shared::AxisTap& tap = lines[y];
                const std::uint32_t y1 = std::min(tap.first + 1, in.height - 1);
                const std::uint32_t y2 = std::min(tap.first + 2, in.height - 1);
                for (std::uint32_t x = 0; x < in.width; ++x)
                    line[x] = three_taps(tap, fetch(x, tap.first), fetch(x, y1), fetch(x, y2));
                float* to = levels + out.offset + (std::uint64_t(c) * out.height + y) * out.pitch;
                for (std::uint32_t x = 0; x < out.width; ++x) {
                    const shared::AxisTap& at = columns[x];
                    to[x] = three_taps(at, line[at.first], line[std::min(at.first + 1, in.width - 1)],
                                       line[std::min(at.first + 2, in.width - 1)]);
                }
            }
        });
    }
}

}  // namespace foveate::cpu
