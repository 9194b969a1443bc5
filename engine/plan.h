// SPDX-License-Identifier: Apache-2.0
// What a stage hands to a backend: plain numbers, every one of them in range.
#pragma once

#include <array>
#include <vector>

#include "engine/types.h"

namespace foveate {

struct PyramidPlan {
    Edge edge = Edge::aligned;
    Color color = Color::encoded;
    Element element = Element::u16;
    float unit = 65280.0f;
    std::uint32_t level_count = 1;
    std::vector<shared::LevelDesc> table;         // [image * MAX_LEVELS + level]
    std::uint64_t level_elements = 0;             // size of the level buffer
    std::vector<shared::AxisTap> taps;            // edge="exact"
    std::vector<std::uint32_t> taps_offset;       // [level]: first tap of the level; image i follows at
    std::vector<std::uint32_t> taps_stride;       // [level]:   offset + i * stride: columns, then rows from
    std::vector<std::uint32_t> taps_rows;         // [level]:   offset + i * stride + taps_rows
    const float* decode = nullptr;                // color="linear": 256 values of 0..65535
};

struct LayoutPlan {
    std::vector<LayoutSpan> spans;                // by `first`, covering [0, image_count * rows)
    std::vector<LayoutCell> cells;                // the pattern that spans may point into
    std::uint32_t image_count = 0, rows = 0, cell = 0, fixations = 0, step_max = 0;
    std::vector<std::array<std::uint32_t, 2>> sizes;
};

struct SamplePlan {
    shared::SampleParams params{};                // first_token and token_count cover the whole batch
    const float* decode = nullptr;                // color="linear": 256 values of 0..65535, for level 0
    const float* encode = nullptr;                // color="linear": 65536 values of 0..1
};

// The runs of every output pixel for one geometry. Made once, shared by calls, never changed.
struct WarpTable : public Counted {
    static constexpr std::uint32_t PART = 2048;   // output pixels whose runs lie together
    struct Pixel {
        std::uint32_t index, count;               // count as in WarpHead
    };

    std::vector<shared::WarpHead> heads;          // by output pixel
    std::vector<Pixel> order;                     // the same pixels as their runs follow each other: part by part,
    std::vector<shared::WarpRun> runs;            // within a part those with as many runs next to each other
    std::uint32_t level_count = 1;                // levels that any run reads from, level 0 included

    // First run of the part that begins at this pixel.
    std::uint32_t first_run(std::uint32_t pixel) const
    {
        return pixel < order.size() ? heads[order[pixel].index].first : std::uint32_t(runs.size());
    }
    std::uint64_t bytes() const
    {
        return heads.size() * sizeof(heads[0]) + runs.size() * sizeof(runs[0]) + order.size() * sizeof(order[0]);
    }
};

struct WarpPlan {
    std::vector<Ref<WarpTable>> tables;           // by image; images of one geometry share theirs
    Warped shape;                                 // what is returned, without its memory
    shared::WarpParams params{};
    std::uint32_t level_count = 1;
    const float* decode = nullptr;                // color="linear", as for SamplePlan
    const float* encode = nullptr;
};

// The value a stage returns, without its memory.
Pyramid pyramid_of(const PyramidPlan& plan);
Layout layout_of(const LayoutPlan& plan);
Patches patches_of(const Layout& layout, const SamplePlan& plan);

}  // namespace foveate
