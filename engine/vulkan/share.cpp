// SPDX-License-Identifier: Apache-2.0
// Memory as descriptors: handed to other devices, APIs and processes, and taken from them.
#include "engine/vulkan/device.h"
#include "engine/vulkan/vulkan_backend.h"

namespace foveate::vulkan {

SharedMemory Memory::share(Buffer& buffer)
{
    require(share_, "Engine: share", "an Engine that keeps its memory to itself", "one made with share",
            "Make it with Engine(share=True).");
    require(buffer.allocation_size_ > 0, "Engine: share: memory", "pages of the caller's", "the engine's own",
            "Copy the pixels into engine.empty().");
    VkMemoryGetFdInfoKHR info{VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR};
    info.memory = buffer.memory_;
    info.handleType = SHARED_HANDLE;
    int fd = -1;
    check(device_.vk.GetMemoryFdKHR(device_.handle(), &info, &fd), "share memory");
    SharedMemory memory;
    memory.fd = Fd(fd);
    memory.allocation_size = buffer.allocation_size_;
    memory.buffer_size = buffer.buffer_size_;
    memory.size = buffer.size();
    memory.memory_type = types_[std::uint32_t(buffer.use_)];
    memory.dedicated = buffer.dedicated_;
    memory.device_uuid = device_.adapter().uuid;
    memory.driver_uuid = device_.adapter().driver_uuid;
    return memory;
}

Ref<Buffer> Memory::attach(SharedMemory memory)
{
    const Adapter& adapter = device_.adapter();
    require(share_, "Engine: attach", "an Engine that keeps its memory to itself", "one made with share",
            "Make it with Engine(share=True).");
    require(memory.device_uuid == adapter.uuid && memory.driver_uuid == adapter.driver_uuid, "Engine: attach: memory",
            "that of device " + memory.device_uuid + ", driver " + memory.driver_uuid,
            "device " + adapter.uuid + ", driver " + adapter.driver_uuid, "Make both sides on one device.",
            ErrorKind::unsupported);
    const bool fits = memory.size > 0 && memory.buffer_size <= memory.allocation_size &&
                      memory.offset <= memory.buffer_size && memory.size <= memory.buffer_size - memory.offset;
    require(fits && memory.offset == 0, "Engine: attach: size",
            std::to_string(memory.size) + " bytes at " + std::to_string(memory.offset),
            "a block at the start of a buffer of " + std::to_string(memory.buffer_size), "Give the record as it came.");
    require(bool(memory.fd), "Engine: attach: fd", memory.fd.get(), "an open descriptor", "Share the memory again.");

    require(memory.memory_type < VK_MAX_MEMORY_TYPES, "Engine: attach: memory type", memory.memory_type,
            "one of the device's", "Give the record as it came.");
    const bool mapped = mappable_ >> memory.memory_type & 1u;

    Ref<Buffer> buffer = handed_out(new Buffer, memory.size);  // destroyed whole or half made
    buffer->use_ = mapped && !shared_ ? Use::upload : Use::device;
    buffer->foreign_ = true;
    buffer->buffer_size_ = memory.buffer_size;
    buffer->allocation_size_ = memory.allocation_size;
    buffer->dedicated_ = memory.dedicated;
    create_handle(*buffer, SHARED_HANDLE);
    VkMemoryDedicatedRequirements dedicated{VK_STRUCTURE_TYPE_MEMORY_DEDICATED_REQUIREMENTS};
    const VkMemoryRequirements needs = needs_of(*buffer, dedicated);
    require(needs.memoryTypeBits >> memory.memory_type & 1u, "Engine: attach: memory type", memory.memory_type,
            "one of the device's", "Give the record as it came.");
    require(needs.size <= memory.allocation_size, "Engine: attach: allocation",
            std::to_string(memory.allocation_size) + " bytes", "at least " + std::to_string(needs.size),
            "Give the record as it came.");

    VkMemoryDedicatedAllocateInfo own{VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO};
    own.buffer = buffer->handle_;
    VkImportMemoryFdInfoKHR import{VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR};
    import.pNext = memory.dedicated ? &own : nullptr;
    import.handleType = SHARED_HANDLE;
    import.fd = memory.fd.get();
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    allocate.pNext = &import;
    allocate.allocationSize = memory.allocation_size;
    allocate.memoryTypeIndex = memory.memory_type;
    check(device_.vk.AllocateMemory(device_.handle(), &allocate, nullptr, &buffer->memory_), "attach memory");
    memory.fd.release();  // the driver's now, since it succeeded
    check(device_.vk.BindBufferMemory(device_.handle(), buffer->handle_, buffer->memory_, 0), "bind memory");
    if (mapped) {
        map(*buffer);
        std::lock_guard lock(mutex_);
        lent_.emplace(buffer->host_, buffer.get());
        buffer->lent_ = true;
    }
    return buffer;
}

Ref<Block> VulkanBackend::empty(std::uint64_t size)
{
    return recorder_->with_room([&] { return device_->memory.lend(size); });
}

SharedMemory VulkanBackend::share(const Ref<Block>& block, bool accompanied)
{
    auto* buffer = dynamic_cast<Buffer*>(block.get());
    require(buffer && buffer->device() == device_.get(), "Engine: share: memory", "another backend's", "this one's",
            "Share what a Vulkan stage made.");
    SharedMemory memory = device_->memory.share(*buffer);
    if (!buffer->shared()) {
        buffer->retain();
        Ref<VulkanRecord> record(new VulkanRecord(recorder_));
        record->hand_over(Ref<Buffer>(buffer));
        record->finish();
        buffer->set_shared();
    }
    if (!accompanied) buffer->set_given();
    return memory;
}

}  // namespace foveate::vulkan
