// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/error.h"

namespace foveate::vulkan {

namespace {

#define VULKAN_RESULTS(X)                                                                                    \
    X(VK_NOT_READY) X(VK_TIMEOUT) X(VK_INCOMPLETE) X(VK_ERROR_OUT_OF_HOST_MEMORY)                            \
    X(VK_ERROR_OUT_OF_DEVICE_MEMORY) X(VK_ERROR_INITIALIZATION_FAILED) X(VK_ERROR_DEVICE_LOST)               \
    X(VK_ERROR_MEMORY_MAP_FAILED) X(VK_ERROR_LAYER_NOT_PRESENT) X(VK_ERROR_EXTENSION_NOT_PRESENT)            \
    X(VK_ERROR_FEATURE_NOT_PRESENT) X(VK_ERROR_INCOMPATIBLE_DRIVER) X(VK_ERROR_TOO_MANY_OBJECTS)             \
    X(VK_ERROR_FRAGMENTED_POOL) X(VK_ERROR_UNKNOWN) X(VK_ERROR_OUT_OF_POOL_MEMORY)                           \
    X(VK_ERROR_INVALID_EXTERNAL_HANDLE) X(VK_ERROR_FRAGMENTATION) X(VK_ERROR_INVALID_SHADER_NV)

struct Outcome {
    ErrorKind kind;
    const char* hint;
};

Outcome outcome(VkResult result)
{
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_MEMORY_MAP_FAILED:
        return {ErrorKind::memory, "Use fewer images a call, or release earlier results."};
    case VK_ERROR_DEVICE_LOST: return {ErrorKind::device_lost, "Make a new Engine."};
    case VK_TIMEOUT: return {ErrorKind::timeout, "Use fewer images a call, or make a new Engine."};
    default: return {ErrorKind::device, "Use another device, or backend=\"cpu\"."};
    }
}

}  // namespace

std::string result_name(VkResult result)
{
    switch (result) {
#define X(name) case name: return #name;
        VULKAN_RESULTS(X)
#undef X
    default: return "VkResult " + std::to_string(int(result));
    }
}

void check_failed(VkResult result, const char* doing)
{
    const Outcome out = outcome(result);
    fail(out.kind, std::string("vulkan: ") + doing, result_name(result), "VK_SUCCESS", out.hint);
}

}  // namespace foveate::vulkan
