// SPDX-License-Identifier: Apache-2.0
// Streams that wait for the engine's work by its semaphores, against a driver that is a stub: which semaphore, which
// value, which stream, whose descriptor, and what is left when a call fails or a wait has no end.
#include <fcntl.h>

#include "cuda_check.h"
#include "interop/cuda/link.h"

using namespace foveate;
using namespace foveate::test;

namespace {

// A point with a descriptor that the stub takes over as it would a semaphore's.
SharedSemaphore point_of(Sync kind, std::uint64_t value)
{
    SharedSemaphore point;
    point.fd = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    point.kind = kind;
    point.value = value;
    return point;
}

std::string number(cuda::Stream stream) { return std::to_string(reinterpret_cast<std::uintptr_t>(stream)); }

// A timeline is imported once, whatever the points are; a binary one for each, until its wait is over.
void kinds(const Ref<cuda::Context>& context)
{
    const cuda::Stream stream = new_stream(*context);
    {
        cuda::Semaphores semaphores(context);
        stub().text();
        semaphores.wait(point_of(Sync::timeline, 7), stream);
        semaphores.wait(point_of(Sync::timeline, 9), cuda::legacy_stream());
        std::string text = stub().text();
        check(count(text, "cuImportExternalSemaphore type=9 flags=0") == 1, text);
        check(count(text, "Async value=7 stream=" + number(stream)) == 1 && count(text, "Async value=9 stream=1") == 1,
              text);
        stub().mute(1);
        semaphores.wait(point_of(Sync::binary, 3), stream);
        semaphores.wait(point_of(Sync::binary, 4), stream);
        text = stub().text();
        check(count(text, "cuImportExternalSemaphore type=1 flags=0") == 2, text);
        check(count(text, "Async value=0 stream=" + number(stream)) == 2, text);
        check(count(text, "cuDestroyExternalSemaphore") == 0 && stub().alive("semaphores") == 3, "still waited for");
        stub().mute(0);
        semaphores.wait(point_of(Sync::timeline, 10), stream);
        check(count(stub().text(), "cuDestroyExternalSemaphore") == 2, "ended when they are over");
    }
    check(stub().alive("semaphores") == 0, "all are ended");
    stub().mute(1);
    cuda::wait_limit_ns = 1'000'000;
    {
        cuda::Semaphores semaphores(context);
        semaphores.wait(point_of(Sync::binary, 1), stream);
    }
    check(stub().alive("semaphores") == 1, "what is waited for is lost, not destroyed");
    stub().mute(0);
    cuda::wait_limit_ns = 30'000'000'000;
    context->cu.StreamDestroy(stream);
}

void faults(const Ref<cuda::Context>& context)
{
    for (Sync kind : {Sync::timeline, Sync::binary}) {
        for (std::uint64_t k = 1; k < 12; ++k) {
            const int files = open_files();
            const std::int64_t events = stub().alive("events");
            cuda::Semaphores semaphores(context);
            stub().fail(k, cuda::UNKNOWN);
            const std::string text =
                thrown(ErrorKind::device, [&] { semaphores.wait(point_of(kind, k), cuda::legacy_stream()); });
            stub().fail(0, 0);
            check(open_files() == files, "descriptors after call " + std::to_string(k));
            if (text.empty()) continue;
            check(stub().alive("events") == events, "events after call " + std::to_string(k));
            check(text.find("cuda: ") == 0 && text.find(": got CUDA_ERROR_999") != std::string::npos, text);
        }
    }
}

constexpr int ORDERS = 24;  // fewer than an engine keeps in flight before it waits for the oldest

// The engine's own points: on the device where its driver shares semaphores, else on the host.
void of_an_engine(const std::string& uuid)
{
    for (const char* devices : {"", "-"}) {
        setenv("FOVEATE_STUB_CUDA_DEVICES", (uuid + devices).c_str(), 1);
        for (bool ahead : {false, true}) {
            Engine engine({.backend = {{"*", "vulkan"}}, .share = true, .ahead = ahead});
            const Ref<cuda::Link> link(new cuda::Link(engine, ahead));
            const Sync sync = engine.caps(Stage::sample).sync;
            const Sync used = sync == Sync::timeline && *devices ? Sync::host : sync;
            check(link->sync() == used, "the device's way");
            const std::uint64_t waits = engine.counters().host_waits;
            const int files = open_files();
            stub().text();
            for (int i = 0; i < ORDERS; ++i) link->order(cuda::per_thread_stream());
            const std::string text = stub().text();
            const int expected = ahead && used != Sync::host ? ORDERS : 0;
            check(count(text, "cuWaitExternalSemaphoresAsync") == expected, text);
            check(count(text, " stream=2\n") == 2 * expected, "on the stream that asks: " + text);
            check(!expected || engine.counters().host_waits == waits, "the host waits for nothing");
            engine.settle();
            link->order(cuda::per_thread_stream());     // whoever comes next lets go of what is over
            check(open_files() <= files + 3, "descriptors: " + std::to_string(open_files()));
            stub().text();
            link->close();
            link->order(cuda::legacy_stream());
            check(count(stub().text(), "cuWait") == 0, "a closed engine has waited");
        }
    }
}

}  // namespace

int main()
try {
    setenv("FOVEATE_CUDA_LIBRARY", FOVEATE_STUB_CUDA, 1);
    const std::string uuid = Engine({.backend = {{"*", "vulkan"}}}).caps(Stage::sample).uuid;
    setenv("FOVEATE_STUB_CUDA_DEVICES", uuid.c_str(), 1);
    {
        const Ref<cuda::Context> context(new cuda::Context(cuda::need_driver(), 0));
        kinds(context);
        faults(context);
    }
    of_an_engine(uuid);
    return report("cuda_semaphore");
} catch (const Error& error) {
    check(false, error.what());
    return report("cuda_semaphore");
}
