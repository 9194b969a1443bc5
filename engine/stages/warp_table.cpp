// SPDX-License-Identifier: Apache-2.0
// Each output pixel is a mean of taps x taps points, each of them trilinear between two levels. Points that read
// the same texel are summed, so that a pixel that is magnified costs no more than the four texels it lies on.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <numbers>
#include <string>

#include "engine/limits.h"
#include "engine/stages/warp.h"

namespace foveate {

namespace {

constexpr double STEPS = 256;                    // to a texel, and to a level
constexpr std::uint32_t QUADS = limits::WARP_TAPS * limits::WARP_TAPS * 2;

constexpr std::uint32_t WINDOW = 256;            // texels of a level that are summed in place

struct Texel {
    std::uint32_t level, row, column, weight;
};

// The four texels around a point.
struct Quad {
    std::uint32_t level;
    std::int32_t columns[2], rows[2];
    std::uint32_t weights[4];                    // row by row
};

class Builder {
public:
    explicit Builder(const WarpGeometry& geometry);
    Ref<WarpTable> build();

private:
    WarpPoint point(std::uint32_t x, std::uint32_t y) const;
    void add_point(const WarpPoint& at);
    void add_level(double x, double y, std::uint32_t level, std::uint32_t weight);
    void sum_level(std::uint32_t level);
    void sum_scattered(std::uint32_t level);
    void finish_pixel(shared::WarpHead& head);
    void add_part(std::uint32_t from, std::uint32_t to);

    const WarpGeometry& g_;
    Ref<WarpTable> table_;
    std::uint32_t width_, height_;               // of the source
    std::uint32_t columns_, rows_;               // of the output, in taps
    std::uint32_t level_max_;
    bool wrap_;                                  // rows are angles: the last one is followed by the first
    std::vector<WarpPoint> radii_, turns_;       // forward log-polar: by column (radius in x), by row (cos, sin)
    std::vector<shared::WarpRun> runs_;          // of one part, in raster order
    double lod_taps_;
    std::array<Quad, QUADS> quads_;              // of one pixel
    std::uint32_t count_ = 0;
    std::vector<Texel> texels_;                  // what they read, by level, row and column
    std::array<std::uint32_t, WINDOW> window_;
};

Builder::Builder(const WarpGeometry& geometry) : g_(geometry), table_(new WarpTable)
{
    width_ = g_.inverse ? g_.warped_width : g_.image_width;
    height_ = g_.inverse ? g_.warped_height : g_.image_height;
    columns_ = (g_.inverse ? g_.image_width : g_.warped_width) * g_.taps;
    rows_ = (g_.inverse ? g_.image_height : g_.warped_height) * g_.taps;
    level_max_ = pyramid_levels(width_, height_, Edge::aligned) - 1;
    lod_taps_ = std::log2(double(g_.taps));
    wrap_ = g_.inverse && g_.kind == WarpKind::logpolar;
    // An odd number of rows repeats its last one in the level above: what lies past it is no longer the first.
    if (wrap_) level_max_ = std::min(level_max_, std::uint32_t(std::countr_zero(height_)));
    if (g_.inverse || g_.kind != WarpKind::logpolar) return;
    WarpGeometry centred = g_;
    centred.x = centred.y = 0;
    for (std::uint32_t x = 0; x < columns_; ++x) radii_.push_back(warp_px(centred, (x + 0.5) / columns_, 0));
    for (std::uint32_t y = 0; y < rows_; ++y) {
        const double angle = 2 * std::numbers::pi * ((y + 0.5) / rows_);
        turns_.push_back({std::cos(angle), std::sin(angle), 0});
    }
}

// Of one tap, in texels of level 0.
WarpPoint Builder::point(std::uint32_t x, std::uint32_t y) const
{
    if (!radii_.empty()) {
        const WarpPoint &radius = radii_[x], &turn = turns_[y];
        return {g_.x + radius.x * turn.x, g_.y + radius.x * turn.y, radius.lod};
    }
    if (!g_.inverse) return warp_px(g_, (x + 0.5) / columns_, (y + 0.5) / rows_);
    const WarpPoint at = warp_uv(g_, (x + 0.5) / g_.taps, (y + 0.5) / g_.taps);
    return {at.x * width_, at.y * height_, at.lod};
}

// Towards minus infinity; the call of a library would cost more than all else here.
std::int32_t floor_of(double value)
{
    const auto whole = std::int32_t(value);
    return whole - (value < whole);
}

void Builder::add_level(double x, double y, std::uint32_t level, std::uint32_t weight)
{
    if (weight == 0) return;
    const double inv = 1.0 / double(1u << level);
    const std::int32_t column = floor_of((x * inv - 0.5) * STEPS + 0.5), row = floor_of((y * inv - 0.5) * STEPS + 0.5);
    const auto width = std::int32_t((width_ + (1u << level) - 1) >> level);
    const auto height = std::int32_t((height_ + (1u << level) - 1) >> level);
    Quad& quad = quads_[count_++];
    quad.level = level;
    for (int k = 0; k < 2; ++k) {
        quad.columns[k] = std::clamp((column >> 8) + k, 0, width - 1);
        const auto at = (row >> 8) + k;
        quad.rows[k] = wrap_ ? (at % height + height) % height : std::clamp(at, 0, height - 1);
    }
    const auto right = std::uint32_t(column & 255), down = std::uint32_t(row & 255);
    quad.weights[0] = (256 - right) * (256 - down) * weight;
    quad.weights[1] = right * (256 - down) * weight;
    quad.weights[2] = (256 - right) * down * weight;
    quad.weights[3] = right * down * weight;
}

void Builder::add_point(const WarpPoint& at)
{
    const double lod = at.lod - lod_taps_ + g_.lod_bias;
    const double steps = std::clamp(lod * STEPS + 0.5, 0.0, level_max_ * STEPS);
    const auto fixed = std::uint32_t(steps);
    add_level(at.x, at.y, fixed >> 8, 256 - (fixed & 255));
    add_level(at.x, at.y, (fixed >> 8) + 1, fixed & 255);
}

// The texels of one level that any point reads, in order, each with the sum of its weights.
void Builder::sum_level(std::uint32_t level)
{
    std::int32_t left = INT32_MAX, top = INT32_MAX, right = -1, bottom = -1;
    for (std::uint32_t i = 0; i < count_; ++i) {
        const Quad& quad = quads_[i];
        if (quad.level != level) continue;
        left = std::min(left, quad.columns[0]);
        right = std::max(right, quad.columns[1]);
        top = std::min({top, quad.rows[0], quad.rows[1]});
        bottom = std::max({bottom, quad.rows[0], quad.rows[1]});
    }
    if (right < 0) return;
    const std::uint32_t width = std::uint32_t(right - left) + 1;
    // Points on both sides of the seam, or around the gaze itself, span far more than they read.
    const std::size_t area = std::size_t(width) * std::size_t(bottom - top + 1);
    if (area > window_.size()) return sum_scattered(level);
    std::fill_n(window_.begin(), area, 0);
    for (std::uint32_t i = 0; i < count_; ++i) {
        const Quad& quad = quads_[i];
        if (quad.level != level) continue;
        for (int k = 0; k < 4; ++k)
            window_[std::uint32_t(quad.rows[k / 2] - top) * width + std::uint32_t(quad.columns[k % 2] - left)] +=
                quad.weights[k];
    }
    for (std::uint32_t at = 0; at < area; ++at)
        if (window_[at] > 0)
            texels_.push_back({level, std::uint32_t(top) + at / width, std::uint32_t(left) + at % width, window_[at]});
}

void Builder::sum_scattered(std::uint32_t level)
{
    std::map<std::pair<std::int32_t, std::int32_t>, std::uint32_t> sums;
    for (std::uint32_t i = 0; i < count_; ++i)
        for (int k = 0; k < 4; ++k)
            if (quads_[i].level == level && quads_[i].weights[k] > 0)
                sums[{quads_[i].rows[k / 2], quads_[i].columns[k % 2]}] += quads_[i].weights[k];
    for (const auto& [at, weight] : sums)
        texels_.push_back({level, std::uint32_t(at.first), std::uint32_t(at.second), weight});
}

// Weights to a sum of WARP_ONE, and texels to runs.
void Builder::finish_pixel(shared::WarpHead& head)
{
    std::uint32_t low = MAX_LEVELS, high = 0;
    for (std::uint32_t i = 0; i < count_; ++i) {
        low = std::min(low, quads_[i].level);
        high = std::max(high, quads_[i].level);
    }
    texels_.clear();
    for (std::uint32_t at = low; at <= high; ++at) sum_level(at);
    count_ = 0;

    const std::uint64_t total = std::uint64_t(g_.taps * g_.taps) << 24;
    std::uint32_t sum = 0, largest = 0;
    for (std::uint32_t i = 0; i < texels_.size(); ++i) {
        texels_[i].weight = std::uint32_t((std::uint64_t(texels_[i].weight) * WARP_ONE + total / 2) / total);
        sum += texels_[i].weight;
        if (texels_[i].weight > texels_[largest].weight) largest = i;
    }
    texels_[largest].weight += WARP_ONE - sum;  // what rounding took or gave: constant images stay constant

    head.first = std::uint32_t(runs_.size());
    head.count = 0;
    std::uint32_t groups = 0, level = 0;
    for (std::size_t i = 0; i < texels_.size();) {
        const Texel& first = texels_[i];
        if (first.weight == 0) {
            ++i;
            continue;
        }
        const std::uint32_t width = (width_ + (1u << first.level) - 1) >> first.level;
        const std::uint32_t start = std::min(first.column, std::max(width, WARP_RUN) - WARP_RUN);
        std::uint32_t weights[WARP_RUN] = {};
        for (; i < texels_.size() && texels_[i].level == first.level && texels_[i].row == first.row &&
               texels_[i].column < start + WARP_RUN;
             ++i)
            weights[texels_[i].column - start] = texels_[i].weight;
        const std::uint32_t pitch = (width + 1) / 2 * 2;
        const std::uint32_t place = first.level ? first.row * pitch + start : first.row << WARP_ROW_SHIFT | start;
        runs_.push_back({first.level << WARP_LEVEL_SHIFT | place, weights[0] | weights[1] << 16,
                         weights[2] | weights[3] << 16});
        if (groups == 0 || first.level != level) ++groups, level = first.level;
        head.count += 1 + (groups == 1 ? 1 << 16 : groups == 2 ? 1 << 24 : 0);
        table_->level_count = std::max(table_->level_count, first.level + 1);
    }
}

void Builder::add_part(std::uint32_t from, std::uint32_t to)
{
    const std::uint32_t width = columns_ / g_.taps;
    runs_.clear();
    for (std::uint32_t i = from; i < to; ++i) {
        for (std::uint32_t tap = 0; tap < g_.taps * g_.taps; ++tap)
            add_point(point(i % width * g_.taps + tap % g_.taps, i / width * g_.taps + tap / g_.taps));
        finish_pixel(table_->heads[i]);
        table_->order[i] = {i, table_->heads[i].count};
    }
    std::stable_sort(&table_->order[from], &table_->order[to - 1] + 1,
                     [](const auto& a, const auto& b) { return a.count < b.count; });
    for (std::uint32_t i = from; i < to; ++i) {
        shared::WarpHead& head = table_->heads[table_->order[i].index];
        const auto first = runs_.begin() + head.first;
        head.first = std::uint32_t(table_->runs.size());
        table_->runs.insert(table_->runs.end(), first, first + (head.count & 65535));
    }
}

Ref<WarpTable> Builder::build()
{
    const std::uint32_t pixels = columns_ / g_.taps * (rows_ / g_.taps);
    table_->heads.resize(pixels);
    table_->order.resize(pixels);
    for (std::uint32_t from = 0; from < pixels; from += WarpTable::PART) {
        add_part(from, std::min(pixels, from + WarpTable::PART));
        require(table_->bytes() <= limits::WARP_TABLE, "warp: table", std::to_string(table_->bytes()) + " bytes",
                "at most " + std::to_string(limits::WARP_TABLE), "Warp to a smaller size, or use fewer taps.",
                ErrorKind::limit);
    }
    return std::move(table_);
}

}  // namespace

Ref<WarpTable> make_warp_table(const WarpGeometry& geometry) { return Builder(geometry).build(); }

Ref<WarpTable> WarpTables::table(const WarpGeometry& geometry)
{
    const auto find = [&]() -> Ref<WarpTable> {
        const auto known = std::find_if(entries_.begin(), entries_.end(),
                                        [&](const Entry& entry) { return entry.geometry == geometry; });
        if (known == entries_.end()) return {};
        entries_.splice(entries_.begin(), entries_, known);
        return entries_.front().table;
    };
    {
        std::lock_guard lock(mutex_);
        if (Ref<WarpTable> known = find()) return known;
    }
    Ref<WarpTable> table = make_warp_table(geometry);
    if (table->bytes() > limits::WARP_CACHE) return table;
    std::lock_guard lock(mutex_);
    if (Ref<WarpTable> known = find()) return known;  // another thread was faster
    entries_.push_front({geometry, table});
    for (bytes_ += table->bytes(); bytes_ > limits::WARP_CACHE; entries_.pop_back())
        bytes_ -= entries_.back().table->bytes();
    return table;
}

}  // namespace foveate
