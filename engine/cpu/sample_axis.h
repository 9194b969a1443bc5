// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace foveate::cpu {

// The taps of every texel of a token along one axis.
struct Axis {
    std::vector<std::int32_t> first;   // level texel of tap 0, may lie outside
    std::vector<std::uint32_t> count;
    std::vector<float> weights;        // [texel * taps + k]
    std::uint32_t taps = 1;            // most any texel has
    std::int32_t low = 0, high = 0;    // level texels [low, high) that are read
    std::vector<std::uint32_t> offset;  // first - low
    bool copy = false;                 // every texel is one level texel, next to the last one's
    bool pairs = false;                // every texel is the mean of two, next to the last one's

    // Does nothing when asked for what it holds already: neighbours share a row or a column.
    void plan(std::int32_t corner, std::uint32_t extent, std::uint32_t cell, std::uint32_t level, float inv);

private:
    std::int32_t corner_ = 0;
    std::uint32_t extent_ = 0, level_ = 0;
    float inv_ = 0;
    std::vector<std::int32_t> starts_;
};

}  // namespace foveate::cpu
