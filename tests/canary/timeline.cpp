// SPDX-License-Identifier: Apache-2.0
// A Vulkan library whose devices share timeline semaphores, in front of a real loader whose devices keep theirs: what
// is opened on another device is a timeline of its own there, and threads carry the values over. Bounded: a value
// that does not come in time is not carried.
#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vulkan/vulkan.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr std::uint64_t LONGEST_NS = 5'000'000'000;

struct Side {
    VkDevice device;
    VkSemaphore semaphore;
};

std::mutex mutex;
std::map<VkQueue, VkDevice> devices;
std::map<VkSemaphore, int> shared;              // semaphore -> the file that stands for it
std::map<ino_t, Side> files;
std::map<VkSemaphore, Side> opened;             // one that was opened -> the one that was shared
std::vector<std::thread> carriers;

PFN_vkGetDeviceProcAddr device_proc = nullptr;
PFN_vkEnumerateDeviceExtensionProperties list_extensions = nullptr;
PFN_vkCreateDevice create_device = nullptr;
PFN_vkDestroyDevice destroy_device = nullptr;
PFN_vkGetDeviceQueue get_queue = nullptr;
PFN_vkCreateSemaphore create_semaphore = nullptr;
PFN_vkDestroySemaphore destroy_semaphore = nullptr;
PFN_vkQueueSubmit submit = nullptr;
PFN_vkWaitSemaphores wait = nullptr;
PFN_vkSignalSemaphore signal = nullptr;

PFN_vkGetInstanceProcAddr loader()
{
    static const auto found = [] {
        void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
        return library ? reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"))
                       : nullptr;
    }();
    return found;
}

ino_t file_of(int fd)
{
    struct stat status{};
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

void carry(Side from, Side to, std::uint64_t value)
{
    carriers.emplace_back([=] {
        VkSemaphoreWaitInfo info{};
        info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
        info.semaphoreCount = 1;
        info.pSemaphores = &from.semaphore;
        info.pValues = &value;
        if (wait(from.device, &info, LONGEST_NS) != VK_SUCCESS) return;
        const VkSemaphoreSignalInfo reached{VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO, nullptr, to.semaphore, value};
        signal(to.device, &reached);
    });
}

void carried()
{
    std::vector<std::thread> ended;
    {
        std::lock_guard lock(mutex);
        ended.swap(carriers);
    }
    for (std::thread& carrier : ended) carrier.join();
}

void VKAPI_PTR on_semaphores(VkPhysicalDevice, const VkPhysicalDeviceExternalSemaphoreInfo*,
                             VkExternalSemaphoreProperties* properties)
{
    properties->externalSemaphoreFeatures =
        VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT;
}

VkResult VKAPI_PTR on_extensions(VkPhysicalDevice device, const char* layer, std::uint32_t* count,
                                 VkExtensionProperties* list)
{
    const bool counting = !list;
    std::uint32_t room = *count ? *count - 1 : 0;
    const VkResult result = list_extensions(device, layer, counting ? count : &room, list);
    if (counting) {
        ++*count;
        return result;
    }
    list[room] = {VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME, 1};
    *count = room + 1;
    return result;
}

VkResult VKAPI_PTR on_device(VkPhysicalDevice adapter, const VkDeviceCreateInfo* info,
                             const VkAllocationCallbacks* callbacks, VkDevice* device)
{
    std::vector<const char*> names;
    for (std::uint32_t i = 0; i < info->enabledExtensionCount; ++i)
        if (std::strcmp(info->ppEnabledExtensionNames[i], VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME) != 0)
            names.push_back(info->ppEnabledExtensionNames[i]);
    VkDeviceCreateInfo known = *info;
    known.enabledExtensionCount = std::uint32_t(names.size());
    known.ppEnabledExtensionNames = names.data();
    return create_device(adapter, &known, callbacks, device);
}

void VKAPI_PTR on_destroy_device(VkDevice device, const VkAllocationCallbacks* callbacks)
{
    carried();
    destroy_device(device, callbacks);
}

void VKAPI_PTR on_queue(VkDevice device, std::uint32_t family, std::uint32_t index, VkQueue* queue)
{
    get_queue(device, family, index, queue);
    std::lock_guard lock(mutex);
    devices[*queue] = device;
}

VkResult VKAPI_PTR on_semaphore(VkDevice device, const VkSemaphoreCreateInfo* info,
                                const VkAllocationCallbacks* callbacks, VkSemaphore* semaphore)
{
    VkSemaphoreTypeCreateInfo type = *static_cast<const VkSemaphoreTypeCreateInfo*>(info->pNext);
    const bool shares = type.pNext != nullptr;
    type.pNext = nullptr;
    VkSemaphoreCreateInfo known = *info;
    known.pNext = &type;
    const VkResult result = create_semaphore(device, &known, callbacks, semaphore);
    if (result != VK_SUCCESS || !shares) return result;
    std::lock_guard lock(mutex);
    const int fd = memfd_create("semaphore", MFD_CLOEXEC);
    shared[*semaphore] = fd;
    files[file_of(fd)] = {device, *semaphore};
    return result;
}

void VKAPI_PTR on_destroy_semaphore(VkDevice device, VkSemaphore semaphore, const VkAllocationCallbacks* callbacks)
{
    carried();
    {
        std::lock_guard lock(mutex);
        opened.erase(semaphore);
        if (const auto found = shared.find(semaphore); found != shared.end()) {
            files.erase(file_of(found->second));
            close(found->second);
            shared.erase(found);
        }
    }
    destroy_semaphore(device, semaphore, callbacks);
}

VkResult VKAPI_PTR on_get_fd(VkDevice, const VkSemaphoreGetFdInfoKHR* info, int* fd)
{
    std::lock_guard lock(mutex);
    const auto found = shared.find(info->semaphore);
    if (found == shared.end()) return VK_ERROR_INITIALIZATION_FAILED;
    *fd = dup(found->second);
    return VK_SUCCESS;
}

VkResult VKAPI_PTR on_import(VkDevice, const VkImportSemaphoreFdInfoKHR* info)
{
    std::lock_guard lock(mutex);
    const auto found = files.find(file_of(info->fd));
    if (found == files.end()) return VK_ERROR_INVALID_EXTERNAL_HANDLE;
    opened[info->semaphore] = found->second;
    close(info->fd);
    return VK_SUCCESS;
}

// Waits are carried from before the submission on: there are drivers that wait within it.
VkResult VKAPI_PTR on_submit(VkQueue queue, std::uint32_t count, const VkSubmitInfo* infos, VkFence fence)
{
    const auto carry_all = [&](bool waits) {
        std::lock_guard lock(mutex);
        for (std::uint32_t i = 0; i < count; ++i) {
            const auto* values = static_cast<const VkTimelineSemaphoreSubmitInfo*>(infos[i].pNext);
            const std::uint32_t points = waits ? infos[i].waitSemaphoreCount : infos[i].signalSemaphoreCount;
            for (std::uint32_t k = 0; k < points; ++k) {
                const auto found = opened.find((waits ? infos[i].pWaitSemaphores : infos[i].pSignalSemaphores)[k]);
                if (found == opened.end()) continue;
                const Side here{devices[queue], found->first};
                if (waits) carry(found->second, here, values->pWaitSemaphoreValues[k]);
                else carry(here, found->second, values->pSignalSemaphoreValues[k]);
            }
        }
    };
    carry_all(true);
    const VkResult result = submit(queue, count, infos, fence);
    if (result == VK_SUCCESS) carry_all(false);
    return result;
}

template <class Function>
PFN_vkVoidFunction replaced(Function& kept, PFN_vkVoidFunction real, Function by)
{
    kept = reinterpret_cast<Function>(real);
    return reinterpret_cast<PFN_vkVoidFunction>(by);
}

PFN_vkVoidFunction VKAPI_PTR on_device_proc(VkDevice device, const char* name)
{
    const PFN_vkVoidFunction real = device_proc(device, name);
    const auto is = [&](const char* other) { return std::strcmp(name, other) == 0; };
    if (is("vkGetSemaphoreFdKHR")) return reinterpret_cast<PFN_vkVoidFunction>(on_get_fd);
    if (is("vkImportSemaphoreFdKHR")) return reinterpret_cast<PFN_vkVoidFunction>(on_import);
    if (is("vkDestroyDevice")) return replaced(destroy_device, real, on_destroy_device);
    if (is("vkGetDeviceQueue")) return replaced(get_queue, real, on_queue);
    if (is("vkCreateSemaphore")) return replaced(create_semaphore, real, on_semaphore);
    if (is("vkDestroySemaphore")) return replaced(destroy_semaphore, real, on_destroy_semaphore);
    if (is("vkQueueSubmit")) return replaced(submit, real, on_submit);
    if (is("vkWaitSemaphores")) {
        wait = reinterpret_cast<PFN_vkWaitSemaphores>(real);
        signal = reinterpret_cast<PFN_vkSignalSemaphore>(device_proc(device, "vkSignalSemaphore"));
    }
    return real;
}

}  // namespace

EXPORTED PFN_vkVoidFunction VKAPI_PTR vkGetInstanceProcAddr(VkInstance instance, const char* name)
{
    if (!loader()) return nullptr;
    const PFN_vkVoidFunction real = loader()(instance, name);
    const auto is = [&](const char* other) { return std::strcmp(name, other) == 0; };
    if (is("vkGetDeviceProcAddr")) return replaced(device_proc, real, on_device_proc);
    if (is("vkCreateDevice")) return replaced(create_device, real, on_device);
    if (is("vkEnumerateDeviceExtensionProperties")) return replaced(list_extensions, real, on_extensions);
    if (is("vkGetPhysicalDeviceExternalSemaphoreProperties"))
        return reinterpret_cast<PFN_vkVoidFunction>(on_semaphores);
    return real;
}
