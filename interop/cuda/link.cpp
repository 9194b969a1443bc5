// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/link.h"

#include <utility>

#include "engine/error.h"
#include "engine/limits.h"

namespace foveate::cuda {

namespace {

// An event that does not outlive its use.
class Event {
public:
    explicit Event(const Context& context) : context_(context)
    {
        check(context.cu, context.cu.EventCreate(&handle_, EVENT_DISABLE_TIMING), "create an event");
    }
    ~Event() { context_.cu.EventDestroy(handle_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    EventHandle get() const { return handle_; }

private:
    const Context& context_;
    EventHandle handle_ = nullptr;
};

std::string listed(const std::vector<Device>& devices)
{
    std::string text;
    for (const Device& device : devices) {
        text += (text.empty() ? "" : ", ") + std::to_string(device.ordinal) + " " + device.name + " " + device.uuid;
        if (device.instance_uuid != device.uuid) text += " (" + device.instance_uuid + ")";
    }
    return text.empty() ? "none" : text;
}

[[noreturn]] void fail_match(const std::vector<Device>& devices, const std::string& wanted)
{
    std::string others;
    for (const Candidate& candidate : Engine::candidates())
        if (!candidate.uuid.empty())
            others += (others.empty() ? "" : ", ") + candidate.device + " " + candidate.uuid +
                      (candidate.usable ? "" : " (not usable)");
    fail(ErrorKind::unsupported, "cuda: device", wanted,
         "one of CUDA's: " + listed(devices) + "; Vulkan has: " + (others.empty() ? "none" : others),
         "Name one that both have by device=, or leave out cuda=True.");
}

[[noreturn]] void fail_wait(const char* what)
{
    fail(ErrorKind::timeout, std::string("cuda: ") + what,
         "no end within " + std::to_string(wait_limit_ns / 1000000) + " ms", "an end",
         "Look for a kernel that never ends, or a stream that waits for one.");
}

}  // namespace

std::string device_for_both()
{
    const std::vector<Device> found = devices(need_driver());
    for (const Candidate& candidate : Engine::candidates())
        if (candidate.usable && candidate.shares && device_of(found, candidate.uuid)) return candidate.uuid;
    fail_match(found, "no Vulkan device with the UUID of any");
}

Mapping::Mapping(Ref<Context> context, Link* link, SharedMemory memory, Block* block)
    : users(context), context_(std::move(context)), address_(memory.address), block_(memory.address ? nullptr : block),
      size_(memory.buffer_size)
{
    link->retain();
    link_ = Ref<Link>(link);
    if (!address_) import(std::move(memory));
    std::lock_guard lock(link_->mutex_);
    link_->mappings_.emplace(address_, this);
}

void Mapping::import(SharedMemory memory)
{
    const Driver& cu = context_->cu;
    const Current current(*context_);
    MemoryHandleDesc desc{};
    desc.type = MEMORY_OPAQUE_FD;
    desc.handle.fd = memory.fd.get();
    desc.size = memory.allocation_size;
    desc.flags = memory.dedicated ? unsigned(MEMORY_DEDICATED) : 0u;
    check(cu, cu.ImportExternalMemory(&memory_, &desc), "import memory");
    memory.fd.release();  // the driver's now, since it succeeded
    // The whole of it, once: two mappings of one memory may lie at two addresses.
    MemoryBufferDesc whole{};
    whole.size = memory.allocation_size;
    const Result result = cu.ExternalMemoryGetMappedBuffer(&address_, memory_, &whole);
    if (result != SUCCESS) {
        free();
        check(cu, result, "map memory");
    }
}

Mapping::~Mapping()
{
    {
        std::lock_guard lock(link_->mutex_);
        link_->mappings_.erase(address_);
    }
    const Current current(*context_, std::nothrow);
    if (current.result() == SUCCESS) free();
}

// The address before the memory that it shows: the driver asks for both.
void Mapping::free() noexcept
{
    if (!memory_) return;
    if (address_) context_->cu.MemFree(address_);
    context_->cu.DestroyExternalMemory(memory_);
}

Link::Link(Engine& engine, bool ahead) : ahead_(ahead), engine_(&engine)
{
    const bool own = engine.caps(Stage::image).backend == "cuda";
    for (std::uint32_t stage = 0; stage < STAGE_COUNT; ++stage) {
        const Caps& caps = engine.caps(Stage(stage));
        require(caps.backend == (own ? "cuda" : "vulkan"), "cuda: stage " + std::string(STAGE_NAMES[stage]),
                "on the " + caps.backend, "vulkan or cuda, the same for every stage",
                "Use backend=\"vulkan\", \"cuda\" or \"auto\" with cuda=True.", ErrorKind::unsupported);
    }
    const Driver& driver = need_driver();
    const std::vector<Device> found = devices(driver);
    const Caps& caps = engine.caps(Stage::sample);
    const Device* match = device_of(found, caps.uuid);
    if (!match) fail_match(found, caps.device + " " + caps.uuid);
    device_ = *match;
    context_ = Ref<Context>(new Context(driver, device_.ordinal));
    const Current current(*context_);
    check(driver, driver.StreamCreate(&stream_, STREAM_NON_BLOCKING), "create a stream");
    semaphores_ = std::make_unique<Semaphores>(context_);
    sync_ = caps.sync == Sync::timeline && !device_.timelines ? Sync::host : caps.sync;
}

void Link::order(Stream stream)
{
    std::lock_guard lock(engine_mutex_);
    // Else every call of the engine has waited, as its end has.
    if (!ahead_ || !engine_) return;
    if (sync_ == Sync::host) return engine_->settle();
    semaphores_->wait(engine_->signal(), stream);
}

Link::~Link()
{
    semaphores_ = nullptr;
    const Current current(*context_, std::nothrow);
    if (current.result() == SUCCESS) context_->cu.StreamDestroy(stream_);
}

void Link::close()
{
    std::lock_guard lock(engine_mutex_);
    engine_ = nullptr;
}

Engine& Link::engine() const
{
    std::lock_guard lock(engine_mutex_);
    require(engine_, "cuda: engine", "a closed one", "an open one", "Take arrays over before close().");
    return *engine_;
}

Mapping& Link::map(const Ref<Block>& block)
{
    const auto known = [&]() -> Mapping* {
        std::lock_guard lock(mutex_);
        return static_cast<Mapping*>(block->companion());  // nobody else gives companions to this engine's blocks
    };
    if (Mapping* mapping = known()) return *mapping;
    // Not under the lock: the engine may free other memory on the way, and that ends mappings.
    Ref<Mapping> made(new Mapping(context_, this, engine().share(block, true), block.get()));
    std::lock_guard lock(mutex_);
    if (!block->companion()) block->set_companion(made);
    return static_cast<Mapping&>(*block->companion());
}

Mapping* Link::find(Address low, Address high)
{
    std::lock_guard lock(mutex_);
    auto after = mappings_.upper_bound(low);
    if (after == mappings_.begin()) return nullptr;
    Mapping* mapping = std::prev(after)->second;
    return high <= mapping->address() + mapping->size() ? mapping : nullptr;
}

int Link::ordinal_of(Address address) const
{
    const Current current(*context_);
    int ordinal = -1;
    check(context_->cu, context_->cu.PointerGetAttribute(&ordinal, POINTER_DEVICE_ORDINAL, address),
          "look up an address");
    return ordinal;
}

void Link::require_here(int ordinal) const
{
    require(ordinal == device_.ordinal, "image: device", "CUDA device " + std::to_string(ordinal),
            std::to_string(device_.ordinal) + ", the engine's", "Copy the array there first.", ErrorKind::unsupported);
}

void Link::mark(EventHandle event, Stream stream)
{
    check(context_->cu, context_->cu.EventRecord(event, stream), "record an event");
}

void Link::finish()
{
    const Current current(*context_);
    const Event event(*context_);
    mark(event.get(), stream_);
    const Result result = wait_for(context_->cu, event.get(), limits::WAIT_NS);
    if (result == NOT_READY) fail_wait("wait for the producer's stream");
    check(context_->cu, result, "wait for the producer's stream");
}

void Link::follow(Stream other)
{
    const Current current(*context_);
    const Event event(*context_);
    mark(event.get(), other);
    check(context_->cu, context_->cu.StreamWaitEvent(stream_, event.get(), 0), "wait for an event");
}

void Link::settle(Mapping& mapping)
{
    mapping.users.end_all(false);
    if (!mapping.users.idle(limits::WAIT_NS)) fail_wait("wait for the streams that an array was lent to");
}

Ref<Block> Link::copy_in(Address from, std::uint64_t size)
{
    return copied_in(size, [&](Address to) { return context_->cu.MemcpyDtoDAsync(to, from, size, stream_); });
}

Ref<Block> Link::copy_in(ArrayHandle from, std::uint64_t row_size, std::uint64_t rows)
{
    return copied_in(row_size * rows, [&](Address to) {
        Copy2dDesc desc{};
        desc.from.type = MEMORY_ARRAY;
        desc.from.array = from;
        desc.to.type = MEMORY_DEVICE;
        desc.to.address = to;
        desc.to.pitch = desc.row_size = row_size;
        desc.rows = rows;
        return context_->cu.Memcpy2DAsync(&desc, stream_);
    });
}

Ref<Block> Link::copied_in(std::uint64_t size, const std::function<Result(Address to)>& copy)
{
    Ref<Block> block = engine().empty(size, true);
    Mapping& to = map(block);
    const Current current(*context_);
    check(context_->cu, copy(to.address()), "copy an image");
    to.users.end(stream_);  // if the wait fails, nobody else gets the memory before the copy is done
    if (!to.users.idle(limits::WAIT_NS)) fail_wait("wait for the producer's stream");
    return block;
}

void Link::copy_to_host(std::byte* to, Address from, std::uint64_t size)
{
    finish();  // bounded, which the copy itself is not
    const Current current(*context_);
    check(context_->cu, context_->cu.MemcpyDtoHAsync(to, from, size, stream_), "copy to the host");
    finish();
}

}  // namespace foveate::cuda
