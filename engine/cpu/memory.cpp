// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/memory.h"

#include <cstdlib>
#include <new>
#include <string>

#include "engine/error.h"

namespace foveate::cpu {

namespace {

constexpr std::uint64_t PAGE = 4096;
constexpr std::uint64_t KEEP = 512ull << 20;  // bytes kept for reuse at most

// Steps of an eighth: a pool of images of many sizes reuses blocks, and wastes at most 12 %.
std::uint64_t size_class(std::uint64_t size)
{
    std::uint64_t step = PAGE;
    while (step * 16 < size) step *= 2;
    return (size + step - 1) / step * step;
}

}  // namespace

HostBlock::HostBlock(Ref<Memory> memory, std::byte* data, std::uint64_t capacity)
    : memory_(std::move(memory)), data_(data), capacity_(capacity)
{
}

HostBlock::~HostBlock() { std::free(data_); }

void HostBlock::last_release()
{
    Ref<Memory> memory = std::move(memory_);
    if (memory->forked()) {
        memory.detach();
        return;
    }
    memory->take_back(this);
}

Memory::~Memory() { trim(0); }

Ref<Block> Memory::allocate(std::uint64_t size)
{
    const std::uint64_t capacity = size_class(size ? size : 1);
    HostBlock* block = nullptr;
    {
        std::lock_guard lock(mutex_);
        require(live_ + capacity <= budget_, "memory: budget", std::to_string(live_ + capacity) + " bytes",
                "at most " + std::to_string(budget_) + " bytes",
                "Free results, send fewer images at once, or raise memory_budget.", ErrorKind::memory);
        auto found = free_.lower_bound(capacity);
        if (found != free_.end() && found->first <= capacity + capacity / 4) {
            block = found->second;
            kept_ -= block->capacity_;
            free_.erase(found);
        } else {
            trim(budget_ - live_ - capacity);
        }
        live_ += block ? block->capacity_ : capacity;
        peak_ = std::max(peak_, live_ + kept_);
    }
    retain();
    if (block) {
        block->memory_ = Ref<Memory>(this);
        block->revive();
    } else {
        auto* data = static_cast<std::byte*>(std::aligned_alloc(PAGE, capacity));
        if (!data) {
            {
                std::lock_guard lock(mutex_);
                live_ -= capacity;
            }
            release();
            fail(ErrorKind::memory, "memory: allocation", std::to_string(capacity) + " bytes",
                 "what the machine still has", "Send fewer images at once.");
        }
        block = new HostBlock(Ref<Memory>(this), data, capacity);
    }
    block->size_ = size;
    block->owner_ = owner_;
    return Ref<Block>(block);
}

void Memory::take_back(HostBlock* block)
{
    std::lock_guard lock(mutex_);
    live_ -= block->capacity_;
    if (closed_ || kept_ + block->capacity_ > KEEP) {
        delete block;
        return;
    }
    try {
        free_.emplace(block->capacity_, block);
        kept_ += block->capacity_;
    } catch (const std::bad_alloc&) {
        delete block;  // no room to remember it by: it is not kept
    }
}

bool Memory::forked() const { return getpid() != process_; }

void Memory::trim(std::uint64_t keep)
{
    while (kept_ > keep && !free_.empty()) {
        auto largest = std::prev(free_.end());
        kept_ -= largest->first;
        delete largest->second;
        free_.erase(largest);
    }
}

void Memory::close()
{
    std::lock_guard lock(mutex_);
    closed_ = true;
    trim(0);
}

std::uint64_t Memory::used() const
{
    std::lock_guard lock(mutex_);
    return live_ + kept_;
}

std::uint64_t Memory::peak() const
{
    std::lock_guard lock(mutex_);
    return peak_;
}

}  // namespace foveate::cpu
