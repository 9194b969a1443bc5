// SPDX-License-Identifier: Apache-2.0
// The devices that CUDA sees, and the one context of a device that every library of a process uses.
#pragma once

#include <sys/types.h>

#include <new>
#include <string>
#include <vector>

#include "engine/handle.h"
#include "interop/cuda/driver.h"

namespace foveate::cuda {

struct Device {
    int ordinal = 0;                    // as this process counts them: CUDA_VISIBLE_DEVICES is in it
    std::string name;
    std::string uuid;                   // 32 hex digits, as Vulkan's
    std::string instance_uuid;          // of a part of a GPU, where it is shared out; else the same
    int compute = 0;                    // 90: compute capability 9.0
    int filter_side = 0;                // px a side of the largest texture with levels
    bool timelines = false;             // it waits for timeline semaphores of others
};

std::string hex(const Uuid& uuid);

std::vector<Device> devices(const Driver& driver);

// The device with this UUID, or null: never one that is merely called the same.
const Device* device_of(const std::vector<Device>& devices, const std::string& uuid);

// The primary context, retained.
class Context : public Counted {
public:
    Context(const Driver& driver, int ordinal);
    ~Context() override;

    // In a child of fork() nothing of the driver may be touched.
    bool forked() const;

    const Driver& cu;

private:
    friend class Current;
    const pid_t process_;
    DeviceHandle device_ = 0;
    ContextHandle handle_ = nullptr;
};

// The context is this thread's, for as long as this object lives. Nothing is done where it is already.
class Current {
public:
    explicit Current(const Context& context);
    Current(const Context& context, std::nothrow_t) noexcept : context_(context), result_(enter()) {}
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;
    ~Current();
    Result result() const { return result_; }

private:
    Result enter() noexcept;

    const Context& context_;
    bool pushed_ = false;
    Result result_;
};

}  // namespace foveate::cuda
