// SPDX-License-Identifier: Apache-2.0
// The stage sample with shading rates: its options, the call, and the arrays it makes.
#include "engine/sample_vrs.h"

#include <nanobind/ndarray.h>

#include "bindings.h"
#include "engine/rate_codes.h"

namespace foveate::bindings {

namespace {

using CodeArray = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void make_vrs(VrsSpec* self, const CodeArray& codes, std::uint32_t tile, std::uint32_t pipeline_code,
              std::uint32_t primitive_code, std::uint32_t op0, std::uint32_t op1, std::uint32_t path,
              const RateProfile* profile)
{
    auto* spec = new (self) VrsSpec;
    spec->codes.assign(codes.data(), codes.data() + codes.size());
    spec->tile = tile;
    spec->pipeline_code = pipeline_code;
    spec->primitive_code = primitive_code;
    spec->op0 = op0;
    spec->op1 = op1;
    spec->path = VrsPath(path);
    spec->has_profile = profile != nullptr;
    if (profile) spec->profile = *profile;
}

Shaded shade(Engine& engine, const HeldImage& image, const VrsSpec& spec)
{
    nb::gil_scoped_release unlocked;
    return engine.sample_vrs(image.value, spec);
}

nb::list list_of(std::uint32_t a, std::uint32_t b)  // as JSON has them
{
    nb::list list;
    list.append(a);
    list.append(b);
    return list;
}

// (height, width, channels) of four stored ones
dlpack::Array colors_array(const Shaded& shaded)
{
    dlpack::Array array;
    array.block = shaded.colors;
    array.type = dlpack::type_of(Element::u8);
    array.shape = {shaded.height, shaded.width, shaded.channels};
    array.strides = {std::int64_t(shaded.width) * 4, 4, 1};
    return array;
}

// (height, width)
dlpack::Array codes_array(const Shaded& shaded)
{
    dlpack::Array array;
    array.block = shaded.codes;
    array.type = dlpack::type_of(Element::u8);
    array.shape = {shaded.height, shaded.width};
    array.strides = {shaded.pitch, 1};
    return array;
}

}  // namespace

nb::dict shading_rate_of(const ShadingRate& rate)
{
    nb::dict table;
    table["usable"] = rate.usable();
    table["reasons"] = rate.reasons;
    nb::list rates;
    if (rate.usable())
        for (std::uint32_t code = 0; code < RATE_CODES; ++code)
            if (rate.profile.supported >> code & 1u)
                rates.append(list_of(1u << shared::rate_log_w(code), 1u << shared::rate_log_h(code)));
    table["rates"] = rates;
    table["tile"] = rate.usable() ? list_of(rate.profile.tile_min, rate.profile.tile_max) : nb::list();
    table["strict"] = rate.usable() && (rate.profile.flags & RATE_STRICT) != 0;
    table["combiners"] = rate.usable() && (rate.profile.flags & RATE_COMBINERS) != 0;
    return table;
}

void bind_sample_vrs(nb::module_& module, nb::class_<Engine>& engine)
{
    nb::class_<VrsSpec>(module, "VrsSpec")
        .def("__init__", make_vrs, nb::arg("codes"), nb::arg("tile"), nb::arg("pipeline_code"),
             nb::arg("primitive_code"), nb::arg("op0"), nb::arg("op1"), nb::arg("path"), nb::arg("profile").none());
    nb::class_<Shaded>(module, "Shaded")
        .def_ro("invocations", &Shaded::invocations)
        .def_ro("statistic", &Shaded::statistic)
        .def_ro("hardware", &Shaded::hardware)
        .def_ro("reasons", &Shaded::reasons)
        .def_ro("profile", &Shaded::profile)
        .def("colors", colors_array)
        .def("codes", codes_array);
    engine.def("sample_vrs", shade, nb::arg("image"), nb::arg("spec"));
}

}  // namespace foveate::bindings
