// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/context.h"

#include <unistd.h>

#include <algorithm>

namespace foveate::cuda {

std::string hex(const Uuid& uuid)
{
    constexpr const char* DIGITS = "0123456789abcdef";
    std::string text;
    for (unsigned char byte : uuid.bytes) {
        text += DIGITS[byte >> 4];
        text += DIGITS[byte & 15];
    }
    return text;
}

std::vector<Device> devices(const Driver& driver)
{
    int count = 0;
    const Result result = driver.DeviceGetCount(&count);
    if (result != NO_DEVICE) check(driver, result, "count the devices");
    std::vector<Device> found;
    for (int ordinal = 0; ordinal < count; ++ordinal) {
        Device device;
        device.ordinal = ordinal;
        DeviceHandle handle = 0;
        check(driver, driver.DeviceGet(&handle, ordinal), "open a device");
        char name[256] = {};
        check(driver, driver.DeviceGetName(name, sizeof name - 1, handle), "read a device's name");
        device.name = name;
        Uuid uuid{};
        check(driver, driver.DeviceGetUuid(&uuid, handle), "read a device's UUID");
        device.uuid = device.instance_uuid = hex(uuid);
        if (driver.DeviceGetUuidOfInstance) {
            check(driver, driver.DeviceGetUuidOfInstance(&uuid, handle), "read a device's UUID");
            device.instance_uuid = hex(uuid);
        }
        // An older driver does not know every attribute: it has not what that stands for.
        const auto attribute = [&](unsigned which) {
            int value = 0;
            return driver.DeviceGetAttribute(&value, which, handle) == SUCCESS ? value : 0;
        };
        device.compute = 10 * attribute(ATTRIBUTE_COMPUTE_MAJOR) + attribute(ATTRIBUTE_COMPUTE_MINOR);
        device.filter_side = std::min(attribute(ATTRIBUTE_MIPMAPPED_WIDTH), attribute(ATTRIBUTE_MIPMAPPED_HEIGHT));
        device.timelines = attribute(ATTRIBUTE_TIMELINE_SEMAPHORE) != 0;
        found.push_back(std::move(device));
    }
    return found;
}

const Device* device_of(const std::vector<Device>& devices, const std::string& uuid)
{
    for (const Device& device : devices)
        if (device.instance_uuid == uuid) return &device;
    const Device* found = nullptr;
    for (const Device& device : devices) {
        if (device.uuid != uuid) continue;
        if (found) return nullptr;  // parts of one GPU: which of them Vulkan means is not to be told
        found = &device;
    }
    return found;
}

Context::Context(const Driver& driver, int ordinal) : cu(driver), process_(getpid())
{
    check(cu, cu.DeviceGet(&device_, ordinal), "open a device");
    check(cu, cu.DevicePrimaryCtxRetain(&handle_, device_), "take the context");
}

Context::~Context()
{
    if (!forked()) cu.DevicePrimaryCtxRelease(device_);
}

bool Context::forked() const { return getpid() != process_; }

Result Current::enter() noexcept
{
    if (context_.forked()) return DEINITIALIZED;
    ContextHandle now = nullptr;
    const Result result = context_.cu.CtxGetCurrent(&now);
    if (result != SUCCESS || now == context_.handle_) return result;
    const Result entered = context_.cu.CtxPushCurrent(context_.handle_);
    pushed_ = entered == SUCCESS;
    return entered;
}

Current::Current(const Context& context) : Current(context, std::nothrow)
{
    check(context.cu, result_, "make the context current");
}

Current::~Current()
{
    ContextHandle popped = nullptr;
    if (pushed_) context_.cu.CtxPopCurrent(&popped);
}

}  // namespace foveate::cuda
