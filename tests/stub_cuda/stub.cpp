// SPDX-License-Identifier: Apache-2.0
#include "stub.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "world.h"

using namespace stub;

namespace {

struct Unit {
    Uuid uuid{}, instance{};
    bool timelines = true;
};

Uuid parsed(const std::string& hex)
{
    Uuid uuid{};
    for (int i = 0; i < 16 && std::size_t(2 * i + 2) <= hex.size(); ++i)
        uuid.bytes[i] = static_cast<unsigned char>(std::stoul(hex.substr(std::size_t(2 * i), 2), nullptr, 16));
    return uuid;
}

std::vector<Unit> units()
{
    std::vector<Unit> found;
    const char* text = std::getenv("FOVEATE_STUB_CUDA_DEVICES");
    std::istringstream list(text ? text : "");
    for (std::string item; std::getline(list, item, ',');) {
        Unit unit;
        if (!item.empty() && item.back() == '-') unit.timelines = false, item.pop_back();
        unit.uuid = parsed(item.substr(0, 32));
        unit.instance = item.size() > 33 ? parsed(item.substr(33)) : unit.uuid;
        found.push_back(unit);
    }
    return found;
}

Result copy(Stream stream, void* to, const void* from, std::size_t size)
{
    return enqueue(stream, [=] {
        std::memcpy(to, from, size);
        return true;
    });
}
void* at(Address address) { return reinterpret_cast<void*>(std::uintptr_t(address)); }

}  // namespace

extern "C" {

std::size_t stub_log(char* text, std::size_t size, int clear)
{
    std::lock_guard lock(world().mutex);
    std::string& log = world().log;
    const std::size_t length = log.size();
    if (text && size) text[log.copy(text, size - 1)] = 0;
    if (clear) log.clear();
    return length;
}
std::uint64_t stub_fail(std::uint64_t k, int result)
{
    std::lock_guard lock(world().mutex);
    world().fail_at = k, world().fail_with = result;
    return std::exchange(world().calls, 0);
}
void stub_hold(void* stream, int hold)
{
    std::lock_guard lock(world().mutex);
    for (auto& [handle, queue] : world().streams)
        if (!stream || handle == stream) queue.held = hold != 0;
    if (stream) world().streams[static_cast<Stream>(stream)].held = hold != 0;
    pump();
}
void stub_place(int ordinal) { world().ordinal = ordinal; }
void stub_lie(int lie) { world().lie = lie != 0; }
void stub_mute(int mute)
{
    std::lock_guard lock(world().mutex);
    world().mute = mute != 0;
    pump();
}
std::int64_t stub_alive(const char* what)
{
    std::lock_guard lock(world().mutex);
    return world().alive[what];
}

Result cuInit(unsigned) { ENTER("cuInit"); return SUCCESS; }
Result cuDriverGetVersion(int* version)
{
    ENTER("cuDriverGetVersion");
    *version = 12040;
    return SUCCESS;
}
Result cuGetErrorName(Result error, const char** text)
{
    std::lock_guard lock(world().mutex);
    std::string& name = world().names[std::to_string(int(error))];
    name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_" + std::to_string(int(error));
    *text = name.c_str();
    return SUCCESS;
}
Result cuGetErrorString(Result, const char** text) { *text = "of the stub"; return SUCCESS; }

Result cuDeviceGetCount(int* count)
{
    ENTER("cuDeviceGetCount");
    *count = int(units().size());
    return SUCCESS;
}
Result cuDeviceGet(DeviceHandle* device, int ordinal)
{
    ENTER("cuDeviceGet");
    *device = 100 + ordinal;  // a handle is not an ordinal
    return ordinal >= 0 && ordinal < int(units().size()) ? SUCCESS : INVALID_DEVICE;
}
Result cuDeviceGetName(char* name, int size, DeviceHandle device)
{
    ENTER("cuDeviceGetName");
    std::strncpy(name, ("Stub " + std::to_string(device - 100)).c_str(), std::size_t(size));
    return SUCCESS;
}
Result cuDeviceGetUuid(Uuid* uuid, DeviceHandle device)
{
    ENTER("cuDeviceGetUuid");
    *uuid = units().at(std::size_t(device - 100)).uuid;
    return SUCCESS;
}
Result cuDeviceGetUuid_v2(Uuid* uuid, DeviceHandle device)
{
    ENTER("cuDeviceGetUuid_v2");
    *uuid = units().at(std::size_t(device - 100)).instance;
    return SUCCESS;
}
Result cuDeviceGetAttribute(int* value, unsigned attribute, DeviceHandle device)
{
    ENTER("cuDeviceGetAttribute");
    const bool timelines = units().at(std::size_t(device - 100)).timelines;
    const bool side = attribute == ATTRIBUTE_MIPMAPPED_WIDTH || attribute == ATTRIBUTE_MIPMAPPED_HEIGHT;
    *value = side ? 32768 : attribute == ATTRIBUTE_COMPUTE_MAJOR ? 9 : 0;
    if (attribute == ATTRIBUTE_TIMELINE_SEMAPHORE) *value = timelines;
    return SUCCESS;
}
Result cuDevicePrimaryCtxRetain(ContextHandle* context, DeviceHandle device)
{
    ENTER("cuDevicePrimaryCtxRetain");
    ++world().alive["contexts"];
    *context = reinterpret_cast<ContextHandle>(std::uintptr_t(0x1000 + device));
    return SUCCESS;
}
Result cuDevicePrimaryCtxRelease_v2(DeviceHandle)
{
    ENTER("cuDevicePrimaryCtxRelease");
    --world().alive["contexts"];
    return SUCCESS;
}
Result cuCtxGetCurrent(ContextHandle* context)
{
    ENTER("cuCtxGetCurrent");
    *context = stack.empty() ? nullptr : stack.back();
    return SUCCESS;
}
Result cuCtxSetCurrent(ContextHandle context)
{
    ENTER("cuCtxSetCurrent");
    if (!stack.empty()) stack.pop_back();
    stack.push_back(context);
    return SUCCESS;
}
Result cuCtxPushCurrent_v2(ContextHandle context)
{
    ENTER("cuCtxPushCurrent");
    stack.push_back(context);
    return SUCCESS;
}
Result cuCtxPopCurrent_v2(ContextHandle* context)
{
    ENTER("cuCtxPopCurrent");
    if (stack.empty()) return INVALID_CONTEXT;
    *context = stack.back();
    stack.pop_back();
    return SUCCESS;
}

Result cuMemAlloc_v2(Address* address, std::size_t size)
{
    ENTER("cuMemAlloc", field("size", size));
    void* memory = std::calloc(size ? size : 1, 1);
    *address = Address(reinterpret_cast<std::uintptr_t>(memory));
    world().allocated[*address] = memory;
    ++world().alive["allocations"];
    return SUCCESS;
}
Result cuMemFree_v2(Address address)
{
    ENTER("cuMemFree", field("address", address));
    World& w = world();
    if (const auto own = w.allocated.find(address); own != w.allocated.end()) {
        std::free(own->second);
        w.allocated.erase(own);
        --w.alive["allocations"];
        return SUCCESS;
    }
    const auto found = w.mapped.find(address);
    if (found == w.mapped.end()) {
        w.alive["mappings"] += 1000;
        return INVALID_VALUE;
    }
    --found->second->mapped;
    w.mapped.erase(found);
    --w.alive["mappings"];
    return SUCCESS;
}
Result cuMemHostAlloc(void** memory, std::size_t size, unsigned)
{
    ENTER("cuMemHostAlloc");
    *memory = std::malloc(size);
    return SUCCESS;
}
Result cuMemFreeHost(void* memory) { ENTER("cuMemFreeHost"); std::free(memory); return SUCCESS; }
Result cuMemcpyHtoDAsync_v2(Address to, const void* from, std::size_t size, Stream stream)
{
    ENTER("cuMemcpyHtoDAsync", field("size", size), field("stream", stream));
    return copy(stream, at(to), from, size);
}
Result cuMemcpyDtoHAsync_v2(void* to, Address from, std::size_t size, Stream stream)
{
    ENTER("cuMemcpyDtoHAsync", field("size", size), field("stream", stream));
    return copy(stream, to, at(from), size);
}
Result cuMemcpyDtoDAsync_v2(Address to, Address from, std::size_t size, Stream stream)
{
    ENTER("cuMemcpyDtoDAsync", field("size", size), field("stream", stream));
    return copy(stream, at(to), at(from), size);
}
Result cuMemsetD8Async(Address to, unsigned char value, std::size_t size, Stream stream)
{
    ENTER("cuMemsetD8Async", field("size", size), field("stream", stream));
    return enqueue(stream, [=] { return std::memset(at(to), value, size), true; });
}
// Memory that the stub did not make itself is taken to be of the device whose context is current.
Result cuPointerGetAttribute(void* value, unsigned, Address)
{
    ENTER("cuPointerGetAttribute");
    if (stack.empty()) return INVALID_CONTEXT;
    const int current = int(reinterpret_cast<std::uintptr_t>(stack.back()) - 0x1000 - 100);
    *static_cast<int*>(value) = world().ordinal < 0 ? current : world().ordinal;
    return SUCCESS;
}
}
