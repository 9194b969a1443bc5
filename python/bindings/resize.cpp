// SPDX-License-Identifier: Apache-2.0
// Pillow's resizing, and a model's rows out of it in one go.
#include "engine/cpu/resize.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include "bindings.h"
#include "engine/error.h"

namespace foveate::bindings {

namespace {

using Size = std::tuple<std::uint32_t, std::uint32_t, bool>;
using Table = nb::ndarray<const float, nb::shape<3, 256>, nb::c_contig, nb::device::cpu>;

std::vector<ImageView> frames_of(const nb::list& sources)
{
    std::vector<ImageView> views;
    for (nb::handle item : sources) {
        const Source& source = *nb::cast<Source*>(item);
        require(!source.on_device() && pixels::in_place(source.array, source.reading), "image: array",
                "memory in no usable order", "positive strides of whole elements");
        pixels::append_views(source.array, source.reading, views);
    }
    return views;
}

dlpack::Array made_array(Ref<Block> block, dlpack::DataType type, std::vector<std::int64_t> shape)
{
    dlpack::Array array;
    array.block = std::move(block);
    array.type = type;
    array.shape = std::move(shape);
    array.strides = dlpack::compact_strides(array.shape);
    return array;
}

cpu::Resize resize_of(const Size& size) { return {std::get<0>(size), std::get<1>(size), std::get<2>(size)}; }

dlpack::Array bytes_of(cpu::Resizer& resizer, const nb::list& sources, const Size& size)
{
    const std::vector<ImageView> views = frames_of(sources);
    require(views.size() == 1, "image: count", views.size(), "1 image");
    Ref<Block> block;
    {
        nb::gil_scoped_release unlocked;
        block = resizer.bytes(views[0], resize_of(size));
    }
    return made_array(std::move(block), dlpack::U8, {std::get<1>(size), std::get<0>(size), views[0].channels});
}

dlpack::Array patches_of(cpu::Resizer& resizer, const nb::list& sources,
                         const std::vector<Size>& sizes, const Table& table,
                         std::uint32_t patch, std::uint32_t merge, std::uint32_t frames)
{
    const std::vector<ImageView> views = frames_of(sources);
    std::vector<cpu::Resize> resizes;
    for (const Size& size : sizes) resizes.push_back(resize_of(size));
    Ref<Block> block;
    {
        nb::gil_scoped_release unlocked;
        block = resizer.patches(views, resizes, {table.data(), table.size()}, {patch, merge, frames});
    }
    const std::int64_t row = 3ll * frames * patch * patch;
    const auto count = std::int64_t(block->size() / sizeof(float)) / row;
    return made_array(std::move(block), dlpack::F32, {count, row});
}

}  // namespace

void bind_resize(nb::module_& module)
{
    nb::class_<cpu::Resizer>(module, "Resizer")
        .def(nb::init<std::uint32_t, const std::string&>(), nb::arg("threads"), nb::arg("isa"))
        .def_prop_ro("isa", &cpu::Resizer::isa)
        .def_prop_ro("threads", &cpu::Resizer::threads)
        .def("bytes", bytes_of, nb::arg("sources"), nb::arg("size"))
        .def("patches", patches_of, nb::arg("sources"), nb::arg("sizes"), nb::arg("table"), nb::arg("patch"),
             nb::arg("merge"), nb::arg("frames"),
             "sizes: (width, height, whether its first pass is down the columns) of each image");
}

}  // namespace foveate::bindings
