// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/memory.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "engine/limits.h"
#include "engine/lost.h"
#include "engine/vulkan/device.h"

namespace foveate::vulkan {

namespace {

constexpr std::uint64_t POOL_MAX = 1ull << 30;  // bytes kept for reuse, at most half of the budget

constexpr VkMemoryPropertyFlags MAPPED =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

std::uint64_t whole_pages(std::uint64_t size)
{
    return (std::max<std::uint64_t>(size, 1) + PAGE - 1) / PAGE * PAGE;
}

// Eight classes to every doubling: a block is at most an eighth larger than asked for, from 32 KiB on.
std::uint64_t size_class(std::uint64_t size)
{
    const std::uint64_t pages = whole_pages(size);
    const std::uint64_t step = std::max(PAGE, std::bit_floor(pages) / 8);
    return (pages + step - 1) / step * step;
}

bool staging_forced()
{
    const char* value = std::getenv("FOVEATE_VULKAN_STAGING");
    return value && value[0] == '1';
}

// The first type with all of `wanted`, else the first with all of `needed`.
int memory_type(const VkPhysicalDeviceMemoryProperties& memory, VkMemoryPropertyFlags needed,
                VkMemoryPropertyFlags wanted)
{
    for (VkMemoryPropertyFlags flags : {needed | wanted, needed})
        for (std::uint32_t i = 0; i < memory.memoryTypeCount; ++i)
            if ((memory.memoryTypes[i].propertyFlags & flags) == flags) return int(i);
    return -1;
}

}  // namespace

void Buffer::last_release()
{
    // Moved out first: a buffer that waits in the pool must not keep its device alive.
    Ref<Device> device = std::move(device_);
    if (device->forked()) {
        device.detach();
        return;
    }
    if (companion_) companion_->released();
    device->memory.give_back(this);
}

std::byte* Buffer::host()
{
    const std::uint64_t value = written_;
    if (!host_ || !value) return host_;
    if (!device_->done(value)) {
        require(!device_->forked(), "Engine: result", "one that was not there when its process forked", "one that was",
                "Read it before fork(), or start workers with spawn.", ErrorKind::forked);
        check(device_->wait(value, limits::WAIT_NS), "wait for the device");
    }
    written_ = 0;
    return host_;
}

void Memory::open(std::uint64_t budget, const void* owner, bool share)
{
    owner_ = owner;
    share_ = share;
    VkPhysicalDeviceMemoryProperties memory{};
    device_.instance().vk.GetPhysicalDeviceMemoryProperties(device_.adapter().handle, &memory);
    const VkMemoryPropertyFlags unified =
        VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | MAPPED | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    const int one = memory_type(memory, unified, 0);
    shared_ = one >= 0 && !staging_forced() && device_.adapter().unified();
    const int found[USE_COUNT] = {
        shared_ ? one : memory_type(memory, 0, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT),
        shared_ ? one : memory_type(memory, MAPPED, 0),
        shared_ ? one : memory_type(memory, MAPPED, VK_MEMORY_PROPERTY_HOST_CACHED_BIT),
    };
    for (std::uint32_t use = 0; use < USE_COUNT; ++use) {
        require(found[use] >= 0, "Engine: Vulkan memory types", "none", "a host-visible, coherent one",
                "Use backend=\"cpu\".", ErrorKind::unsupported);
        types_[use] = std::uint32_t(found[use]);
    }
    for (std::uint32_t i = 0; i < memory.memoryTypeCount; ++i)
        if ((memory.memoryTypes[i].propertyFlags & MAPPED) == MAPPED) mappable_ |= 1u << i;
    const std::uint64_t heap = memory.memoryHeaps[memory.memoryTypes[types_[0]].heapIndex].size;
    budget_ = budget ? budget : std::min<std::uint64_t>(limits::MEMORY_BUDGET, heap);
    pool_max_ = std::min(budget_ / 2, POOL_MAX);
}

Ref<Buffer> Memory::acquire(Use use, std::uint64_t size)
{
    if (shared_) use = Use::device;
    std::uint64_t capacity = size_class(size);
    if (capacity > device_.adapter().allocation_max) capacity = whole_pages(size);
    require(capacity <= device_.adapter().allocation_max, "memory: block", std::to_string(size) + " bytes",
            "at most " + std::to_string(device_.adapter().allocation_max), "Use fewer images a call.",
            ErrorKind::memory);

    Buffer* buffer = nullptr;
    {
        std::lock_guard lock(mutex_);
        buffer = take(use, capacity);
        if (!buffer) {
            if (!fits(capacity, 0)) {
                capacity = whole_pages(size);
                if (!fits(capacity, 0)) fits(capacity, limits::WAIT_NS);
            }
            charge(capacity);
        }
    }
    if (!buffer) buffer = create(use, capacity);
    return handed_out(buffer, size);
}

// Both with the lock.
bool Memory::fits(std::uint64_t bytes, std::uint64_t wait_ns)
{
    if (used_ + bytes > budget_) trim(0, bytes > budget_ ? 0 : budget_ - bytes, wait_ns);
    return used_ + bytes <= budget_;
}

void Memory::charge(std::uint64_t bytes)
{
    require(fits(bytes), "memory: budget", used_ + bytes, "at most " + std::to_string(budget_) + " bytes",
            "Use fewer images a call, release earlier results, or raise memory_budget.", ErrorKind::memory);
    used_ += bytes;
    peak_ = std::max(peak_, used_);
}

void Memory::reserve(std::uint64_t bytes)
{
    std::lock_guard lock(mutex_);
    charge(bytes);
}

void Memory::unreserve(std::uint64_t bytes)
{
    std::lock_guard lock(mutex_);
    used_ -= bytes;
}

Ref<Buffer> Memory::handed_out(Buffer* buffer, std::uint64_t size)
{
    buffer->size_ = size;
    buffer->named_ = false;
    buffer->owner_ = owner_;
    buffer->written_ = 0;
    device_.retain();
    buffer->device_ = Ref<Device>(&device_);
    return Ref<Buffer>(buffer);
}

// Newest first: what was used last is likeliest to be in a cache.
Buffer* Memory::take(Use use, std::uint64_t capacity)
{
    for (std::size_t i = pool_.size(); i-- > 0;) {
        Buffer* buffer = pool_[i];
        if (buffer->use_ != use || buffer->capacity_ != capacity) continue;
        if (buffer->companion_ && !buffer->companion_->idle(0)) continue;
        pool_.erase(pool_.begin() + std::ptrdiff_t(i));
        pooled_ -= capacity;
        buffer->revive();
        return buffer;
    }
    return nullptr;
}

// Its bytes are in used_ already; given back when this throws.
Buffer* Memory::create(Use use, std::uint64_t capacity)
{
    Buffer* buffer = nullptr;
    try {
        buffer = new Buffer;
        buffer->use_ = use;
        buffer->capacity_ = capacity;
        const DeviceTable& vk = device_.vk;
        // OpenGL drivers open nothing that fills its memory to the last byte.
        buffer->buffer_size_ = share_ ? capacity + PAGE : capacity;
        create_handle(*buffer, share_ ? SHARED_HANDLE : VkExternalMemoryHandleTypeFlagBits(0));
        VkMemoryDedicatedRequirements dedicated{VK_STRUCTURE_TYPE_MEMORY_DEDICATED_REQUIREMENTS};
        const VkMemoryRequirements needs = needs_of(*buffer, dedicated);
        const std::uint32_t type = types_[std::uint32_t(use)];
        require(needs.memoryTypeBits >> type & 1u, "vulkan: memory type", type, "one that buffers may use",
                "Use another device, or backend=\"cpu\".", ErrorKind::device);
        buffer->allocation_size_ = needs.size;
        buffer->dedicated_ = share_ && (dedicated.prefersDedicatedAllocation || dedicated.requiresDedicatedAllocation ||
                                        device_.adapter().shares_dedicated);
        VkMemoryDedicatedAllocateInfo own{VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO};
        own.buffer = buffer->handle_;
        VkExportMemoryAllocateInfo shared{VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO};
        shared.pNext = buffer->dedicated_ ? &own : nullptr;
        shared.handleTypes = SHARED_HANDLE;
        VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
        allocate.pNext = share_ ? &shared : nullptr;
        allocate.allocationSize = needs.size;
        allocate.memoryTypeIndex = type;
        VkResult result = vk.AllocateMemory(device_.handle(), &allocate, nullptr, &buffer->memory_);
        if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY) {
            std::unique_lock lock(mutex_);
            if (!pool_.empty()) {  // others may be using the device: what we hold unused, it can have
                trim(0, 0);
                lock.unlock();
                result = vk.AllocateMemory(device_.handle(), &allocate, nullptr, &buffer->memory_);
            }
        }
        check(result, "allocate memory");
        check(vk.BindBufferMemory(device_.handle(), buffer->handle_, buffer->memory_, 0), "bind memory");
        if (shared_ || use != Use::device) map(*buffer);
        return buffer;
    } catch (...) {
        std::lock_guard lock(mutex_);
        if (buffer)
            destroy(buffer);
        else
            used_ -= capacity;
        throw;
    }
}

void Memory::create_handle(Buffer& buffer, VkExternalMemoryHandleTypeFlagBits handle_type)
{
    VkExternalMemoryBufferCreateInfo external{VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO};
    external.handleTypes = handle_type;
    VkBufferCreateInfo info{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
    info.pNext = handle_type ? &external : nullptr;
    info.size = buffer.buffer_size_;
    info.usage = BUFFER_USAGE;
    check(device_.vk.CreateBuffer(device_.handle(), &info, nullptr, &buffer.handle_), "create a buffer");
}

VkMemoryRequirements Memory::needs_of(const Buffer& buffer, VkMemoryDedicatedRequirements& dedicated) const
{
    VkBufferMemoryRequirementsInfo2 info{VK_STRUCTURE_TYPE_BUFFER_MEMORY_REQUIREMENTS_INFO_2};
    info.buffer = buffer.handle_;
    VkMemoryRequirements2 needs{VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
    needs.pNext = &dedicated;
    device_.vk.GetBufferMemoryRequirements2(device_.handle(), &info, &needs);
    return needs.memoryRequirements;
}

void Memory::map(Buffer& buffer)
{
    void* mapped = nullptr;
    check(device_.vk.MapMemory(device_.handle(), buffer.memory_, 0, VK_WHOLE_SIZE, 0, &mapped), "map memory");
    buffer.host_ = static_cast<std::byte*>(mapped);
}

void Memory::destroy(Buffer* buffer)
{
    // Memory that others still work with cannot be freed, and waiting for ever is worse than losing it, and with it
    // the device that it is of.
    if (buffer->companion_ && !buffer->companion_->idle(limits::WAIT_NS)) {
        device_.retain();
        lose(Ref<Device>(&device_));
        lose(Ref<Buffer>(buffer));
        return;
    }
    buffer->companion_ = {};
    used_ -= buffer->capacity_;
    device_.vk.DestroyBuffer(device_.handle(), buffer->handle_, nullptr);
    device_.vk.FreeMemory(device_.handle(), buffer->memory_, nullptr);
    delete buffer;
}

// Frees the longest unused until at most pooled_max bytes are pooled, or at most used_max allocated. What others
// work with is left, unless they are done within wait_ns.
void Memory::trim(std::uint64_t pooled_max, std::uint64_t used_max, std::uint64_t wait_ns)
{
    std::erase_if(pool_, [&](Buffer* buffer) {
        if (pooled_ <= pooled_max || used_ <= used_max) return false;
        if (buffer->companion_ && !closed_ && !buffer->companion_->idle(wait_ns)) return false;
        pooled_ -= buffer->capacity_;
        destroy(buffer);
        return true;
    });
}

void Memory::give_back(Buffer* buffer)
{
    std::lock_guard lock(mutex_);
    if (std::exchange(buffer->lent_, false)) lent_.erase(buffer->host_);
    const bool reusable = !buffer->foreign_ || (buffer->companion_ && !buffer->given_);
    if (!closed_ && reusable && buffer->capacity_ && buffer->capacity_ <= pool_max_) {
        try {
            pool_.push_back(buffer);
            pooled_ += buffer->capacity_;
            trim(pool_max_, 0);
            return;
        } catch (const std::bad_alloc&) {  // no room to remember it by: free it
        }
    }
    destroy(buffer);
}

void Memory::close()
{
    std::lock_guard lock(mutex_);
    closed_ = true;
    trim(0, 0);
}

std::uint32_t Memory::type_among(std::uint32_t allowed) const
{
    const std::uint32_t ours = types_[std::uint32_t(Use::device)];
    return allowed >> ours & 1u ? ours : std::uint32_t(std::countr_zero(allowed));
}

std::uint64_t Memory::used() const
{
    std::lock_guard lock(mutex_);
    return used_;
}

std::uint64_t Memory::peak() const
{
    std::lock_guard lock(mutex_);
    return peak_;
}

}  // namespace foveate::vulkan
