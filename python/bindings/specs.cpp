// SPDX-License-Identifier: Apache-2.0
// The options of each stage. Python has checked their types; the engine checks their ranges.
#include "bindings.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <new>
#include <tuple>
#include <utility>

namespace foveate::bindings {

namespace {

using ViewTuple = std::tuple<double, double, double, double, std::uint32_t, std::uint32_t>;
using GazeLists = std::vector<std::vector<std::pair<double, double>>>;

void make_layout_spec(LayoutSpec* self, std::uint32_t kind, std::uint32_t budget, std::uint32_t cell,
                      std::uint32_t rows, std::uint32_t columns, std::vector<std::uint32_t> strides,
                      std::vector<std::uint32_t> grids, bool level_order, const std::vector<ViewTuple>& views,
                      const GazeLists& gaze, bool px, bool clamp)
{
    auto* spec = new (self) LayoutSpec;
    spec->kind = LayoutKind(kind);
    spec->budget = budget;
    spec->cell = cell;
    spec->rows = rows;
    spec->columns = columns;
    spec->strides = std::move(strides);
    spec->grids = std::move(grids);
    spec->level_order = level_order;
    for (const auto& [x0, y0, x1, y1, view_rows, view_columns] : views)
        spec->views.push_back({x0, y0, x1, y1, view_rows, view_columns});
    for (const auto& points : gaze) {
        std::vector<Gaze>& image = spec->gaze.points.emplace_back();
        for (const auto& [x, y] : points) image.push_back({x, y});
    }
    spec->gaze.in_px = px;
    spec->gaze.clamp = clamp;
}

void make_sample_spec(SampleSpec* self, std::uint32_t patch, std::uint32_t merge, std::uint32_t frames,
                      std::vector<float> mean, std::vector<float> std, bool channels_last,
                      std::uint32_t dtype, double taps, double lod_bias)
{
    new (self) SampleSpec{patch, merge, frames, std::move(mean), std::move(std),
                          channels_last, Dtype(dtype), taps, lod_bias};
}

}  // namespace

void bind_specs(nb::module_& module)
{
    nb::class_<PyramidSpec>(module, "PyramidSpec")
        .def("__init__",
             [](PyramidSpec* self, std::uint32_t edge, std::uint32_t color, std::uint32_t levels) {
                 new (self) PyramidSpec{Edge(edge), Color(color), levels};
             },
             nb::arg("edge"), nb::arg("color"), nb::arg("levels"));
    nb::class_<LayoutSpec>(module, "LayoutSpec")
        .def("__init__", make_layout_spec, nb::arg("kind"), nb::arg("budget"), nb::arg("cell"),
             nb::arg("rows"), nb::arg("columns"), nb::arg("strides"), nb::arg("grids"),
             nb::arg("level_order"), nb::arg("views"), nb::arg("gaze"), nb::arg("px"), nb::arg("clamp"));
    nb::class_<RateSpec>(module, "RateSpec")
        .def("__init__",
             [](RateSpec* self, std::uint32_t budget, std::uint32_t cell, std::uint32_t max_rate, bool square,
                double hysteresis, bool steady) {
                 new (self) RateSpec{budget, cell, max_rate, square, hysteresis, steady};
             },
             nb::arg("budget"), nb::arg("cell"), nb::arg("max_rate"), nb::arg("square"), nb::arg("hysteresis"),
             nb::arg("steady"));
    nb::class_<SampleSpec>(module, "SampleSpec")
        .def("__init__", make_sample_spec, nb::arg("patch"), nb::arg("merge"), nb::arg("frames"),
             nb::arg("mean"), nb::arg("std"), nb::arg("channels_last"), nb::arg("dtype"), nb::arg("taps"),
             nb::arg("lod_bias"));
}

}  // namespace foveate::bindings
