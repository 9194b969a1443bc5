// SPDX-License-Identifier: Apache-2.0
// foveate._core: translation between Python objects and the engine's values, and nothing else.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <vector>

#include "engine/compute/list.h"
#include "engine/engine.h"
#include "interop/cuda/array.h"
#include "interop/dlpack.h"
#include "interop/pixels.h"

namespace nb = nanobind;

namespace foveate::bindings {

// Every Engine that Python has. Closing may wait for a device: other Python threads go on meanwhile.
class UnlockedEngine final : public Engine {
public:
    UnlockedEngine(const EngineOptions& options, bool cuda);
    ~UnlockedEngine();

    Ref<cuda::Link> link;               // null without cuda
};

inline const Ref<cuda::Link>& link_of(Engine& engine) { return static_cast<UnlockedEngine&>(engine).link; }

// Part of a block as an array: for CUDA where the engine is made for that, else where the host reads it.
nb::object array_of(Engine& engine, const Ref<Block>& block, dlpack::Array array);

// A Python object's array, borrowed by the buffer protocol, by DLPack, or from CUDA: it keeps the memory alive.
class Source {
public:
    Source(nb::handle object, bool buffer);
    // One of the three keeps the data alive. It is the host's, or with a link its device's.
    Source(dlpack::Borrowed array, nb::object owner, dlpack::Lease lease, Ref<Block> block, Ref<cuda::Link> link)
        : array(std::move(array)), lease_(std::move(lease)), owner_(std::move(owner)), block_(std::move(block)),
          link_(std::move(link))
    {
    }
    ~Source();
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

    dlpack::Borrowed array;
    pixels::Reading reading;

    // Only a device reads it where it lies; the host reads a copy, whose first element is at `array.data`.
    struct Copy {
        std::vector<std::byte> bytes;
        dlpack::Borrowed array;
    };
    bool on_device() const { return bool(link_); }
    Copy copy_to_host() const;

private:
    void take_buffer(nb::handle object);
    void take_dlpack(nb::handle object);

    Py_buffer buffer_{};
    bool has_buffer_ = false;
    dlpack::Lease lease_;
    nb::object owner_;
    Ref<Block> block_;
    Ref<cuda::Link> link_;
};

// From the lowest byte of an array to behind the highest.
std::pair<const std::byte*, const std::byte*> reach_of(const dlpack::Borrowed& array);

// The capsule of a tensor, and the tensor of a capsule: from then on it is ours to end.
nb::object capsule_of(const dlpack::Array& array, bool versioned, bool copy);
dlpack::Lease lease_of(nb::handle capsule, dlpack::DeviceType device);

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
void bind_cuda(nb::module_& module, nb::class_<Engine>& engine);
void bind_cuda_graphics(nb::module_& module, nb::class_<Engine>& engine);
void bind_warp(nb::module_& module, nb::class_<Engine>& engine);
void bind_sample_vrs(nb::module_& module, nb::class_<Engine>& engine);
nb::dict shading_rate_of(const ShadingRate& rate);
void bind_source(nb::module_& module);
void bind_array(nb::module_& module);
void bind_specs(nb::module_& module);
void bind_engine(nb::module_& module);
void bind_rate_tiles(nb::module_& module);
void bind_resize(nb::module_& module);
void bind_cuda_executor(nb::module_& module);
void bind_shaders(nb::module_& module);
void bind_testing(nb::module_& module);

}  // namespace foveate::bindings
