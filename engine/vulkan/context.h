// SPDX-License-Identifier: Apache-2.0
// One instance per backend, and the adapters it sees: each with every reason against it, so that a message
// can name them all.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/vulkan/loader.h"

namespace foveate::vulkan {

// What our shaders and plumbing need of a device, beyond what the specification already promises.
inline constexpr std::uint32_t NEED_PUSH_CONSTANTS = 128;
inline constexpr std::uint32_t NEED_INVOCATIONS = 128;
inline constexpr std::uint32_t NEED_STORAGE_BUFFERS = 16;              // in one shader
inline constexpr std::uint32_t NEED_STORAGE_BUFFER_RANGE = 128u << 20;  // bytes: one window

inline constexpr VkBufferUsageFlags BUFFER_USAGE =
    VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT;
inline constexpr VkExternalMemoryHandleTypeFlagBits SHARED_HANDLE = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
inline constexpr VkExternalSemaphoreHandleTypeFlagBits SHARED_SEMAPHORE =
    VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD_BIT;

class Instance : public Counted {
public:
    explicit Instance(const Library& library);
    ~Instance() override;

    VkInstance handle() const { return handle_; }
    std::uint32_t version() const { return version_; }
    bool debug_utils() const { return debug_utils_; }
    std::uint64_t messages() const { return messages_; }

    InstanceTable vk;

private:
    void destroy();

    std::uint32_t version_ = 0;
    bool debug_utils_ = false;
    VkInstance handle_ = VK_NULL_HANDLE;
    VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
    std::atomic<std::uint64_t> messages_{0};
};

struct Adapter {
    VkPhysicalDevice handle = VK_NULL_HANDLE;
    std::string name, driver, uuid, driver_uuid;     // UUIDs as 32 hex digits
    VkPhysicalDeviceProperties properties{};
    std::uint64_t allocation_max = 0;                // bytes in one VkDeviceMemory
    std::uint32_t queue_family = 0;
    bool software = false;
    std::uint32_t timestamp_bits = 0;                // of the queue; 0: it tells no time
    bool timeline_core = false;                      // in 1.2; else by VK_KHR_timeline_semaphore
    bool shares = false;                             // buffers, as descriptors of files
    bool shares_dedicated = false;                   // and only such as have their memory for themselves
    Sync sync = Sync::host;                          // semaphores of work, as descriptors of files
    ShadingRate shading_rate;                        // and what drawing with it needs:
    std::uint32_t graphics_family = 0;               // a queue for graphics and compute
    bool render_pass_core = false;                   // vkCreateRenderPass2 in 1.2; else by VK_KHR_create_renderpass2
    std::uint64_t host_alignment = 0;                // of the caller's memory that can be imported; 0: none can
    bool sources = false;                            // takes shaders that carry their source
    bool sources_core = false;                       // as 1.3 does; else by VK_KHR_shader_non_semantic_info
    bool statistics = false;                         // of compiled shaders
    std::vector<std::string> reasons;                // against it; empty: usable

    bool usable() const { return reasons.empty(); }
    std::vector<std::string> profiling() const;      // what it can tell, in words
    // Its memory is the host's.
    bool unified() const
    {
        return properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU ||
               properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
    }
};

// Every adapter of the instance, as it enumerates them.
std::vector<Adapter> adapters(const Instance& instance);

// sample_vrs_device.cpp: fills in what drawing with a shading rate attachment needs, or every reason against it.
void ask_shading_rate(const Instance& instance, const std::vector<VkExtensionProperties>& extensions,
                      std::uint32_t version, Adapter& adapter);

struct Choice {
    Ref<Instance> instance;
    Adapter adapter;
};

// The adapter that `selector` names: a UUID, an index into vulkan_candidates(), a part of a name; empty: the
// first usable one. Throws ErrorKind::unsupported naming every adapter with every reason.
Choice choose_adapter(const std::string& selector);

}  // namespace foveate::vulkan
