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

struct RatePlan {
    shared::RateParams params{};
    std::vector<CellGrid> grids;
    std::vector<shared::RateImage> images;
    std::vector<float> inverse;                   // [k]: 1 / k, up to the splits of a block
    std::uint64_t luma_words = 0;                 // of all luma planes
    std::uint32_t budget = 0, scale = 1;
    std::vector<std::array<std::uint32_t, 2>> sizes;
    Ref<Block> previous_codes, previous_detail;   // null: none
};

struct LayoutPlan {
    std::vector<LayoutSpan> spans;                // by `first`, covering [0, image_count * rows)
    std::vector<LayoutCell> cells;                // the pattern that spans may point into
    std::uint32_t scale = 1;                      // rate: px a texel of the finest token
    std::vector<shared::LayoutGrid> grids;        // rate: by image; no spans then
    std::vector<shared::LayoutGaze> gaze;         // rate: what `fixation` is measured from
    std::uint32_t image_count = 0, rows = 0, cell = 0, fixations = 0, step_max = 0;
    std::vector<std::array<std::uint32_t, 2>> sizes;
};

struct RelevancePlan {
    shared::RelevanceParams params{};
    std::vector<shared::RelevanceImage> images;
    std::vector<CellGrid> grids;
    std::vector<std::array<std::uint32_t, 2>> sizes;
    std::uint32_t levels = 1;                     // the pyramid must have, or as many as an image has
    std::uint64_t luma_elements = 0;              // 0: no term looks at the image
    std::vector<std::uint32_t> points;            // gaze: x and y in half px
    std::vector<std::uint32_t> falloff;           // gaze: tables of GAZE_BINS values
    std::vector<float> shrink;                    // scene-aware: 256 factors by saliency
    std::vector<std::uint32_t> maps;              // by cell: query, then roi
    const std::uint32_t* entropy = nullptr;       // k log2 k, ENTROPY_SIZE values
    const float* spectral = nullptr;              // the tables of saliency="spectral", SPECTRAL_TABLE values
    Ref<Block> previous_cells, previous_luma;     // null: none
};

struct RateTilesPlan {
    shared::RateTilesParams params{};
    std::vector<shared::TileGrid> grids;
    std::vector<std::uint32_t> tables;            // gaze points, cuts, curves, final codes
    std::vector<std::uint32_t> maps;              // by tile: velocity | primitive code << 16; or empty
    std::uint64_t tile_count = 0;                 // padding of the rows included
};

struct SamplePlan {
    shared::SampleParams params{};                // first_token and token_count cover the whole batch
    const float* decode = nullptr;                // color="linear": 256 values of 0..65535, for level 0
    const float* encode = nullptr;                // color="linear": 65536 values of 0..1
    std::uint32_t fast_levels = 0;                // that hardware filters look at; 0: every byte is exact
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
Rates rates_of(const RatePlan& plan);
Layout layout_of(const LayoutPlan& plan);
Relevance relevance_of(const RelevancePlan& plan);
TileRates tile_rates_of(const RateTilesPlan& plan);
Patches patches_of(const Layout& layout, const SamplePlan& plan);

}  // namespace foveate
