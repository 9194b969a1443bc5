// SPDX-License-Identifier: Apache-2.0
// The buffers and textures of an executor, by number: which are in use, which can be used again, and who else works
// with them.
#pragma once

#include <sys/types.h>

#include <map>
#include <mutex>

#include "engine/compute/list.h"

namespace foveate::compute {

class Numbers;

// A buffer or texture of the executor's. Its last release may come on any thread: the executor hears of it with the
// next list.
class NumberedBlock final : public Block {
public:
    // What stays with a number when its block has gone.
    struct Kept {
        std::uint64_t number = 0, capacity = 0;
        std::uint64_t address = 0;      // 0: it was never lent
        Ref<Companion> companion;
        TextureShape shape;
    };
    NumberedBlock(Ref<Numbers> numbers, Kept kept, std::uint64_t size, const void* owner);
    ~NumberedBlock() override;
    std::byte* host() override { return nullptr; }
    std::uint64_t number() const { return number_; }
    std::uint64_t capacity() const { return capacity_; }
    const Numbers* numbers() const { return numbers_.get(); }
    // Where the device has it. The host reads nothing there.
    const std::byte* base() const { return reinterpret_cast<const std::byte*>(std::uintptr_t(address_)); }

private:
    friend class Numbers;
    Ref<Numbers> numbers_;
    std::uint64_t number_, capacity_, address_;
    TextureShape shape_;
};

// Safe from any thread.
class Numbers final : public Counted {
public:
    static constexpr std::uint64_t LEAST = 4096;    // bytes of a buffer

    explicit Numbers(std::uint64_t budget);
    ~Numbers() override;

    // One that nobody else works with any more.
    Ref<Block> acquire(std::uint64_t size, const void* owner, const TextureShape& shape = {});
    void give_back(NumberedBlock::Kept kept);
    // The block has an address that others know: the executor lives as long as any block from now on.
    void lend(NumberedBlock& block, std::uint64_t address, const Ref<Executor>& executor);
    // The block that all of this lies in, or null. Whoever asks holds memory within it, and so the block.
    Ref<NumberedBlock> lent(const std::byte* low, const std::byte* high);
    // What came and went since the last list.
    void tell(List& list);

    std::uint64_t used() const;
    std::uint64_t peak() const;

private:
    void trim(std::uint64_t keep, std::uint64_t wait_ns);

    const std::uint64_t budget_;
    const pid_t process_;
    mutable std::mutex mutex_;
    Ref<Executor> executor_;            // null: nothing was ever lent
    std::uint64_t last_ = 0, used_ = 0, kept_ = 0, peak_ = 0;
    std::multimap<std::uint64_t, NumberedBlock::Kept> free_;    // by capacity
    std::map<std::uint64_t, NumberedBlock*> lent_;              // by address
    std::vector<List::Made> made_;
    std::vector<std::uint64_t> dropped_;
};

}  // namespace foveate::compute
