// SPDX-License-Identifier: Apache-2.0
// OpenGL's objects that are registered with CUDA.
#include "bindings.h"
#include "engine/error.h"
#include "interop/cuda/graphics.h"

namespace foveate::bindings {

namespace {

nb::object registered(Engine& engine, bool texture, unsigned name)
{
    const Ref<cuda::Link> link = link_of(engine);
    std::string reason;
    if (!link) {
        const cuda::Driver* driver = cuda::find_driver(reason);
        if (driver) reason = driver->name + " is there";
    }
    require(bool(link), "gl: register", "an engine without CUDA (" + reason + ")", "one made with cuda=True",
            "Make it as Engine(\"cuda\", cuda=True).", ErrorKind::unsupported);
    cuda::Graphics* made = nullptr;
    {
        nb::gil_scoped_release unlocked;
        made = new cuda::Graphics(link, texture ? cuda::GraphicsKind::texture : cuda::GraphicsKind::buffer, name);
    }
    return nb::cast(made, nb::rv_policy::take_ownership);
}

nb::object take_graphics(cuda::Graphics& self, Engine& engine, std::vector<std::int64_t> shape, std::uint32_t element)
{
    dlpack::Array array;
    array.type = dlpack::type_of(Element(element));
    array.shape = std::move(shape);
    array.strides = dlpack::compact_strides(array.shape);
    Ref<Block> block;
    {
        nb::gil_scoped_release unlocked;
        block = self.take();
    }
    return array_of(engine, block, std::move(array));
}

}  // namespace

void bind_cuda_graphics(nb::module_& module, nb::class_<Engine>& engine)
{
    nb::class_<cuda::Graphics>(module, "CudaGraphics")
        .def_prop_ro("size", &cuda::Graphics::size)
        .def_prop_ro("width", &cuda::Graphics::width)
        .def_prop_ro("height", &cuda::Graphics::height)
        .def("map",
             [](cuda::Graphics& self, std::int64_t stream) {
                 const cuda::Stream named = cuda::stream_named(stream, "gl: Registered: map: stream");
                 nb::gil_scoped_release unlocked;
                 return self.map(named);
             },
             nb::arg("stream"))
        .def("unmap", &cuda::Graphics::unmap, nb::call_guard<nb::gil_scoped_release>())
        .def("take", take_graphics, nb::arg("engine"), nb::arg("shape"), nb::arg("element"))
        .def("close", &cuda::Graphics::close, nb::call_guard<nb::gil_scoped_release>());
    engine.def("cuda_graphics", registered, nb::arg("texture"), nb::arg("name"),
               "A buffer or texture of the OpenGL context that is current, registered with CUDA.");
}

}  // namespace foveate::bindings
