// SPDX-License-Identifier: Apache-2.0
// Planted misuses of Vulkan that the validation layer must report and our own messenger must count.
// Usage: hazard none|core|leak|sync|submit. "none" is the control: the same program without a fault.
// Prints how many messages the messenger counted, then their texts.
#include <cstdio>
#include <string_view>

#include "engine/vulkan/context.h"
#include "engine/vulkan/error.h"

using namespace foveate;
using namespace foveate::vulkan;

namespace {

constexpr VkDeviceSize SIZE = 4096;  // bytes
constexpr std::uint64_t WAIT_NS = 10ull * 1000000000ull;
constexpr VkBufferUsageFlags COPIED = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;

struct Gpu {
    Adapter adapter;
    VkDevice device = VK_NULL_HANDLE;
    VkQueue queue = VK_NULL_HANDLE;
    VkCommandPool pool = VK_NULL_HANDLE;
    DeviceTable vk;
};

struct Store {
    VkBuffer buffer = VK_NULL_HANDLE;
    VkDeviceMemory memory = VK_NULL_HANDLE;
};

Gpu open(const Instance& instance)
{
    const auto list = adapters(instance);
    require(!list.empty(), "canary: device", "none", "one or more");
    Gpu gpu{.adapter = list.front()};
    const float priority = 1.0f;
    VkDeviceQueueCreateInfo queue{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
    queue.queueFamilyIndex = gpu.adapter.queue_family;
    queue.queueCount = 1;
    queue.pQueuePriorities = &priority;
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES};
    timeline.timelineSemaphore = VK_TRUE;
    VkDeviceCreateInfo info{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO};
    info.pNext = &timeline;
    info.queueCreateInfoCount = 1;
    info.pQueueCreateInfos = &queue;
    check(instance.vk.CreateDevice(gpu.adapter.handle, &info, nullptr, &gpu.device), "create the device");
    gpu.vk = device_table(instance.vk, gpu.device);
    gpu.vk.GetDeviceQueue(gpu.device, gpu.adapter.queue_family, 0, &gpu.queue);
    VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
    pool.queueFamilyIndex = gpu.adapter.queue_family;
    check(gpu.vk.CreateCommandPool(gpu.device, &pool, nullptr, &gpu.pool), "create a command pool");
    return gpu;
}

Store make(const Gpu& gpu, VkBufferUsageFlags usage)
{
    Store store;
    VkBufferCreateInfo info{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
    info.size = SIZE;
    info.usage = usage;
    check(gpu.vk.CreateBuffer(gpu.device, &info, nullptr, &store.buffer), "create a buffer");
    VkMemoryRequirements needs{};
    gpu.vk.GetBufferMemoryRequirements(gpu.device, store.buffer, &needs);
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    allocate.allocationSize = needs.size;
    while (!(needs.memoryTypeBits >> allocate.memoryTypeIndex & 1u)) ++allocate.memoryTypeIndex;
    check(gpu.vk.AllocateMemory(gpu.device, &allocate, nullptr, &store.memory), "allocate memory");
    check(gpu.vk.BindBufferMemory(gpu.device, store.buffer, store.memory, 0), "bind memory");
    return store;
}

void copy(const Gpu& gpu, VkCommandBuffer commands, const Store& from, const Store& to)
{
    const VkBufferCopy region{0, 0, SIZE};
    gpu.vk.CmdCopyBuffer(commands, from.buffer, to.buffer, 1, &region);
}

void barrier(const Gpu& gpu, VkCommandBuffer commands)
{
    VkMemoryBarrier memory{VK_STRUCTURE_TYPE_MEMORY_BARRIER};
    memory.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    memory.dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
    gpu.vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1,
                              &memory, 0, nullptr, 0, nullptr);
}

// a -> b, then b -> a: the second copy reads what the first one wrote. In one command buffer, or in two
// submissions with nothing between them but the order of the queue.
void copies(const Gpu& gpu, std::string_view fault)
{
    const bool two = fault == "submit";
    const VkBufferUsageFlags unreadable = VK_BUFFER_USAGE_TRANSFER_DST_BIT;
    const Store a = make(gpu, fault == "core" ? unreadable : COPIED), b = make(gpu, COPIED);
    VkCommandBufferAllocateInfo allocate{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
    allocate.commandPool = gpu.pool;
    allocate.commandBufferCount = 2;
    VkCommandBuffer commands[2] = {};
    check(gpu.vk.AllocateCommandBuffers(gpu.device, &allocate, commands), "allocate command buffers");
    const VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    check(gpu.vk.BeginCommandBuffer(commands[0], &begin), "begin");
    copy(gpu, commands[0], a, b);
    if (two) {
        check(gpu.vk.EndCommandBuffer(commands[0]), "end");
        check(gpu.vk.BeginCommandBuffer(commands[1], &begin), "begin");
    } else if (fault != "sync") {
        barrier(gpu, commands[0]);
    }
    copy(gpu, commands[two], b, a);
    check(gpu.vk.EndCommandBuffer(commands[two]), "end");

    VkSemaphoreTypeCreateInfo type{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
    type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
    VkSemaphoreCreateInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    info.pNext = &type;
    VkSemaphore done = VK_NULL_HANDLE;
    check(gpu.vk.CreateSemaphore(gpu.device, &info, nullptr, &done), "create a semaphore");
    const std::uint64_t value = 1;
    VkTimelineSemaphoreSubmitInfo values{VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
    values.signalSemaphoreValueCount = 1;
    values.pSignalSemaphoreValues = &value;
    for (int i = 0; i <= two; ++i) {
        VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO};
        submit.commandBufferCount = 1;
        submit.pCommandBuffers = &commands[i];
        if (i == two) {
            submit.pNext = &values;
            submit.signalSemaphoreCount = 1;
            submit.pSignalSemaphores = &done;
        }
        check(gpu.vk.QueueSubmit(gpu.queue, 1, &submit, VK_NULL_HANDLE), "submit");
    }
    VkSemaphoreWaitInfo wait{VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
    wait.semaphoreCount = 1;
    wait.pSemaphores = &done;
    wait.pValues = &value;
    check(gpu.vk.WaitSemaphores(gpu.device, &wait, WAIT_NS), "wait");
    for (const Store& store : {a, b}) {
        gpu.vk.DestroyBuffer(gpu.device, store.buffer, nullptr);
        gpu.vk.FreeMemory(gpu.device, store.memory, nullptr);
    }
    if (fault != "leak") gpu.vk.DestroySemaphore(gpu.device, done, nullptr);
}

}  // namespace

int main(int argc, char** argv)
try {
    const std::string_view fault = argc > 1 ? argv[1] : "";
    std::string reason;
    const Library* library = loader_library(reason);
    require(library, "canary: loader", reason, "one that opens");
    {
        const Instance instance(*library);
        require(instance.debug_utils(), "canary: VK_EXT_debug_utils", "none", "offered");
        const Gpu gpu = open(instance);
        copies(gpu, fault);
        gpu.vk.DestroyCommandPool(gpu.device, gpu.pool, nullptr);
        gpu.vk.DestroyDevice(gpu.device, nullptr);
    }
    std::printf("messages %llu\n", static_cast<unsigned long long>(messages()));
    for (const std::string& text : message_texts()) std::puts(text.c_str());
    return 0;
} catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
}
