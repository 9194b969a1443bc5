// SPDX-License-Identifier: Apache-2.0
// A Vulkan library whose device stops: what is submitted while hang(1) holds is taken and never done. It stands
// in front of the real loader. Waits are cut to a thousandth, so that a test of the limit is short; the longest
// that was asked for is kept.
#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <vulkan/vulkan.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr std::uint64_t SHORTER = 1000;

std::atomic<bool> hanging{false};
std::atomic<std::uint64_t> longest_ns{0}, swallowed{0};
PFN_vkGetDeviceProcAddr device_proc = nullptr;
PFN_vkQueueSubmit submit = nullptr;
PFN_vkWaitSemaphores wait = nullptr;

PFN_vkGetInstanceProcAddr loader()
{
    static const auto found = [] {
        void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
        return library ? reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"))
                       : nullptr;
    }();
    return found;
}

VkResult VKAPI_PTR on_submit(VkQueue queue, std::uint32_t count, const VkSubmitInfo* infos, VkFence fence)
{
    if (!hanging) return submit(queue, count, infos, fence);
    ++swallowed;
    return VK_SUCCESS;
}

VkResult VKAPI_PTR on_wait(VkDevice device, const VkSemaphoreWaitInfo* info, std::uint64_t timeout_ns)
{
    longest_ns = std::max(longest_ns.load(), timeout_ns);
    return wait(device, info, hanging || swallowed ? timeout_ns / SHORTER : timeout_ns);
}

PFN_vkVoidFunction VKAPI_PTR on_device_proc(VkDevice device, const char* name)
{
    const PFN_vkVoidFunction real = device_proc(device, name);
    if (std::strcmp(name, "vkQueueSubmit") == 0) {
        submit = reinterpret_cast<PFN_vkQueueSubmit>(real);
        return reinterpret_cast<PFN_vkVoidFunction>(on_submit);
    }
    if (std::strcmp(name, "vkWaitSemaphores") == 0) {
        wait = reinterpret_cast<PFN_vkWaitSemaphores>(real);
        return reinterpret_cast<PFN_vkVoidFunction>(on_wait);
    }
    return real;
}

}  // namespace

EXPORTED PFN_vkVoidFunction VKAPI_PTR vkGetInstanceProcAddr(VkInstance instance, const char* name)
{
    if (!loader()) return nullptr;
    const PFN_vkVoidFunction real = loader()(instance, name);
    if (!real || std::strcmp(name, "vkGetDeviceProcAddr") != 0) return real;
    device_proc = reinterpret_cast<PFN_vkGetDeviceProcAddr>(real);
    return reinterpret_cast<PFN_vkVoidFunction>(on_device_proc);
}

EXPORTED void hang(int on) { hanging = on != 0; }
EXPORTED std::uint64_t longest_wait_ns() { return longest_ns; }
EXPORTED std::uint64_t swallowed_count() { return swallowed; }
