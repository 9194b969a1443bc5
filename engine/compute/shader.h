// SPDX-License-Identifier: Apache-2.0
// The shaders of this build, and what each says of itself, read from its SPIR-V: no binding number, parameter
// size or local size is written down a second time in C++.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace foveate::compute {

struct Slot {                       // a storage buffer, or a texture with its sampler
    std::string name;               // of its block; of the texture itself
    std::uint32_t set = 0, binding = 0;
    bool texture = false;
};

struct Reflection {
    std::string entry;              // name of the entry point
    std::vector<Slot> slots;        // by binding
    std::uint32_t params_size = 0;  // bytes of the push constant block
    std::array<std::uint32_t, 3> local{1, 1, 1};
};

// Throws ErrorKind::device where the module is malformed or uses a resource of another kind.
Reflection reflect(std::span<const std::uint32_t> words, const char* name);

struct Shader {
    const char* name;
    std::span<const std::uint32_t> words;
    const char* glsl;               // for OpenGL
    const char* cuda;               // for NVRTC and nvcc
    std::span<const std::uint32_t> profile_words;  // SPIR-V with its source; empty where the compiler has none
};

// Every shader of this build; the build generates it.
std::span<const Shader> shaders();
// Vertex and fragment shaders: SPIR-V alone.
std::span<const Shader> drawing_shaders();

// A shader as one device runs it.
class Program {
public:
    // `windows`: how many of its windows of pixels and levels the shader looks through, 1 or all.
    Program(const Shader& shader, std::uint32_t windows)
        : name_(shader.name), windows_(windows), reflection_(reflect(shader.words, shader.name))
    {
    }
    virtual ~Program() = default;

    const char* name() const { return name_; }
    std::uint32_t windows() const { return windows_; }
    const Reflection& reflection() const { return reflection_; }
    std::uint32_t invocations() const
    {
        return reflection_.local[0] * reflection_.local[1] * reflection_.local[2];
    }

private:
    const char* name_;
    std::uint32_t windows_;
    Reflection reflection_;
};

}  // namespace foveate::compute
