// SPDX-License-Identifier: Apache-2.0
// Work that is ordered without the host: runs that are not waited for, results that wait when they are read, and
// points that one device signals and another waits for, by every way that the driver has.
#include <vulkan/vulkan_core.h>

#include "engine/vulkan/vulkan_backend.h"
#include "vulkan_check.h"

using namespace foveate;
using namespace foveate::test;

namespace {

constexpr Features AHEAD{.share = true, .ahead = true};

const Picture& picture()
{
    static const Picture made(120, 100, 3, 3, Element::u8);
    return made;
}

Spec spec_of()
{
    Spec spec;
    spec.layout = {.kind = LayoutKind::grid, .budget = 24, .cell = 16};
    spec.sample = {.patch = 16};
    return spec;
}

// What a run made, not yet looked at.
struct Run {
    Image image;
    Pyramid pyramid;
    Patches patches;
};

Run start(Backend& backend, const ImageView& view)
{
    const Spec spec = spec_of();
    Run made;
    const Ref<Record> record = backend.begin();
    made.image = gather_images({view});
    made.pyramid = backend.pyramid(*record, backend.image(*record, made.image),
                                   plan_pyramid(made.image, {.levels = 4}));
    const Layout layout = backend.layout(*record, plan_layout(image_sizes(made.image), spec.layout, nullptr), nullptr);
    made.patches = backend.sample(*record, made.pyramid, layout, plan_sample(made.pyramid, layout, spec.sample));
    made.patches.data = backend.tensor(*record, made.patches.data);
    backend.finish(*record);
    return made;
}

// The picture in memory that is not the caller's: read where it lies, and not waited for.
ImageView lent(Backend& backend, Ref<Block>& block)
{
    block = backend.empty(picture().bytes.size());
    std::memcpy(block->host(), picture().bytes.data(), picture().bytes.size());
    ImageView view = picture().view;
    view.data = block->host();
    return view;
}

// Level 1 of a pyramid as an image of its own.
ImageView level_view(const Pyramid& pyramid, const std::byte* levels)
{
    const shared::LevelDesc& level = pyramid.table[1];
    ImageView view;
    view.data = levels + level.offset * 2;
    view.width = level.width, view.height = level.height;
    view.channels = 3;
    view.element = Element::u16;
    view.pixel_stride = 2, view.row_stride = level.pitch * 2;
    view.channel_stride = view.row_stride * level.height;
    return view;
}

const std::vector<std::byte>& expected()
{
    static const std::vector<std::byte> bytes = copied(start(*cpu_backend(), picture().view).patches.data);
    return bytes;
}

void ahead()
{
    const Ref<Backend> backend = make_vulkan_backend("", 0, {.ahead = true});
    Ref<Block> block;
    const ImageView view = lent(*backend, block);
    const std::uint64_t waits = backend->counters().host_waits;
    std::vector<Run> runs;
    for (int i = 0; i < 8; ++i) runs.push_back(start(*backend, view));
    check(backend->counters().host_waits == waits, "nothing is waited for");
    for (Run& run : runs) check(copied(run.patches.data) == expected(), "what is read is there");
    check(backend->counters().host_waits > waits, "reading waits");
    const std::uint64_t read = backend->counters().host_waits;
    for (Run& run : runs) check(copied(run.patches.data) == expected(), "and stays there");
    check(backend->counters().host_waits == read, "reading again does not wait");

    runs.clear();
    const std::uint64_t used = backend->counters().memory_used;
    for (int i = 0; i < 80; ++i) start(*backend, view);
    check(backend->counters().memory_used <= used + 40 * (used / 8), "the host does not run ahead without end");
    Run last = start(*backend, view);
    backend->settle();
    const std::uint64_t settled = backend->counters().host_waits;
    check(copied(last.patches.data) == expected(), "settled");
    check(backend->counters().host_waits == settled, "what is settled does not wait");

    if (!backend->caps().host_visible) return;
    const Picture large(200, 120, 3, 3, Element::u8);
    start(*backend, large.view);
    check(backend->counters().host_waits == settled + 1, "pages of the caller's are theirs again when a call returns");
}

// Results outlive the backend that has not waited for them.
void life()
{
    Ref<Backend> backend = make_vulkan_backend("", 0, {.ahead = true});
    Ref<Block> block;
    const ImageView view = lent(*backend, block);
    start(*backend, view);
    const Run run = start(*backend, view);
    backend = {};
    check(copied(run.patches.data) == expected(), "a result after its backend");
}

// Little memory: what was finished makes room.
void room()
{
    const Ref<Backend> backend = make_vulkan_backend("", 8 << 20, {.ahead = true});
    for (int i = 0; i < 40; ++i)
        check(copied(start(*backend, picture().view).patches.data) == expected(), "within the budget");
    for (int i = 0; i < 40; ++i) start(*backend, picture().view);
}

// One device makes a level, the other one's tokens are made of it, and the host reads those alone.
void passed_on(Backend& one, Backend& other, const ImageView& view, std::vector<Ref<Block>>& kept)
{
    const Run run = start(one, view);
    const Ref<Block> levels = other.attach(one.share(run.pyramid.levels));
    kept.push_back(levels);
    other.wait(one.signal());
    Run second = start(other, level_view(run.pyramid, levels->host()));
    kept.push_back(second.patches.data);
}

void between(Sync sync)
{
    setenv("FOVEATE_SYNC", SYNC_NAMES[std::uint32_t(sync)], 1);
    {
        const Ref<Backend> one = make_vulkan_backend("", 0, AHEAD);
        const Ref<Backend> other = make_vulkan_backend("", 0, AHEAD);
        check(one->caps().sync <= sync, "never better than allowed");
        const Ref<Backend> cpu = cpu_backend();
        const Run first = start(*cpu, picture().view);
        const Ref<Block> bytes = first.pyramid.levels;
        const std::vector<std::byte> wanted =
            copied(start(*cpu, level_view(first.pyramid, bytes->host())).patches.data);

        Ref<Block> block;
        const ImageView view = lent(*one, block);
        std::vector<Ref<Block>> kept;
        const std::uint64_t waits = one->counters().host_waits + other->counters().host_waits;
        for (int i = 0; i < 3; ++i) passed_on(*one, *other, view, kept);
        const std::uint64_t after = one->counters().host_waits + other->counters().host_waits;
        if (one->caps().sync != Sync::host && one->caps().host_visible)
            check(after == waits, std::string(SYNC_NAMES[std::uint32_t(one->caps().sync)]) + ": no host waits, got " +
                                      std::to_string(after - waits));
        for (std::size_t i = 1; i < kept.size(); i += 2)
            check(copied(kept[i]) == wanted, std::string("tokens of a level, sync ") + SYNC_NAMES[std::uint32_t(sync)]);
    }
    unsetenv("FOVEATE_SYNC");
}

// The other side, as any user of Vulkan: opens the semaphore and signals it.
void signal_from(vulkan::Device& other, SharedSemaphore point)
{
    const vulkan::Owned<VkSemaphore> semaphore = other.semaphore(point.kind, false);
    VkImportSemaphoreFdInfoKHR info{VK_STRUCTURE_TYPE_IMPORT_SEMAPHORE_FD_INFO_KHR};
    info.semaphore = semaphore.get();
    info.handleType = vulkan::SHARED_SEMAPHORE;
    info.fd = point.fd.get();
    vulkan::check(other.vk.ImportSemaphoreFdKHR(other.handle(), &info), "import");
    point.fd.release();
    const std::uint64_t value = other.submit(VK_NULL_HANDLE, {}, {semaphore.get(), point.value});
    vulkan::check(other.wait(value, ~0ull >> 1), "signal");
}

void expecting()
{
    const Ref<Backend> one = make_vulkan_backend("", 0, AHEAD);
    const std::string no_point = "Engine: wait: point: got 7, expected one of expect(), and each once. Ask for the "
                                 "next one by expect().";
    if (one->caps().sync == Sync::host) {
        check(thrown(ErrorKind::unsupported, [&] { one->expect(); }) ==
                  "Engine: expect: got an Engine whose work is ordered by the host alone, expected caps[\"sync\"] of "
                  "binary or timeline. Wait for the other side on the host.",
              "no semaphores");
        return;
    }
    const Ref<vulkan::Device> other(new vulkan::Device(vulkan::choose_adapter(""), 0, nullptr, {.share = true}));
    Ref<Block> block;
    const ImageView view = lent(*one, block);
    const std::uint64_t waits = one->counters().host_waits;
    std::vector<Run> runs;
    for (std::uint64_t i = 1; i <= 5; ++i) {
        SharedSemaphore point = one->expect(), same;
        check(point.value == i && point.expected, "points are counted");
        same.kind = point.kind, same.value = point.value, same.expected = true;
        signal_from(*other, std::move(point));
        one->wait(std::move(same));
        runs.push_back(start(*one, view));
    }
    check(one->counters().host_waits == waits, "no host waits for the other side");
    for (Run& run : runs) check(copied(run.patches.data) == expected(), "runs behind a point");
    SharedSemaphore unknown;
    unknown.kind = one->caps().sync, unknown.value = 7, unknown.expected = true;
    check(thrown(ErrorKind::input, [&] { one->wait(std::move(unknown)); }) == no_point, "a point nobody gave");
    SharedSemaphore again;
    again.kind = one->caps().sync, again.value = 5, again.expected = true;
    thrown(ErrorKind::input, [&] { one->wait(std::move(again)); });
}

void errors()
{
    const Ref<Backend> one = make_vulkan_backend("", 0, AHEAD);
    const Ref<Backend> alone = make_vulkan_backend("", 0);
    check(alone->caps().sync == Sync::host, "one that shares nothing is ordered by the host");
    const int files = open_files();
    const auto refused = [&](Backend& by, const std::string& part, ErrorKind kind, auto change) {
        SharedSemaphore bad = one->signal();
        if (bad.kind == Sync::host) bad.kind = Sync::binary;
        change(bad);
        const std::string text = thrown(kind, [&] { by.wait(std::move(bad)); });
        check(text.find(part) != std::string::npos, '"' + text + "\", expected " + part);
    };
    const std::string zeros(32, '0');
    refused(*alone, " semaphore, expected none better than host", ErrorKind::unsupported, [](auto&) {});
    refused(*cpu_backend(), "Engine: wait: got the cpu backend, expected vulkan", ErrorKind::unsupported, [](auto&) {});
    thrown(ErrorKind::unsupported, [&] { cpu_backend()->expect(); });
    cpu_backend()->wait(cpu_backend()->signal());
    alone->wait(alone->signal());
    if (one->caps().sync != Sync::host) {
        refused(*one, "one of device " + zeros, ErrorKind::unsupported, [&](auto& bad) { bad.device_uuid = zeros; });
        refused(*one, "driver " + zeros + ", expected device", ErrorKind::unsupported,
                [&](auto& bad) { bad.driver_uuid = zeros; });
        refused(*one, "Engine: wait: fd: got -1, expected an open", ErrorKind::input, [](auto& bad) { bad.fd = Fd(); });
    }
    one->settle();  // drivers may keep files for semaphores that are in use
    check(open_files() == files, "no descriptor is lost by errors");
    setenv("FOVEATE_SYNC", "best", 1);
    check(thrown(ErrorKind::input, [&] { make_vulkan_backend("", 0, AHEAD); }) ==
              "Engine: FOVEATE_SYNC: got \"best\", expected host, binary or timeline. Leave it unset for the best "
              "there is.",
          "FOVEATE_SYNC");
    unsetenv("FOVEATE_SYNC");
}

// Timelines of one device order its submissions: the way that is not for sharing on drivers that keep them.
void timeline()
{
    const Ref<vulkan::Device> device(new vulkan::Device(vulkan::choose_adapter(""), 0, nullptr));
    const vulkan::Owned<VkSemaphore> semaphore = device->semaphore(Sync::timeline, false);
    for (std::uint64_t i = 1; i <= 5; ++i) {
        device->submit(VK_NULL_HANDLE, {}, {semaphore.get(), 10 * i});
        const std::uint64_t value = device->submit(VK_NULL_HANDLE, {semaphore.get(), 10 * i - 3});
        check(value == 2 * i && device->wait(value, ~0ull >> 1) == VK_SUCCESS, "a value that was passed");
    }
    check(device->wait(100, 1000) == VK_TIMEOUT, "a value that is not reached");
}

// Every call failing in turn: a typed error or the right bytes, and no descriptor lost.
void faults()
{
    const Ref<Backend> one = make_vulkan_backend("", 0, AHEAD), other = make_vulkan_backend("", 0, AHEAD);
    Ref<Block> block;
    const ImageView view = lent(*one, block);
    const auto cycle = [&] {
        std::vector<Ref<Block>> kept;
        passed_on(*one, *other, view, kept);
        if (one->caps().sync != Sync::host) one->expect();
        other->settle();
        return copied(kept[1]);
    };
    const std::vector<std::byte> wanted = cycle();
    cycle();
    vulkan::fault_arm(0, 0);
    cycle();
    const std::uint64_t calls = vulkan::fault_calls();
    std::uint64_t failed = 0, count = 0;
    for (VkResult code : {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_INITIALIZATION_FAILED, VK_TIMEOUT})
        for (std::uint64_t k = 1; k <= calls; ++k, ++count) {
            vulkan::fault_arm(k, code);
            try {
                check(cycle() == wanted, "call " + std::to_string(k) + ": wrong bytes");
            } catch (const Error&) {
                ++failed;
            }
            vulkan::fault_disarm();
        }
    check(failed * 2 > count, "faults are noticed: " + std::to_string(failed) + " of " + std::to_string(count));
}

}  // namespace

int main()
try {
    make_vulkan_backend("", 0, AHEAD);
    const int files = open_files();
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        ahead();
        life();
        room();
        errors();
        expecting();
    }
    setenv("FOVEATE_VULKAN_STAGING", "0", 1);
    for (Sync sync : {Sync::timeline, Sync::binary, Sync::host}) between(sync);
    timeline();
    faults();
    check(open_files() == files, "files open: " + std::to_string(open_files()) + ", before " + std::to_string(files));
    return report("vulkan_sync");
} catch (const Error& error) {
    check(false, error.what());
    return report("vulkan_sync");
}
