// SPDX-License-Identifier: Apache-2.0
// Pixels that are not copied: buffers lent to callers, and callers' pages borrowed for a while.
#include <unistd.h>

#include "engine/vulkan/device.h"

namespace foveate::vulkan {

namespace {

constexpr VkExternalMemoryHandleTypeFlagBits HOST_POINTER = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;

}  // namespace

Ref<Buffer> Memory::lend(std::uint64_t size)
{
    Ref<Buffer> buffer = acquire(Use::upload, size);
    std::lock_guard lock(mutex_);
    lent_.emplace(buffer->host(), buffer.get());
    buffer->lent_ = true;
    return buffer;
}

// Whoever asks holds memory within the buffer, and so the buffer: it cannot be on its way back.
Ref<Buffer> Memory::lent(const std::byte* low, const std::byte* high)
{
    std::lock_guard lock(mutex_);
    auto after = lent_.upper_bound(low);
    if (after == lent_.begin()) return {};
    Buffer* buffer = std::prev(after)->second;
    if (high > buffer->host() + buffer->size()) return {};
    buffer->retain();
    return Ref<Buffer>(buffer);
}

// Drivers do not check what they are given: some take a pointer between two pages, and read something else. So
// whole pages, which hold nothing that is not mapped; coarser ones might, and are left alone.
Ref<Buffer> Memory::borrow(const std::byte* low, const std::byte* high)
{
    const std::uint64_t page = device_.adapter().host_alignment;
    const DeviceTable& vk = device_.vk;
    if (!shared_ || !page || !vk.GetMemoryHostPointerPropertiesEXT || page > std::uint64_t(sysconf(_SC_PAGESIZE)))
        return {};
    const std::uint64_t first = reinterpret_cast<std::uintptr_t>(low) / page * page;
    const std::uint64_t size = (reinterpret_cast<std::uintptr_t>(high) - first + page - 1) / page * page;
    void* const pages = reinterpret_cast<void*>(first);

    VkMemoryHostPointerPropertiesEXT pointer{VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
    if (vk.GetMemoryHostPointerPropertiesEXT(device_.handle(), HOST_POINTER, pages, &pointer) != VK_SUCCESS) return {};
    VkExternalMemoryBufferCreateInfo external{VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO};
    external.handleTypes = HOST_POINTER;
    VkBufferCreateInfo info{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
    info.pNext = &external;
    info.size = size;
    info.usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT;

    Ref<Buffer> buffer = handed_out(new Buffer, size);  // destroyed whole or half made
    if (vk.CreateBuffer(device_.handle(), &info, nullptr, &buffer->handle_) != VK_SUCCESS) return {};
    VkMemoryRequirements needs{};
    vk.GetBufferMemoryRequirements(device_.handle(), buffer->handle_, &needs);
    const std::uint32_t types = needs.memoryTypeBits & pointer.memoryTypeBits;
    const std::uint32_t type = types_[std::uint32_t(Use::device)];
    if (needs.size > size || !(types >> type & 1u)) return {};

    VkImportMemoryHostPointerInfoEXT import{VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT};
    import.handleType = HOST_POINTER;
    import.pHostPointer = pages;
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    allocate.pNext = &import;
    allocate.allocationSize = size;
    allocate.memoryTypeIndex = type;
    if (vk.AllocateMemory(device_.handle(), &allocate, nullptr, &buffer->memory_) != VK_SUCCESS) return {};
    if (vk.BindBufferMemory(device_.handle(), buffer->handle_, buffer->memory_, 0) != VK_SUCCESS) return {};
    buffer->host_ = static_cast<std::byte*>(pages);
    return buffer;
}

}  // namespace foveate::vulkan
