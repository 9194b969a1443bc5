// SPDX-License-Identifier: Apache-2.0
// What a shader says of itself, read from its SPIR-V: no binding number, parameter size or local size is
// written down a second time in C++.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace foveate::vulkan {

struct Slot {                       // a storage buffer
    std::string name;               // of its block
    std::uint32_t set = 0, binding = 0;
};

struct Reflection {
    std::string entry;              // name of the entry point
    std::vector<Slot> slots;        // by binding
    std::uint32_t params_size = 0;  // bytes of the push constant block
    std::array<std::uint32_t, 3> local{1, 1, 1};
};

// Throws ErrorKind::device where the module is malformed or uses a resource that is no storage buffer.
Reflection reflect(std::span<const std::uint32_t> words, const char* name);

}  // namespace foveate::vulkan
