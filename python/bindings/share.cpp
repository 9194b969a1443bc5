// SPDX-License-Identifier: Apache-2.0
// Arrays as records that other devices, APIs and processes open.
#include <algorithm>

#include "bindings.h"
#include "engine/error.h"

namespace foveate::bindings {

namespace {

dlpack::DataType type_named(const std::string& name)
{
    for (dlpack::DataType type : {dlpack::U8, dlpack::U16, dlpack::U32, dlpack::F16, dlpack::BF16, dlpack::F32})
        if (dlpack::name_of(type) == name) return type;
    fail(ErrorKind::input, "Engine: attach: dtype", '"' + name + '"', "one of an Array", "Give the record as it came.");
}

// From the first element to the end of the last, where the array stays within 64 bits.
std::uint64_t span_of(const dlpack::Array& array)
{
    std::uint64_t last = 0;
    bool fits = array.shape.size() == array.strides.size();
    for (std::size_t axis = 0; fits && axis < array.shape.size(); ++axis) {
        std::uint64_t reach = 0;
        fits = array.shape[axis] > 0 && array.strides[axis] >= 0 &&
               !__builtin_mul_overflow(array.shape[axis] - 1, array.strides[axis], &reach) &&
               !__builtin_add_overflow(last, reach, &last) && last < 1ull << 48;
    }
    require(fits, "Engine: attach: shape", std::to_string(array.shape.size()) + " axes",
            "sizes above 0 and their strides", "Give the record as it came.");
    return (last + 1) * (array.type.bits / 8);
}

// The descriptor is the caller's to close.
nb::tuple share(Engine& engine, const dlpack::Array& array)
{
    SharedMemory memory;
    {
        nb::gil_scoped_release release;
        memory = engine.share(array.block);
    }
    nb::dict record;
    record["shape"] = array.shape;
    record["strides"] = array.strides;
    record["dtype"] = dlpack::name_of(array.type);
    record["offset"] = array.offset;
    record["size"] = memory.size;
    record["buffer_size"] = memory.buffer_size;
    record["allocation_size"] = memory.allocation_size;
    record["memory_type"] = memory.memory_type;
    record["dedicated"] = memory.dedicated;
    record["device_uuid"] = memory.device_uuid;
    record["driver_uuid"] = memory.driver_uuid;
    return nb::make_tuple(memory.fd.release(), record);
}

// The descriptor stays the caller's: a duplicate of it is used up.
dlpack::Array attach(Engine& engine, int fd, const nb::dict& record)
{
    const auto number = [&](const char* name) { return nb::cast<std::uint64_t>(record[name]); };
    dlpack::Array array;
    array.type = type_named(nb::cast<std::string>(record["dtype"]));
    array.shape = nb::cast<std::vector<std::int64_t>>(record["shape"]);
    array.strides = nb::cast<std::vector<std::int64_t>>(record["strides"]);
    array.offset = number("offset");
    SharedMemory memory;
    memory.allocation_size = number("allocation_size");
    memory.buffer_size = number("buffer_size");
    memory.size = number("size");
    memory.memory_type = std::uint32_t(std::min<std::uint64_t>(number("memory_type"), ~0u));
    memory.dedicated = nb::cast<bool>(record["dedicated"]);
    memory.device_uuid = nb::cast<std::string>(record["device_uuid"]);
    memory.driver_uuid = nb::cast<std::string>(record["driver_uuid"]);
    const std::uint64_t span = span_of(array);
    require(array.offset <= memory.size && span <= memory.size - array.offset, "Engine: attach: shape",
            std::to_string(span) + " bytes at " + std::to_string(array.offset),
            "at most " + std::to_string(memory.size), "Give the record as it came.");
    memory.fd = Fd::duplicate(fd);
    {
        nb::gil_scoped_release release;
        array.block = engine.attach(std::move(memory));
    }
    require(array.block->visible(), "Engine: attach: memory", "memory of the device alone",
            "memory that the host can see", "Share what an Array holds.", ErrorKind::unsupported);
    return array;
}

// (descriptor or -1, record). The descriptor is the caller's to close.
nb::tuple point_of(SharedSemaphore point)
{
    nb::dict record;
    record["kind"] = SYNC_NAMES[std::uint32_t(point.kind)];
    record["value"] = point.value;
    record["expected"] = point.expected;
    record["device_uuid"] = point.device_uuid;
    record["driver_uuid"] = point.driver_uuid;
    return nb::make_tuple(point.fd.release(), record);
}

nb::tuple signal(Engine& engine)
{
    SharedSemaphore point;
    {
        nb::gil_scoped_release release;
        point = engine.signal();
    }
    return point_of(std::move(point));
}

// The descriptor stays the caller's: a duplicate of it is used up.
void wait(Engine& engine, int fd, const nb::dict& record)
{
    const auto kind = nb::cast<std::string>(record["kind"]);
    SharedSemaphore point;
    bool known = false;
    for (Sync sync : {Sync::host, Sync::binary, Sync::timeline}) {
        if (kind != SYNC_NAMES[std::uint32_t(sync)]) continue;
        point.kind = sync;
        known = true;
    }
    require(known, "Engine: wait: kind", '"' + kind + '"', "host, binary or timeline", "Give the record as it came.");
    point.value = nb::cast<std::uint64_t>(record["value"]);
    point.expected = nb::cast<bool>(record["expected"]);
    point.device_uuid = nb::cast<std::string>(record["device_uuid"]);
    point.driver_uuid = nb::cast<std::string>(record["driver_uuid"]);
    point.fd = Fd::duplicate(fd);
    nb::gil_scoped_release release;
    engine.wait(std::move(point));
}

}  // namespace

void bind_share(nb::class_<Engine>& engine)
{
    engine.def("share", share, nb::arg("array"))
        .def("attach", attach, nb::arg("fd"), nb::arg("record"))
        .def("signal", signal)
        .def("expect", [](Engine& self) { return point_of(self.expect()); })
        .def("wait", wait, nb::arg("fd"), nb::arg("record"))
        .def("settle", [](Engine& self) {
            nb::gil_scoped_release release;
            self.settle();
        });
}

}  // namespace foveate::bindings
