// SPDX-License-Identifier: Apache-2.0
#include "engine/compute/list.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "engine/cpu/memory.h"
#include "engine/error.h"

namespace foveate::compute {

namespace {

constexpr std::uint64_t LEAST = 4096;           // bytes of a buffer
constexpr std::uint64_t KEEP = 512ull << 20;    // bytes kept for reuse at most

class Numbers;

// A buffer of the executor's. Its last release may come on any thread: the executor hears of it with the next list.
class NumberedBlock final : public Block {
public:
    NumberedBlock(Ref<Numbers> numbers, std::uint64_t number, std::uint64_t capacity, std::uint64_t size,
                  const void* owner);
    ~NumberedBlock() override;
    std::byte* host() override { return nullptr; }
    std::uint64_t number() const { return number_; }
    const Numbers* numbers() const { return numbers_.get(); }

private:
    Ref<Numbers> numbers_;
    std::uint64_t number_, capacity_;
};

// Which numbers stand for what. Safe from any thread.
class Numbers final : public Counted {
public:
    explicit Numbers(std::uint64_t budget) : budget_(budget) {}

    Ref<Block> acquire(std::uint64_t size, const void* owner)
    {
        std::uint64_t step = LEAST;
        while (step * 8 < size) step *= 2;      // a pool of many sizes wastes a quarter at most
        const std::uint64_t capacity = std::max(step, (size + step - 1) / step * step);
        std::lock_guard lock(mutex_);
        require(used_ - kept_ + capacity <= budget_, "memory: budget",
                std::to_string(used_ - kept_ + capacity) + " bytes", "at most " + std::to_string(budget_) + " bytes",
                "Free results, send fewer images at once, or raise memory_budget.", ErrorKind::memory);
        std::uint64_t number = 0;
        const auto found = free_.find(capacity);
        if (found != free_.end()) {
            number = found->second;
            free_.erase(found);
            kept_ -= capacity;
        } else {
            trim(budget_ - (used_ - kept_) - capacity);
            number = ++last_;
            made_.push_back({number, capacity});
            used_ += capacity;
            peak_ = std::max(peak_, used_);
        }
        retain();
        return Ref<Block>(new NumberedBlock(Ref<Numbers>(this), number, capacity, size, owner));
    }

    void give_back(std::uint64_t number, std::uint64_t capacity)
    {
        if (getpid() != process_) return;       // another thread of the parent may have held the lock
        std::lock_guard lock(mutex_);
        free_.emplace(capacity, number);
        kept_ += capacity;
        trim(KEEP);
    }

    // What came and went since the last list.
    void tell(List& list)
    {
        std::lock_guard lock(mutex_);
        list.made = std::exchange(made_, {});
        list.dropped = std::exchange(dropped_, {});
    }

    std::uint64_t used() const
    {
        std::lock_guard lock(mutex_);
        return used_;
    }
    std::uint64_t peak() const
    {
        std::lock_guard lock(mutex_);
        return peak_;
    }

private:
    void trim(std::uint64_t keep)
    {
        while (kept_ > keep) {
            const auto largest = std::prev(free_.end());
            kept_ -= largest->first;
            used_ -= largest->first;
            dropped_.push_back(largest->second);
            free_.erase(largest);
        }
    }

    const std::uint64_t budget_;
    const pid_t process_ = getpid();
    mutable std::mutex mutex_;
    std::uint64_t last_ = 0, used_ = 0, kept_ = 0, peak_ = 0;
    std::multimap<std::uint64_t, std::uint64_t> free_;  // by capacity
    std::vector<List::Made> made_;
    std::vector<std::uint64_t> dropped_;
};

NumberedBlock::NumberedBlock(Ref<Numbers> numbers, std::uint64_t number, std::uint64_t capacity, std::uint64_t size,
                             const void* owner)
    : numbers_(std::move(numbers)), number_(number), capacity_(capacity)
{
    size_ = size;
    owner_ = owner;
}

NumberedBlock::~NumberedBlock() { numbers_->give_back(number_, capacity_); }

class ListRecord final : public ComputeRecord {
public:
    ListRecord(Ref<Numbers> numbers, Ref<cpu::Memory> host, const Block& dummy, const void* owner)
        : numbers_(std::move(numbers)), host_(std::move(host)), dummy_(dummy), owner_(owner)
    {
    }

    const Numbers* numbers() const { return numbers_.get(); }
    List& list() { return list_; }

    Ref<Block> buffer(std::uint64_t size) override
    {
        Ref<Block> made = numbers_->acquire(size, owner_);
        use(made);
        return made;
    }
    void use(const Ref<Block>& block) override { held_.push_back(block); }
    std::byte* fill(const Ref<Block>& block) override
    {
        return transfer(Step::Kind::upload, block, block->size())->host();
    }
    Ref<Block> read_back(const Ref<Block>& block)
    {
        use(block);
        return transfer(Step::Kind::read, block, block->size());
    }
    void begin_stage() override {}              // every step sees what was before it
    void dispatch(const Program& program, std::span<const std::byte> params, std::span<const Binding> bindings,
                  const Groups& groups) override;

    void clear()
    {
        list_ = {};
        held_.clear();
    }

private:
    Ref<Block> transfer(Step::Kind kind, const Ref<Block>& block, std::uint64_t size)
    {
        Ref<Block> host = host_->allocate(size);
        use(host);
        Step step{kind};
        step.buffer = static_cast<const NumberedBlock&>(*block).number();
        step.host = host->host();
        step.size = size;
        if (size) list_.steps.push_back(std::move(step));
        return host;
    }

    Ref<Numbers> numbers_;
    Ref<cpu::Memory> host_;
    const Block& dummy_;
    const void* owner_;
    List list_;
    std::vector<Ref<Block>> held_;
};

void ListRecord::dispatch(const Program& program, std::span<const std::byte> params,
                          std::span<const Binding> bindings, const Groups& groups)
{
    Step step{Step::Kind::dispatch};
    step.program = &program;
    step.params.assign(params.begin(), params.end());
    step.groups = groups;
    for (const Slot& slot : program.reflection().slots) {
        const Binding* found = nullptr;
        for (const Binding& binding : bindings)
            if (slot.name == binding.name) found = &binding;
        require(found, std::string("Engine: shader ") + program.name(), "the block " + slot.name,
                "one that its stage binds", "Build foveate again.", ErrorKind::device);
        const auto& block = static_cast<const NumberedBlock&>(found->buffer ? *found->buffer : dummy_);
        const std::uint64_t offset = found->buffer ? found->offset : 0;
        // Shaders see whole words; a buffer's capacity is whole pages.
        const std::uint64_t whole = std::max<std::uint64_t>((block.size() + 3) / 4 * 4, 4);
        step.parts.push_back({slot.binding, block.number(), offset, std::min(found->size, whole - offset)});
    }
    list_.steps.push_back(std::move(step));
}

class ListBackend final : public ComputeBackend {
public:
    ListBackend(Ref<Executor> executor, std::uint64_t memory_budget)
        : executor_(std::move(executor)), numbers_(new Numbers(memory_budget)),
          host_(new cpu::Memory(memory_budget, static_cast<Backend*>(this))), caps_(executor_->caps())
    {
        caps_.host_visible = false;
        caps_.memory_budget = memory_budget;
        caps_.image_bytes_max = WINDOWS * WINDOW;
        dummy_ = numbers_->acquire(LEAST, static_cast<Backend*>(this));
    }
    ~ListBackend() override { host_->close(); }

    const Caps& caps() const override { return caps_; }
    Counters counters() const override
    {
        Counters counters;
        counters.records = records_;
        counters.pipelines_created = executor_->pipelines_created();
        counters.image_copies = image_copies_;
        counters.host_waits = waits_;
        counters.memory_used = numbers_->used() + host_->used();
        counters.memory_peak = numbers_->peak() + host_->peak();
        return counters;
    }
    Ref<Record> begin() override
    {
        ++records_;
        return Ref<Record>(new ListRecord(numbers_, host_, *dummy_, static_cast<Backend*>(this)));
    }
    Ref<Block> tensor(Record& record, const Ref<Block>& block) override
    {
        if (!block || block->host()) return block;
        require(owns(*block), "tensor: block", "memory of another engine", "memory the host can read",
                "Make it with this Engine.");
        return recording(record).read_back(block);
    }
    Ref<Block> empty(std::uint64_t size) override { return host_->allocate(size); }
    SharedMemory share(const Ref<Block>&, bool) override
    {
        fail(ErrorKind::unsupported, "Engine: share", "memory of the " + caps_.backend + " backend", "of vulkan",
             "Use Engine(backend=\"vulkan\", share=True).");
    }
    Ref<Block> attach(SharedMemory) override
    {
        fail(ErrorKind::unsupported, "Engine: attach", "the " + caps_.backend + " backend", "vulkan",
             "Use Engine(backend=\"vulkan\", share=True).");
    }
    SharedSemaphore signal() override { return {}; }
    SharedSemaphore expect() override
    {
        fail(ErrorKind::unsupported, "Engine: expect", "the " + caps_.backend + " backend", "vulkan",
             "Use Engine(backend=\"vulkan\", share=True).");
    }
    void wait(SharedSemaphore point) override
    {
        require(point.kind == Sync::host, "Engine: wait", "the " + caps_.backend + " backend", "vulkan",
                "Use Engine(backend=\"vulkan\", share=True).", ErrorKind::unsupported);
    }
    void settle() override {}
    void finish(Record& record) override
    {
        ListRecord& recording = this->recording(record);
        List& list = recording.list();
        if (list.steps.empty()) return;
        {
            std::lock_guard lock(run_);
            numbers_->tell(list);
            executor_->run(list);
            ++waits_;
        }
        recording.clear();
    }

private:
    const Limits& limits() const override { return executor_->limits(); }
    const Program& program(const char* name, std::uint32_t windows) const override
    {
        const std::lock_guard lock(mutex_);
        for (const auto& program : programs_)
            if (program->windows() == windows && std::string_view(program->name()) == name) return *program;
        for (const Shader& shader : shaders())
            if (std::string_view(shader.name) == name)
                return *programs_.emplace_back(std::make_unique<Program>(shader, windows));
        fail(ErrorKind::unsupported, std::string("Engine: shader ") + name, "none", "one in this build",
             "Build foveate again.");
    }
    ListRecord& recording(Record& record) const override
    {
        auto* ours = dynamic_cast<ListRecord*>(&record);
        require(ours && ours->numbers() == numbers_.get(), "Engine: record", "another backend's", "this one's");
        return *ours;
    }
    bool owns(const Block& block) const override
    {
        const auto* ours = dynamic_cast<const NumberedBlock*>(&block);
        return ours && ours->numbers() == numbers_.get();
    }

    Ref<Executor> executor_;
    Ref<Numbers> numbers_;
    Ref<cpu::Memory> host_;
    Ref<Block> dummy_;
    Caps caps_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Program>> programs_;
    std::mutex run_;
    std::atomic<std::uint64_t> records_{0}, waits_{0};
};

}  // namespace

Ref<Backend> make_list_backend(Ref<Executor> executor, std::uint64_t memory_budget)
{
    return Ref<Backend>(new ListBackend(std::move(executor), memory_budget));
}

}  // namespace foveate::compute
