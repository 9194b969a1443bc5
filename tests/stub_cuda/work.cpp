// SPDX-License-Identifier: Apache-2.0
// Streams, events, memory and semaphores of others, kernels.
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "world.h"

using namespace stub;

namespace {

std::shared_ptr<Event> event_of(EventHandle handle)
{
    const auto found = world().events.find(handle);
    return found == world().events.end() ? nullptr : found->second;
}

Kernel kernels()
{
    const char* name = std::getenv("FOVEATE_STUB_CUDA_KERNELS");
    void* library = name && *name ? dlopen(name, RTLD_NOW | RTLD_LOCAL) : nullptr;
    return library ? reinterpret_cast<Kernel>(dlsym(library, "foveate_kernel")) : nullptr;
}

// Where the bytes of a driver's memory begin in its file.
std::size_t payload_of(int fd)
{
    char target[256] = {};
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t size = readlink(link.c_str(), target, sizeof target - 1);
    return size > 0 && std::strstr(target, "llvmpipe") ? 4096 : 0;
}

}  // namespace

extern "C" {

Result cuStreamCreate(Stream* stream, unsigned flags)
{
    ENTER("cuStreamCreate", field("flags", flags));
    World& w = world();
    *stream = reinterpret_cast<Stream>(std::uintptr_t(0x5000) + std::uintptr_t(++w.marks) * 16);
    w.streams[*stream];
    ++w.alive["streams"];
    return SUCCESS;
}
Result cuStreamDestroy_v2(Stream stream)
{
    ENTER("cuStreamDestroy");
    if (!world().streams.erase(stream)) return INVALID_HANDLE;
    --world().alive["streams"];
    return SUCCESS;
}
Result cuStreamQuery(Stream stream)
{
    ENTER("cuStreamQuery");
    return world().streams[stream].work.empty() ? SUCCESS : NOT_READY;
}
Result cuStreamSynchronize(Stream stream)
{
    ENTER("cuStreamSynchronize");
    return world().streams[stream].work.empty() ? SUCCESS : UNKNOWN;  // it would never come back
}
Result cuStreamWaitEvent(Stream stream, EventHandle handle, unsigned)
{
    ENTER("cuStreamWaitEvent", field("stream", stream));
    const std::shared_ptr<Event> event = event_of(handle);
    if (!event) return INVALID_HANDLE;
    const std::uint64_t mark = event->mark;  // what is recorded later is not waited for
    return enqueue(stream, [=] { return event->done || event->mark != mark; });
}

Result cuEventCreate(EventHandle* handle, unsigned flags)
{
    ENTER("cuEventCreate", field("flags", flags));
    *handle = reinterpret_cast<EventHandle>(std::uintptr_t(0x9000) + std::uintptr_t(++world().marks) * 16);
    world().events.emplace(*handle, std::make_shared<Event>());
    ++world().alive["events"];
    return SUCCESS;
}
Result cuEventDestroy_v2(EventHandle handle)
{
    ENTER("cuEventDestroy");
    // Waits that name it go on.
    if (!world().events.erase(handle)) {
        world().alive["events"] += 1000;
        return INVALID_HANDLE;
    }
    --world().alive["events"];
    return SUCCESS;
}
Result cuEventRecord(EventHandle handle, Stream stream)
{
    ENTER("cuEventRecord", field("stream", stream));
    const std::shared_ptr<Event> event = event_of(handle);
    if (!event) return INVALID_HANDLE;
    const std::uint64_t mark = ++world().marks, before = std::exchange(event->mark, mark);
    event->done = false;
    const Result result = enqueue(stream, [=] {
        if (event->mark == mark) event->done = true;
        return true;
    });
    if (result != SUCCESS) event->mark = before, event->done = true;
    return result;
}
Result cuEventQuery(EventHandle handle)
{
    ENTER("cuEventQuery");
    const std::shared_ptr<Event> event = event_of(handle);
    if (!event) return INVALID_HANDLE;
    return event->done || world().lie ? SUCCESS : NOT_READY;
}

Result cuImportExternalMemory(ExternalMemory* handle, const MemoryHandleDesc* desc)
{
    ENTER("cuImportExternalMemory", field("type", desc->type), field("fd", desc->handle.fd),
          field("size", desc->size), field("flags", desc->flags));
    struct stat file {};
    if (desc->type != MEMORY_OPAQUE_FD || fstat(desc->handle.fd, &file) != 0) return INVALID_HANDLE;
    auto memory = Memory{};
    memory.payload = payload_of(desc->handle.fd);
    memory.file_size = std::size_t(file.st_size);
    // The size must be that of the allocation: its file is that long, but for the driver's own bytes.
    const std::size_t there = memory.file_size - memory.payload;
    if (desc->size > there || there - desc->size >= 4096) return INVALID_VALUE;
    void* base = mmap(nullptr, memory.file_size, PROT_READ | PROT_WRITE, MAP_SHARED, desc->handle.fd, 0);
    if (base == MAP_FAILED) return OUT_OF_MEMORY;
    memory.base = static_cast<std::byte*>(base);
    close(desc->handle.fd);  // ours from here on
    auto* kept = new Memory(memory);
    world().memories.insert(kept);
    ++world().alive["memories"];
    *handle = reinterpret_cast<ExternalMemory>(kept);
    return SUCCESS;
}
Result cuExternalMemoryGetMappedBuffer(Address* address, ExternalMemory handle, const MemoryBufferDesc* desc)
{
    ENTER("cuExternalMemoryGetMappedBuffer", field("offset", desc->offset), field("size", desc->size));
    auto* memory = reinterpret_cast<Memory*>(handle);
    if (!world().memories.count(memory) || desc->offset + desc->size > memory->file_size - memory->payload)
        return INVALID_VALUE;
    *address = Address(reinterpret_cast<std::uintptr_t>(memory->base + memory->payload + desc->offset));
    world().mapped[*address] = memory;
    ++memory->mapped;
    ++world().alive["mappings"];
    return SUCCESS;
}
Result cuDestroyExternalMemory(ExternalMemory handle)
{
    ENTER("cuDestroyExternalMemory");
    auto* memory = reinterpret_cast<Memory*>(handle);
    std::int64_t& alive = world().alive["memories"];
    if (!world().memories.erase(memory) || memory->mapped) {
        alive += 1000;
        return INVALID_HANDLE;
    }
    --alive;
    munmap(memory->base, memory->file_size);
    delete memory;
    return SUCCESS;
}
Result cuExternalMemoryGetMappedMipmappedArray(MipmapHandle*, ExternalMemory, const MemoryMipmapDesc*)
{
    ENTER("cuExternalMemoryGetMappedMipmappedArray");
    return NOT_SUPPORTED;
}
Result cuImportExternalSemaphore(ExternalSemaphore* handle, const SemaphoreHandleDesc* desc)
{
    ENTER("cuImportExternalSemaphore", field("type", desc->type), field("flags", desc->flags));
    if (desc->type != SEMAPHORE_OPAQUE_FD && desc->type != SEMAPHORE_TIMELINE_FD) return INVALID_VALUE;
    if (close(desc->handle.fd) != 0) return INVALID_HANDLE;
    auto* semaphore = new Semaphore{desc->type, 0};
    world().semaphores.insert(semaphore);
    ++world().alive["semaphores"];
    *handle = reinterpret_cast<ExternalSemaphore>(semaphore);
    return SUCCESS;
}
Result cuDestroyExternalSemaphore(ExternalSemaphore handle)
{
    ENTER("cuDestroyExternalSemaphore");
    if (!world().semaphores.erase(reinterpret_cast<Semaphore*>(handle))) {
        world().alive["semaphores"] += 1000;
        return INVALID_HANDLE;
    }
    --world().alive["semaphores"];
    return SUCCESS;
}
// The other side cannot be seen: it has signalled unless the stub is mute.
Result cuWaitExternalSemaphoresAsync(const ExternalSemaphore* handles, const SemaphoreParams* params, unsigned count,
                                     Stream stream)
{
    ENTER("cuWaitExternalSemaphoresAsync", field("value", params->value), field("stream", stream));
    for (unsigned i = 0; i < count; ++i)
        if (!world().semaphores.count(reinterpret_cast<Semaphore*>(handles[i]))) return INVALID_HANDLE;
    return enqueue(stream, [] { return !world().mute; });
}
Result cuSignalExternalSemaphoresAsync(const ExternalSemaphore* handles, const SemaphoreParams* params, unsigned,
                                       Stream stream)
{
    ENTER("cuSignalExternalSemaphoresAsync", field("value", params->value), field("stream", stream));
    auto* semaphore = reinterpret_cast<Semaphore*>(*handles);
    if (!world().semaphores.count(semaphore)) return INVALID_HANDLE;
    return enqueue(stream, [] { return true; });
}

Result cuModuleLoadData(ModuleHandle* module, const void* image)
{
    ENTER("cuModuleLoadData");
    if (!image) return INVALID_VALUE;
    ++world().alive["modules"];
    *module = reinterpret_cast<ModuleHandle>(new Module);
    return SUCCESS;
}
Result cuModuleUnload(ModuleHandle module)
{
    ENTER("cuModuleUnload");
    --world().alive["modules"];
    delete reinterpret_cast<Module*>(module);
    return SUCCESS;
}
// A function is its name.
Result cuModuleGetFunction(FunctionHandle* function, ModuleHandle, const char* name)
{
    ENTER("cuModuleGetFunction", field("name", name));
    const Kernel run = kernels();
    if (!run || run(name, nullptr, nullptr) != 0) return NOT_FOUND;
    std::string& kept = world().names[name];
    kept = name;
    *function = reinterpret_cast<FunctionHandle>(&kept);
    return SUCCESS;
}
Result cuFuncGetAttribute(int* value, unsigned, FunctionHandle)
{
    ENTER("cuFuncGetAttribute");
    *value = 1024;
    return SUCCESS;
}
// Arguments are only there during the call, so that a stream that is held or waits cannot take it.
Result cuLaunchKernel(FunctionHandle function, unsigned x, unsigned y, unsigned z, unsigned, unsigned, unsigned,
                      unsigned, Stream stream, void** arguments, void**)
{
    const std::string& name = *reinterpret_cast<std::string*>(function);
    ENTER("cuLaunchKernel", field("name", name), field("stream", stream));
    const Kernel run = kernels();
    if (!run) return NOT_FOUND;
    if (world().streams[stream].held || !world().streams[stream].work.empty()) return NOT_SUPPORTED;
    const unsigned grid[3] = {x, y, z};
    return run(name.c_str(), grid, arguments) == 0 ? SUCCESS : INVALID_VALUE;
}
}
