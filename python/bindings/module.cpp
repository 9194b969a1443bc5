// SPDX-License-Identifier: Apache-2.0
#include "bindings.h"

#include "engine/error.h"
#include "engine/limits.h"

#ifndef FOVEATE_VERSION
#define FOVEATE_VERSION "0+unpackaged"
#endif

namespace foveate::bindings {

namespace {

const char* class_of(ErrorKind kind)
{
    switch (kind) {
        case ErrorKind::input: return "InputError";
        case ErrorKind::limit: return "LimitError";
        case ErrorKind::memory: return "MemoryBudgetError";
        case ErrorKind::device: return "DeviceError";
        case ErrorKind::device_lost: return "DeviceLostError";
        case ErrorKind::timeout: return "WaitTimeoutError";
        case ErrorKind::forked: return "ForkedEngineError";
        case ErrorKind::unsupported: return "UnsupportedError";
    }
    return "Error";
}

void translate(const std::exception_ptr& pointer, void*)
{
    try {
        std::rethrow_exception(pointer);
    } catch (const Error& error) {
        nb::object type = nb::module_::import_("foveate.error").attr(class_of(error.kind));
        PyErr_SetString(type.ptr(), error.what());
    }
}

nb::list candidates()
{
    std::vector<Candidate> found;
    {
        nb::gil_scoped_release unlocked;
        found = Engine::candidates();
    }
    nb::list list;
    for (const Candidate& candidate : found) list.append(candidate_table(candidate));
    return list;
}

nb::dict limits_table()
{
    nb::dict table;
    table["image_side"] = limits::IMAGE_SIDE;
    table["image_pixels"] = limits::IMAGE_PIXELS;
    table["batch_images"] = limits::BATCH_IMAGES;
    table["image_tokens"] = limits::IMAGE_TOKENS;
    table["batch_tokens"] = limits::BATCH_TOKENS;
    table["patch"] = limits::PATCH;
    table["merge"] = limits::MERGE;
    table["frames"] = limits::FRAMES;
    table["fixations"] = limits::FIXATIONS;
    table["views"] = limits::VIEWS;
    table["rings"] = limits::RINGS;
    table["heat"] = limits::HEAT;
    table["stride"] = limits::STRIDE;
    table["taps"] = limits::TAPS;
    table["warp_taps"] = limits::WARP_TAPS;
    table["warp_pixels"] = limits::WARP_PIXELS;
    table["warp_table"] = limits::WARP_TABLE;
    table["warp_cache"] = limits::WARP_CACHE;
    table["threads"] = limits::THREADS;
    table["memory_budget"] = limits::MEMORY_BUDGET;
    table["wait_ns"] = limits::WAIT_NS;
    return table;
}

}  // namespace

nb::dict candidate_table(const Candidate& candidate)
{
    nb::dict table;
    table["backend"] = candidate.backend;
    table["device"] = candidate.device;
    table["uuid"] = candidate.uuid;
    table["driver"] = candidate.driver;
    table["software"] = candidate.software;
    table["in_place"] = candidate.in_place;
    table["shares"] = candidate.shares;
    table["sync"] = SYNC_NAMES[std::uint32_t(candidate.sync)];
    table["profiling"] = candidate.profiling;
    table["usable"] = candidate.usable;
    table["reasons"] = candidate.reasons;
    table["shading_rate"] = shading_rate_of(candidate.shading_rate);
    table["filter_side"] = candidate.filter_side;
    return table;
}

}  // namespace foveate::bindings

NB_MODULE(_core, module)
{
    using namespace foveate::bindings;
    nb::register_exception_translator(translate);
    bind_source(module);
    bind_array(module);
    bind_specs(module);
    bind_engine(module);
    bind_rate_tiles(module);
    bind_resize(module);
    bind_shaders(module);
    bind_cuda_executor(module);
    module.def("candidates", candidates, "Every backend that could be, and every reason against it.");
    module.def("limits", limits_table, "The table of limits.");
    module.attr("version") = FOVEATE_VERSION;
    nb::module_ testing = module.def_submodule("testing", "Hooks for the tests.");
    bind_testing(testing);
}
