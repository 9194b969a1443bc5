// SPDX-License-Identifier: Apache-2.0
// Memory shared between two devices by descriptors: the same bytes on both sides, no descriptor lost or closed twice,
// and an error for every record that is not as it came. FOVEATE_LONG=1: 10,000 cycles instead of 300.
#include <fcntl.h>
#include <unistd.h>
#include <vulkan/vulkan_core.h>

#include <fstream>
#include <thread>

#include "vulkan_check.h"

using namespace foveate;
using namespace foveate::test;

namespace {

// Sanitizers keep what is freed for a while.
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

SharedMemory copy_of(const SharedMemory& memory)
{
    SharedMemory copy;
    copy.fd = Fd::duplicate(memory.fd.get());
    copy.allocation_size = memory.allocation_size, copy.buffer_size = memory.buffer_size;
    copy.offset = memory.offset, copy.size = memory.size;
    copy.memory_type = memory.memory_type, copy.dedicated = memory.dedicated;
    copy.device_uuid = memory.device_uuid, copy.driver_uuid = memory.driver_uuid;
    return copy;
}

Spec spec_of()
{
    Spec spec;
    spec.layout = {.kind = LayoutKind::grid, .budget = 6, .cell = 8};
    spec.sample = {.patch = 8};
    return spec;
}

// A frame written on one device is turned into tokens on the other; what that one writes is seen by the first.
void both_ways(Backend& one, Backend& other)
{
    const Picture picture(160, 140, 3, 3, Element::u8);
    const Ref<Block> block = one.empty(picture.bytes.size());
    ImageView view = picture.view;
    view.data = block->host();
    std::memcpy(block->host(), picture.bytes.data(), picture.bytes.size());
    SharedMemory memory = one.share(block);
    check(fcntl(memory.fd.get(), F_GETFD) & FD_CLOEXEC, "closed on exec");
    check(memory.size == picture.bytes.size() && memory.buffer_size <= memory.allocation_size, "sizes");
    check(memory.buffer_size >= memory.size + 4096, "room behind the block");
    check(memory.device_uuid == one.caps().uuid && memory.driver_uuid.size() == 32, "UUIDs");

    const Ref<Block> attached = other.attach(std::move(memory));
    check(attached->size() == picture.bytes.size(), "size of what was attached");
    check(std::memcmp(attached->host(), picture.bytes.data(), picture.bytes.size()) == 0, "bytes");
    ImageView there = picture.view;
    there.data = attached->host();
    const std::uint64_t copies = other.counters().image_copies;
    const Made expected = run(*cpu_backend(), {picture.view}, spec_of());
    for (int i = 0; i < 3; ++i) {
        check(run(other, {there}, spec_of()) == expected, "tokens of an attached frame");
        check(run(one, {view}, spec_of()) == expected, "tokens of a shared frame");
    }
    check(other.counters().image_copies == copies, "read where it lies");
    attached->host()[77] = std::byte(0xa5);
    check(block->host()[77] == std::byte(0xa5), "one memory");
}

// What a stage made, shared after the fact: levels, and patches that the other side holds on to.
void results(Backend& one, Backend& other)
{
    const Picture picture(160, 140, 3, 3, Element::u8);
    const Image image = gather_images({picture.view});
    const Ref<Record> record = one.begin();
    const Pyramid pyramid =
        one.pyramid(*record, one.image(*record, image), plan_pyramid(image, {.levels = 4}));
    one.finish(*record);
    const std::vector<std::byte> levels = copied(pyramid.levels);
    const Ref<Block> attached = other.attach(one.share(pyramid.levels));
    const Ref<Block> again = other.attach(one.share(pyramid.levels));
    check(copied(attached) == levels && copied(again) == levels, "levels, opened twice");
}

// Shared memory is not given to anybody else, and outlives its device on the other side.
void life()
{
    Ref<Backend> one = make_vulkan_backend("", 0, {.share = true});
    const Ref<Backend> other = make_vulkan_backend("", 0, {.share = true});
    Ref<Block> block = one->empty(100000);
    std::memset(block->host(), 7, 100000);
    const Ref<Block> attached = other->attach(one->share(block));
    block = {};
    const Ref<Block> next = one->empty(100000);
    std::memset(next->host(), 9, 100000);
    check(attached->host()[5] == std::byte(7), "what is shared is not reused");
    one = {};
    check(attached->host()[99999] == std::byte(7), "it outlives its device");
}

void errors(Backend& one, Backend& other)
{
    const Ref<Block> block = one.empty(100000);
    const SharedMemory memory = one.share(block);
    const int files = open_files();
    const auto refused = [&](const std::string& part, ErrorKind kind, auto change) {
        SharedMemory bad = copy_of(memory);
        change(bad);
        const std::string text = thrown(kind, [&] { other.attach(std::move(bad)); });
        check(text.find(part) != std::string::npos, '"' + text + "\", expected " + part);
    };
    const std::string zeros(32, '0');
    refused("that of device " + zeros, ErrorKind::unsupported, [&](auto& bad) { bad.device_uuid = zeros; });
    refused("driver " + zeros + ", expected device " + other.caps().uuid, ErrorKind::unsupported,
            [&](auto& bad) { bad.driver_uuid = zeros; });
    refused("Engine: attach: size", ErrorKind::input, [](auto& bad) { bad.size = 0; });
    refused("Engine: attach: size", ErrorKind::input, [](auto& bad) { bad.size = bad.buffer_size + 1; });
    refused("Engine: attach: size", ErrorKind::input, [](auto& bad) { bad.offset = ~0ull; });
    refused("Engine: attach: size", ErrorKind::input, [](auto& bad) { bad.buffer_size = bad.allocation_size + 1; });
    refused("Engine: attach: fd: got -1, expected an open", ErrorKind::input, [](auto& bad) { bad.fd = Fd(); });
    refused("Engine: attach: memory type: got 32", ErrorKind::input, [](auto& bad) { bad.memory_type = 32; });
    refused("Engine: attach: memory type: got 31", ErrorKind::input, [](auto& bad) { bad.memory_type = 31; });
    check(open_files() == files, "no descriptor is lost by errors");

    const Ref<Backend> alone = make_vulkan_backend("", 0);
    thrown(ErrorKind::input, [&] { alone->attach(copy_of(memory)); });
    const Ref<Block> own = alone->empty(1000);
    check(thrown(ErrorKind::input, [&] { alone->share(own); }) ==
              "Engine: share: got an Engine that keeps its memory to itself, expected one made with share. Make it "
              "with Engine(share=True).",
          "an engine without share");
    thrown(ErrorKind::input, [&] { one.share(own); });
    if (one.caps().host_visible) {
        const Picture picture(160, 140, 3, 3, Element::u8);
        const Ref<Record> record = one.begin();
        const Image image = one.image(*record, gather_images({picture.view}));
        one.finish(*record);
        check(thrown(ErrorKind::input, [&] { one.share(image.pixels); }) ==
                  "Engine: share: memory: got pages of the caller's, expected the engine's own. Copy the pixels into "
                  "engine.empty().",
              "borrowed pages are not ours to share");
    }
    thrown(ErrorKind::unsupported, [&] { cpu_backend()->share(block); });
    thrown(ErrorKind::unsupported, [&] { cpu_backend()->attach(copy_of(memory)); });
    check(open_files() == files, "no descriptor is lost by errors");
}

void cycle(Backend& one, Backend& other)
{
    const Ref<Block> block = one.empty(70000);
    block->host()[1234] = std::byte(42);
    const Ref<Block> attached = other.attach(one.share(block));
    check(attached->host()[1234] == std::byte(42), "the byte");
}

// Cycles with every call failing in turn, while another thread opens and closes files of its own: a descriptor that
// is closed twice would be one of those.
void cycles(Backend& one, Backend& other, int count)
{
    for (int i = 0; i < 20; ++i) cycle(one, other);
    vulkan::fault_arm(0, 0);
    cycle(one, other);
    const std::uint64_t calls = vulkan::fault_calls();
    vulkan::fault_disarm();
    for (int i = 0; i < 30; ++i) cycle(one, other);

    std::atomic<bool> stop{false};
    std::atomic<int> lost{0};
    std::thread churn([&] {
        while (!stop) {
            const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
            std::this_thread::yield();
            if (fd >= 0 && close(fd) != 0) ++lost;
        }
    });
    const std::uint64_t before = resident_bytes();
    int failed = 0;
    for (int i = 0; i < count; ++i) {
        const bool fault = i % 3 == 0;
        if (fault) vulkan::fault_arm(1 + std::uint64_t(i / 3) % calls, VK_ERROR_OUT_OF_HOST_MEMORY);
        try {
            cycle(one, other);
        } catch (const Error&) {
            ++failed;
        }
        vulkan::fault_disarm();
    }
    stop = true;
    churn.join();
    const std::uint64_t after = resident_bytes();
    check(lost == 0, "nobody else's descriptor was closed");
    check(failed * 5 >= count, "faults were noticed: " + std::to_string(failed));
    if (!SANITIZED)
        check(after < before + (1 << 20), "memory grew by " + std::to_string((after - before) >> 10) + " KiB");
}

}  // namespace

int main()
try {
    const bool all = std::getenv("FOVEATE_LONG") && *std::getenv("FOVEATE_LONG") == '1';
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        const int files = open_files();
        {
            const Ref<Backend> one = make_vulkan_backend("", 0, {.share = true});
            const Ref<Backend> other = make_vulkan_backend("", 0, {.share = true});
            both_ways(*one, *other);
            if (*staging == '0') results(*one, *other);
            errors(*one, *other);
            cycles(*one, *other, all ? 10000 : 300);
        }
        life();
        check(open_files() == files,
              "descriptors: " + std::to_string(open_files()) + ", before " + std::to_string(files));
    }
    return report("vulkan_share");
} catch (const Error& error) {
    check(false, error.what());
    return report("vulkan_share");
}
