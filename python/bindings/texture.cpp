// SPDX-License-Identifier: Apache-2.0
// Images of optimal tiling that others share.
#include <algorithm>

#include "bindings.h"
#include "engine/error.h"

namespace foveate::bindings {

namespace {

struct HeldTexture {
    Ref<Block> block;
    Element element = Element::u8;
    std::int64_t width = 0, height = 0;
};

// The descriptor stays the caller's: a duplicate of it is used up.
HeldTexture attach_texture(Engine& engine, int fd, const nb::dict& record)
{
    const auto number = [&](const char* name) { return nb::cast<std::uint64_t>(record[name]); };
    const auto word = [&](const char* name) { return std::uint32_t(std::min<std::uint64_t>(number(name), ~0u)); };
    SharedTexture shared;
    shared.allocation_size = number("allocation_size");
    shared.offset = number("offset");
    shared.memory_type = word("memory_type");
    shared.dedicated = nb::cast<bool>(record["dedicated"]);
    shared.width = word("width"), shared.height = word("height"), shared.levels = word("levels");
    shared.format = word("format"), shared.usage = word("usage"), shared.layout = word("layout");
    shared.device_uuid = nb::cast<std::string>(record["device_uuid"]);
    shared.driver_uuid = nb::cast<std::string>(record["driver_uuid"]);
    shared.fd = Fd::duplicate(fd);
    HeldTexture held;
    held.width = shared.width, held.height = shared.height;
    nb::gil_scoped_release release;
    held.block = engine.attach_texture(std::move(shared));
    const std::uint64_t texel = held.block->size() / std::uint64_t(held.width * held.height);
    held.element = texel == 4 ? Element::u8 : texel == 8 ? Element::u16 : Element::f32;
    return held;
}

// (height, width, 4)
dlpack::Array take(Engine& engine, const HeldTexture& held)
{
    dlpack::Array array;
    array.type = dlpack::type_of(held.element);
    array.shape = {held.height, held.width, 4};
    array.strides = dlpack::compact_strides(array.shape);
    nb::gil_scoped_release release;
    array.block = engine.take(held.block);
    return array;
}

// The descriptor is the caller's to close.
nb::tuple make(Engine& engine, const HeldPyramid& pyramid, std::uint32_t image)
{
    SharedTexture shared;
    {
        nb::gil_scoped_release release;
        shared = engine.texture(pyramid.value, image);
    }
    nb::dict record;
    record["allocation_size"] = shared.allocation_size;
    record["offset"] = shared.offset;
    record["memory_type"] = shared.memory_type;
    record["dedicated"] = shared.dedicated;
    record["width"] = shared.width;
    record["height"] = shared.height;
    record["levels"] = shared.levels;
    record["format"] = shared.format;
    record["usage"] = shared.usage;
    record["layout"] = shared.layout;
    record["device_uuid"] = shared.device_uuid;
    record["driver_uuid"] = shared.driver_uuid;
    return nb::make_tuple(shared.fd.release(), record);
}

}  // namespace

void bind_texture(nb::module_& module, nb::class_<Engine>& engine)
{
    nb::class_<HeldTexture>(module, "Texture");
    engine.def("attach_texture", attach_texture, nb::arg("fd"), nb::arg("record"))
        .def("take", take, nb::arg("texture"))
        .def("texture", make, nb::arg("pyramid"), nb::arg("image"));
}

}  // namespace foveate::bindings
