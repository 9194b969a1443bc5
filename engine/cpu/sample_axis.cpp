// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/sample_axis.h"

#include <algorithm>

#include "engine/types.h"

namespace foveate::cpu {

void Axis::plan(std::int32_t corner, std::uint32_t extent, std::uint32_t cell, std::uint32_t level, float inv)
{
    if (corner == corner_ && extent == extent_ && level == level_ && inv == inv_ && first.size() == cell) return;
    corner_ = corner, extent_ = extent, level_ = level, inv_ = inv;
    const std::uint32_t step = extent / cell, rest = extent % cell;
    const std::uint32_t width = shared::sample_width(extent, cell, level), shift = FIXED_BITS + level;
    const float scale = width == step ? inv * float(1u << level) : 1.0f / 65536.0f;
    first.resize(cell);
    count.resize(cell);
    starts_.resize(cell);
    taps = 1;
    copy = pairs = true;
    std::int32_t edge = corner;
    std::uint32_t owed = 0;  // sample_edge() without its division: whole steps, and `rest` of them one longer
    for (std::uint32_t i = 0; i < cell; ++i) {
        const std::int32_t at = shared::sample_low(edge, step, width);
        starts_[i] = at;
        first[i] = at >> shift;
        count[i] = std::uint32_t(((at + std::int32_t(width) - 1) >> shift) - first[i]) + 1;
        taps = std::max(taps, count[i]);
        copy = copy && count[i] == 1 && first[i] == first[0] + std::int32_t(i);
        pairs = pairs && count[i] == 2 && first[i] == first[0] + std::int32_t(2 * i);
        owed += rest;
        edge += std::int32_t(step) + (owed >= cell);
        owed -= owed >= cell ? cell : 0;
    }
    low = first[0];
    high = first[cell - 1] + std::int32_t(count[cell - 1]);
    weights.assign(std::size_t(cell) * taps, 0.0f);
    offset.resize(cell);
    for (std::uint32_t i = 0; i < cell; ++i) {
        offset[i] = std::uint32_t(first[i] - low);
        for (std::uint32_t k = 1; k < count[i]; ++k)
            weights[i * taps + k] =
                float(shared::sample_cover(starts_[i], width, level, first[i] + std::int32_t(k))) * scale;
        pairs = pairs && weights[i * taps + 1] == 0.5f;
    }
}

}  // namespace foveate::cpu
