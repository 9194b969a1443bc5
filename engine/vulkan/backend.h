// SPDX-License-Identifier: Apache-2.0
// The Vulkan backend as the rest of the engine sees it: no Vulkan header is needed to call it. A build
// without Vulkan headers or a GLSL compiler has the same functions; they answer that there is no such
// backend.
//
// Environment:
//   FOVEATE_VULKAN_LIBRARY  the loader, or one driver, to open instead of libvulkan.so.1
//   FOVEATE_VULKAN_STAGING  1: copy as for a discrete GPU even where memory is shared; for tests
//   FOVEATE_SYNC            host, binary or timeline: how work is ordered with others', at best; for tests
//   FOVEATE_SUBMIT_PER_PASS 1: every dispatch is a submission of its own, which is what profilers count
//   FOVEATE_SHADERS         profile: shaders that carry their source, for profilers; else release
//   FOVEATE_CACHE_DIR       where compiled pipelines are kept; empty: nowhere; unset: the user's cache folder
#pragma once

#include "engine/backend.h"
#include "engine/vulkan/fault.h"

namespace foveate {

// Every device, usable or not, with every reason against it. Never throws for want of a driver. The index a
// device selector may give is the position in this list.
std::vector<Candidate> vulkan_candidates();

struct Features {
    bool share = false;                 // every block can be shared with other APIs and processes
    bool trace = false;                 // spans() says when each dispatch ran, kernels() what they were compiled to
    bool ahead = false;                 // finish() does not wait, unless it is traced or reads pages of the caller's
    bool sources = false;               // shaders that carry their source, whatever FOVEATE_SHADERS says
    bool raster = false;                // its queue draws, with a shading rate attachment; for one that has them
};

// A backend on the device that the selector names: a UUID in hex, an index, or a part of the device's name in
// any case; empty: the first usable one. memory_budget in bytes, 0: limits::MEMORY_BUDGET or the device's
// heap, whichever is less. Throws where the device lacks a feature that is asked for.
Ref<Backend> make_vulkan_backend(const std::string& device_selector, std::uint64_t memory_budget,
                                 Features features = {});

}  // namespace foveate
