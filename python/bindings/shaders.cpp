// SPDX-License-Identifier: Apache-2.0
#include "bindings.h"
#include "engine/compute/shader.h"

namespace foveate::bindings {

namespace {

nb::dict shaders()
{
    nb::dict found;
    for (const compute::Shader& shader : compute::shaders()) {
        const compute::Reflection reflection = compute::reflect(shader.words, shader.name);
        nb::list slots;
        for (const compute::Slot& slot : reflection.slots) slots.append(nb::make_tuple(slot.name, slot.binding));
        nb::dict entry;
        entry["glsl"] = shader.glsl;
        entry["cuda"] = shader.cuda;
        entry["spirv"] = nb::bytes(reinterpret_cast<const char*>(shader.words.data()), shader.words.size_bytes());
        entry["slots"] = slots;
        entry["params_size"] = reflection.params_size;
        entry["local"] = nb::make_tuple(reflection.local[0], reflection.local[1], reflection.local[2]);
        found[shader.name] = entry;
    }
    return found;
}

}  // namespace

void bind_shaders(nb::module_& module)
{
    module.def("shaders", shaders,
               "Every compute shader by name: its texts for OpenGL and CUDA, its SPIR-V, and what reflection says of "
               "it. Empty in a build without a GLSL compiler.");
}

}  // namespace foveate::bindings
