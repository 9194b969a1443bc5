// SPDX-License-Identifier: Apache-2.0
// Fault injection and message counting, for tests. Every Vulkan call that returns a VkResult goes through one
// place (Entry in loader.h); an armed fault makes the k-th of them fail without the real call being made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace foveate::vulkan {

// The k-th VkResult-returning call from now on, by any thread, returns `result` (a VkResult). k counts
// from 1.
void fault_arm(std::uint64_t k, std::int32_t result);
void fault_disarm();
std::uint64_t fault_calls();  // VkResult-returning calls since the last fault_arm()

// True when this call is the one to fail.
bool fault_next(std::int32_t& result);

// Warnings and errors of validation layers, over all instances of the process, those at vkDestroyInstance
// included; and the last 32 texts.
std::uint64_t messages();
std::vector<std::string> message_texts();
void message_add(const std::string& text);

}  // namespace foveate::vulkan
