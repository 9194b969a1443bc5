// SPDX-License-Identifier: Apache-2.0
// What every stage does before a backend is called: validate once, then work out a plan in plain numbers.
// No pixel is touched here. Each function lives in the file of its stage.
#pragma once

#include <span>

#include "engine/engine.h"

namespace foveate {

using Sizes = std::span<const std::array<std::uint32_t, 2>>;  // (width, height) of each image

// stages/image.cpp
Image gather_images(std::vector<ImageView> views);
std::vector<std::array<std::uint32_t, 2>> image_sizes(const Image& image);
const float* srgb_decode();  // 256 values: the light of a byte, 0..65535, whole numbers
const float* srgb_encode();  // 65536 values: the code of that light, 0..1

// stages/pyramid.cpp
PyramidPlan plan_pyramid(const Image& image, const PyramidSpec& spec);
std::uint32_t pyramid_levels(std::uint32_t width, std::uint32_t height, Edge edge);  // to 1x1, level 0 included

// stages/layout.cpp, with one file for each kind
LayoutPlan plan_layout(Sizes sizes, const LayoutSpec& spec);
struct GazePoint {
    double x, y;  // px
};
// The gaze points of one image. check_gaze first: as many sets as images, or one.
void check_gaze(const std::string& stage, const GazeSpec& gaze, std::size_t images);
std::vector<GazePoint> gaze_of(const std::string& stage, const GazeSpec& gaze, std::uint32_t index,
                               std::uint32_t width, std::uint32_t height);
std::array<std::uint32_t, 2> grid_from_budget(std::uint32_t width, std::uint32_t height, std::uint32_t budget);
LayoutSpan grid_span(std::int64_t x, std::int64_t y, std::uint64_t w, std::uint64_t h, std::uint32_t rows,
                     std::uint32_t columns, std::uint32_t cell);
// The code of the nearest rate to a texel footprint in 1/65536 px: 1, 2, 4 or 8 cells a side, two bits each.
std::uint32_t rate_code(double texel_w, double texel_h);
// Spans follow each other; pad_image fills what an image's budget has left with invalid rows.
void add_span(LayoutPlan& plan, LayoutSpan span, std::uint32_t image, std::uint32_t fixation,
              std::uint32_t width, std::uint32_t height);
void pad_image(LayoutPlan& plan, std::uint32_t image);
void plan_grid(LayoutPlan& plan, Sizes sizes, const LayoutSpec& spec);
void plan_rings(LayoutPlan& plan, Sizes sizes, const LayoutSpec& spec);
void plan_views(LayoutPlan& plan, Sizes sizes, const LayoutSpec& spec);

// stages/rate_tiles.cpp
RateTilesPlan plan_rate_tiles(Sizes sizes, const Image* image, const RateTilesSpec& spec);

// stages/sample.cpp
SamplePlan plan_sample(const Pyramid& pyramid, const Layout& layout, const SampleSpec& spec);
std::uint32_t sample_taps(const SampleSpec& spec);                       // in 1/65536
std::uint32_t sample_levels(std::uint32_t step_max, std::uint32_t taps);  // levels any footprint can ask for

// stages/tensor.cpp: the table with the level each token was read from.
std::vector<Token> token_table(const Token* tokens, const Layout& layout, const Pyramid& pyramid,
                               const SampleSpec& spec);

}  // namespace foveate
