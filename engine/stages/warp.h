// SPDX-License-Identifier: Apache-2.0
// The geometry of a warp, in double, and the tables made from it.
#pragma once

#include <compare>
#include <list>
#include <mutex>

#include "engine/stages/plan.h"

namespace foveate {

// Everything a table depends on. The image is the one that is not warped; the warped one is a unit square,
// (u, v) in 0..1. Lengths are in px of the image.
struct WarpGeometry {
    WarpKind kind = WarpKind::logpolar;
    bool inverse = false, round = false;
    std::uint32_t image_width = 0, image_height = 0, warped_width = 0, warped_height = 0;
    double x = 0, y = 0, alpha = 0, radius = 0;
    std::uint32_t taps = 2;
    double lod_bias = -0.5;

    auto operator<=>(const WarpGeometry&) const = default;
};

struct WarpPoint {
    double x, y;  // px, or (u, v)
    double lod;   // log2 of the texels of the source that an output pixel covers, along a side
};

// From the warped image to the image, and back: the exact pair.
WarpPoint warp_px(const WarpGeometry& geometry, double u, double v);
WarpPoint warp_uv(const WarpGeometry& geometry, double x, double y);
// The geometry of one image of a batch, with every default filled in.
WarpGeometry warp_geometry(const WarpSpec& spec, std::uint32_t index, std::uint32_t width, std::uint32_t height);
Ref<WarpTable> make_warp_table(const WarpGeometry& geometry);

// Tables by geometry, the last used ones, limits::WARP_CACHE bytes of them. Safe from any thread.
class WarpTables {
public:
    Ref<WarpTable> table(const WarpGeometry& geometry);

private:
    struct Entry {
        WarpGeometry geometry;
        Ref<WarpTable> table;
    };
    std::mutex mutex_;
    std::list<Entry> entries_;  // last used first
    std::uint64_t bytes_ = 0;
};

WarpPlan plan_warp(const Image& image, const WarpSpec& spec, WarpTables& tables);
void check_warp_pyramid(const Pyramid& pyramid, const WarpSpec& spec, const WarpPlan& plan);

}  // namespace foveate
