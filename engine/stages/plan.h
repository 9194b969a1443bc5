// SPDX-License-Identifier: Apache-2.0
// What every stage does before a backend is called: validate once, then work out a plan in plain numbers.
// No pixel is touched here. Each function lives in the file of its stage.
#pragma once

#include <span>

#include "engine/engine.h"
#include "engine/stages/roi.h"

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
void check_texture(const Pyramid& pyramid, std::uint32_t image);  // its levels can be those of a device's image

// stages/rate.cpp
std::vector<CellGrid> cell_grids(const char* stage, Sizes sizes, std::uint32_t cell);
// `fixed`: the cells are given, by relevance, and cannot be made larger to fit a budget.
RatePlan plan_rate(const Image& image, const RateSpec& spec, const Rates* previous, bool fixed = false);
void check_relevance(const RatePlan& plan, const Relevance& relevance);  // of the same cells

// stages/layout.cpp, with one file for each kind
// What the kind `rate` needs to know of rates, made or yet to be made.
struct RateShape {
    std::vector<CellGrid> grids;
    std::uint32_t cell = 1, budget = 1, max_rate = 1, scale = 1;
};
LayoutPlan plan_layout(Sizes sizes, const LayoutSpec& spec, const RateShape* rates = nullptr);
void plan_rates(LayoutPlan& plan, const LayoutSpec& spec, const RateShape& rates);
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

// stages/relevance.cpp. The plan says how many levels the pyramid needs, so it is made before the pyramid is;
// check_relevance then holds the two together. `previous` may be null.
RelevancePlan plan_relevance(Sizes sizes, const RelevanceSpec& spec, const Relevance* previous);
void check_relevance(const Pyramid& pyramid, const RelevancePlan& plan);
void plan_gaze(RelevancePlan& plan, const RelevanceSpec& spec);   // stages/relevance_gaze.cpp
void plan_maps(RelevancePlan& plan, const RelevanceSpec& spec);   // stages/relevance_maps.cpp: query and roi
// stages/relevance_roi.cpp, by cell of one image, 0..1
std::vector<double> box_cover(const shared::RelevanceImage& image, std::array<std::uint32_t, 2> size,
                              std::uint32_t cell, const std::vector<Box>& boxes_px);
std::vector<double> trace_heat(const shared::RelevanceImage& image, std::uint32_t cell, double sigma_px,
                               const std::vector<TracePoint>& points_px);
const std::uint32_t* entropy_table();
const float* spectral_table();
void plan_polar(LayoutPlan& plan, Sizes sizes, const LayoutSpec& spec);  // logpolar and cortical
void check_rows(const LayoutPlan& plan);
// views: an overview and the region that holds a share of the heat.
void check_roi(const LayoutSpec& spec, std::size_t images);
void roi_views(LayoutPlan& plan, std::uint32_t index, const LayoutSpec& spec);
// As many unique cells of `side` px, of one lattice from the top left corner, nearest to any of the points.
void lattice_views(LayoutPlan& plan, std::uint32_t index, std::span<const GazePoint> points, std::uint32_t side,
                   std::uint32_t count);

// stages/layout_region.cpp: the part of an image that is nearer to one gaze point than to any other, as seen
// from there. Mirrored so that the point is in the image's left and upper half: a flipped image gets a flipped
// layout.
struct Region {
    struct Line {
        double angle, distance;         // of its normal
    };
    std::vector<Line> lines;
    double reach = 0;                   // to the farthest corner
    std::uint32_t fixation = 0;
    double x = 0, y = 0;                // the gaze point, mirrored
    bool mirror_x = false, mirror_y = false;
};
struct Arc {
    double begin, length;               // rad
};
std::vector<Region> regions_of(std::span<const GazePoint> points, std::uint32_t width, std::uint32_t height);
std::vector<Arc> arcs_of(const Region& region, double radius);  // of the circle, what lies inside
// `count` in proportion to the weights by Webster's method; at least 1 each where there are enough.
std::vector<std::uint32_t> apportion(std::span<const double> weights, std::uint32_t count);

// stages/rate_tiles.cpp
RateTilesPlan plan_rate_tiles(Sizes sizes, const Image* image, const RateTilesSpec& spec);
void check_rate_code(const char* what, std::uint32_t code);  // of hardware: at most 4 px a side

// stages/sample.cpp
SamplePlan plan_sample(const Pyramid& pyramid, const Layout& layout, const SampleSpec& spec);
std::uint32_t sample_taps(const SampleSpec& spec);                       // in 1/65536
std::uint32_t sample_levels(std::uint32_t step_max, std::uint32_t taps);  // levels any footprint can ask for
// Hardware blends between two levels: it can ask for one more.
inline constexpr std::uint32_t FAST_LEVELS = 1;
// True: pixels that hardware filters, with images of so many px a side; 0: none.
bool filterable(const Image& image, Color color, std::uint32_t filter_side);
// The levels that it is to look at; 0: it cannot.
std::uint32_t fast_levels(const Pyramid& pyramid, const Layout& layout, const SamplePlan& plan,
                          std::uint32_t filter_side);

// stages/tensor.cpp: the table with the level each token was read from.
std::vector<Token> token_table(const Token* tokens, const Layout& layout, const Pyramid& pyramid,
                               const SampleSpec& spec);

}  // namespace foveate
