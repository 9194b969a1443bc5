// SPDX-License-Identifier: Apache-2.0
// A backend whose lists are run by a Python object, one of foveate.backends:
//   caps      {"backend", "device", "uuid", "driver": text, "software": bool, "filter_side": px}
//   limits    {"range", "alignment": bytes, "groups": (x, y, z)}
//   run(made, dropped, steps)   raises TimeoutError where the device does not end its work
//     made    [(buffer, bytes, [])], or [(texture, bytes, [(width, height, offset in its rows) of each level])]
//     dropped [buffer or texture]
//     steps   ("upload" | "read", buffer, memoryview), ("texture", texture, buffer, offset of the rows in it), or
//             ("dispatch", shader, windows, params, [(binding, buffer, offset, size)], (x, y, z))
//   pipelines_created   a number
#include "bindings.h"
#include "engine/error.h"
#include "engine/limits.h"

namespace foveate::bindings {

namespace {

std::string text(const nb::object& table, const char* key) { return nb::cast<std::string>(table[key]); }

nb::object memory(const compute::Step& step)
{
    const int flags = step.kind == compute::Step::Kind::read ? PyBUF_WRITE : PyBUF_READ;
    return nb::steal(PyMemoryView_FromMemory(reinterpret_cast<char*>(step.host), Py_ssize_t(step.size), flags));
}

nb::tuple tuple_of(const compute::List::Made& made)
{
    const compute::TextureShape& shape = made.shape;
    nb::list levels;
    for (std::uint32_t level = 0; level < shape.levels; ++level)
        levels.append(nb::make_tuple(shape.width_at(level), shape.height_at(level), shape.offset(level)));
    return nb::make_tuple(made.buffer, made.size, levels);
}

nb::tuple tuple_of(const compute::Step& step)
{
    if (step.kind == compute::Step::Kind::texture)
        return nb::make_tuple("texture", step.buffer, step.from, step.from_offset);
    if (step.kind != compute::Step::Kind::dispatch)
        return nb::make_tuple(step.kind == compute::Step::Kind::read ? "read" : "upload", step.buffer, memory(step));
    nb::list parts;
    for (const compute::Part& part : step.parts)
        parts.append(nb::make_tuple(part.binding, part.buffer, part.offset, part.size));
    return nb::make_tuple("dispatch", step.program->name(), step.program->windows(),
                          nb::bytes(reinterpret_cast<const char*>(step.params.data()), step.params.size()), parts,
                          nb::make_tuple(step.groups[0], step.groups[1], step.groups[2]));
}

class PythonExecutor final : public compute::Executor {
public:
    explicit PythonExecutor(nb::object object) : object_(std::move(object))
    {
        const nb::object caps = object_.attr("caps"), limits = object_.attr("limits");
        caps_.backend = text(caps, "backend");
        caps_.device = text(caps, "device");
        caps_.uuid = text(caps, "uuid");
        caps_.driver = text(caps, "driver");
        caps_.software = nb::cast<bool>(caps["software"]);
        caps_.filter_side = nb::cast<std::uint32_t>(caps["filter_side"]);
        limits_.range = nb::cast<std::uint64_t>(limits["range"]);
        limits_.alignment = nb::cast<std::uint64_t>(limits["alignment"]);
        for (int axis = 0; axis < 3; ++axis)
            limits_.groups[axis] = nb::cast<std::uint32_t>(limits["groups"][axis]);
    }
    ~PythonExecutor() override
    {
        if (!Py_IsInitialized()) {
            object_.release();  // the interpreter is gone, and the object with it
            return;
        }
        nb::gil_scoped_acquire locked;
        try {
            object_.attr("close")();
        } catch (nb::python_error& error) {
            error.discard_as_unraisable("foveate: closing a backend");
        }
        object_.reset();
    }

    const Caps& caps() const override { return caps_; }
    const compute::Limits& limits() const override { return limits_; }
    std::uint64_t pipelines_created() const override
    {
        nb::gil_scoped_acquire locked;
        return nb::cast<std::uint64_t>(object_.attr("pipelines_created"));
    }
    void run(const compute::List& list) override
    {
        nb::gil_scoped_acquire locked;
        std::string failure;
        bool late = false;
        try {
            nb::list made, dropped, steps;
            for (const compute::List::Made& one : list.made) made.append(tuple_of(one));
            for (std::uint64_t buffer : list.dropped) dropped.append(buffer);
            for (const compute::Step& step : list.steps) steps.append(tuple_of(step));
            object_.attr("run")(made, dropped, steps);
        } catch (nb::python_error& error) {
            failure = nb::cast<std::string>(nb::str(error.value()));
            late = error.matches(PyExc_TimeoutError);
        }
        require(!late, "Engine: " + caps_.backend, failure, "an end in time", "Make a new Engine.",
                ErrorKind::timeout);
        require(failure.empty(), "Engine: " + caps_.backend, failure, "a device that answers", "Make a new Engine.",
                ErrorKind::device);
    }

private:
    nb::object object_;
    Caps caps_;
    compute::Limits limits_;
};

}  // namespace

MakeBackend executed_by(nb::object object)
{
    const Ref<compute::Executor> executor = nb::isinstance<NativeExecutor>(object)
                                                ? nb::cast<NativeExecutor&>(object).value
                                                : Ref<compute::Executor>(new PythonExecutor(std::move(object)));
    return [executor](const EngineOptions& options) {
        return compute::make_list_backend(executor, options.memory_budget ? options.memory_budget
                                                                          : limits::MEMORY_BUDGET);
    };
}

}  // namespace foveate::bindings
