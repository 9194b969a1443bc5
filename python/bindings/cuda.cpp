// SPDX-License-Identifier: Apache-2.0
// Arrays for CUDA and from CUDA.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <optional>

#include "bindings.h"
#include "engine/error.h"

namespace foveate::bindings {

namespace {

using Pair = std::optional<std::pair<std::int64_t, std::int64_t>>;
using cuda::Address;

std::optional<std::int64_t> number_of(nb::handle stream, const char* what)
{
    if (stream.is_none()) return {};
    std::int64_t number = 0;
    require(nb::isinstance<nb::int_>(stream) && nb::try_cast(stream, number), what, nb::repr(stream).c_str(),
            "None or a whole number");
    return number;
}

const cuda::Array& whole(const cuda::Array& self)
{
    require(bool(self.array.block), "tensor: array", "a released one", "one in use", "Make a new one.");
    return self;
}

// The contract of DLPack's __dlpack__ for a CUDA device.
nb::object export_cuda_array(const cuda::Array& self, nb::handle stream, const Pair& max_version, const Pair& dl_device,
                             const std::optional<bool>& copy)
{
    const std::pair<std::int64_t, std::int64_t> host(dlpack::CPU, 0);
    const std::pair<std::int64_t, std::int64_t> here(dlpack::CUDA, whole(self).array.device.id);
    const auto wanted = dl_device.value_or(here);
    const bool versioned = max_version && max_version->first >= 1;
    const auto given = number_of(stream, "tensor: __dlpack__ stream");
    if (wanted == host) {
        require(!given, "tensor: __dlpack__ stream", given.value_or(0), "None for the cpu");
        if (copy && !*copy)
            throw nb::buffer_error("tensor: __dlpack__ copy: got False, expected True or None from CUDA to the cpu.");
        dlpack::Array copied;
        {
            nb::gil_scoped_release unlocked;
            copied = cuda::on_host(self);
        }
        return capsule_of(copied, versioned, false);
    }
    if (wanted != here) {
        const std::string got = std::to_string(wanted.first) + ", " + std::to_string(wanted.second);
        const std::string ours = std::to_string(here.second);
        const std::string text = "tensor: __dlpack__ dl_device: got (" + got + "), expected (2, " + ours +
                                 ") or (1, 0), the cpu.";
        throw nb::buffer_error(text.c_str());
    }
    // -1: the consumer sees to the order itself. Whatever it works on, the default stream comes behind most of it.
    const bool ordered = given != -1;
    const cuda::Stream consumer =
        ordered ? cuda::stream_named(given, "tensor: __dlpack__ stream") : cuda::legacy_stream();
    dlpack::Array handed;
    {
        nb::gil_scoped_release unlocked;
        handed = copy.value_or(false) ? cuda::copied(self, consumer, ordered)
                                        : cuda::lent(self, consumer, ordered);
    }
    return capsule_of(handed, versioned, false);
}

std::string typestr_of(dlpack::DataType type)
{
    const std::string size = std::to_string(type.bits / 8);
    if (type.code == dlpack::UINT) return (type.bits == 8 ? "|u" : "<u") + size;
    if (type.code == dlpack::FLOAT) return "<f" + size;
    throw nb::attribute_error("__cuda_array_interface__: it has no bfloat16");
}

// Version 3 of the CUDA array interface. It has no end that we are told of: the array's own is the consumer's.
nb::dict interface_of(const cuda::Array& self)
{
    const dlpack::Array& array = whole(self).array;
    nb::dict table;
    table["typestr"] = typestr_of(array.type);
    table["version"] = 3;
    table["shape"] = nb::tuple(nb::cast(array.shape));
    std::vector<std::int64_t> strides = array.strides;
    for (std::int64_t& stride : strides) stride *= array.type.bits / 8;
    table["strides"] = nb::tuple(nb::cast(strides));
    table["data"] = nb::make_tuple(reinterpret_cast<std::uintptr_t>(array.data()), array.read_only);
    table["stream"] = 1;
    self.mapping().users.name(cuda::legacy_stream());
    nb::gil_scoped_release unlocked;
    self.link->order(cuda::legacy_stream());
    return table;
}

// What an object's __cuda_array_interface__ shows. Our stream comes behind the one that it names.
dlpack::Borrowed shown(const nb::dict& table, cuda::Link& link)
{
    const std::string text = nb::cast<std::string>(table["typestr"]);
    const auto code = text.size() < 3                    ? dlpack::OPAQUE
                      : text[1] == 'u' && text[0] != '>' ? dlpack::UINT
                      : text[1] == 'f' && text[0] != '>' ? dlpack::FLOAT
                                                         : dlpack::OPAQUE;
    require(code != dlpack::OPAQUE, "image: dtype", text, "uint8, uint16, float16, float32 or float64");
    dlpack::Managed managed;
    dlpack::Tensor& tensor = managed.tensor;
    tensor.dtype = {code, std::uint8_t(8 * std::stoul(text.substr(2))), 1};
    auto shape = nb::cast<std::vector<std::int64_t>>(table["shape"]);
    std::vector<std::int64_t> strides;
    if (table.contains("strides") && !table["strides"].is_none()) {
        strides = nb::cast<std::vector<std::int64_t>>(table["strides"]);
        const std::int64_t size = std::max(tensor.dtype.bits / 8, 1);
        for (std::int64_t& stride : strides) {
            require(stride % size == 0, "image: __cuda_array_interface__ strides", stride, "whole elements");
            stride /= size;
        }
        require(strides.size() == shape.size(), "image: __cuda_array_interface__ strides", strides.size(),
                shape.size());
    }
    tensor.data = reinterpret_cast<void*>(nb::cast<std::uintptr_t>(nb::object(table["data"])[0]));
    tensor.ndim = std::int32_t(shape.size());
    tensor.shape = shape.data();
    tensor.strides = strides.empty() ? nullptr : strides.data();
    tensor.device = {dlpack::CUDA, 0};
    const Address address = Address(reinterpret_cast<std::uintptr_t>(tensor.data));
    link.require_here(link.ordinal_of(address));
    nb::object stream = table.contains("stream") ? nb::object(table["stream"]) : nb::none();
    if (const auto number = number_of(stream, "image: __cuda_array_interface__ stream"))
        link.follow(cuda::stream_named(number, "image: __cuda_array_interface__ stream"));
    return dlpack::Lease(&managed, dlpack::CUDA).array();
}

// The producer makes our stream wait for what it has begun.
dlpack::Lease lease_of_tensor(nb::handle object, cuda::Link& link)
{
    link.require_here(nb::cast<int>(nb::object(object.attr("__dlpack_device__")())[1]));
    nb::object method = object.attr("__dlpack__");
    const auto stream = nb::int_(reinterpret_cast<std::uintptr_t>(link.stream()));
    nb::object capsule;
    try {
        capsule = method(nb::arg("stream") = stream,
                         nb::arg("max_version") = nb::make_tuple(dlpack::MAJOR, dlpack::MINOR));
    } catch (nb::python_error& error) {
        if (!error.matches(PyExc_TypeError)) throw;
        capsule = method(nb::arg("stream") = stream);
    }
    return lease_of(capsule, dlpack::CUDA);
}

// (Source, whether the pixels were copied): an array of CUDA's where the engine reads it. Memory of the engine's own
// is read where it lies; other memory is copied into such once, on the device.
nb::tuple cuda_source(Engine& engine, nb::object object)
{
    const Ref<cuda::Link> link = link_of(engine);
    require(bool(link), "image: device", "an array of CUDA's", "the cpu", "Use Engine(cuda=True).",
            ErrorKind::unsupported);
    dlpack::Lease lease;
    dlpack::Borrowed array;
    cuda::Mapping* mapping = nullptr;
    cuda::Array* own = nullptr;
    if (nb::try_cast(object, own) && own) {
        const dlpack::Array& ours = whole(*own).array;
        array.data = ours.data();
        array.type = ours.type;
        array.shape = ours.shape;
        for (std::int64_t stride : ours.strides) array.strides.push_back(stride * (ours.type.bits / 8));
        array.read_only = ours.read_only;
    } else if (nb::hasattr(object, "__dlpack__")) {
        lease = lease_of_tensor(object, *link);
        array = lease.array();
    } else {
        nb::object table = object.attr("__cuda_array_interface__");
        array = shown(nb::cast<nb::dict>(table), *link);
    }
    if (!array.data)
        return nb::make_tuple(
            nb::cast(new Source(array, object, std::move(lease), {}, {}), nb::rv_policy::take_ownership), false);
    const auto reach = reach_of(array);
    const Address low = Address(reinterpret_cast<std::uintptr_t>(reach.first));
    const Address high = Address(reinterpret_cast<std::uintptr_t>(reach.second));
    const Address first = Address(reinterpret_cast<std::uintptr_t>(array.data));
    Ref<Block> block;
    bool direct = false;
    {
        nb::gil_scoped_release unlocked;
        mapping = link->find(low, high);
        if (mapping) link->settle(*mapping);
        if (mapping && (mapping->direct() || mapping->host())) {
            link->finish();
        } else {
            block = link->copy_in(low, high - low);
            mapping = &link->map(block);
        }
        direct = mapping->direct();
        const Address within = first - (block ? low : mapping->address());
        array.data = within + (direct ? reinterpret_cast<std::byte*>(std::uintptr_t(mapping->address()))
                                      : mapping->host());
    }
    const bool copied = bool(block);
    auto* source = new Source(std::move(array), std::move(object), std::move(lease), std::move(block),
                                direct ? link : Ref<cuda::Link>());
    return nb::make_tuple(nb::cast(source, nb::rv_policy::take_ownership), copied);
}

nb::object device_of(Engine& engine)
{
    const Ref<cuda::Link>& link = link_of(engine);
    if (!link) return nb::none();
    nb::dict table;
    table["ordinal"] = link->device().ordinal;
    table["name"] = link->device().name;
    table["uuid"] = link->device().uuid;
    table["sync"] = SYNC_NAMES[std::uint32_t(link->sync())];
    return table;
}

// What `foveate info` says of CUDA.
nb::dict found()
{
    std::string reason;
    nb::dict table;
    nb::list list;
    const cuda::Driver* driver = nullptr;
    try {
        driver = cuda::find_driver(reason);
        if (driver)
            for (const cuda::Device& device : cuda::devices(*driver)) {
                nb::dict entry;
                entry["ordinal"] = device.ordinal;
                entry["name"] = device.name;
                entry["uuid"] = device.uuid;
                entry["instance_uuid"] = device.instance_uuid;
                entry["compute"] = device.compute / 10.0;
                entry["timelines"] = device.timelines;
                list.append(entry);
            }
    } catch (const Error& error) {
        reason = error.what();
    }
    table["driver"] = driver ? driver->name : "";
    table["version"] = driver ? std::to_string(driver->version / 1000) + "." +
                                    std::to_string(driver->version % 1000 / 10) : "";
    table["reason"] = reason;
    table["devices"] = list;
    return table;
}

}  // namespace

void bind_cuda(nb::module_& module, nb::class_<Engine>& engine)
{
    nb::class_<cuda::Array>(module, "CudaArray")
        .def("__dlpack__", export_cuda_array, nb::kw_only(), nb::arg("stream") = nb::none(),
             nb::arg("max_version") = nb::none(), nb::arg("dl_device") = nb::none(), nb::arg("copy") = nb::none())
        .def("__dlpack_device__",
             [](const cuda::Array& self) { return nb::make_tuple(int(dlpack::CUDA), self.array.device.id); })
        .def_prop_ro("interface", interface_of)
        .def("host",
             [](const cuda::Array& self) {
                 nb::gil_scoped_release unlocked;
                 return cuda::on_host(whole(self));
             },
             "A copy that the host reads.")
        .def_prop_ro("plain", [](const cuda::Array& self) { return whole(self).array; })
        .def("record_stream",
             [](const cuda::Array& self, std::int64_t stream) {
                 whole(self).mapping().users.name(cuda::stream_named(stream, "tensor: record_stream"));
             },
             nb::arg("stream"))
        .def("release",
             [](cuda::Array& self, std::int64_t stream) {
                 whole(self).mapping().users.end(cuda::stream_named(stream, "tensor: release"));
                 nb::gil_scoped_release unlocked;
                 self.array.block = {};
             },
             nb::arg("stream"))
        .def_prop_ro("device",
                     [](const cuda::Array& self) { return "cuda:" + std::to_string(self.array.device.id); })
        .def_prop_ro("shape", [](const cuda::Array& self) { return nb::tuple(nb::cast(self.array.shape)); })
        .def_prop_ro("strides", [](const cuda::Array& self) { return nb::tuple(nb::cast(self.array.strides)); })
        .def_prop_ro("dtype", [](const cuda::Array& self) { return dlpack::name_of(self.array.type); })
        .def_prop_ro("read_only", [](const cuda::Array& self) { return self.array.read_only; })
        .def_prop_ro("pointer", [](const cuda::Array& self) {
            return reinterpret_cast<std::uintptr_t>(whole(self).array.data());
        });
    engine.def("cuda_source", cuda_source, nb::arg("array")).def("cuda_device", device_of);
    module.def("cuda", found, "The CUDA driver and its devices, or why there is none.");
}

}  // namespace foveate::bindings
