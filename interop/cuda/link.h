// SPDX-License-Identifier: Apache-2.0
// One engine and the CUDA device that is its own. Memory of Vulkan's is imported into CUDA once, and the import stays
// with the memory until that is freed; memory of the backend cuda is there already.
#pragma once

#include <functional>
#include <map>
#include <mutex>

#include "engine/engine.h"
#include "interop/cuda/semaphore.h"
#include "interop/cuda/users.h"

namespace foveate::cuda {

class Link;

// One allocation of the engine, as CUDA sees it.
class Mapping final : public Companion {
public:
    // Takes the descriptor over when the driver does: on success. `block` is where the mapping will be kept.
    Mapping(Ref<Context> context, Link* link, SharedMemory memory, Block* block);
    ~Mapping() override;

    Address address() const { return address_; }
    // The same byte for the host; null where it sees none. Waits while the engine's device writes to it.
    std::byte* host() const { return block_ ? block_->host() : nullptr; }
    // It is the engine's device's own, with nothing imported: stages read it there.
    bool direct() const { return !memory_; }
    std::uint64_t size() const { return size_; }
    const Link* link() const { return link_.get(); }
    Users users;

    void released() override { users.end_all(true); }
    bool idle(std::uint64_t wait_ns) override { return users.idle(wait_ns); }

private:
    void import(SharedMemory memory);
    void free() noexcept;

    Ref<Context> context_;
    Ref<Link> link_;
    ExternalMemory memory_ = nullptr;
    Address address_ = 0;
    Block* const block_;                // null where it is direct: the memory outlives its block
    const std::uint64_t size_;
};

// Safe from any thread.
class Link : public Counted {
public:
    // Throws where there is no driver, or none of its devices is the engine's: with every device that there is.
    // ahead: of the engine's options.
    Link(Engine& engine, bool ahead);
    ~Link() override;

    const Device& device() const { return device_; }
    const Ref<Context>& context() const { return context_; }

    // The block for CUDA. The import is made on first need and kept with the block.
    Mapping& map(const Ref<Block>& block);
    // The mapping that all of this lies in, or null. Whoever asks holds memory within it, and so the mapping.
    Mapping* find(Address low, Address high);

    // The device that an address belongs to; and that it is the engine's.
    int ordinal_of(Address address) const;
    void require_here(int ordinal) const;

    // What the stream is given from now on comes behind what the engine has begun: on the device where semaphores
    // can be shared, else the host waits here.
    void order(Stream stream);
    // How that is done.
    Sync sync() const { return sync_; }

    // For whatever we have done by CUDA ourselves.
    Stream stream() const { return stream_; }
    // What was put on that stream, and what it was told to wait for, is done. Waits, bounded.
    void finish();
    // The stream that comes behind another one's work up to now.
    void follow(Stream other);
    // Everybody who was lent this memory is done with what they have begun. Waits, bounded.
    void settle(Mapping& mapping);
    // Memory of this engine's, which stages read where it lies, with a copy of these bytes of CUDA's.
    Ref<Block> copy_in(Address from, std::uint64_t size);
    // The same of an array's rows, from its first byte, one behind the other.
    Ref<Block> copy_in(ArrayHandle from, std::uint64_t row_size, std::uint64_t rows);
    void copy_to_host(std::byte* to, Address from, std::uint64_t size);

    // The engine is about to go. Memory that was mapped stays what it is.
    void close();

private:
    friend class Mapping;
    Engine& engine() const;
    Ref<Block> copied_in(std::uint64_t size, const std::function<Result(Address to)>& copy);
    void mark(EventHandle event, Stream stream);

    Device device_;
    Ref<Context> context_;
    Stream stream_ = nullptr;
    std::unique_ptr<Semaphores> semaphores_;
    const bool ahead_;
    Sync sync_ = Sync::host;
    mutable std::mutex mutex_;                       // of the mappings: what the engine does may end some
    std::map<Address, Mapping*> mappings_;
    mutable std::mutex engine_mutex_;
    Engine* engine_;
};

// The UUID of the first usable Vulkan device that CUDA sees as well: what an engine is to be made on. Throws where
// there is none, with every device that there is.
std::string device_for_both();

}  // namespace foveate::cuda
