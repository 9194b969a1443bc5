// SPDX-License-Identifier: Apache-2.0
// Arrays on the way out.
#include "bindings.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <optional>

#include "engine/error.h"

namespace foveate::bindings {

namespace {

// A capsule that nobody consumed still owns its tensor.
template <class M>
nb::object wrapped(M* managed, const char* name, PyCapsule_Destructor destructor)
{
    PyObject* capsule = PyCapsule_New(managed, name, destructor);
    if (!capsule) {
        managed->deleter(managed);
        throw nb::python_error();
    }
    return nb::steal(capsule);
}

void end_managed(PyObject* capsule)
{
    if (!PyCapsule_IsValid(capsule, dlpack::NAME)) return;
    auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, dlpack::NAME));
    managed->deleter(managed);
}

void end_versioned(PyObject* capsule)
{
    if (!PyCapsule_IsValid(capsule, dlpack::NAME_VERSIONED)) return;
    void* pointer = PyCapsule_GetPointer(capsule, dlpack::NAME_VERSIONED);
    auto* managed = static_cast<dlpack::ManagedVersioned*>(pointer);
    managed->deleter(managed);
}

using Pair = std::optional<std::pair<std::int64_t, std::int64_t>>;

// The address of the first element, when the device is done with them. Other Python threads go on meanwhile.
std::uintptr_t address_of(const dlpack::Array& array)
{
    if (!array.block) return 0;
    nb::gil_scoped_release release;
    return reinterpret_cast<std::uintptr_t>(array.data());
}

nb::object export_array(const dlpack::Array& array, nb::handle stream, const Pair& max_version,
                        const Pair& dl_device, const std::optional<bool>& copy)
{
    require(stream.is_none(), "tensor: __dlpack__ stream", nb::str(stream).c_str(), "None on the cpu");
    if (dl_device && *dl_device != std::pair<std::int64_t, std::int64_t>(dlpack::CPU, 0)) {
        const std::string got = std::to_string(dl_device->first) + ", " + std::to_string(dl_device->second);
        const std::string text = "tensor: __dlpack__ dl_device: got (" + got + "), expected (1, 0), the cpu.";
        throw nb::buffer_error(text.c_str());
    }
    address_of(array);
    return capsule_of(array, max_version && max_version->first >= 1, copy.value_or(false));
}

}  // namespace

nb::object capsule_of(const dlpack::Array& array, bool versioned, bool copy)
{
    if (versioned) return wrapped(dlpack::make_versioned(array, copy), dlpack::NAME_VERSIONED, end_versioned);
    // Before version 1 a tensor could not say that it must not be written to.
    if (array.read_only && !copy)
        throw nb::buffer_error("tensor: __dlpack__ max_version: got None, expected (1, 0) or later for an "
                               "array that is read-only. Use copy=True, or a consumer of DLPack 1.0.");
    return wrapped(dlpack::make_managed(array, copy), dlpack::NAME, end_managed);
}

void bind_array(nb::module_& module)
{
    nb::class_<dlpack::Array>(module, "Array")
        .def("__dlpack__", export_array, nb::kw_only(), nb::arg("stream") = nb::none(),
             nb::arg("max_version") = nb::none(), nb::arg("dl_device") = nb::none(),
             nb::arg("copy") = nb::none())
        .def("__dlpack_device__", [](const dlpack::Array&) { return nb::make_tuple(int(dlpack::CPU), 0); })
        .def_prop_ro("shape", [](const dlpack::Array& self) { return nb::tuple(nb::cast(self.shape)); })
        .def_prop_ro("strides", [](const dlpack::Array& self) { return nb::tuple(nb::cast(self.strides)); })
        .def_prop_ro("dtype", [](const dlpack::Array& self) { return dlpack::name_of(self.type); })
        .def_prop_ro("read_only", [](const dlpack::Array& self) { return self.read_only; })
        .def_prop_ro("pointer", address_of);
}

}  // namespace foveate::bindings
