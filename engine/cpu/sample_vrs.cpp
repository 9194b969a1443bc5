// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/sample_vrs.comp.glsl: blocks of the largest fragment's size, a row of them at a time.
#include <atomic>

#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

struct At {
    std::uint32_t x, y;
};

std::uint32_t shade(const ImageView& view, At low, At high)
{
    const auto texel = [&](std::uint32_t x, std::uint32_t y, std::uint32_t channel) {
        return std::uint32_t(view.data[y * view.row_stride + x * view.pixel_stride + channel * view.channel_stride]);
    };
    std::uint32_t color = 0;
    for (std::uint32_t c = 0; c < 3; ++c) {
        const std::uint32_t channel = view.channels == 1 ? 0 : c;
        const std::uint32_t sum = texel(low.x, low.y, channel) + texel(high.x, low.y, channel) +
                                  texel(low.x, high.y, channel) + texel(high.x, high.y, channel);
        color |= ((sum + 2) >> 2) << 8 * c;
    }
    return color | 255u << 24;
}

std::uint32_t shade_block(const ImageView& view, const VrsPlan& plan, At block, std::uint32_t* colors,
                          std::uint8_t* codes)
{
    const shared::VrsParams& p = plan.params;
    const std::uint32_t tile = block.y / p.tile * p.columns + block.x / p.tile;
    const std::uint32_t code = shared::vrs_final(p, plan.codes[tile]);
    const std::uint32_t log_w = shared::rate_log_w(code), log_h = shared::rate_log_h(code);
    const At end{std::min(block.x + VRS_BLOCK, p.width), std::min(block.y + VRS_BLOCK, p.height)};
    std::uint32_t count = 0;
    for (std::uint32_t y = block.y; y < end.y; y += 1u << log_h)
        for (std::uint32_t x = block.x; x < end.x; x += 1u << log_w) {
            const At low{shared::vrs_before(x, log_w, p.width), shared::vrs_before(y, log_h, p.height)};
            const At high{shared::vrs_after(x, log_w, p.width), shared::vrs_after(y, log_h, p.height)};
            const std::uint32_t color = shade(view, low, high);
            ++count;
            for (std::uint32_t row = y; row < std::min(y + (1u << log_h), end.y); ++row)
                for (std::uint32_t column = x; column < std::min(x + (1u << log_w), end.x); ++column)
                    colors[std::size_t(row) * p.width + column] = color;
        }
    for (std::uint32_t row = block.y; row < end.y; ++row)
        for (std::uint32_t k = 0; k < VRS_BLOCK; ++k)
            codes[std::size_t(row) * shared::vrs_pitch(p.width) + block.x + k] = std::uint8_t(code);
    return count;
}

}  // namespace

void shade_coarsely(const ImageView& view, const VrsPlan& plan, std::uint32_t* colors, std::uint8_t* codes,
                    std::uint32_t* counter, Threads& threads)
{
    std::atomic<std::uint32_t> counted{0};
    threads.run((plan.params.height + VRS_BLOCK - 1) / VRS_BLOCK, [&](std::uint32_t row) {
        std::uint32_t count = 0;
        for (std::uint32_t x = 0; x < plan.params.width; x += VRS_BLOCK)
            count += shade_block(view, plan, {x, row * VRS_BLOCK}, colors, codes);
        counted += count;
    });
    *counter = counted;
}

}  // namespace foveate::cpu
