// SPDX-License-Identifier: Apache-2.0
// The second error door: check() stands around every Vulkan call that can fail.
#pragma once

#include "engine/error.h"
#include "engine/vulkan/loader.h"

namespace foveate::vulkan {

std::string result_name(VkResult result);

[[noreturn]] void check_failed(VkResult result, const char* doing);

// Throws unless VK_SUCCESS: out of memory -> memory, a lost device -> device_lost, VK_TIMEOUT -> timeout,
// anything else -> device.
inline void check(VkResult result, const char* doing)
{
    if (result != VK_SUCCESS) [[unlikely]]
        check_failed(result, doing);
}

}  // namespace foveate::vulkan
