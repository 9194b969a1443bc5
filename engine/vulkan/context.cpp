// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/context.h"

#include <algorithm>
#include <cstring>

#include "engine/vulkan/error.h"

namespace foveate::vulkan {

namespace {

VkBool32 VKAPI_PTR on_message(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                              const VkDebugUtilsMessengerCallbackDataEXT* data, void* user)
{
    static_cast<std::atomic<std::uint64_t>*>(user)->fetch_add(1);
    try {
        message_add(data->pMessage ? data->pMessage : "");
    } catch (...) {  // counted already; nothing may be thrown through a driver
    }
    return VK_FALSE;
}

// GENERAL is left out: the loader uses it to complain about drivers that are not ours.
VkDebugUtilsMessengerCreateInfoEXT messenger_info(std::atomic<std::uint64_t>& count)
{
    VkDebugUtilsMessengerCreateInfoEXT info{VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
    info.messageSeverity =
        VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
    info.messageType =
        VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
    info.pfnUserCallback = on_message;
    info.pUserData = &count;
    return info;
}

bool has_extension(const std::vector<VkExtensionProperties>& list, const char* name)
{
    return std::any_of(list.begin(), list.end(), [&](const auto& extension) {
        return std::strcmp(extension.extensionName, name) == 0;
    });
}

std::string hex(const std::uint8_t* bytes, std::size_t count)
{
    constexpr char DIGITS[] = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
        text += DIGITS[bytes[i] >> 4];
        text += DIGITS[bytes[i] & 15];
    }
    return text;
}

std::string version_text(std::uint32_t version)
{
    return std::to_string(VK_API_VERSION_MAJOR(version)) + "." +
           std::to_string(VK_API_VERSION_MINOR(version));
}

// Compute without graphics first: such a queue runs beside a renderer's.
int compute_family(const Instance& instance, VkPhysicalDevice device, std::uint32_t& timestamp_bits)
{
    std::uint32_t count = 0;
    instance.vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
    std::vector<VkQueueFamilyProperties> families(count);
    instance.vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
    int any = -1;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || !families[i].queueCount) continue;
        if (any >= 0 && (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT)) continue;
        any = int(i);
        timestamp_bits = families[i].timestampValidBits;
        if (!(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT)) return any;
    }
    return any;
}

void ask_sharing(const Instance& instance, Adapter& adapter)
{
    VkPhysicalDeviceExternalBufferInfo info{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO};
    info.usage = BUFFER_USAGE;
    info.handleType = SHARED_HANDLE;
    VkExternalBufferProperties properties{VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
    instance.vk.GetPhysicalDeviceExternalBufferProperties(adapter.handle, &info, &properties);
    const auto features = properties.externalMemoryProperties.externalMemoryFeatures;
    constexpr VkExternalMemoryFeatureFlags BOTH =
        VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT;
    adapter.shares = (features & BOTH) == BOTH;
    adapter.shares_dedicated = features & VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT;
}

bool shares_semaphores(const Instance& instance, VkPhysicalDevice device, VkSemaphoreType kind)
{
    VkSemaphoreTypeCreateInfo type{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
    type.semaphoreType = kind;
    VkPhysicalDeviceExternalSemaphoreInfo info{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO};
    info.pNext = &type;
    info.handleType = SHARED_SEMAPHORE;
    VkExternalSemaphoreProperties properties{VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES};
    instance.vk.GetPhysicalDeviceExternalSemaphoreProperties(device, &info, &properties);
    constexpr VkExternalSemaphoreFeatureFlags BOTH =
        VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT;
    return (properties.externalSemaphoreFeatures & BOTH) == BOTH;
}

Adapter adapter_of(const Instance& instance, VkPhysicalDevice device)
{
    Adapter adapter;
    adapter.handle = device;
    instance.vk.GetPhysicalDeviceProperties(device, &adapter.properties);
    adapter.name = adapter.properties.deviceName;
    adapter.software = adapter.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    if (adapter.properties.apiVersion < VK_API_VERSION_1_1) {
        adapter.reasons.push_back("is Vulkan " + version_text(adapter.properties.apiVersion) + ", needs 1.1");
        return adapter;
    }
    const std::uint32_t version = std::min(instance.version(), adapter.properties.apiVersion);

    std::uint32_t count = 0;
    check(instance.vk.EnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr),
          "count device extensions");
    std::vector<VkExtensionProperties> extensions(count);
    check(instance.vk.EnumerateDeviceExtensionProperties(device, nullptr, &count, extensions.data()),
          "list device extensions");

    VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    VkPhysicalDeviceIDProperties id{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties size{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceDriverProperties driver{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    properties.pNext = &id;
    id.pNext = &size;
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
    if (version >= VK_API_VERSION_1_2 || has_extension(extensions, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME))
        size.pNext = &driver;
    if (has_extension(extensions, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME)) {
        host.pNext = properties.pNext;
        properties.pNext = &host;
    }
    instance.vk.GetPhysicalDeviceProperties2(device, &properties);
    adapter.uuid = hex(id.deviceUUID, VK_UUID_SIZE);
    adapter.driver_uuid = hex(id.driverUUID, VK_UUID_SIZE);
    adapter.allocation_max = size.maxMemoryAllocationSize;
    if (has_extension(extensions, VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME)) ask_sharing(instance, adapter);
    adapter.host_alignment = host.minImportedHostPointerAlignment;
    adapter.driver = driver.driverName;
    if (*driver.driverInfo)
        adapter.driver += std::string(adapter.driver.empty() ? "" : " ") + driver.driverInfo;

    adapter.timeline_core = version >= VK_API_VERSION_1_2;
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES};
    if (adapter.timeline_core || has_extension(extensions, VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME)) {
        VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
        features.pNext = &timeline;
        instance.vk.GetPhysicalDeviceFeatures2(device, &features);
    }
    adapter.sources_core = version >= VK_API_VERSION_1_3;
    adapter.sources =
        adapter.sources_core || has_extension(extensions, VK_KHR_SHADER_NON_SEMANTIC_INFO_EXTENSION_NAME);
    if (has_extension(extensions, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME)) {
        VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable{
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
        VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
        features.pNext = &executable;
        instance.vk.GetPhysicalDeviceFeatures2(device, &features);
        adapter.statistics = executable.pipelineExecutableInfo;
    }
    if (!timeline.timelineSemaphore) adapter.reasons.push_back("needs timelineSemaphore");

    if (adapter.usable() && adapter.shares && has_extension(extensions, VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME)) {
        if (shares_semaphores(instance, device, VK_SEMAPHORE_TYPE_BINARY)) adapter.sync = Sync::binary;
        if (shares_semaphores(instance, device, VK_SEMAPHORE_TYPE_TIMELINE)) adapter.sync = Sync::timeline;
    }

    const int family = compute_family(instance, device, adapter.timestamp_bits);
    if (family < 0) adapter.reasons.push_back("needs a compute queue");
    adapter.queue_family = family < 0 ? 0 : std::uint32_t(family);

    ask_shading_rate(instance, extensions, version, adapter);

    const auto need = [&](const char* name, std::uint32_t got, std::uint32_t needed) {
        if (got >= needed) return;
        adapter.reasons.push_back(std::string(name) + " is " + std::to_string(got) + ", needs " +
                                  std::to_string(needed));
    };
    const VkPhysicalDeviceLimits& limits = adapter.properties.limits;
    need("maxPushConstantsSize", limits.maxPushConstantsSize, NEED_PUSH_CONSTANTS);
    need("maxComputeWorkGroupInvocations", limits.maxComputeWorkGroupInvocations, NEED_INVOCATIONS);
    need("maxPerStageDescriptorStorageBuffers", limits.maxPerStageDescriptorStorageBuffers,
         NEED_STORAGE_BUFFERS);
    need("maxDescriptorSetStorageBuffers", limits.maxDescriptorSetStorageBuffers, NEED_STORAGE_BUFFERS);
    need("maxStorageBufferRange", limits.maxStorageBufferRange, NEED_STORAGE_BUFFER_RANGE);
    return adapter;
}

}  // namespace

std::vector<std::string> Adapter::profiling() const
{
    std::vector<std::string> words;
    if (timestamp_bits) words.push_back("timestamps");
    if (sources) words.push_back("sources");
    if (statistics) words.push_back("statistics");
    return words;
}

Instance::Instance(const Library& library)
{
    check(library.vk.EnumerateInstanceVersion(&version_), "read the instance version");
    require(version_ >= VK_API_VERSION_1_1, "Engine: Vulkan instance", "Vulkan " + version_text(version_),
            "1.1 or later", "Use backend=\"cpu\".", ErrorKind::unsupported);
    std::uint32_t count = 0;
    check(library.vk.EnumerateInstanceExtensionProperties(nullptr, &count, nullptr),
          "count instance extensions");
    std::vector<VkExtensionProperties> extensions(count);
    check(library.vk.EnumerateInstanceExtensionProperties(nullptr, &count, extensions.data()),
          "list instance extensions");
    debug_utils_ = has_extension(extensions, VK_EXT_DEBUG_UTILS_EXTENSION_NAME);

    VkApplicationInfo application{VK_STRUCTURE_TYPE_APPLICATION_INFO};
    application.pApplicationName = application.pEngineName = "foveate";
    application.apiVersion = std::min(version_, std::uint32_t(VK_API_VERSION_1_3));
    // In the chain for what vkCreateInstance and vkDestroyInstance say: leaked objects, above all.
    const VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info(messages_);
    const char* extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkInstanceCreateInfo info{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
    info.pApplicationInfo = &application;
    if (debug_utils_) {
        info.pNext = &messenger;
        info.enabledExtensionCount = 1;
        info.ppEnabledExtensionNames = &extension;
    }
    check(library.vk.CreateInstance(&info, nullptr, &handle_), "create an instance");
    try {
        vk = instance_table(library, handle_);
        debug_utils_ = debug_utils_ && vk.CreateDebugUtilsMessengerEXT && vk.DestroyDebugUtilsMessengerEXT;
        if (debug_utils_)
            check(vk.CreateDebugUtilsMessengerEXT(handle_, &messenger, nullptr, &messenger_),
                  "create a messenger");
    } catch (...) {
        destroy();
        throw;
    }
}

Instance::~Instance() { destroy(); }

void Instance::destroy()
{
    if (messenger_) vk.DestroyDebugUtilsMessengerEXT(handle_, messenger_, nullptr);
    if (handle_ && vk.DestroyInstance) vk.DestroyInstance(handle_, nullptr);
}

std::vector<Adapter> adapters(const Instance& instance)
{
    std::uint32_t count = 0;
    check(instance.vk.EnumeratePhysicalDevices(instance.handle(), &count, nullptr), "count devices");
    std::vector<VkPhysicalDevice> devices(count);
    if (count)
        check(instance.vk.EnumeratePhysicalDevices(instance.handle(), &count, devices.data()),
              "list devices");
    std::vector<Adapter> result;
    for (VkPhysicalDevice device : devices) result.push_back(adapter_of(instance, device));
    // Real hardware first; within a kind as the drivers order them.
    const auto rank = [](const Adapter& adapter) {
        switch (adapter.properties.deviceType) {
        case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 0;
        case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 1;
        case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 2;
        default: return 3;
        }
    };
    std::stable_sort(result.begin(), result.end(),
                     [&](const Adapter& a, const Adapter& b) { return rank(a) < rank(b); });
    return result;
}

}  // namespace foveate::vulkan
