// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/warp.comp.glsl. Pixels are taken in the table's own order, in which those with as many runs
// follow each other: a loop that ends where the last one did costs no wrong guess.
#include <cmath>
#include <cstring>

#include "engine/cpu/backend.h"
#include "engine/cpu/rows_warp.h"

namespace foveate::cpu {

namespace {

constexpr std::uint32_t PART = WarpTable::PART;  // work handed to a thread at once

const WarpRows& rows_for(const RowKernels& rows)
{
#if defined(__x86_64__)
    if (std::strcmp(rows.name, "avx512") == 0) return avx512::warp_rows;
    if (std::strcmp(rows.name, "avx2") == 0) return avx2::warp_rows;
#endif
    return baseline::warp_rows;
}

WarpSource source_of(const Pyramid& pyramid, std::uint32_t index, const std::uint16_t* decode)
{
    const ImageView& view = pyramid.image.views[index];
    WarpSource source;
    source.pixels = view.data;
    source.row_stride = view.row_stride;
    source.pixel_stride = view.pixel_stride;
    source.channel_stride = view.channels == 1 ? 1 : view.channel_stride;
    source.channels = view.channels;
    source.width = view.width;
    source.wide = view.element == Element::u16;
    source.decode = decode;
    // A load of 16 bytes ends inside the caller's last pixel; earlier rows have room behind them.
    const std::uint64_t last = (view.height - 1) * view.row_stride + (view.width - 1) * view.pixel_stride +
                               (view.channels - 1) * view.channel_stride + element_size(view.element);
    source.safe = last > 15 ? last - 15 : 0;
    for (std::uint32_t level = 1; level < pyramid.level_count; ++level) {
        const shared::LevelDesc& desc = pyramid.table[index * MAX_LEVELS + level];
        if (desc.width == 0) break;
        source.levels[level] = reinterpret_cast<const std::uint16_t*>(pyramid.levels->host()) + desc.offset;
        source.planes[level] = source.channels == 1 ? 0 : std::uint64_t(desc.pitch) * desc.height;
        source.widths[level] = desc.width;
    }
    return source;
}

// The integer sums of `count` pixels as the output's own type.
void store_sums(const WarpPlan& plan, const std::uint32_t* sums, const WarpTable::Pixel* order, std::uint32_t count,
                std::byte* out)
{
    const std::uint32_t channels = plan.params.channels;
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t at = std::uint64_t(order[i].index) * channels;
        for (std::uint32_t c = 0; c < channels; ++c) {
            const std::uint32_t sum = sums[4 * i + c];
            if (plan.params.output_element == ELEMENT_U8 && !plan.encode) {
                out[at + c] = std::byte((sum + (1u << 21)) >> 22);
            } else if (plan.params.output_element == ELEMENT_U16) {
                reinterpret_cast<std::uint16_t*>(out)[at + c] = std::uint16_t((sum + (1u << 13)) >> 14);
            } else {
                const float value = plan.encode ? plan.encode[(sum + (1u << 13)) >> 14]
                                                : float((sum + 32) >> 6) * plan.params.scale;
                if (plan.params.output_element == ELEMENT_U8)
                    out[at + c] = std::byte(std::uint8_t(value * 255.0f + 0.5f));
                else
                    reinterpret_cast<float*>(out)[at + c] = value;
            }
        }
    }
}

// Float images: the first texel and weighted differences from it, in the order of the runs.
void warp_floats(const Pyramid& pyramid, std::uint32_t index, const WarpTable& table, std::uint32_t from,
                 std::uint32_t to, float* out)
{
    const ImageView& view = pyramid.image.views[index];
    const float* levels = pyramid.levels ? reinterpret_cast<const float*>(pyramid.levels->host()) : nullptr;
    for (std::uint32_t pixel = from; pixel < to; ++pixel)
        for (std::uint32_t c = 0; c < view.channels; ++c) {
            float base = 0, sum = 0;
            bool first = true;
            const shared::WarpHead& head = table.heads[pixel];
            for (std::uint32_t i = 0; i < (head.count & 65535); ++i) {
                const shared::WarpRun& run = table.runs[head.first + i];
                const std::uint32_t level = run.place >> WARP_LEVEL_SHIFT, place = run.place & WARP_PLACE_MASK;
                const shared::LevelDesc& desc = pyramid.table[index * MAX_LEVELS + level];
                for (std::uint32_t k = 0; k < WARP_RUN; ++k) {
                    const std::uint32_t weight = (k < 2 ? run.weights01 : run.weights23) >> (16 * (k & 1)) & 65535;
                    if (weight == 0) continue;
                    const float value =
                        level ? levels[desc.offset + std::uint64_t(c) * desc.height * desc.pitch + place + k]
                              : *reinterpret_cast<const float*>(
                                    view.data + (place >> WARP_ROW_SHIFT) * view.row_stride +
                                    ((place & WARP_COLUMN_MASK) + k) * view.pixel_stride + c * view.channel_stride);
                    if (first) base = sum = value;
                    first = false;
                    sum = sum + float(weight) * (1.0f / float(WARP_ONE)) * (value - base);
                }
            }
            out[std::uint64_t(pixel) * view.channels + c] = sum;
        }
}

}  // namespace

void warp_images(const Pyramid& pyramid, const WarpPlan& plan, std::byte* out, const RowKernels& rows,
                 Threads& threads)
{
    const std::uint32_t pixels = plan.shape.width * plan.shape.height;
    const std::uint32_t steps = (pixels + PART - 1) / PART;
    const bool floats = pyramid.image.element == Element::f32;
    const WarpRows& kernels = rows_for(rows);
    const bool bytes = plan.params.output_element == ELEMENT_U8 && plan.params.channels == 3 && !plan.encode;
    std::vector<std::uint16_t> decode;
    if (plan.decode)
        for (int i = 0; i < 256; ++i) decode.push_back(std::uint16_t(plan.decode[i]));
    std::vector<WarpSource> sources;
    if (!floats)
        for (std::uint32_t i = 0; i < plan.shape.image_count; ++i)
            sources.push_back(source_of(pyramid, i, plan.decode ? decode.data() : nullptr));

    threads.run(steps * plan.shape.image_count, [&](std::uint32_t step) {
        const std::uint32_t index = step / steps, from = step % steps * PART;
        const std::uint32_t count = std::min(PART, pixels - from);
        const WarpTable& table = *plan.tables[index];
        std::byte* to = out + index * plan.shape.image_stride;
        if (floats) {
            warp_floats(pyramid, index, table, from, from + count, reinterpret_cast<float*>(to));
            return;
        }
        const WarpTable::Pixel* order = &table.order[from];
        const shared::WarpRun* runs = &table.runs[table.first_run(from)];
        if (bytes) {
            kernels.bytes(sources[index], runs, order, count, reinterpret_cast<std::uint8_t*>(to));
            return;
        }
        std::uint32_t sums[4 * PART];
        kernels.sums(sources[index], runs, order, count, sums);
        store_sums(plan, sums, order, count, to);
    });
}

}  // namespace foveate::cpu
