// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "engine/error.h"

namespace foveate::vulkan {

namespace {

constexpr const char* LOADERS[] = {"libvulkan.so.1", "libvulkan.so"};
constexpr const char* DRIVERS[] = {"libGLX_nvidia.so.0", "libEGL_nvidia.so.0", "libvulkan_radeon.so",
                                   "libvulkan_intel.so", "libvulkan_lvp.so"};
constexpr std::uint32_t ICD_INTERFACE = 5;  // the version from which a driver takes any apiVersion

using Negotiate = VkResult(VKAPI_PTR*)(std::uint32_t*);

const char* chosen_library()
{
    const char* name = std::getenv("FOVEATE_VULKAN_LIBRARY");
    return name && *name ? name : nullptr;
}

bool filled(const char* variable)
{
    const char* value = std::getenv(variable);
    return value && *value;
}

PFN_vkGetInstanceProcAddr entry_point(void* handle, std::string& reason)
{
    if (void* loader = dlsym(handle, "vkGetInstanceProcAddr"))
        return reinterpret_cast<PFN_vkGetInstanceProcAddr>(loader);
    void* driver = dlsym(handle, "vk_icdGetInstanceProcAddr");
    if (!driver) {
        reason = "has no Vulkan entry point";
        return nullptr;
    }
    if (void* negotiate = dlsym(handle, "vk_icdNegotiateLoaderICDInterfaceVersion")) {
        std::uint32_t version = ICD_INTERFACE;
        if (reinterpret_cast<Negotiate>(negotiate)(&version) != VK_SUCCESS) {
            reason = "speaks another driver interface";
            return nullptr;
        }
    }
    return reinterpret_cast<PFN_vkGetInstanceProcAddr>(driver);
}

struct Opened {
    std::unique_ptr<Library> library;
    std::string reason;
};

Opened open(const std::string& name)
{
    void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) return {nullptr, name + " cannot be opened"};
    auto library = std::make_unique<Library>();
    library->name = name;
    std::string reason;
    library->get_instance_proc_addr = entry_point(handle, reason);
    if (!library->get_instance_proc_addr) return {nullptr, name + " " + reason};
#define X(function)                                                                                          \
    library->vk.function.call = reinterpret_cast<PFN_vk##function>(                                          \
        library->get_instance_proc_addr(VK_NULL_HANDLE, "vk" #function));
    VULKAN_GLOBAL_FUNCTIONS(X)
#undef X
    if (!library->vk.EnumerateInstanceVersion) return {nullptr, name + " is Vulkan 1.0, needs 1.1"};
    if (!library->vk.CreateInstance || !library->vk.EnumerateInstanceExtensionProperties)
        return {nullptr, name + " has no vkCreateInstance"};
    return {std::move(library), ""};
}

const Library* open_once(const std::string& name, std::string& reason)
{
    // Drivers start threads and keep them; a child of fork() has the driver without them, and would wait for ever.
    static const pid_t process = getpid();
    require(getpid() == process, "Engine: Vulkan", "a process forked after a driver was loaded",
            "the one that loaded it", "Use backend=\"cpu\", or start workers with spawn.", ErrorKind::forked);
    static std::mutex mutex;
    static auto* const opened = new std::map<std::string, Opened>;  // outlives every static destructor
    std::lock_guard lock(mutex);
    auto found = opened->find(name);
    if (found == opened->end()) found = opened->emplace(name, open(name)).first;
    if (!found->second.library) reason += (reason.empty() ? "" : ", ") + found->second.reason;
    return found->second.library.get();
}

}  // namespace

const Library* loader_library(std::string& reason)
{
    if (const char* name = chosen_library()) return open_once(name, reason);
    for (const char* name : LOADERS)
        if (const Library* library = open_once(name, reason)) return library;
    return nullptr;
}

std::vector<const Library*> driver_libraries(bool nvidia)
{
    std::vector<const Library*> libraries;
    if (chosen_library() || filled("VK_DRIVER_FILES") || filled("VK_ICD_FILENAMES")) return libraries;
    std::string reason;
    for (const char* name : DRIVERS) {
        if (nvidia && !std::strstr(name, "nvidia")) continue;
        if (const Library* library = open_once(name, reason)) libraries.push_back(library);
    }
    return libraries;
}

InstanceTable instance_table(const Library& library, VkInstance instance)
{
    InstanceTable table;
#define X(name)                                                                                              \
    table.name.call =                                                                                        \
        reinterpret_cast<PFN_vk##name>(library.get_instance_proc_addr(instance, "vk" #name));
    VULKAN_INSTANCE_FUNCTIONS(X)
    VULKAN_DEBUG_INSTANCE_FUNCTIONS(X)
    VULKAN_RATE_INSTANCE_FUNCTIONS(X)
#undef X
#define X(name)                                                                                              \
    require(bool(table.name), "Engine: Vulkan driver", "no vk" #name, "Vulkan 1.1", "Use backend=\"cpu\".",  \
            ErrorKind::unsupported);
    VULKAN_INSTANCE_FUNCTIONS(X)
#undef X
    return table;
}

DeviceTable device_table(const InstanceTable& instance, VkDevice device)
{
    DeviceTable table;
    // What Vulkan 1.2 took over from an extension has the extension's name on a device of 1.1.
#define X(name)                                                                                              \
    table.name.call = reinterpret_cast<PFN_vk##name>(instance.GetDeviceProcAddr(device, "vk" #name));        \
    if (!table.name)                                                                                         \
        table.name.call = reinterpret_cast<PFN_vk##name>(instance.GetDeviceProcAddr(device, "vk" #name "KHR"));
    VULKAN_DEVICE_FUNCTIONS(X)
    VULKAN_SHARE_DEVICE_FUNCTIONS(X)
    VULKAN_STATISTICS_DEVICE_FUNCTIONS(X)
    VULKAN_DEBUG_DEVICE_FUNCTIONS(X)
#undef X
#define X(name)                                                                                              \
    require(bool(table.name), "Engine: Vulkan driver", "no vk" #name, "Vulkan 1.1", "Use backend=\"cpu\".",  \
            ErrorKind::unsupported);
    VULKAN_DEVICE_FUNCTIONS(X)
#undef X
    return table;
}

RasterTable raster_table(const InstanceTable& instance, VkDevice device)
{
    RasterTable table;
#define X(name) \
    table.name.call = reinterpret_cast<PFN_vk##name>(instance.GetDeviceProcAddr(device, "vk" #name));
    VULKAN_RASTER_FUNCTIONS(X)
#undef X
    if (!table.CreateRenderPass2)       // the same function, before it was core
        table.CreateRenderPass2.call = reinterpret_cast<PFN_vkCreateRenderPass2>(
            instance.GetDeviceProcAddr(device, "vkCreateRenderPass2KHR"));
#define X(name)                                                                                              \
    require(bool(table.name), "Engine: Vulkan driver", "no vk" #name, "Vulkan 1.1", "Use backend=\"cpu\".",  \
            ErrorKind::unsupported);
    VULKAN_RASTER_FUNCTIONS(X)
#undef X
    return table;
}

}  // namespace foveate::vulkan
