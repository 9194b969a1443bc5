// SPDX-License-Identifier: Apache-2.0
// The stages' shaders as CUDA kernels: for machines that have CUDA and no graphics driver.
#pragma once

#include <functional>
#include <vector>

#include "engine/backend.h"
#include "engine/compute/list.h"
#include "interop/cuda/context.h"

namespace foveate::cuda {

// What cuModuleLoadData takes, made from a kernel's text for a compute capability: 90 for 9.0. Throws Error.
using Compile = std::function<std::vector<std::byte>(const char* shader, const char* text, int compute)>;

// Every device that CUDA sees as a candidate for the backend, or why there is none. Never throws.
std::vector<Candidate> candidates();

// On the device that the selector names: a UUID in hex, an ordinal, a part of the name in any case; empty: the first.
Ref<compute::Executor> make_executor(const std::string& device_selector, Compile compile);

}  // namespace foveate::cuda
