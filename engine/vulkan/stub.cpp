// SPDX-License-Identifier: Apache-2.0
// A build without Vulkan headers or a GLSL compiler: the backend is listed, with what it lacks.
#include "engine/error.h"
#include "engine/vulkan/backend.h"

namespace foveate {

namespace {

constexpr const char* REASON =
    "this build has no Vulkan; install libvulkan-dev and glslang-tools and build again";

}  // namespace

std::vector<Candidate> vulkan_candidates()
{
    return {{.backend = "vulkan", .device = "no device", .uuid = {}, .driver = {}, .usable = false,
             .reasons = {REASON}}};
}

Ref<Backend> make_vulkan_backend(const std::string&, std::uint64_t, Features)
{
    fail(ErrorKind::unsupported, std::string("Engine: no Vulkan device: no device (") + REASON + ")", "", "",
         "Use backend=\"cpu\".");
}

namespace vulkan {

void fault_arm(std::uint64_t, std::int32_t) {}
void fault_disarm() {}
std::uint64_t fault_calls() { return 0; }
bool fault_next(std::int32_t&) { return false; }
std::uint64_t messages() { return 0; }
std::vector<std::string> message_texts() { return {}; }
void message_add(const std::string&) {}

}  // namespace vulkan

}  // namespace foveate
