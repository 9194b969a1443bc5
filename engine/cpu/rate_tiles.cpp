// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/rate_tiles.comp.glsl, a row of tiles at a time: luma of its px first, then what the content
// term needs of it, then gaze and velocity, then the table of final codes.
#include <algorithm>
#include <cstring>

#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

std::uint32_t byte_of(std::uint8_t value) { return value; }
std::uint32_t byte_of(std::uint16_t value) { return value >> 8; }
std::uint32_t byte_of(float value) { return std::uint32_t(std::clamp(value, 0.0f, 1.0f) * 255.0f + 0.5f); }

template <class T>
void luma_any(const std::byte* row, const ImageView& view, std::uint8_t* out)
{
    for (std::uint32_t x = 0; x < view.width; ++x) {
        const auto channel = [&](std::uint32_t c) {
            T value;
            std::memcpy(&value, row + x * view.pixel_stride + c * view.channel_stride, sizeof value);
            return byte_of(value);
        };
        out[x] = std::uint8_t(view.channels == 1 ? channel(0)
                                                 : shared::luma_of(channel(0), channel(1), channel(2)));
    }
}

// A row of luma, its last px repeated up to `padded`.
void luma_row(const ImageView& view, std::uint32_t y, std::uint32_t padded, const TileKernels& kernels,
              std::uint8_t* out)
{
    const std::byte* row = view.data + view.row_stride * y;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(row);
    if (view.element == Element::u16)
        luma_any<std::uint16_t>(row, view, out);
    else if (view.element == Element::f32)
        luma_any<float>(row, view, out);
    else if (view.channels == 1 && view.pixel_stride == 1)
        std::memcpy(out, row, view.width);
    else if (view.channels == 3 && view.channel_stride == 1 && view.pixel_stride == 3)
        kernels.luma_pixels(bytes, 3, view.width, out);
    else if (view.channels == 3 && view.channel_stride == 1 && view.pixel_stride == 4)
        kernels.luma_pixels(bytes, 4, view.width, out);
    else if (view.channels == 3 && view.pixel_stride == 1)
        kernels.luma_planes(bytes, bytes + view.channel_stride, bytes + 2 * view.channel_stride, view.width, out);
    else
        luma_any<std::uint8_t>(row, view, out);
    std::memset(out + view.width, out[view.width - 1], padded - view.width);
}

// What one thread works in.
struct Room {
    std::vector<std::uint8_t> luma, light, inside, other;
    std::vector<std::uint32_t> planes, half_weights, quarter_weights;
};

struct Tiler {
    const Image& image;
    const RateTilesPlan& plan;
    std::uint8_t* codes;
    const TileKernels& kernels;

    const std::uint32_t* table(std::uint32_t at) const { return plan.tables.data() + at; }

    std::uint32_t padded(const shared::TileGrid& grid) const
    {
        return (grid.columns * plan.params.tile + TILE_LANES - 1) / TILE_LANES * TILE_LANES;
    }

    // Most frames use no combiner and no device's list: then the last table says nothing new.
    bool final_is_attachment() const
    {
        const std::uint32_t* finals = table(plan.params.final_codes) + plan.params.primitive * RATE_CODES;
        bool same = plan.params.maps == 0;
        for (std::uint32_t code = 0; code < RATE_CODES; ++code)
            same = same && (finals[code] == code || code > 10 || (code & 3) == 3);
        return same;
    }

    void weights(const shared::TileGrid& grid, std::uint32_t row, Room& room) const;
    void content_ffx(std::uint32_t index, std::uint32_t row, Room& room, std::uint8_t* out) const;
    void content_jnd(std::uint32_t index, std::uint32_t row, Room& room, std::uint8_t* out) const;
    void row_of(std::uint32_t index, std::uint32_t row, Room& room) const;
};

void Tiler::weights(const shared::TileGrid& grid, std::uint32_t row, Room& room) const
{
    const std::uint32_t* curve = table(plan.params.curves);
    if (!plan.params.velocity) {
        room.half_weights.assign(grid.columns, curve[0]);
        room.quarter_weights.assign(grid.columns, curve[RATE_CURVE]);
        return;
    }
    room.half_weights.resize(grid.columns);
    room.quarter_weights.resize(grid.columns);
    const std::uint32_t* map = plan.maps.data() + grid.first + std::size_t(row) * grid.pitch;
    for (std::uint32_t x = 0; x < grid.columns; ++x) {
        const std::uint32_t velocity = map[x] & 65535;
        room.half_weights[x] = curve[velocity];
        room.quarter_weights[x] = curve[RATE_CURVE + velocity];
    }
}

void Tiler::content_ffx(std::uint32_t index, std::uint32_t row, Room& room, std::uint8_t* out) const
{
    const shared::TileGrid& grid = plan.grids[index];
    const std::uint32_t tile = plan.params.tile, width = padded(grid);
    const std::uint32_t plane = width / 4;
    room.luma.resize(std::size_t(4) * width);
    room.planes.assign(std::size_t(CONTRASTS) * plane, 0);
    for (std::uint32_t y = row * tile; y < std::min((row + 1) * tile, grid.height); y += 4) {
        const std::uint8_t* rows[4] = {};
        for (std::uint32_t k = 0; k < 4; ++k) {
            const std::uint32_t at = std::min(k, grid.height - 1 - y);  // below the image its last row is repeated
            rows[k] = room.luma.data() + at * width;
            if (at == k) luma_row(image.views[index], y + k, width, kernels, room.luma.data() + k * width);
        }
        kernels.contrast(rows, width, room.planes.data(), plane);
    }
    for (std::uint32_t side = 8, n = plane / 2; side <= tile; side *= 2, n /= 2)
        kernels.halve(room.planes.data(), plane, n);
    kernels.codes_ffx(room.planes.data(), plane, room.half_weights.data(), room.quarter_weights.data(),
                      plan.params.fine, plan.params.coarse, grid.columns, out);
}

void Tiler::content_jnd(std::uint32_t index, std::uint32_t row, Room& room, std::uint8_t* out) const
{
    const shared::TileGrid& grid = plan.grids[index];
    const std::uint32_t tile = plan.params.tile, width = padded(grid);
    const std::uint32_t covered = std::min(tile, grid.height - row * tile);
    room.luma.resize(width);
    room.light.resize(std::size_t(tile) * width);
    room.inside.resize(width);
    for (std::uint32_t x = 0; x < width; ++x) room.inside[x] = (x + 1) % tile != 0 && x + 1 < grid.width;
    room.planes.assign(std::size_t(3) * width, 0);
    std::uint32_t *across = room.planes.data(), *down = across + width, *sum = down + width;
    for (std::uint32_t k = 0; k < covered; ++k) {
        luma_row(image.views[index], row * tile + k, width, kernels, room.luma.data());
        kernels.light(room.luma.data(), width, room.light.data() + k * width);
    }
    for (std::uint32_t k = 0; k < covered; ++k)
        kernels.squares(room.light.data() + k * width, k + 1 < covered ? room.light.data() + (k + 1) * width : nullptr,
                        room.inside.data(), width, across, down, sum);
    const std::uint32_t* jnd = table(plan.params.jnd);
    for (std::uint32_t x = 0; x < grid.columns; ++x) {
        const std::uint32_t from = x * tile, to = std::min(from + tile, grid.width), count = to - from;
        std::uint32_t sums[3] = {0, 0, 0};
        for (std::uint32_t i = from; i < to; ++i) {
            sums[0] += across[i];
            sums[1] += down[i];
            sums[2] += sum[i];
        }
        const std::uint32_t just = jnd[sums[2] / (count * covered)];
        const auto side = [&](std::uint32_t squares, std::uint32_t pairs) {
            return shared::rate_jnd_log(shared::rate_mean(squares, pairs), just, room.half_weights[x],
                                        room.quarter_weights[x]);
        };
        out[x] = std::uint8_t(shared::rate_fix(
            shared::rate_code(side(sums[0], (count - 1) * covered), side(sums[1], count * (covered - 1)))));
    }
}

void Tiler::row_of(std::uint32_t index, std::uint32_t row, Room& room) const
{
    const shared::RateTilesParams& params = plan.params;
    const shared::TileGrid& grid = plan.grids[index];
    std::uint8_t* out = codes + grid.first + std::size_t(row) * grid.pitch;
    std::memset(out, 0, grid.pitch);
    const bool content = params.content != TILE_CONTENT_NONE;
    if (content || params.velocity) weights(grid, row, room);
    if (params.content == TILE_CONTENT_FFX)
        content_ffx(index, row, room, out);
    else if (content)
        content_jnd(index, row, room, out);
    else if (params.velocity)
        for (std::uint32_t x = 0; x < grid.columns; ++x)
            out[x] = std::uint8_t(shared::rate_velocity(room.half_weights[x], room.quarter_weights[x]));
    if (params.gaze) {
        const bool alone = !content && !params.velocity;
        room.other.resize(grid.columns);
        std::uint8_t* to = alone ? out : room.other.data();
        kernels.gaze(table(grid.points), grid.point_count, params.tile, (2 * row + 1) * params.tile,
                     table(grid.cuts), params.cut_count, params.cut_codes, grid.columns, to);
        if (!alone) kernels.join(params.terms, to, grid.columns, out);
    }
    if (final_is_attachment()) return;
    const std::uint32_t* finals = table(params.final_codes);
    const std::uint32_t* map = params.maps ? plan.maps.data() + grid.first + std::size_t(row) * grid.pitch : nullptr;
    for (std::uint32_t x = 0; x < grid.columns; ++x) {
        const std::uint32_t primitive = map ? map[x] >> 16 : params.primitive;
        out[x] = std::uint8_t(finals[primitive * RATE_CODES + out[x]]);
    }
}

}  // namespace

void write_rate_tiles(const Image& image, const RateTilesPlan& plan, std::uint8_t* codes, const TileKernels& kernels,
                      Threads& threads)
{
    const Tiler tiler{image, plan, codes, kernels};
    struct Step {
        std::uint32_t image, from, to;  // rows of tiles
    };
    std::vector<Step> steps;
    for (std::uint32_t i = 0; i < plan.grids.size(); ++i) {
        const shared::TileGrid& grid = plan.grids[i];
        const std::uint32_t rows = std::max(1u, STEP_PIXELS / (grid.width * plan.params.tile));
        for (std::uint32_t y = 0; y < grid.rows; y += rows)
            steps.push_back({i, y, std::min(grid.rows, y + rows)});
    }
    threads.run(std::uint32_t(steps.size()), [&](std::uint32_t index) {
        Room room;
        for (std::uint32_t y = steps[index].from; y < steps[index].to; ++y)
            tiler.row_of(steps[index].image, y, room);
    });
}

}  // namespace foveate::cpu
