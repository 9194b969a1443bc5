// SPDX-License-Identifier: Apache-2.0
// A build without a GLSL compiler: backends that need shaders say so when a stage first asks for one.
#include "engine/compute/shader.h"

std::span<const foveate::compute::Shader> foveate::compute::shaders() { return {}; }
std::span<const foveate::compute::Shader> foveate::compute::drawing_shaders() { return {}; }
