// SPDX-License-Identifier: Apache-2.0
// The options of each stage. Python has checked their types; the engine checks their ranges.
#include "bindings.h"
#include "engine/stages/roi.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <array>
#include <new>
#include <tuple>
#include <utility>

namespace foveate::bindings {

namespace {

using ViewTuple = std::tuple<double, double, double, double, std::uint32_t, std::uint32_t>;
using RelevanceNumbers = std::array<double, 12>;     // three knobs, six weights, floor, smooth, band
using HeatTuple = std::tuple<std::uint32_t, std::uint32_t, std::vector<double>>;
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

void set_polar(LayoutSpec& self, double alpha, double e0)
{
    self.alpha = alpha;
    self.e0 = e0;
}

void set_regions(LayoutSpec& self, std::uint32_t passes, double rho, double sigma, std::vector<HeatTuple> heat)
{
    self.passes = passes;
    self.rho = rho;
    self.sigma = sigma;
    for (auto& [rows, columns, mass] : heat) self.heat.push_back({rows, columns, std::move(mass)});
}

std::array<std::uint32_t, 4> box_of(std::uint32_t rows, std::uint32_t columns, std::vector<double> mass, double rho)
{
    return roi_box({rows, columns, std::move(mass)}, rho);
}

std::vector<double> trace_of(const std::vector<std::pair<double, double>>& points, std::uint32_t width,
                             std::uint32_t height, std::uint32_t rows, std::uint32_t columns, double sigma)
{
    std::vector<GazePoint> px;
    for (const auto& [x, y] : points) px.push_back({x, y});
    return heat_of(px, width, height, rows, columns, sigma).mass;
}

void make_sample_spec(SampleSpec* self, std::uint32_t patch, std::uint32_t merge, std::uint32_t frames,
                      std::vector<float> mean, std::vector<float> std, bool channels_last,
                      std::uint32_t dtype, double taps, double lod_bias)
{
    new (self) SampleSpec{patch, merge, frames, std::move(mean), std::move(std),
                          channels_last, Dtype(dtype), taps, lod_bias};
}

// (height, width, 4-byte floats in row order).
std::vector<Map> maps_of(const nb::list& list)
{
    std::vector<Map> maps;
    for (nb::handle item : list) {
        const auto [height, width, values] = nb::cast<std::tuple<std::uint32_t, std::uint32_t, nb::bytes>>(item);
        Map& map = maps.emplace_back(Map{width, height, {}});
        const auto* first = static_cast<const float*>(values.data());
        map.values.assign(first, first + values.size() / sizeof(float));
    }
    return maps;
}

using RegionTuple = std::tuple<double, double, double, double>;
using TraceTuple = std::tuple<double, double, double>;

void make_relevance_spec(RelevanceSpec* self, std::uint32_t cell, const nb::object& gaze, bool px, bool clamp,
                         std::uint32_t falloff, std::vector<double> falloff_values, double fov_deg,
                         double viewing_px, double beta, bool information, std::uint32_t saliency, bool motion,
                         const nb::list& query, const std::vector<std::vector<RegionTuple>>& boxes,
                         const nb::list& masks, const std::vector<std::vector<TraceTuple>>& traces, double sigma,
                         std::uint32_t combine, const RelevanceNumbers& numbers)
{
    auto* spec = new (self) RelevanceSpec;
    spec->cell = cell;
    spec->gaze_on = !gaze.is_none();
    if (spec->gaze_on)
        for (const auto& points : nb::cast<GazeLists>(gaze)) {
            std::vector<Gaze>& image = spec->gaze.points.emplace_back();
            for (const auto& [x, y] : points) image.push_back({x, y});
        }
    spec->gaze.in_px = px;
    spec->gaze.clamp = clamp;
    spec->falloff = Falloff(falloff);
    spec->falloff_values = std::move(falloff_values);
    spec->fov_deg = fov_deg;
    spec->viewing_px = viewing_px;
    spec->beta = beta;
    spec->information = information;
    spec->saliency = Saliency(saliency);
    spec->motion = motion;
    spec->query = maps_of(query);
    for (const auto& image : boxes) {
        auto& list = spec->boxes.emplace_back();
        for (const auto& [x0, y0, x1, y1] : image) list.push_back({x0, y0, x1, y1});
    }
    spec->masks = maps_of(masks);
    for (const auto& image : traces) {
        auto& list = spec->traces.emplace_back();
        for (const auto& [x, y, weight] : image) list.push_back({x, y, weight});
    }
    spec->sigma = sigma;
    spec->combine = Combine(combine);
    std::copy_n(numbers.begin(), 3, spec->knobs);
    std::copy_n(numbers.begin() + 3, 6, spec->weights);
    spec->floor = numbers[9];
    spec->smooth = numbers[10];
    spec->band = numbers[11];
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
             nb::arg("level_order"), nb::arg("views"), nb::arg("gaze"), nb::arg("px"), nb::arg("clamp"))
        .def("polar", set_polar, nb::arg("alpha"), nb::arg("e0"))
        .def("regions", set_regions, nb::arg("passes"), nb::arg("rho"), nb::arg("sigma"), nb::arg("heat"));
    module.def("roi_box", box_of, nb::arg("rows"), nb::arg("columns"), nb::arg("mass"), nb::arg("rho"));
    module.def("trace_heat", trace_of, nb::arg("points"), nb::arg("width"), nb::arg("height"), nb::arg("rows"),
               nb::arg("columns"), nb::arg("sigma"));
    nb::class_<RelevanceSpec>(module, "RelevanceSpec")
        .def("__init__", make_relevance_spec, nb::arg("cell"), nb::arg("gaze").none(), nb::arg("px"),
             nb::arg("clamp"), nb::arg("falloff"), nb::arg("falloff_values"), nb::arg("fov_deg"),
             nb::arg("viewing_px"), nb::arg("beta"), nb::arg("information"), nb::arg("saliency"),
             nb::arg("motion"), nb::arg("query"), nb::arg("boxes"), nb::arg("masks"), nb::arg("traces"),
             nb::arg("sigma"), nb::arg("combine"), nb::arg("numbers"));
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
