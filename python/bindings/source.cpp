// SPDX-License-Identifier: Apache-2.0
// Arrays on the way in.
#include "bindings.h"

#include <memory>
#include <string_view>

#include "engine/error.h"

namespace foveate::bindings {

namespace {

// One letter of the struct module, native order, or Z and a letter; anything else is no number.
dlpack::DataType type_of_format(const char* format, Py_ssize_t size)
{
    std::string_view text = format ? format : "B";
    if (!text.empty() && std::string_view("@=<").find(text[0]) != text.npos) text.remove_prefix(1);
    const auto bits = std::uint8_t(size * 8);
    if (text.size() == 2 && text[0] == 'Z') return {dlpack::COMPLEX, bits, 1};
    if (text.size() != 1 || size > 16) return {dlpack::OPAQUE, bits, 1};
    const auto any_of = [&](std::string_view letters) { return letters.find(text[0]) != letters.npos; };
    if (any_of("BHILQN")) return {dlpack::UINT, bits, 1};
    if (any_of("bhilqn")) return {dlpack::INT, bits, 1};
    if (any_of("efdg")) return {dlpack::FLOAT, bits, 1};
    if (any_of("?")) return {dlpack::BOOL, bits, 1};
    return {dlpack::OPAQUE, bits, 1};
}

const char* format_of_type(dlpack::DataType type)
{
    if (type == dlpack::U8) return "B";
    if (type == dlpack::U16 || type == dlpack::BF16) return "H";  // NumPy has no bfloat16: its bits
    if (type == dlpack::F16) return "e";
    if (type == dlpack::F32) return "f";
    if (type == dlpack::DataType{dlpack::FLOAT, 64, 1}) return "d";
    return nullptr;
}

// Lets NumPy see a borrowed array where it is, so that what needs a copy is copied by NumPy.
int get_buffer(PyObject* self, Py_buffer* view, int flags)
{
    const Source& source = *nb::inst_ptr<Source>(self);
    const dlpack::Borrowed& array = source.array;
    const char* format = format_of_type(array.type);
    view->obj = nullptr;
    if (!format || (flags & PyBUF_WRITABLE) || !(flags & PyBUF_STRIDES) || !array.data) {
        PyErr_SetString(PyExc_BufferError, "a borrowed array is read-only, strided and of plain numbers");
        return -1;
    }
    std::unique_ptr<Source::Copy> copy;
    try {
        if (source.on_device()) copy = std::make_unique<Source::Copy>(source.copy_to_host());
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_BufferError, error.what());
        return -1;
    }
    static_assert(sizeof(Py_ssize_t) == sizeof(std::int64_t));
    view->buf = const_cast<std::byte*>(copy ? copy->array.data : array.data);
    view->itemsize = array.type.bits / 8;
    view->len = view->itemsize;
    for (std::int64_t length : array.shape) view->len *= length;
    view->readonly = 1;
    view->ndim = int(array.shape.size());
    view->format = flags & PyBUF_FORMAT ? const_cast<char*>(format) : nullptr;
    view->shape = reinterpret_cast<Py_ssize_t*>(const_cast<std::int64_t*>(array.shape.data()));
    view->strides = reinterpret_cast<Py_ssize_t*>(const_cast<std::int64_t*>(array.strides.data()));
    view->suboffsets = nullptr;
    view->internal = copy.release();
    view->obj = nb::handle(self).inc_ref().ptr();
    return 0;
}

void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<Source::Copy*>(view->internal); }

nb::tuple tuple_of(const std::vector<std::int64_t>& values)
{
    nb::list list;
    for (std::int64_t value : values) list.append(value);
    return nb::tuple(list);
}

}  // namespace

Source::Source(nb::handle object, bool buffer)
{
    buffer ? take_buffer(object) : take_dlpack(object);
}

Source::~Source()
{
    if (has_buffer_) PyBuffer_Release(&buffer_);
}

std::pair<const std::byte*, const std::byte*> reach_of(const dlpack::Borrowed& array)
{
    const std::byte *low = array.data, *high = array.data;
    for (std::size_t axis = 0; axis < array.shape.size(); ++axis) {
        const std::int64_t last = (array.shape[axis] - 1) * array.strides[axis];
        (last < 0 ? low : high) += last;
    }
    return {low, high + array.type.bits / 8};
}

Source::Copy Source::copy_to_host() const
{
    const auto [low, high] = reach_of(array);
    Copy copy{std::vector<std::byte>(std::size_t(high - low)), array};
    nb::gil_scoped_release unlocked;
    link_->copy_to_host(copy.bytes.data(), cuda::Address(reinterpret_cast<std::uintptr_t>(low)), copy.bytes.size());
    copy.array.data = copy.bytes.data() + (array.data - low);
    return copy;
}

void Source::take_buffer(nb::handle object)
{
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_RECORDS_RO) != 0) throw nb::python_error();
    has_buffer_ = true;
    array.data = static_cast<const std::byte*>(buffer_.buf);
    array.type = type_of_format(buffer_.format, buffer_.itemsize);
    array.shape.assign(buffer_.shape, buffer_.shape + buffer_.ndim);
    array.strides.assign(buffer_.strides, buffer_.strides + buffer_.ndim);
    array.read_only = buffer_.readonly;
}

void Source::take_dlpack(nb::handle object)
{
    nb::object method = object.attr("__dlpack__");
    nb::object capsule;
    try {
        capsule = method(nb::arg("max_version") = nb::make_tuple(dlpack::MAJOR, dlpack::MINOR));
    } catch (nb::python_error& error) {
        // A producer from before DLPack 1.0 knows no such argument.
        if (!error.matches(PyExc_TypeError)) throw;
        capsule = method();
    }
    lease_ = lease_of(capsule, dlpack::CPU);
    array = lease_.array();
}

dlpack::Lease lease_of(nb::handle capsule, dlpack::DeviceType device)
{
    // The name is changed before anything that can throw: from then on the tensor is ours to end.
    PyObject* raw = capsule.ptr();
    if (PyCapsule_IsValid(raw, dlpack::NAME_VERSIONED)) {
        void* tensor = PyCapsule_GetPointer(raw, dlpack::NAME_VERSIONED);
        PyCapsule_SetName(raw, dlpack::NAME_VERSIONED_USED);
        return dlpack::Lease(static_cast<dlpack::ManagedVersioned*>(tensor), device);
    }
    if (PyCapsule_IsValid(raw, dlpack::NAME)) {
        void* tensor = PyCapsule_GetPointer(raw, dlpack::NAME);
        PyCapsule_SetName(raw, dlpack::NAME_USED);
        return dlpack::Lease(static_cast<dlpack::Managed*>(tensor), device);
    }
    fail(ErrorKind::input, "image: __dlpack__()", nb::repr(capsule.type()).c_str(),
         "a capsule that was not used before", "");
}

void bind_source(nb::module_& module)
{
    static PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                                  {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
                                  {0, nullptr}};
    nb::class_<Source>(module, "Source", nb::type_slots(slots))
        .def(nb::init<nb::handle, bool>(), nb::arg("array"), nb::arg("buffer"))
        .def_prop_ro("shape", [](const Source& self) { return tuple_of(self.array.shape); })
        .def_prop_ro("strides", [](const Source& self) { return tuple_of(self.array.strides); })
        .def_prop_ro("dtype", [](const Source& self) { return dlpack::name_of(self.array.type); })
        .def_prop_ro("read_only", [](const Source& self) { return self.array.read_only; })
        .def_prop_ro("pointer",
                     [](const Source& self) { return reinterpret_cast<std::uintptr_t>(self.array.data); })
        .def("read",
             [](Source& self, int image, int row, int column, int channel) {
                 const int axes = int(self.array.shape.size());
                 for (int axis : {image, row, column, channel})
                     require(axis >= -1 && axis < axes, "image: axis", axis, "an axis of the array");
                 require(row >= 0 && column >= 0, "image: axis", -1, "a row and a column axis");
                 self.reading = {image, row, column, channel};
                 return pixels::in_place(self.array, self.reading);
             },
             nb::arg("image"), nb::arg("row"), nb::arg("column"), nb::arg("channel"),
             "Says which axis is which; returns whether the pixels can be read where they are.");
}

}  // namespace foveate::bindings
