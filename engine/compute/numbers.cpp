// SPDX-License-Identifier: Apache-2.0
#include "engine/compute/numbers.h"

#include <unistd.h>

#include <algorithm>

#include "engine/error.h"
#include "engine/limits.h"

namespace foveate::compute {

namespace {

constexpr std::uint64_t KEEP = 512ull << 20;    // bytes kept for reuse at most

bool idle(const NumberedBlock::Kept& kept, std::uint64_t wait_ns)
{
    return !kept.companion || kept.companion->idle(wait_ns);
}

}  // namespace

NumberedBlock::NumberedBlock(Ref<Numbers> numbers, Kept kept, std::uint64_t size, const void* owner)
    : numbers_(std::move(numbers)), number_(kept.number), capacity_(kept.capacity), address_(kept.address),
      shape_(kept.shape)
{
    size_ = size;
    owner_ = owner;
    companion_ = std::move(kept.companion);
}

NumberedBlock::~NumberedBlock() { numbers_->give_back({number_, capacity_, address_, std::move(companion_), shape_}); }

Numbers::Numbers(std::uint64_t budget) : budget_(budget), process_(getpid()) {}

Numbers::~Numbers()
{
    if (getpid() != process_) {     // another thread of the parent may have held any lock
        for (auto& [capacity, kept] : free_) kept.companion.detach();
        executor_.detach();
        return;
    }
    // What others still work with cannot be freed, and waiting for ever is worse than losing it.
    for (auto& [capacity, kept] : free_)
        if (!idle(kept, limits::WAIT_NS)) executor_->lose(kept.number);
}

Ref<Block> Numbers::acquire(std::uint64_t size, const void* owner, const TextureShape& shape)
{
    std::uint64_t step = LEAST;
    while (step * 8 < size) step *= 2;      // a pool of many sizes wastes a quarter at most
    const std::uint64_t capacity = std::max(step, (size + step - 1) / step * step);
    std::lock_guard lock(mutex_);
    const auto room_for = [&](std::uint64_t others) {
        require(others + capacity <= budget_, "memory: budget", std::to_string(others + capacity) + " bytes",
                "at most " + std::to_string(budget_) + " bytes",
                "Free results, send fewer images at once, or raise memory_budget.", ErrorKind::memory);
    };
    room_for(used_ - kept_);
    NumberedBlock::Kept taken{0, capacity, 0, {}, shape};
    const auto [first, last] = free_.equal_range(capacity);
    const auto found = std::find_if(first, last, [&](const auto& entry) {
        return entry.second.shape == shape && idle(entry.second, 0);
    });
    if (found != last) {
        taken = std::move(found->second);
        free_.erase(found);
        kept_ -= capacity;
    } else {
        const std::uint64_t keep = budget_ - (used_ - kept_) - capacity;
        trim(keep, 0);
        if (kept_ > keep) trim(keep, limits::WAIT_NS);
        room_for(used_ - kept_ + (kept_ > keep ? kept_ : 0));
        taken.number = ++last_;
        made_.push_back({taken.number, capacity, shape});
        used_ += capacity;
        peak_ = std::max(peak_, used_);
    }
    const std::uint64_t address = taken.address;
    retain();
    auto* block = new NumberedBlock(Ref<Numbers>(this), std::move(taken), size, owner);
    if (address) lent_[address] = block;
    return Ref<Block>(block);
}

void Numbers::give_back(NumberedBlock::Kept kept)
{
    if (getpid() != process_) {     // another thread of the parent may have held the lock
        kept.companion.detach();
        return;
    }
    if (kept.companion) kept.companion->released();
    std::lock_guard lock(mutex_);
    lent_.erase(kept.address);
    kept_ += kept.capacity;
    free_.emplace(kept.capacity, std::move(kept));
    trim(KEEP, 0);
}

void Numbers::lend(NumberedBlock& block, std::uint64_t address, const Ref<Executor>& executor)
{
    std::lock_guard lock(mutex_);
    executor_ = executor;
    block.address_ = address;
    lent_[address] = &block;
}

Ref<NumberedBlock> Numbers::lent(const std::byte* low, const std::byte* high)
{
    std::lock_guard lock(mutex_);
    const auto after = lent_.upper_bound(reinterpret_cast<std::uintptr_t>(low));
    if (after == lent_.begin()) return {};
    NumberedBlock* block = std::prev(after)->second;
    if (high > block->base() + block->capacity()) return {};
    block->retain();
    return Ref<NumberedBlock>(block);
}

void Numbers::tell(List& list)
{
    std::lock_guard lock(mutex_);
    list.made = std::exchange(made_, {});
    list.dropped = std::exchange(dropped_, {});
}

std::uint64_t Numbers::used() const
{
    std::lock_guard lock(mutex_);
    return used_;
}

std::uint64_t Numbers::peak() const
{
    std::lock_guard lock(mutex_);
    return peak_;
}

// The largest first; what others work with is left, unless they are done within wait_ns.
void Numbers::trim(std::uint64_t keep, std::uint64_t wait_ns)
{
    for (auto at = free_.end(); kept_ > keep && at != free_.begin();) {
        --at;
        if (!idle(at->second, wait_ns)) continue;
        kept_ -= at->first;
        used_ -= at->first;
        dropped_.push_back(at->second.number);
        at = free_.erase(at);
    }
}

}  // namespace foveate::compute
