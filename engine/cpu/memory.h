// SPDX-License-Identifier: Apache-2.0
// Host memory in blocks that come back. A fresh megabyte costs more in page faults than a pyramid level costs
// in arithmetic, so freed blocks are kept for the next call, up to a cap.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <vector>

#include "engine/backend.h"

namespace foveate::cpu {

class Memory;

class HostBlock final : public Block {
public:
    HostBlock(Ref<Memory> memory, std::byte* data, std::uint64_t capacity);
    ~HostBlock() override;
    std::byte* host() override { return data_; }

protected:
    void last_release() override;

private:
    friend class Memory;
    Ref<Memory> memory_;
    std::byte* data_;
    std::uint64_t capacity_;
};

class Memory final : public Counted {
public:
    Memory(std::uint64_t budget, const void* owner) : budget_(budget), owner_(owner) {}
    ~Memory() override;

    // 4096-aligned, contents undefined. Throws ErrorKind::memory over the budget.
    Ref<Block> allocate(std::uint64_t size);
    bool forked() const;  // in a child process, where another thread may have held the lock for ever
    void close();  // the backend is gone: nothing is kept any more
    std::uint64_t used() const;
    std::uint64_t peak() const;

private:
    friend class HostBlock;
    void take_back(HostBlock* block);
    void trim(std::uint64_t keep);

    mutable std::mutex mutex_;
    std::multimap<std::uint64_t, HostBlock*> free_;  // by capacity
    std::uint64_t budget_, live_ = 0, kept_ = 0, peak_ = 0;
    const void* owner_;
    const pid_t process_ = getpid();
    bool closed_ = false;
};

}  // namespace foveate::cpu
