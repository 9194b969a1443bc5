// SPDX-License-Identifier: Apache-2.0
// Memory: buffers in a pool by size class, under a budget of our own, since drivers promise more than there
// is.
//   shared memory (software devices, integrated GPUs): every buffer is mapped, nothing is staged;
//   otherwise: device-local buffers, and mapped ones to copy through.
// Pixels need not be copied: they can be written into a buffer that is lent, or their own pages are borrowed.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include "engine/types.h"
#include "engine/vulkan/loader.h"

namespace foveate::vulkan {

class Device;

enum class Use : std::uint32_t {
    device,    // what shaders read and write; mapped as well on shared memory
    upload,    // written by the host once
    readback,  // read by the host, cached
};
inline constexpr std::uint32_t USE_COUNT = 3;
inline constexpr std::uint64_t PAGE = 4096;          // buffers take whole ones

// One VkBuffer with its own VkDeviceMemory. The last release gives it back to the pool; a buffer in the pool
// does not hold the device.
class Buffer final : public Block {
public:
    std::byte* host() override;
    bool visible() override { return host_ != nullptr; }
    VkBuffer handle() const { return handle_; }
    const Device* device() const { return device_.get(); }
    Use use() const { return use_; }
    bool shared() const { return foreign_; }         // with others, outside of this device
    void set_shared() { foreign_ = true; }
    void set_given() { given_ = true; }              // to others who do not say when they are done
    bool borrowed() const { return !allocation_size_; }  // pages of the caller's
    // The device writes to it until it has done what it was given with this value.
    void set_written(std::uint64_t value) { written_ = value; }
    // Once after it was handed out: who asks first names it.
    bool unnamed() const { return !named_.exchange(true); }

private:
    friend class Memory;
    void last_release() override;

    Ref<Device> device_;
    Use use_ = Use::device;
    std::uint64_t capacity_ = 0;                     // 0: the memory is not ours
    std::uint64_t buffer_size_ = 0, allocation_size_ = 0;
    bool lent_ = false, dedicated_ = false;
    std::atomic<bool> foreign_{false}, given_{false};
    std::atomic<std::uint64_t> written_{0};
    mutable std::atomic<bool> named_{false};
    VkBuffer handle_ = VK_NULL_HANDLE;
    VkDeviceMemory memory_ = VK_NULL_HANDLE;
    std::byte* host_ = nullptr;
};

// Safe from any thread.
class Memory {
public:
    explicit Memory(Device& device) : device_(device) {}
    // `owner`: the backend that blocks name as theirs.
    // `share`: every buffer can be opened by others.
    void open(std::uint64_t budget, const void* owner, bool share);

    // At least one byte. Throws ErrorKind::memory over the budget or when the device has no more.
    Ref<Buffer> acquire(Use use, std::uint64_t size);

    // Mapped memory for callers to write to, found again by where it lies: the one that reaches from `low` to
    // `high`, or null.
    Ref<Buffer> lend(std::uint64_t size);
    Ref<Buffer> lent(const std::byte* low, const std::byte* high);
    // The caller's own pages from `low` to `high` as a buffer to read from; null where the device cannot.
    Ref<Buffer> borrow(const std::byte* low, const std::byte* high);

    // Bytes of what is no buffer, under the same budget.
    void reserve(std::uint64_t bytes);
    void unreserve(std::uint64_t bytes);

    // For others to open, and what others opened to us. What is shared is used again only where a Companion tells
    // that the others are done with it.
    SharedMemory share(Buffer& buffer);
    Ref<Buffer> attach(SharedMemory memory);

    // Of the types that something may use: the one of buffers, or the first.
    std::uint32_t type_among(std::uint32_t allowed) const;

    bool shares() const { return share_; }           // its buffers can be opened by others
    bool shared() const { return shared_; }          // every Use is the same mapped memory
    std::uint64_t budget() const { return budget_; }
    std::uint64_t used() const;                      // bytes allocated, pooled ones included
    std::uint64_t peak() const;

    // Frees the pool, and from now on every buffer with its last release.
    void close();

private:
    friend class Buffer;
    Ref<Buffer> handed_out(Buffer* buffer, std::uint64_t size);
    void create_handle(Buffer& buffer, VkExternalMemoryHandleTypeFlagBits handle_type);
    VkMemoryRequirements needs_of(const Buffer& buffer, VkMemoryDedicatedRequirements& dedicated) const;
    void map(Buffer& buffer);
    bool fits(std::uint64_t bytes, std::uint64_t wait_ns = 0);
    void charge(std::uint64_t bytes);
    Buffer* take(Use use, std::uint64_t capacity);
    Buffer* create(Use use, std::uint64_t capacity);
    void destroy(Buffer* buffer);
    void trim(std::uint64_t pooled_max, std::uint64_t used_max, std::uint64_t wait_ns = 0);
    void give_back(Buffer* buffer);

    Device& device_;
    const void* owner_ = nullptr;
    bool shared_ = false, share_ = false;
    std::uint32_t types_[USE_COUNT] = {}, mappable_ = 0;  // bit by bit: the types that the host sees
    std::uint64_t budget_ = 0, pool_max_ = 0;

    mutable std::mutex mutex_;
    bool closed_ = false;
    std::vector<Buffer*> pool_;                      // free ones, longest unused first
    std::map<const std::byte*, Buffer*> lent_;
    std::uint64_t pooled_ = 0, used_ = 0, peak_ = 0;
};

}  // namespace foveate::vulkan
