// SPDX-License-Identifier: Apache-2.0
// What is around the stages: choosing a device, the memory budget and pool, blocks that outlive their
// backend, fork, the pipeline cache, and canaries: faults planted so that "no message" means something.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "engine/vulkan/vulkan_backend.h"
#include "vulkan_check.h"

using namespace foveate;
using namespace foveate::test;

namespace {

Spec small_spec()
{
    Spec spec;
    spec.layout = {.kind = LayoutKind::grid, .budget = 6, .cell = 8};
    spec.sample = {.patch = 8};
    return spec;
}

const Picture& picture()
{
    static const Picture made(40, 27, 3, 3, Element::u8);
    return made;
}

void equal(const std::string& got, const std::string& expected)
{
    check(got == expected, "text \"" + got + "\", expected \"" + expected + "\"");
}

void choosing()
{
    const std::vector<Candidate> candidates = vulkan_candidates();
    std::size_t first = 0;
    while (first < candidates.size() && !candidates[first].usable) ++first;
    check(first < candidates.size(), "no usable Vulkan device on this machine");
    if (first == candidates.size()) return;
    const Candidate& chosen = candidates[first];
    std::string part = chosen.device.substr(1, 5);
    for (char& c : part) c = char(std::toupper(c));
    for (const std::string& selector : {std::string(), chosen.uuid, std::to_string(first), part})
        equal(make_vulkan_backend(selector, 0)->caps().uuid, chosen.uuid);

    const std::string text = thrown(ErrorKind::unsupported, [] { make_vulkan_backend("none such", 0); });
    check(text.starts_with(
              "Engine: device: got \"none such\", expected the UUID, index or part of the name of a "
              "usable one of: ") &&
              text.ends_with(" Use backend=\"cpu\".") && text.find(chosen.device) != std::string::npos,
          text);
    setenv("FOVEATE_VULKAN_LIBRARY", "libno-such-driver.so", 1);
    check(vulkan_candidates().size() == 1 && !vulkan_candidates()[0].usable, "no candidate without a driver");
    equal(
        thrown(ErrorKind::unsupported, [] { make_vulkan_backend("", 0); }),
        "Engine: no Vulkan device: no device (libno-such-driver.so cannot be opened). Use backend=\"cpu\".");
    unsetenv("FOVEATE_VULKAN_LIBRARY");
}

void budget()
{
    const Ref<Backend> backend = make_vulkan_backend("", 1 << 20);
    const Ref<Record> record = backend->begin();
    check(backend->caps().memory_budget == 1 << 20, "the budget is the caller's");
    const std::vector<std::byte> zeros(1 << 20);
    const std::uint64_t used = backend->counters().memory_used;
    equal(thrown(ErrorKind::memory, [&] { backend->upload(*record, zeros.data(), zeros.size() - used + 1); }),
          "memory: budget: got " + std::to_string(zeros.size() + 4096) +
              ", expected at most 1048576 bytes. Use "
              "fewer images a call, release earlier results, or raise memory_budget.");
    const Ref<Block> fits = backend->upload(*record, zeros.data(), zeros.size() - used);
    check(backend->counters().memory_used == zeros.size(), "at the limit");
    check(backend->counters().memory_peak == zeros.size(), "the peak");
}

void pool()
{
    const Ref<Backend> backend = make_vulkan_backend("", 0);
    Made first = run(*backend, {picture().view}, small_spec());
    const Counters before = backend->counters();
    for (int i = 0; i < 50; ++i)
        check(run(*backend, {picture().view}, small_spec()) == first, "the same again");
    const Counters after = backend->counters();
    check(after.memory_used == before.memory_used, "memory is flat");
    check(after.pipelines_created == before.pipelines_created, "no pipeline is made for a request");
    check(after.records == before.records + 50 && after.host_waits == before.host_waits + 50,
          "one wait a run");
    check(after.image_copies == before.image_copies + 50, "copies are counted");

    // A block somebody holds is not given out again, and not before it is let go.
    Ref<Record> record = backend->begin();
    const std::vector<std::byte> ones(100000, std::byte(1)), twos(100000, std::byte(2));
    const Ref<Block> held = backend->upload(*record, ones.data(), ones.size());
    const Ref<Block> other = backend->upload(*record, twos.data(), twos.size());
    backend->finish(*record);
    check(held.get() != other.get() && held->owner() == backend.get(), "two blocks");
    check(!held->host() || copied(held) == ones, "a held block keeps its bytes");
}

void limits_of_the_device()
{
    const Ref<Backend> backend = make_vulkan_backend("", 0);
    const Ref<Record> record = backend->begin();
    Image image;
    // No pixel is read: the size alone is refused.
    ImageView view{.data = picture().view.data, .width = 16384, .height = 4096, .channels = 3};
    view.pixel_stride = 3, view.row_stride = 3 * 16384, view.channel_stride = 1;
    for (std::uint64_t i = 0; i < 3; ++i, view.data += 1ull << 31) image.views.push_back(view);
    image.channels = 3;
    equal(thrown(ErrorKind::limit, [&] { backend->image(*record, image); }),
          "image: batch: got 603979776 bytes, expected at most 536870912 on this device. Use fewer images a "
          "call.");
    const Ref<Backend> other = make_vulkan_backend("", 0);
    const Ref<Record> foreign = other->begin();
    equal(thrown(ErrorKind::input, [&] { backend->finish(*foreign); }),
          "Engine: record: got another backend's, expected this one's.");
}

void outliving()
{
    Ref<Block> block;
    Ref<Record> record;
    const std::vector<std::byte> ones(5000, std::byte(1));
    {
        const Ref<Backend> backend = make_vulkan_backend("", 0);
        record = backend->begin();
        block = backend->tensor(*record, backend->upload(*record, ones.data(), ones.size()));
        backend->finish(*record);
    }
    check(copied(block) == ones, "a block outlives its backend");
    record = {};
    check(copied(block) == ones, "and its record");
}

// In the child nothing of the device may be waited for or destroyed: it must end, and soon.
void forking()
{
    Ref<Backend> backend = make_vulkan_backend("", 0);
    Ref<Record> record = backend->begin();
    Ref<Block> block = backend->upload(*record, "x", 1);
    backend->finish(*record);
    const pid_t child = fork();
    if (child == 0) {
        alarm(10);
        block = {}, record = {}, backend = {};
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked child can let go");
    check(run(*backend, {picture().view}, small_spec()).patches.size() > 0, "the parent goes on");
}

// One small pipeline: SwiftShader takes a second for those of a whole chain.
std::vector<std::byte> table()
{
    const Ref<Backend> backend = make_vulkan_backend("", 0);
    const Ref<Record> record = backend->begin();
    const Layout layout = backend->layout(*record, plan_layout({{{40, 27}}}, small_spec().layout, nullptr), nullptr);
    const Ref<Block> tokens = backend->tensor(*record, layout.tokens);
    backend->finish(*record);
    return copied(tokens);
}

void cache()
{
    namespace fs = std::filesystem;
    char pattern[] = "/tmp/foveate-test-XXXXXX";
    const fs::path folder = fs::path(mkdtemp(pattern)) / "made" / "here";
    const char* before = std::getenv("FOVEATE_CACHE_DIR");
    const std::string restore = before ? before : "";
    setenv("FOVEATE_CACHE_DIR", folder.c_str(), 1);
    const Made whole = run(*cpu_backend(), {picture().view}, small_spec());
    for (int i = 0; i < 2; ++i)  // the second reads what the first wrote
        check(run(*make_vulkan_backend("", 0), {picture().view}, small_spec()) == whole, "a warm cache");
    fs::remove_all(folder);
    const std::vector<std::byte> expected = table();
    check((fs::status(folder).permissions() & fs::perms::all) == fs::perms::owner_all,
          "the folder is private");
    fs::path file;
    for (const auto& entry : fs::directory_iterator(folder)) file = entry.path();
    check(!file.empty(), "a cache is written");
    if (!file.empty()) {
        std::ifstream in(file, std::ios::binary);
        const std::string good{std::istreambuf_iterator<char>(in), {}};
        // Every byte of the prefix and of the driver's header, and cuts.
        for (std::size_t i = 0; i < std::min<std::size_t>(good.size(), 64); i += 3) {
            std::string bad = good;
            bad[i] = char(bad[i] ^ 0x55);
            if (i % 2) bad.resize(i);
            std::ofstream(file, std::ios::binary | std::ios::trunc)
                .write(bad.data(), std::streamsize(bad.size()));
            check(table() == expected, "a damaged cache");
            std::ifstream again(file, std::ios::binary);
            check(std::string(std::istreambuf_iterator<char>(again), {}) == good, "and it is written again");
        }
        fs::remove(file);
        fs::create_directory(file);  // cannot be read, cannot be replaced
        check(table() == expected, "no cache at all");
    }
    fs::remove_all(pattern);
    setenv("FOVEATE_CACHE_DIR", restore.c_str(), 1);
}

// Both sets are of the same shaders, and one of them has their text.
void sources()
{
    const auto holds = [](std::span<const std::uint32_t> words, std::string_view text) {
        const std::string_view bytes(reinterpret_cast<const char*>(words.data()), words.size_bytes());
        return bytes.find(text) != bytes.npos;
    };
    for (const vulkan::Shader& shader : vulkan::shaders()) {
        for (const char* text : {"NonSemantic.Shader.DebugInfo.100", "void main()", "shared/api.h"}) {
            check(holds(shader.profile_words, text), std::string(shader.name) + ": with its source: " + text);
            check(!holds(shader.words, text), std::string(shader.name) + ": without its source: " + text);
        }
        check(!holds(shader.profile_words, "/shaders/"), std::string(shader.name) + ": no path of a machine");
        const compute::Reflection plain = compute::reflect(shader.words, shader.name);
        const compute::Reflection with = compute::reflect(shader.profile_words, shader.name);
        check(plain.params_size == with.params_size && plain.local == with.local &&
                  std::equal(plain.slots.begin(), plain.slots.end(), with.slots.begin(), with.slots.end(),
                             [](const compute::Slot& a, const compute::Slot& b) {
                                 return a.name == b.name && a.binding == b.binding;
                             }),
              std::string(shader.name) + ": the same buffers and parameters");
    }
}

// Run alone, with VULKAN_CANARY=1 and under a validation layer: a planted hazard and a planted leak must be
// seen, or "no messages" elsewhere means nothing.
void canaries()
{
    {
        setenv("FOVEATE_VULKAN_STAGING", "1", 1);
        const Ref<vulkan::Device> device(new vulkan::Device(vulkan::choose_adapter(""), 0, nullptr));
        const Ref<vulkan::Recorder> recorder(new vulkan::Recorder(device, false));
        vulkan::PipelineCache none(*device, {});
        for (const vulkan::Shader& shader : vulkan::shaders()) {
            if (std::strcmp(shader.name, "layout") != 0) continue;
            const vulkan::Program program(*device, shader, 1, none.handle());
            const Ref<vulkan::VulkanRecord> record(new vulkan::VulkanRecord(recorder));
            LayoutSpan span{};
            span.count = span.columns = span.rows = 1;
            span.w = span.h = 65536;
            const Ref<Block> spans = record->upload(&span, sizeof span);
            const Ref<vulkan::Buffer> tokens = record->buffer(vulkan::Use::device, 2 * sizeof(Token));
            const shared::LayoutParams params{.token_count = 1, .span_count = 1, .cell = 0, .scale_log2 = 0};
            const vulkan::Binding bindings[] = {{"Spans", spans.get()}, {"Cells"}, {"Tokens", tokens.get()}};
            record->dispatch(program, vulkan::bytes_of(params), bindings,
                             {1, 1, 1});  // no barrier after the copy
            record->finish();
        }
        check(vulkan::messages() > 0, "canary: a missing barrier is reported");
        const VkSemaphoreCreateInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, nullptr, 0};
        VkSemaphore leaked = VK_NULL_HANDLE;
        device->vk.CreateSemaphore(device->handle(), &info, nullptr, &leaked);
    }
    bool hazard = false, leak = false;
    for (const std::string& text : vulkan::message_texts()) {
        hazard = hazard || text.find("SYNC-HAZARD-READ-AFTER-WRITE") != std::string::npos;
        leak = leak || text.find("has not been destroyed") != std::string::npos;
    }
    check(hazard, "canary: the hazard by its name");
    check(leak, "canary: a leaked object is reported");
}

}  // namespace

int main()
try {
    if (std::getenv("VULKAN_CANARY")) {
        canaries();
        std::printf("vulkan_plumbing, canaries: %s\n", failures ? "FAILED" : "ok");
        return failures ? 1 : 0;
    }
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        choosing();
        if (*staging == '0') budget();
        pool();
        limits_of_the_device();
        outliving();
        forking();
    }
    cache();
    sources();
    return report("vulkan_plumbing");
} catch (const Error& error) {
    check(false, error.what());
    return report("vulkan_plumbing");
}
