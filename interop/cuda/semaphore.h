// SPDX-License-Identifier: Apache-2.0
// Points in the engine's work that streams wait for, on the device.
#pragma once

#include <deque>
#include <memory>
#include <mutex>

#include "engine/types.h"
#include "interop/cuda/context.h"

namespace foveate::cuda {

// A semaphore of the engine's, as CUDA sees it.
class Semaphore : public Counted {
public:
    // Takes the descriptor over when the driver does: on success.
    Semaphore(Ref<Context> context, SharedSemaphore point);
    ~Semaphore() override;
    Semaphore(const Semaphore&) = delete;
    Semaphore& operator=(const Semaphore&) = delete;

    // What the stream is given from now on comes behind this value.
    void wait(std::uint64_t value, Stream stream) const;

private:
    Ref<Context> context_;
    ExternalSemaphore handle_ = nullptr;
};

// Safe from any thread.
class Semaphores {
public:
    explicit Semaphores(Ref<Context> context) : context_(std::move(context)) {}
    ~Semaphores();

    // The stream waits for the point.
    void wait(SharedSemaphore point, Stream stream);

private:
    // One that is good for one wait lives until that is over.
    struct Waited {
        std::unique_ptr<Semaphore> semaphore;
        EventHandle event;
    };
    bool reap(std::uint64_t wait_ns);

    Ref<Context> context_;
    std::mutex mutex_;
    std::unique_ptr<Semaphore> timeline_;
    std::deque<Waited> waited_;
};

}  // namespace foveate::cuda
