// SPDX-License-Identifier: Apache-2.0
// Rates for hardware, and the arithmetic of codes over arrays.
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>

#include <utility>

#include "bindings.h"
#include "engine/rate_codes.h"

namespace foveate::bindings {

namespace {

template <class T>
using Numbers = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using In = Numbers<const std::uint8_t>;
using Out = Numbers<std::uint8_t>;
using Maps = std::vector<Numbers<const std::uint32_t>>;
using GazeLists = std::vector<std::vector<std::pair<double, double>>>;

Codes codes_of(const In& array) { return {array.data(), array.size()}; }
std::span<std::uint8_t> codes_of(const Out& array) { return {array.data(), array.size()}; }

std::vector<std::vector<std::uint32_t>> maps_of(const Maps& maps)
{
    std::vector<std::vector<std::uint32_t>> copied;
    for (const auto& map : maps) copied.emplace_back(map.data(), map.data() + map.size());
    return copied;
}

void make_tiles(RateTilesSpec* self, std::uint32_t tile, bool has_gaze, const GazeLists& gaze, bool px, bool clamp,
                double fov_deg, std::uint32_t falloff, const std::vector<std::pair<double, std::uint32_t>>& rows,
                std::uint32_t content, double contrast, double ambient, const Maps& velocity, const Maps& primitive,
                std::uint32_t pipeline_code, std::uint32_t primitive_code, std::uint32_t terms, std::uint32_t op0,
                std::uint32_t op1, const RateProfile& profile)
{
    auto* spec = new (self) RateTilesSpec;
    spec->tile = tile;
    spec->has_gaze = has_gaze;
    for (const auto& points : gaze) {
        std::vector<Gaze>& image = spec->gaze.points.emplace_back();
        for (const auto& [x, y] : points) image.push_back({x, y});
    }
    spec->gaze.in_px = px;
    spec->gaze.clamp = clamp;
    spec->fov_deg = fov_deg;
    spec->falloff = TileFalloff(falloff);
    for (const auto& [limit, code] : rows) spec->rows.push_back({limit, code});
    spec->content = TileContent(content);
    spec->contrast = contrast;
    spec->ambient = ambient;
    spec->velocity = maps_of(velocity);
    spec->primitive = maps_of(primitive);
    spec->pipeline_code = pipeline_code;
    spec->primitive_code = primitive_code;
    spec->terms = terms;
    spec->op0 = op0;
    spec->op1 = op1;
    spec->profile = profile;
}

TileRates make_rates(Engine& engine, const std::vector<std::array<std::uint32_t, 2>>& sizes, const HeldImage* image,
                     const RateTilesSpec& spec)
{
    nb::gil_scoped_release unlocked;
    return engine.rate_tiles(sizes, image ? &image->value : nullptr, spec);
}

// (rows, columns) of one image, where the host can read them.
dlpack::Array rates_array(Engine& engine, const TileRates& rates, std::uint32_t image)
{
    const shared::TileGrid& grid = rates.grids.at(image);
    dlpack::Array array;
    {
        nb::gil_scoped_release unlocked;
        array.block = engine.host(rates.codes);
    }
    array.offset = grid.first;
    array.type = dlpack::type_of(Element::u8);
    array.shape = {grid.rows, grid.columns};
    array.strides = {grid.pitch, 1};
    array.read_only = true;
    return array;
}

nb::dict profiles()
{
    nb::dict table;
    for (const NamedProfile& named : rate_profiles()) table[named.name] = named.profile;
    return table;
}

nb::list palette()
{
    nb::list list;
    for (const PaletteEntry& entry : rate_palette())
        list.append(nb::make_tuple(entry.name, entry.w, entry.h, entry.invocations));
    return list;
}

}  // namespace

void bind_rate_tiles(nb::module_& module)
{
    nb::class_<RateProfile>(module, "RateProfile")
        .def("__init__",
             [](RateProfile* self, std::uint32_t supported, std::uint32_t flags, std::uint32_t tile_min,
                std::uint32_t tile_max) { new (self) RateProfile{supported, flags, tile_min, tile_max}; },
             nb::arg("supported"), nb::arg("flags"), nb::arg("tile_min"), nb::arg("tile_max"))
        .def_ro("supported", &RateProfile::supported)
        .def_ro("flags", &RateProfile::flags)
        .def_ro("tile_min", &RateProfile::tile_min)
        .def_ro("tile_max", &RateProfile::tile_max);
    nb::class_<RateTilesSpec>(module, "RateTilesSpec")
        .def("__init__", make_tiles, nb::arg("tile"), nb::arg("has_gaze"), nb::arg("gaze"), nb::arg("px"),
             nb::arg("clamp"), nb::arg("fov_deg"), nb::arg("falloff"), nb::arg("rows"), nb::arg("content"),
             nb::arg("contrast"), nb::arg("ambient"), nb::arg("velocity"), nb::arg("primitive"),
             nb::arg("pipeline_code"), nb::arg("primitive_code"), nb::arg("terms"), nb::arg("op0"), nb::arg("op1"),
             nb::arg("profile"));
    nb::class_<TileRates>(module, "TileRates")
        .def_ro("tile", &TileRates::tile)
        .def("__len__", [](const TileRates& self) { return self.grids.size(); });
    module.def("rate_tiles", make_rates, nb::arg("engine"), nb::arg("sizes"), nb::arg("image").none(),
               nb::arg("spec"));
    module.def("rate_tiles_array", rates_array, nb::arg("engine"), nb::arg("rates"), nb::arg("image"));
    module.def("rate_profiles", profiles);
    module.def("rate_palette", palette);
    module.def("rate_encoded", [](const Numbers<const std::uint32_t>& sizes, const Out& codes) {
        rate_encoded({sizes.data(), sizes.size()}, codes_of(codes));
    });
    module.def("rate_decoded", [](const In& codes, const Numbers<std::uint32_t>& sizes) {
        rate_decoded(codes_of(codes), {sizes.data(), sizes.size()});
    });
    module.def("rate_combined",
               [](std::uint32_t op, const In& a, const In& b, const RateProfile& profile, const Out& logs) {
                   rate_combined(op, codes_of(a), codes_of(b), profile, codes_of(logs));
               });
    module.def("rate_clamped", [](const In& logs, const RateProfile& profile, const Out& codes) {
        rate_clamped(codes_of(logs), profile, codes_of(codes));
    });
    module.def("rate_finals",
               [](const In& pipeline, const In& primitive, const In& attachment, std::uint32_t op0,
                  std::uint32_t op1, const RateProfile& profile, const Out& codes) {
                   rate_finals(codes_of(pipeline), codes_of(primitive), codes_of(attachment), op0, op1, profile,
                               codes_of(codes));
               });
    module.def("rate_fixed", [](const In& codes, bool valar, const Out& fixed) {
        rate_fixed(codes_of(codes), valar, codes_of(fixed));
    });
    module.def("rate_invocations",
               [](const In& codes, std::uint32_t tile, std::uint32_t width, std::uint32_t height, bool palette) {
                   return palette ? rate_palette_invocations(codes_of(codes), tile, width, height)
                                  : rate_invocations(codes_of(codes), tile, width, height);
               });
}

}  // namespace foveate::bindings
