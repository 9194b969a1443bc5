// SPDX-License-Identifier: Apache-2.0
#include "engine/compute/list.h"

#include <algorithm>

#include "engine/compute/numbers.h"
#include "engine/cpu/memory.h"
#include "engine/error.h"

namespace foveate::compute {

namespace {

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
    // Bytes of one buffer into another, on the device.
    void copy(const Ref<Block>& to, std::uint64_t offset, const Ref<Block>& from, std::uint64_t from_offset,
              std::uint64_t size)
    {
        use(from);
        Step step{Step::Kind::copy};
        step.buffer = static_cast<const NumberedBlock&>(*to).number();
        step.offset = offset;
        step.from = static_cast<const NumberedBlock&>(*from).number();
        step.from_offset = from_offset;
        step.size = size;
        list_.steps.push_back(std::move(step));
    }
    Ref<Block> read_back(const Ref<Block>& block)
    {
        use(block);
        return transfer(Step::Kind::read, block, block->size());
    }
    void begin_stage() override {}              // every step sees what was before it
    Ref<Block> texture(const Ref<Block>& rows, std::uint64_t offset, const TextureShape& shape) override
    {
        const Ref<Block> made = numbers_->acquire(shape.size(), owner_, shape);
        use(made);
        Step step{Step::Kind::texture};
        step.buffer = static_cast<const NumberedBlock&>(*made).number();
        step.from = static_cast<const NumberedBlock&>(*rows).number();
        step.from_offset = offset;
        list_.steps.push_back(std::move(step));
        return made;
    }
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
        dummy_ = numbers_->acquire(Numbers::LEAST, static_cast<Backend*>(this));
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
    Ref<Block> empty_on_device(std::uint64_t size) override
    {
        const Ref<Block> block = numbers_->acquire(size, static_cast<Backend*>(this));
        const std::lock_guard lock(run_);
        hand_over();
        return block;
    }
    SharedMemory share(const Ref<Block>& block, bool accompanied) override
    {
        if (!accompanied || !block || !owns(*block))
            fail(ErrorKind::unsupported, "Engine: share", "memory of the " + caps_.backend + " backend", "of vulkan",
                 "Use Engine(backend=\"vulkan\", share=True).");
        auto& ours = static_cast<NumberedBlock&>(*block);
        SharedMemory memory;
        memory.buffer_size = memory.allocation_size = ours.capacity();
        memory.size = ours.size();
        const std::lock_guard lock(run_);
        hand_over();
        memory.address = executor_->address(ours.number());
        numbers_->lend(ours, memory.address, executor_);
        return memory;
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
    // Before others work with a buffer: the executor knows it, and a run that was given up no longer does.
    void hand_over()
    {
        List list;
        numbers_->tell(list);
        executor_->run(list);
    }
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
    Place place(ComputeRecord& record, const std::byte* low, const std::byte* high, bool,
                std::uint64_t size_max) const override
    {
        const Ref<NumberedBlock> block = numbers_->lent(low, high);
        if (!block || block->size() > size_max) return {};
        record.use(block);
        return {block, block->base()};
    }
    bool hidden(const std::byte* low, const std::byte* high) const override { return bool(numbers_->lent(low, high)); }
    void gather(ComputeRecord& record, const Ref<Block>& to, std::uint64_t offset, const std::byte* low,
                const std::byte* high) const override
    {
        const Ref<NumberedBlock> from = numbers_->lent(low, high);
        static_cast<ListRecord&>(record).copy(to, offset, from, std::uint64_t(low - from->base()),
                                              std::uint64_t(high - low));
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
