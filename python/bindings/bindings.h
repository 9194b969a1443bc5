// SPDX-License-Identifier: Apache-2.0
// foveate._core: translation between Python objects and the engine's values, and nothing else.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <vector>

#include "engine/compute/list.h"
#include "engine/engine.h"
#include "interop/dlpack.h"
#include "interop/pixels.h"

namespace nb = nanobind;

namespace foveate::bindings {

// A Python object's array, borrowed by the buffer protocol or by DLPack: it keeps the memory alive.
class Source {
public:
    Source(nb::handle object, bool buffer);
    ~Source();
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

    dlpack::Borrowed array;
    pixels::Reading reading;

private:
    void take_buffer(nb::handle object);
    void take_dlpack(nb::handle object);

    Py_buffer buffer_{};
    bool has_buffer_ = false;
    dlpack::Lease lease_;
};

// The engine's image, and the objects that own its pixels.
struct HeldImage {
    Image value;
    nb::object owners;
};

// A pyramid's level 0 is the image itself.
struct HeldPyramid {
    Pyramid value;
    nb::object image;
};

// Patches, and what it takes to say which level each token came from: the pyramid without its memory.
struct HeldPatches {
    Patches value;
    Pyramid pyramid;
    SampleSpec spec;
};

// A backend whose lists a NativeExecutor runs, or a Python object: see executor.cpp.
struct NativeExecutor {
    Ref<compute::Executor> value;
};
MakeBackend executed_by(nb::object executor);
nb::dict candidate_table(const Candidate& candidate);

void bind_share(nb::class_<Engine>& engine);
void bind_trace(nb::class_<Engine>& engine);
void bind_texture(nb::module_& module, nb::class_<Engine>& engine);
void bind_warp(nb::module_& module, nb::class_<Engine>& engine);
void bind_sample_vrs(nb::module_& module, nb::class_<Engine>& engine);
nb::dict shading_rate_of(const ShadingRate& rate);
void bind_source(nb::module_& module);
void bind_array(nb::module_& module);
void bind_specs(nb::module_& module);
void bind_engine(nb::module_& module);
void bind_rate_tiles(nb::module_& module);
void bind_cuda_executor(nb::module_& module);
void bind_shaders(nb::module_& module);
void bind_testing(nb::module_& module);

}  // namespace foveate::bindings
