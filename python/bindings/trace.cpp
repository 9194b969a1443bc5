// SPDX-License-Identifier: Apache-2.0
// What a traced Engine tells besides its spans.
#include "engine/trace.h"

#include <nanobind/stl/variant.h>

#include "bindings.h"

namespace foveate::bindings {

namespace {

nb::list kernels(Engine& engine)
{
    std::vector<Kernel> found;
    {
        nb::gil_scoped_release unlocked;
        found = engine.kernels();
    }
    nb::list list;
    for (const Kernel& kernel : found) {
        nb::dict entry;
        entry["kernel"] = kernel.name;
        entry["windows"] = kernel.windows;
        entry["part"] = kernel.part;
        entry["subgroup_size"] = kernel.subgroup_size;
        nb::dict statistics;
        for (const Statistic& statistic : kernel.statistics)
            statistics[statistic.name.c_str()] = nb::cast(statistic.value);
        entry["statistics"] = statistics;
        list.append(entry);
    }
    return list;
}

bool copy(Engine& engine, std::uint64_t size)
{
    nb::gil_scoped_release unlocked;
    return engine.copy(size);
}

}  // namespace

void bind_trace(nb::class_<Engine>& engine)
{
    engine.def("kernels", kernels).def("copy", copy, nb::arg("size"));
}

}  // namespace foveate::bindings
