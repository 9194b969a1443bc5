// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/semaphore.h"

#include "engine/limits.h"
#include "engine/lost.h"
#include "interop/cuda/users.h"

namespace foveate::cuda {

Semaphore::Semaphore(Ref<Context> context, SharedSemaphore point) : context_(std::move(context))
{
    SemaphoreHandleDesc desc{};
    desc.type = point.kind == Sync::timeline ? SEMAPHORE_TIMELINE_FD : SEMAPHORE_OPAQUE_FD;
    desc.handle.fd = point.fd.get();
    check(context_->cu, context_->cu.ImportExternalSemaphore(&handle_, &desc), "import a semaphore");
    point.fd.release();  // the driver's now, since it succeeded
}

Semaphore::~Semaphore()
{
    const Current current(*context_, std::nothrow);
    if (current.result() == SUCCESS) context_->cu.DestroyExternalSemaphore(handle_);
}

void Semaphore::wait(std::uint64_t value, Stream stream) const
{
    SemaphoreParams params{};
    params.value = value;
    check(context_->cu, context_->cu.WaitExternalSemaphoresAsync(&handle_, &params, 1, stream),
          "wait for a semaphore");
}

Semaphores::~Semaphores()
{
    const Current current(*context_, std::nothrow);
    // What a stream still waits for cannot be destroyed.
    if (current.result() == SUCCESS && reap(limits::WAIT_NS)) return;
    for (Waited& waited : waited_)
        if (waited.semaphore) lose(Ref<Semaphore>(waited.semaphore.release()));
    if (timeline_) lose(Ref<Semaphore>(timeline_.release()));
}

void Semaphores::wait(SharedSemaphore point, Stream stream)
{
    const Current current(*context_);
    const Driver& cu = context_->cu;
    std::lock_guard lock(mutex_);
    reap(0);
    const std::uint64_t value = point.kind == Sync::timeline ? point.value : 0;
    std::unique_ptr<Semaphore> once;
    if (point.kind != Sync::timeline)
        once = std::make_unique<Semaphore>(context_, std::move(point));
    else if (!timeline_)  // it is always the same
        timeline_ = std::make_unique<Semaphore>(context_, std::move(point));
    EventHandle event = nullptr;
    check(cu, cu.EventCreate(&event, EVENT_DISABLE_TIMING), "create an event");
    try {
        (once ? once : timeline_)->wait(value, stream);
    } catch (...) {
        cu.EventDestroy(event);
        throw;
    }
    waited_.push_back({std::move(once), event});
    const Result result = cu.EventRecord(event, stream);
    if (result == SUCCESS) return;
    // The wait stands, and its end is not known: it is never destroyed.
    if (waited_.back().semaphore) lose(Ref<Semaphore>(waited_.back().semaphore.release()));
    waited_.pop_back();
    cu.EventDestroy(event);
    check(cu, result, "record an event");
}

// Ends what was waited for, in the order of the waits. True: everything.
bool Semaphores::reap(std::uint64_t wait_ns)
{
    while (!waited_.empty()) {
        if (wait_for(context_->cu, waited_.front().event, wait_ns) == NOT_READY) return false;
        context_->cu.EventDestroy(waited_.front().event);
        waited_.pop_front();
    }
    return true;
}

}  // namespace foveate::cuda
