// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/driver.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

#include "engine/error.h"

namespace foveate::cuda {

namespace {

std::string described(const Driver& driver, Result result)
{
    const char* name = nullptr;
    const char* text = nullptr;
    std::string said = "CUresult " + std::to_string(int(result));
    if (driver.GetErrorName(result, &name) == SUCCESS && name) said = name;
    if (driver.GetErrorString(result, &text) == SUCCESS && text) said += std::string(" (") + text + ")";
    return said;
}

struct Opened {
    std::unique_ptr<Driver> driver;
    std::string reason;
};

Opened open(const std::string& name)
{
    void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) return {nullptr, name + " cannot be opened"};
    auto driver = std::make_unique<Driver>();
    driver->name = name;
#define X(function, symbol, arguments) \
    driver->function = reinterpret_cast<decltype(driver->function)>(dlsym(handle, #symbol));
    CUDA_FUNCTIONS(X)
    CUDA_LATER_FUNCTIONS(X)
#undef X
#define X(function, symbol, arguments) \
    if (!driver->function) return {nullptr, name + " has no " #symbol};
    CUDA_FUNCTIONS(X)
#undef X
    if (const Result result = driver->Init(0); result != SUCCESS)
        return {nullptr, name + " does not start: " + described(*driver, result)};
    if (const Result result = driver->DriverGetVersion(&driver->version); result != SUCCESS)
        return {nullptr, name + " has no version: " + described(*driver, result)};
    return {std::move(driver), ""};
}

ErrorKind kind_of(Result result)
{
    if (result == OUT_OF_MEMORY) return ErrorKind::memory;
    if (result == ECC_UNCORRECTABLE || (result >= ILLEGAL_ADDRESS && result <= LAUNCH_FAILED))
        return ErrorKind::device_lost;
    return ErrorKind::device;
}

}  // namespace

const Driver* find_driver(std::string& reason)
{
    // The driver starts threads and keeps them; a child of fork() has it without them.
    static const pid_t process = getpid();
    require(getpid() == process, "cuda: driver", "a process forked after it was loaded", "the one that loaded it",
            "Start workers with spawn.", ErrorKind::forked);
    static std::mutex mutex;
    static auto* const opened = new std::map<std::string, Opened>;  // outlives every static destructor
    const char* chosen = std::getenv("FOVEATE_CUDA_LIBRARY");
    const std::string name = chosen && *chosen ? chosen : "libcuda.so.1";
    std::lock_guard lock(mutex);
    auto found = opened->find(name);
    if (found == opened->end()) found = opened->emplace(name, open(name)).first;
    reason = found->second.reason;
    return found->second.driver.get();
}

const Driver& need_driver()
{
    std::string reason;
    const Driver* driver = find_driver(reason);
    require(driver, "cuda: driver", reason, "libcuda.so.1 of an NVIDIA driver", "Install it, or leave CUDA out.",
            ErrorKind::unsupported);
    return *driver;
}

void check_failed(const Driver& driver, Result result, const char* doing)
{
    const ErrorKind kind = kind_of(result);
    const char* hint = kind == ErrorKind::memory        ? "Use fewer images a call, or release earlier results."
                       : kind == ErrorKind::device_lost ? "Start the process again."
                                                        : "Use another device, or leave CUDA out.";
    fail(kind, std::string("cuda: ") + doing, described(driver, result), "CUDA_SUCCESS", hint);
}

}  // namespace foveate::cuda
