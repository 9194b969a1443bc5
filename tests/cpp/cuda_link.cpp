// SPDX-License-Identifier: Apache-2.0
// Memory of the engine in CUDA, against a driver that is a stub: what is imported and how, who owns which descriptor,
// what happens when a call fails, and that memory is not used again while a stream works with it.
// FOVEATE_LONG=1: 10,000 cycles instead of 300.
#include <dlfcn.h>
#include <fcntl.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "engine/vulkan/error.h"
#include "cuda_check.h"
#include "interop/cuda/array.h"

using namespace foveate;
using namespace foveate::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool SANITIZED = true;
#else
constexpr bool SANITIZED = false;
#endif

std::uint64_t resident_bytes()
{
    std::ifstream file("/proc/self/statm");
    std::uint64_t total = 0, resident = 0;
    file >> total >> resident;
    return resident * std::uint64_t(sysconf(_SC_PAGESIZE));
}

// An engine and its link.
struct Side {
    Engine engine;
    Ref<cuda::Link> link;

    explicit Side(bool ahead = false)
        : engine({.backend = {{"*", "vulkan"}}, .share = true, .ahead = ahead}), link(new cuda::Link(engine, ahead))
    {
    }
    ~Side() { link->close(); }

    cuda::Array array(std::uint64_t size)
    {
        dlpack::Array made;
        made.block = engine.empty(size);
        made.type = dlpack::U8;
        made.shape = {std::int64_t(size)};
        made.strides = {1};
        return cuda::make_array(link, std::move(made));
    }
};

void end(dlpack::ManagedVersioned* tensor) { tensor->deleter(tensor); }
using Tensor = std::unique_ptr<dlpack::ManagedVersioned, decltype(&end)>;
cuda::Stream stream_of(Side& side) { return new_stream(*side.link->context()); }
void destroy(Side& side, cuda::Stream stream) { side.link->context()->cu.StreamDestroy(stream); }

// Sizes and flags are those of the allocation, and the bytes are the engine's.
void import()
{
    Side side;
    stub().text();
    const cuda::Array array = side.array(70000);
    const SharedMemory record = side.engine.share(array.array.block);
    const std::string text = stub().text();
    check(count(text, "cuImportExternalMemory") == 1 && count(text, "cuExternalMemoryGetMappedBuffer") == 1, text);
    check(text.find(" size=" + std::to_string(record.allocation_size) + " flags=" +
                    (record.dedicated ? "1" : "0")) != std::string::npos, "size and flag of the allocation: " + text);
    check(text.find("Buffer offset=0 size=" + std::to_string(record.allocation_size)) != std::string::npos,
          "the whole is mapped: " + text);
    check(record.allocation_size > record.size && record.allocation_size >= record.buffer_size, "sizes differ");
    array.array.block->host()[1234] = std::byte(42);
    check(array.array.data()[1234] == std::byte(42), "one memory");
    check(array.array.data() == reinterpret_cast<std::byte*>(std::uintptr_t(array.mapping().address())), "address");
    side.link->map(array.array.block);
    check(count(stub().text(), "cuImportExternalMemory") == 0, "imported once");
    check(side.link->find(array.mapping().address() + 5, array.mapping().address() + 70000) == &array.mapping() &&
              !side.link->find(array.mapping().address() - 1, array.mapping().address()) &&
              !side.link->find(array.mapping().address(), array.mapping().address() + (1 << 20)),
          "found again by its address");
}

// Memory that comes back is imported already.
void reuse()
{
    Side side;
    const auto once = [&] {
        end(dlpack::make_versioned(cuda::lent(side.array(50000), cuda::legacy_stream(), true), false));
    };
    for (int i = 0; i < 3; ++i) once();
    stub().text();
    const std::uint64_t used = side.engine.counters().memory_used;
    for (int i = 0; i < 20; ++i) once();
    const std::string text = stub().text();
    check(count(text, "cuImportExternalMemory") == 0 && count(text, "cuMemFree") == 0, "no import a call: " + text);
    check(count(text, "cuEventRecord stream=1") == 20, "each end is marked");
    check(side.engine.counters().memory_used == used, "no new memory");
    cuda::Array given = side.array(50000);
    side.engine.share(given.array.block);  // to others, who do not say when they are done
    given.array.block = {};
    check(count(stub().text(), "cuDestroyExternalMemory") == 1, "what others have is not used again");
}

// While a stream works with memory nobody else gets it; not even the engine that was told to hurry.
void pending()
{
    Side side;
    const cuda::Stream stream = stream_of(side);
    const auto next = [&](bool named, bool lie) {
        side.array(50000);  // one that is free
        cuda::Array array = side.array(50000);
        const cuda::Address address = array.mapping().address();
        auto* tensor = dlpack::make_versioned(cuda::lent(array, named ? cuda::legacy_stream() : stream, true), false);
        if (named) array.mapping().users.name(stream);
        array = {};
        stub().hold(stream, 1);
        end(tensor);
        stub().lie(lie);
        std::vector<cuda::Array> others;
        bool found = false;
        for (int i = 0; i < 4; ++i) {
            others.push_back(side.array(50000));
            found |= others.back().mapping().address() == address;
        }
        stub().lie(0);
        stub().hold(stream, 0);
        return found;
    };
    check(!next(false, false), "not while the stream of the tensor works");
    check(!next(true, false), "not while a stream that was named works");
    check(next(false, true), "without the wait it would be");
    destroy(side, stream);
}

// A wait that has no end is given up, with an error; and memory that is worked with is lost, not pulled away.
void bounded()
{
    {
        Side side;
        const cuda::Stream stream = stream_of(side);
        cuda::Array array = side.array(50000);
        cuda::wait_limit_ns = 20'000'000;
        stub().hold(stream, 1);
        array.mapping().users.name(stream);
        const std::string text = thrown(ErrorKind::timeout, [&] { side.link->settle(array.mapping()); });
        check(text == "cuda: wait for the streams that an array was lent to: got no end within 20 ms, expected an end. "
                      "Look for a kernel that never ends, or a stream that waits for one.", text);
        side.link->follow(stream);
        const std::string other = thrown(ErrorKind::timeout, [&] { side.link->finish(); });
        check(other.find("cuda: wait for the producer's stream: got no end within 20 ms") == 0, other);
        thrown(ErrorKind::timeout, [&] { side.link->copy_in(array.mapping().address(), 100); });
        std::thread release([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            stub().hold(stream, 0);
        });
        cuda::wait_limit_ns = 5'000'000'000;
        side.link->settle(array.mapping());
        side.link->finish();
        release.join();
        array = {};  // a stream lives longer than what was lent to it
        destroy(side, stream);
    }
    check(stub().objects() == 0, "all is given back");
    {
        Side side;
        const cuda::Stream stream = stream_of(side);
        cuda::wait_limit_ns = 1'000'000;
        cuda::Array array = side.array(50000);
        side.engine.share(array.array.block);  // so that it is freed at its end
        array.mapping().users.name(stream);
        stub().hold(stream, 1);
        array = {};
        check(stub().alive("mappings") == 1, "lost, not freed");
        stub().hold(stream, 0);
        destroy(side, stream);
    }
}

// The context is pushed where it is not current, and only there.
void contexts()
{
    Side side;
    stub().text();
    side.link->finish();
    check(count(stub().text(), "cuCtxPushCurrent") == 1, "pushed once");
    {
        const cuda::Current current(*side.link->context());
        stub().text();
        side.link->finish();
        check(count(stub().text(), "cuCtxPushCurrent") == 0, "current already");
    }
    std::thread([&] {
        auto* tensor = dlpack::make_versioned(cuda::lent(side.array(100), cuda::per_thread_stream(), true), false);
        stub().text();
        end(tensor);
    }).join();
    check(count(stub().text(), "cuEventRecord stream=1") == 1, "no thread's own stream is another's");
}

void cycle(Side& side)
{
    cuda::Array array = side.array(90000);
    array.array.block->host()[99] = std::byte(7);
    side.engine.share(array.array.block);  // so that it is freed, import and all
    const Tensor tensor(dlpack::make_versioned(cuda::lent(array, cuda::legacy_stream(), true), false), end);
    check(static_cast<std::byte*>(tensor->tensor.data)[99] == std::byte(7), "the byte");
    Tensor(dlpack::make_versioned(cuda::copied(array, cuda::legacy_stream(), true), false), end);
    cuda::on_host(array);
    array = {};
}

// Cycles with every call of CUDA failing in turn, while another thread opens and closes files of its own.
void cycles(int times)
{
    Side side;
    const auto pop_all = [&] {  // what is left on the stack where a pop was made to fail
        cuda::ContextHandle popped = nullptr;
        while (side.link->context()->cu.CtxPopCurrent(&popped) == cuda::SUCCESS) continue;
    };
    pop_all();
    for (int i = 0; i < 20; ++i) cycle(side);
    stub().fail(0, 0);
    cycle(side);
    const std::uint64_t calls = stub().fail(0, 0);
    std::atomic<bool> stop{false};
    std::atomic<int> lost{0};
    std::thread churn([&] {
        while (!stop) {
            const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
            std::this_thread::yield();
            if (fd >= 0 && close(fd) != 0) ++lost;
        }
    });
    for (int i = 0; i < 100; ++i) cycle(side);
    const int files = open_files();
    const std::int64_t objects = stub().objects();
    const std::uint64_t before = resident_bytes();
    for (int i = 0; i < times; ++i) cycle(side), stub().log(nullptr, 0, 1);
    const std::uint64_t after = resident_bytes();
    check(open_files() <= files + 1, "descriptors: " + std::to_string(open_files()));
    check(stub().objects() == objects, "objects of the driver");
    if (!SANITIZED)
        check(after < before + (1 << 20), "memory grew by " + std::to_string((after - before) >> 10) + " KiB");
    // What cannot be freed because the driver refuses is left; after any other fault nothing is.
    int failed = 0, left = 0;
    for (std::uint64_t k = 1; k <= calls; ++k) {
        bool raised = false;
        pop_all();
        const std::int64_t had = stub().objects();
        stub().text();
        stub().fail(k, cuda::OUT_OF_MEMORY);
        try {
            cycle(side);
        } catch (const Error& error) {
            check(error.kind == ErrorKind::memory, error.what());
            raised = true;
        }
        stub().fail(0, 0);
        const std::string text = stub().text();
        bool freeing = !raised;
        for (const char* call : {"cuEventCreate", "cuEventRecord", "cuEventQuery"})
            freeing = freeing && count(text, std::string(call) + " fails") == 0 &&
                      count(text, std::string(call) + " flags=2 fails") == 0 &&
                      count(text, std::string(call) + " stream=1 fails") == 0;
        left += freeing;
        failed += raised;
        check(open_files() <= files + 1 + left, "descriptors after call " + std::to_string(k) + '\n' + text);
        check(freeing || stub().objects() <= had, "objects after call " + std::to_string(k) + '\n' + text);
    }
    pop_all();
    stop = true;
    churn.join();
    check(lost == 0, "nobody else's descriptor was closed");
    check(failed * 4 >= int(calls), "faults were noticed: " + std::to_string(failed) + " of " + std::to_string(calls));
}

void errors(const std::string& uuid)
{
    const std::string zeros(32, '0');
    setenv("FOVEATE_STUB_CUDA_DEVICES", (zeros + "," + uuid + "/" + zeros).c_str(), 1);
    {
        Side side;  // by the GPU's UUID, since no other has it
        check(side.link->device().ordinal == 1, "the second device");
    }
    setenv("FOVEATE_STUB_CUDA_DEVICES", (uuid + "/" + zeros + "," + zeros + "/" + uuid).c_str(), 1);
    check(Side().link->device().ordinal == 1, "the instance's UUID goes first");
    setenv("FOVEATE_STUB_CUDA_DEVICES", (uuid + "/" + zeros + "," + uuid + "/" + zeros).c_str(), 1);
    for (const std::string& devices : {std::string(), zeros, uuid + "/" + zeros + "," + uuid + "/" + zeros}) {
        setenv("FOVEATE_STUB_CUDA_DEVICES", devices.c_str(), 1);
        const std::string text = thrown(ErrorKind::unsupported, [] { Side side; });
        const std::string ours = devices.empty() ? "none" : "0 Stub 0 " + devices.substr(0, 32);
        check(text.find("cuda: device: got ") == 0 && text.find(uuid + ", expected one of CUDA's: " + ours) !=
              std::string::npos && text.find("; Vulkan has: ") != std::string::npos, '"' + text + '"');
    }
    setenv("FOVEATE_STUB_CUDA_DEVICES", uuid.c_str(), 1);
    for (int k = 1; k < 40; ++k) {
        const std::int64_t objects = stub().objects();
        stub().fail(std::uint64_t(k), cuda::UNKNOWN);
        const std::string text = thrown(ErrorKind::device, [] { Side side; });
        if (text.empty()) break;  // the call that failed was one of its end
        check(text.find("CUDA_ERROR_999 (of the stub), expected CUDA_SUCCESS. Use another device, or leave") !=
                  std::string::npos, text);
        check(stub().objects() == objects, "nothing is left after call " + std::to_string(k));
    }
    stub().fail(0, 0);
    Engine mixed({.backend = {{"*", "vulkan"}, {"sample", "cpu"}}, .share = true});
    check(thrown(ErrorKind::unsupported, [&] { cuda::Link link(mixed, false); }) ==
              "cuda: stage sample: got on the cpu, expected vulkan or cuda, the same for every stage. "
              "Use backend=\"vulkan\", \"cuda\" or \"auto\" with cuda=True.",
          "a stage elsewhere");
}

}  // namespace

int main()
try {
    setenv("FOVEATE_CUDA_LIBRARY", FOVEATE_STUB_CUDA, 1);
    const bool all = std::getenv("FOVEATE_LONG") && *std::getenv("FOVEATE_LONG") == '1';
    const std::string uuid = Engine({.backend = {{"*", "vulkan"}}}).caps(Stage::sample).uuid;
    setenv("FOVEATE_STUB_CUDA_DEVICES", uuid.c_str(), 1);
    const int files = open_files();
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        import();
        reuse();
        pending();
        contexts();
        check(stub().objects() == 0, "all is given back: " + std::to_string(stub().objects()));
        check(open_files() <= files + 1, "descriptors: " + std::to_string(open_files()));
    }
    bounded();
    errors(uuid);
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        cycles(all ? 10000 : 300);
    }
    return report("cuda_link");
} catch (const Error& error) {
    check(false, error.what());
    return report("cuda_link");
}
