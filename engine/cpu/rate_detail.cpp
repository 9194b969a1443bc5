// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/rate_luma and shaders/rate_detail: what each split of a token would gain, cell by cell. Every
// sum is of integers, so the order in which threads come to it does not matter.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

constexpr std::uint32_t VECTOR_ROOM = 64;  // bytes, and units, that whole vectors may touch past a row

// A row of 8-bit luma, its last px repeated up to `padded`.
void luma_row(const ImageView& view, std::uint32_t y, std::uint32_t padded, const RowKernels& rows,
              std::uint8_t* out)
{
    const std::byte* row = view.data + std::uint64_t(y) * view.row_stride;
    if (view.element == Element::u8 && (view.channels == 1 || view.channel_stride == 1)) {
        rows.luma_u8(reinterpret_cast<const std::uint8_t*>(row), view.width, std::uint32_t(view.pixel_stride),
                     view.channels, out);
    } else {
        const auto byte_of = [&](std::uint32_t x, std::uint32_t channel) -> std::uint32_t {
            const std::byte* at = row + x * view.pixel_stride + channel * view.channel_stride;
            if (view.element == Element::u8) return std::uint8_t(*at);
            if (view.element == Element::u16) {
                std::uint16_t value;
                std::memcpy(&value, at, sizeof value);
                return value >> 8;
            }
            float value;
            std::memcpy(&value, at, sizeof value);
            return std::uint32_t(std::floor(std::min(std::max(value, 0.0f), 1.0f) * 255.0f + 0.5f));
        };
        for (std::uint32_t x = 0; x < view.width; ++x)
            out[x] = view.channels == 1
                         ? std::uint8_t(byte_of(x, 0))
                         : std::uint8_t(shared::luma_of(byte_of(x, 0), byte_of(x, 1), byte_of(x, 2)));
    }
    std::memset(out + view.width, out[view.width - 1], padded - view.width);
}

// Sums of luma over squares of 2^log2_unit px, the edge px repeated to whole blocks of 16.
template <class T>
struct SumPlane {
    const T* data;
    std::uint32_t pitch, log2_unit;
};

// What falls to the cells of one row of them: `gains` is that row.
struct CellRow {
    const CellGrid& grid;
    std::uint32_t cell, row, shift;
};

// The gains of boxes of 2^log2_w x 2^log2_h px, shared out by area to the cells of one row.
template <class T>
void add_boxes(const SumPlane<T>& plane, const CellRow& at, std::uint32_t log2_w, std::uint32_t log2_h,
               bool along_y, std::uint32_t* gains)
{
    const std::uint32_t log2_n = log2_w + log2_h, w = 1u << log2_w, h = 1u << log2_h;
    const std::uint32_t units_w = w >> plane.log2_unit, units_h = h >> plane.log2_unit;
    const std::uint32_t half_w = along_y ? units_w : units_w / 2, half_h = along_y ? units_h / 2 : units_h;
    const std::uint32_t y0 = at.row * at.cell, y1 = std::min(at.grid.height, y0 + at.cell);
    for (std::uint32_t y = y0 >> log2_h << log2_h; y < y1; y += h) {
        const std::uint32_t inside_y = std::min(y + h, y1) - std::max(y, y0);
        const T* rows = plane.data + std::uint64_t(y >> plane.log2_unit) * plane.pitch;
        std::uint32_t column = 0, edge = at.cell;  // the cell that x lies in, and where it ends
        for (std::uint32_t x = 0; x < at.grid.width; x += w) {
            const T* box = rows + (x >> plane.log2_unit);
            std::int32_t near = 0, all = 0;
            for (std::uint32_t j = 0; j < units_h; ++j, box += plane.pitch)
                for (std::uint32_t i = 0; i < units_w; ++i) {
                    all += std::int32_t(box[i]);
                    near += i < half_w && j < half_h ? std::int32_t(box[i]) : 0;
                }
            const std::uint32_t gain = shared::rate_gain(std::uint32_t(std::abs(2 * near - all)), log2_n, at.shift);
            while (edge <= x) ++column, edge += at.cell;
            const std::uint32_t end = std::min(x + w, at.grid.width);
            if (end <= edge && (end - x) * inside_y == 1u << log2_n) {
                gains[column] += gain;
                continue;
            }
            for (std::uint32_t from = x, c = column, stop = edge; from < end; from = stop, ++c, stop += at.cell)
                gains[c] += shared::rate_share(gain, log2_n, (std::min(end, stop) - from) * inside_y);
        }
    }
}

// The gains of a row of boxes, shared out to cells: `high` px of each box lie in the row of cells.
void add_shares(const std::uint32_t* found, std::uint32_t log2_w, std::uint32_t log2_h, std::uint32_t high,
                const CellRow& at, std::uint32_t* gains)
{
    const std::uint32_t w = 1u << log2_w, log2_n = log2_w + log2_h;
    for (std::uint32_t x0 = 0; x0 < at.grid.width; x0 += at.cell, ++gains) {
        const std::uint32_t x1 = std::min(x0 + at.cell, at.grid.width);
        for (std::uint32_t x = x0 >> log2_w << log2_w; x < x1; x += w)
            *gains += shared::rate_share(found[x >> log2_w], log2_n, (std::min(x + w, x1) - std::max(x, x0)) * high);
    }
}

// Rows of boxes that lie in one row of cells from top to bottom: summed up first, and shared out once. Only the
// boxes that a cell's left or right edge cuts are shared out row by row.
class Whole {
public:
    void begin(std::uint32_t log2_w, std::uint32_t log2_h, const CellRow& at)
    {
        sums_.assign((at.grid.width >> log2_w) + 1, 0);
        log2_h_ = log2_h;
        if (log2_w_ == log2_w && width_ == at.grid.width && cell_ == at.cell) return;  // as in the row above
        log2_w_ = log2_w, width_ = at.grid.width, cell_ = at.cell;
        cuts_.clear();
        const std::uint32_t w = 1u << log2_w;
        for (std::uint32_t x = 0; x < at.grid.width; x += w) {
            const std::uint32_t end = std::min(x + w, at.grid.width), last = (end - 1) / at.cell;
            if (x / at.cell == last && end == x + w) continue;
            for (std::uint32_t cell = x / at.cell; cell <= last; ++cell)
                cuts_.push_back({x >> log2_w, cell,
                                 std::min(end, (cell + 1) * at.cell) - std::max(x, cell * at.cell)});
        }
    }

    void add(const std::uint32_t* found, std::uint32_t* gains, const RowKernels& rows)
    {
        rows.add_u32(found, std::uint32_t(sums_.size()), sums_.data());
        const std::uint32_t log2_n = log2_w_ + log2_h_;
        for (const Cut& cut : cuts_)
            gains[cut.cell] += shared::rate_share(found[cut.box], log2_n, cut.wide << log2_h_);
    }

    void end(const CellRow& at, std::uint32_t* gains) const
    {
        for (std::uint32_t x0 = 0; x0 < at.grid.width; x0 += at.cell, ++gains) {
            const std::uint32_t last = std::min(x0 + at.cell, at.grid.width) >> log2_w_;
            for (std::uint32_t box = (x0 + (1u << log2_w_) - 1) >> log2_w_; box < last; ++box) *gains += sums_[box];
        }
    }

private:
    struct Cut {                        // a box in several cells, or over the image's edge: px of its width in one
        std::uint32_t box, cell, wide;
    };
    std::vector<std::uint32_t> sums_;
    std::vector<Cut> cuts_;
    std::uint32_t log2_w_ = 0, log2_h_ = 0, width_ = 0, cell_ = 0;
};

// Scratch for one row of boxes: gains of the six splits of 2 x 2 units.
struct Level {
    std::vector<std::uint32_t> found[5];  // upper and lower pairs along x, pairs along y, all along x, along y
    Whole whole[4];
};

// The four slots of boxes of two units' edge, from the sums of units of 2^log2 px.
void add_level(const SumPlane<std::uint32_t>& plane, const CellRow& at, const RowKernels& rows, Level& level,
               const std::array<std::uint32_t*, 4>& gains)
{
    const std::uint32_t log2 = plane.log2_unit, unit = 1u << log2, boxes = plane.pitch / 2;
    std::uint32_t* found[5];
    for (int i = 0; i < 5; ++i) {
        level.found[i].resize(plane.pitch + 1);
        found[i] = level.found[i].data();
    }
    constexpr std::uint32_t WIDE[4] = {1, 0, 1, 1}, HIGH[4] = {0, 1, 1, 1};
    for (int slot = 0; slot < 4; ++slot) level.whole[slot].begin(log2 + WIDE[slot], log2 + HIGH[slot], at);
    const std::uint32_t y0 = at.row * at.cell, y1 = std::min(at.grid.height, y0 + at.cell);
    const auto add = [&](int slot, const std::uint32_t* row, std::uint32_t y) {
        const std::uint32_t log2_h = log2 + HIGH[slot], h = 1u << log2_h;
        if (y >= y0 && y + h <= y1) return level.whole[slot].add(row, gains[std::size_t(slot)], rows);
        if (y + h <= y0 || y >= y1) return;
        add_shares(row, log2 + WIDE[slot], log2_h, std::min(y + h, y1) - std::max(y, y0), at,
                   gains[std::size_t(slot)]);
    };
    for (std::uint32_t y = y0 >> (log2 + 1) << (log2 + 1); y < y1; y += 2 * unit) {
        const std::uint32_t* top = plane.data + std::uint64_t(y >> log2) * plane.pitch;
        rows.rate_level(top, top + plane.pitch, boxes, 2 * log2 + 1 - at.shift, found);
        add(0, found[0], y);
        add(0, found[1], y + unit);
        add(1, found[2], y);
        add(2, found[3], y);
        add(3, found[4], y);
    }
    for (int slot = 0; slot < 4; ++slot) level.whole[slot].end(at, gains[std::size_t(slot)]);
}

struct Split {
    std::uint32_t log2_w, log2_h;
    bool along_y;
};

Split split_of(std::uint32_t slot)
{
    const std::uint32_t longer = slot / 4 + 1;
    const bool along_y = slot & 1, square = slot & 2;
    return {square || !along_y ? longer : longer - 1, square || along_y ? longer : longer - 1, along_y};
}

// The detail of one image.
class Detail {
public:
    Detail(const ImageView& view, const RatePlan& plan, const CellGrid& grid, const RowKernels& rows,
           Threads& threads, std::uint32_t* out)
        : view_(view), plan_(plan), grid_(grid), rows_(rows), threads_(threads), out_(out),
          padded_w_((grid.width + 15) / 16 * 16), padded_h_((grid.height + 15) / 16 * 16)
    {
    }

    void run()
    {
        const std::uint32_t cell = plan_.params.cell, slots = 4 * plan_.params.max_log2;
        if (slots == 0) return;
        if (cell % 4 || cell > 128) return run_any(slots);
        const std::uint32_t units = padded_w_ / 4;
        sums_.resize(std::uint64_t(units) * (padded_h_ / 4) + VECTOR_ROOM);
        threads_.run(grid_.rows, [&](std::uint32_t row) { add_units(row, std::min(slots, 8u)); });
        if (slots > 8) add_levels({sums_.data(), units, 2}, 8);
        if (slots <= 12) return;
        std::vector<std::uint32_t> sums(std::uint64_t(units / 2) * (padded_h_ / 8));
        for (std::uint32_t y = 0; y < padded_h_ / 8; ++y) {
            const std::uint32_t *top = sums_.data() + std::uint64_t(2 * y) * units, *low = top + units;
            for (std::uint32_t x = 0; x < units / 2; ++x)
                sums[std::uint64_t(y) * (units / 2) + x] = top[2 * x] + top[2 * x + 1] + low[2 * x] + low[2 * x + 1];
        }
        add_levels({sums.data(), units / 2, 3}, 12);
    }

private:
    std::uint32_t* gains(std::uint32_t slot, std::uint32_t row)
    {
        return out_ + std::uint64_t(slot) * plan_.params.cell_count + grid_.first +
               std::uint64_t(row) * grid_.columns;
    }

    void add_levels(const SumPlane<std::uint32_t>& plane, std::uint32_t slot)
    {
        threads_.run(grid_.rows, [&](std::uint32_t row) {
            thread_local Level level;
            add_level(plane, {grid_, plan_.params.cell, row, plan_.params.shift}, rows_, level,
                      {gains(slot, row), gains(slot + 1, row), gains(slot + 2, row), gains(slot + 3, row)});
        });
    }

    template <class T>
    void add_slots(const SumPlane<T>& plane, std::uint32_t row, std::uint32_t from, std::uint32_t to)
    {
        for (std::uint32_t slot = from; slot < to; ++slot) {
            const Split split = split_of(slot);
            add_boxes(plane, {grid_, plan_.params.cell, row, plan_.params.shift}, split.log2_w, split.log2_h,
                      split.along_y, gains(slot, row));
        }
    }

    // Cells of any size: from the luma itself.
    void run_any(std::uint32_t slots)
    {
        std::vector<std::uint8_t> luma(std::uint64_t(padded_w_) * padded_h_ + VECTOR_ROOM);
        threads_.run(padded_h_, [&](std::uint32_t y) {
            luma_row(view_, std::min(y, grid_.height - 1), padded_w_, rows_,
                     luma.data() + std::uint64_t(y) * padded_w_);
        });
        const SumPlane<std::uint8_t> plane{luma.data(), padded_w_, 0};
        threads_.run(grid_.rows, [&](std::uint32_t row) { add_slots(plane, row, 0, slots); });
    }

    // Cells of whole units of 4 x 4 px: all splits inside a unit from one read of the image.
    void add_units(std::uint32_t row, std::uint32_t slots)
    {
        const std::uint32_t units = padded_w_ / 4, in_cell = plan_.params.cell / 4;
        const std::uint32_t first = row * in_cell;
        const std::uint32_t last = row + 1 == grid_.rows ? padded_h_ / 4 : first + in_cell;
        thread_local std::vector<std::uint8_t> luma;
        thread_local std::vector<std::uint32_t> columns, beyond, sums;
        const std::uint64_t pitch = padded_w_ + VECTOR_ROOM, plane = units + VECTOR_ROOM;
        if (luma.size() < 4 * pitch + VECTOR_ROOM) luma.resize(4 * pitch + VECTOR_ROOM);
        columns.assign(8 * plane, 0);
        beyond.resize(8 * plane);       // of units that reach over the lower edge: not needed
        sums.resize(plane);
        for (std::uint32_t unit = first; unit < last; ++unit) {
            for (std::uint32_t j = 0; j < 4; ++j)
                luma_row(view_, std::min(4 * unit + j, grid_.height - 1), padded_w_, rows_, luma.data() + j * pitch);
            const std::uint32_t whole = 4 * unit + 4 <= grid_.height ? grid_.width / 4 : 0;
            rows_.rate_units(luma.data(), pitch, units, (whole ? columns : beyond).data(), plane, sums.data());
            std::memcpy(sums_.data() + std::uint64_t(unit) * units, sums.data(), units * sizeof sums[0]);
            if (4 * unit >= grid_.height) continue;
            if (4 * whole < grid_.width) add_edge(luma.data(), pitch, unit, 4 * whole, slots, row);
        }
        for (std::uint32_t slot = 0; slot < slots; ++slot) {
            const std::uint32_t* from = columns.data() + slot * plane;
            std::uint32_t* to = gains(slot, row);
            for (std::uint32_t x = 0; x < grid_.width / 4; ++to)
                for (const std::uint32_t end = std::min(x + in_cell, grid_.width / 4); x < end; ++x) *to += from[x];
        }
    }

    // Units that reach over the image: box by box, each with its share.
    void add_edge(const std::uint8_t* luma, std::uint64_t pitch, std::uint32_t unit, std::uint32_t from,
                  std::uint32_t slots, std::uint32_t row)
    {
        for (std::uint32_t slot = 0; slot < slots; ++slot) {
            const Split split = split_of(slot);
            const std::uint32_t w = 1u << split.log2_w, h = 1u << split.log2_h, log2_n = split.log2_w + split.log2_h;
            std::uint32_t* to = gains(slot, row);
            for (std::uint32_t y = 0; y < 4 && 4 * unit + y < grid_.height; y += h)
                for (std::uint32_t x = from; x < grid_.width; x += w) {
                    std::int32_t d = 0;
                    for (std::uint32_t j = 0; j < h; ++j)
                        for (std::uint32_t i = 0; i < w; ++i) {
                            const std::int32_t value = luma[(y + j) * pitch + x + i];
                            d += (split.along_y ? 2 * j < h : 2 * i < w) ? value : -value;
                        }
                    const std::uint32_t gain =
                        shared::rate_gain(std::uint32_t(std::abs(d)), log2_n, plan_.params.shift);
                    const std::uint32_t count = (std::min(x + w, grid_.width) - x) *
                                                (std::min(4 * unit + y + h, grid_.height) - 4 * unit - y);
                    to[x / plan_.params.cell] +=
                        count == w * h ? gain : shared::rate_share(gain, log2_n, count);
                }
        }
    }

    const ImageView& view_;
    const RatePlan& plan_;
    const CellGrid& grid_;
    const RowKernels& rows_;
    Threads& threads_;
    std::uint32_t* out_;
    std::uint32_t padded_w_, padded_h_;
    std::vector<std::uint32_t> sums_;
};

}  // namespace

void rate_detail(const Image& image, const RatePlan& plan, std::uint32_t* detail, const RowKernels& rows,
                 Threads& threads)
{
    const std::uint64_t values = std::uint64_t(4 * plan.params.max_log2) * plan.params.cell_count;
    std::memset(detail, 0, values * sizeof *detail);
    for (std::size_t i = 0; i < image.views.size(); ++i)
        Detail(image.views[i], plan, plan.grids[i], rows, threads, detail).run();
    if (!plan.params.steady) return;
    const auto* before = reinterpret_cast<const std::uint32_t*>(plan.previous_detail->host());
    const auto& params = plan.params;
    for (std::uint64_t i = 0; i < values; ++i)
        detail[i] = shared::rate_steady(detail[i], before[i], params.shift,
                                        shared::rate_log2_n(std::uint32_t(i / params.cell_count)), params.noise_slope,
                                        params.noise_rest);
}

}  // namespace foveate::cpu
