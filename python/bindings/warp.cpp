// SPDX-License-Identifier: Apache-2.0
// The stage warp: its options, the call, the array it makes, and its map as points.
#include "engine/stages/warp.h"

#include <nanobind/stl/pair.h>

#include <utility>

#include "bindings.h"

namespace foveate::bindings {

namespace {

using Point = std::pair<double, double>;

void make_warp(WarpSpec* self, std::uint32_t kind, bool inverse, bool round, std::uint32_t height,
               std::uint32_t width, const std::vector<Point>& gaze, bool px, bool clamp, double alpha, double radius,
               double fov_deg, std::uint32_t taps, double lod_bias, bool as_float, std::uint32_t color)
{
    auto* spec = new (self) WarpSpec;
    spec->kind = WarpKind(kind);
    spec->inverse = inverse;
    spec->round = round;
    spec->width = width;
    spec->height = height;
    for (const auto& [x, y] : gaze) spec->gaze.points.push_back({{x, y}});
    spec->gaze.in_px = px;
    spec->gaze.clamp = clamp;
    spec->alpha = alpha;
    spec->radius = radius;
    spec->fov_deg = fov_deg;
    spec->taps = taps;
    spec->lod_bias = lod_bias;
    spec->as_float = as_float;
    spec->color = Color(color);
}

Warped warp_pyramid(Engine& engine, const HeldPyramid& pyramid, const WarpSpec& spec)
{
    nb::gil_scoped_release unlocked;
    return engine.warp(pyramid.value, spec);
}

Warped warp_image(Engine& engine, const HeldImage& image, const WarpSpec& spec)
{
    nb::gil_scoped_release unlocked;
    return engine.warp(image.value, spec, !link_of(engine));
}

// (images, height, width, channels)
nb::object warped_array(Engine& engine, const Warped& warped)
{
    const std::uint64_t row = std::uint64_t(warped.width) * warped.channels;
    dlpack::Array array;
    array.type = dlpack::type_of(warped.element);
    array.shape = {warped.image_count, warped.height, warped.width, warped.channels};
    array.strides = {std::int64_t(warped.image_stride / element_size(warped.element)), std::int64_t(row),
                     warped.channels, 1};
    return array_of(engine, warped.data, std::move(array));
}

std::vector<Point> points_of(const WarpSpec& spec, std::uint32_t image, std::uint32_t height, std::uint32_t width,
                             bool to_px, const std::vector<Point>& points)
{
    const WarpGeometry geometry = warp_geometry(spec, image, width, height);
    std::vector<Point> result;
    for (const auto& [a, b] : points) {
        const WarpPoint at =
            to_px ? warp_px(geometry, a / geometry.warped_width, b / geometry.warped_height) : warp_uv(geometry, a, b);
        if (to_px)
            result.emplace_back(at.x, at.y);
        else
            result.emplace_back(at.x * geometry.warped_width, at.y * geometry.warped_height);
    }
    return result;
}

}  // namespace

void bind_warp(nb::module_& module, nb::class_<Engine>& engine)
{
    nb::class_<WarpSpec>(module, "WarpSpec")
        .def("__init__", make_warp, nb::arg("kind"), nb::arg("inverse"), nb::arg("round"), nb::arg("height"),
             nb::arg("width"), nb::arg("gaze"), nb::arg("px"), nb::arg("clamp"), nb::arg("alpha"),
             nb::arg("radius"), nb::arg("fov_deg"), nb::arg("taps"), nb::arg("lod_bias"), nb::arg("as_float"),
             nb::arg("color"))
        .def("points", points_of, nb::arg("image"), nb::arg("height"), nb::arg("width"), nb::arg("to_px"),
             nb::arg("points"), "height and width: of the source");
    nb::class_<Warped>(module, "Warped");
    engine.def("warp", warp_pyramid, nb::arg("pyramid"), nb::arg("spec"))
        .def("warp", warp_image, nb::arg("image"), nb::arg("spec"))
        .def("warped_array", warped_array, nb::arg("warped"));
}

}  // namespace foveate::bindings
