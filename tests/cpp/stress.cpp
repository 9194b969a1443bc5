// SPDX-License-Identifier: Apache-2.0
// Many threads on one engine, engines that end before their values, values that end on other threads, and many
// callers of one pool. Every result is compared with a golden one made by one thread; the sanitizers look on.
//   FOVEATE_STRESS_CALLS    calls a thread (default 100)
//   FOVEATE_STRESS_VULKAN   1: the vulkan backend too
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>

#include "engine/cpu/threads.h"
#include "engine/engine.h"
#include "engine/vulkan/fault.h"

using namespace foveate;

namespace {

constexpr std::uint32_t THREADS = 8;
std::atomic<int> failures{0};

void check(bool condition, const std::string& what)
{
    if (condition) return;
    ++failures;
    std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

std::uint32_t calls()
{
    const char* text = std::getenv("FOVEATE_STRESS_CALLS");
    return text ? std::uint32_t(std::strtoul(text, nullptr, 10)) : 100;
}

// Runs work(thread) on THREADS threads at once; an exception is a failure.
void at_once(const std::string& what, const std::function<void(std::uint32_t)>& work)
{
    std::vector<std::thread> threads;
    std::atomic<std::uint32_t> waiting{THREADS};
    for (std::uint32_t thread = 0; thread < THREADS; ++thread)
        threads.emplace_back([&, thread] {
            --waiting;
            while (waiting) std::this_thread::yield();
            try {
                work(thread);
            } catch (const std::exception& error) {
                check(false, what + ": " + error.what());
            }
        });
    for (std::thread& thread : threads) thread.join();
}

// ---- calls of every kind ----------------------------------------------------------------------------------

struct Picture {
    std::vector<std::uint8_t> bytes;
    ImageView view;

    Picture(std::uint32_t width, std::uint32_t height) : bytes(std::size_t(width) * height * 3)
    {
        std::uint32_t state = width * 2654435761u + height;
        for (std::uint8_t& byte : bytes) byte = std::uint8_t((state = state * 1664525u + 1013904223u) >> 24);
        view.data = reinterpret_cast<const std::byte*>(bytes.data());
        view.width = width;
        view.height = height;
        view.channels = 3;
        view.pixel_stride = 3;
        view.channel_stride = 1;
        view.row_stride = std::uint64_t(width) * 3;
    }
};

std::vector<ImageView> views(std::uint32_t first, std::uint32_t count)
{
    static const Picture pictures[] = {{61, 47}, {32, 32}, {5, 90}, {1, 1}, {128, 33}};
    std::vector<ImageView> list;
    for (std::uint32_t i = 0; i < count; ++i) list.push_back(pictures[(first + i) % std::size(pictures)].view);
    return list;
}

using Bytes = std::vector<std::byte>;

void append(Bytes& bytes, const void* data, std::size_t size)
{
    const auto* from = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), from, from + size);
}

Bytes bytes_of(const Tokens& tokens)
{
    Bytes bytes;
    append(bytes, tokens.patches.data->host(), tokens.patches.data->size());
    const std::vector<Token> rows = tokens.table.tokens();
    append(bytes, rows.data(), rows.size() * sizeof(Token));
    return bytes;
}

TokensSpec spec(std::uint32_t kind)
{
    TokensSpec made;
    made.layout.cell = made.sample.patch = 8;
    switch (kind % 5) {
    case 0: made.layout.budget = 9; break;
    case 1:
        made.layout.kind = LayoutKind::rings;
        made.layout.budget = 0;
        made.layout.strides = {1, 2};
        made.layout.grids = {4, 4};
        made.sample.dtype = Dtype::f16;
        break;
    case 2:
        made.layout.kind = LayoutKind::views;
        made.layout.budget = 10;
        made.layout.gaze.points = {{{0.3, 0.7}}};
        made.sample.channels_last = true;
        made.sample.dtype = Dtype::bf16;
        break;
    case 3:
        made.layout.budget = 6;
        made.pyramid.color = Color::linear;
        made.sample.frames = 2;
        break;
    case 4:
        made.layout.kind = LayoutKind::rate;
        made.layout.budget = 60;
        made.weighted = made.relevance.gaze_on = made.relevance.information = true;
        made.relevance.saliency = Saliency::spectral;
        made.rate.max_rate = 8;
        break;
    }
    return made;
}

constexpr std::uint32_t KINDS = 6;

// Kinds 0..4 in one call, kind 5 stage by stage.
Bytes call(Engine& engine, std::uint32_t kind)
{
    if (kind < 5) return bytes_of(engine.tokens(views(kind, 1 + kind % 3), spec(kind)));
    const Image image = engine.image(views(0, 1));
    const Pyramid pyramid = engine.pyramid(image, {});
    const std::array<std::uint32_t, 2> sizes[] = {{image.views[0].width, image.views[0].height}};
    const Layout layout = engine.layout(sizes, spec(2).layout);
    const SampleSpec how = spec(0).sample;
    const Patches patches = engine.sample(pyramid, layout, how);
    Tokens tokens;
    tokens.table = engine.table(layout, &pyramid, &how);
    tokens.patches = patches;
    tokens.patches.data = engine.host(patches.data);
    return bytes_of(tokens);
}

std::vector<Bytes> golden()
{
    Engine engine({.backend = {{"*", "cpu"}}, .threads = 1});
    std::vector<Bytes> list;
    for (std::uint32_t kind = 0; kind < KINDS; ++kind) list.push_back(call(engine, kind));
    return list;
}

// ---- what is put under stress -----------------------------------------------------------------------------

void one_engine(const EngineOptions& options, const std::vector<Bytes>& expected)
{
    Engine engine(options);
    for (std::uint32_t kind = 0; kind < KINDS; ++kind)
        check(call(engine, kind) == expected[kind], "warm-up, kind " + std::to_string(kind));
    const std::uint64_t pipelines = engine.counters().pipelines_created;
    at_once("one engine", [&](std::uint32_t thread) {
        for (std::uint32_t i = 0; i < calls(); ++i) {
            const std::uint32_t kind = (thread + i) % KINDS;
            check(call(engine, kind) == expected[kind], "one engine, kind " + std::to_string(kind));
            check(engine.counters().memory_used > 0, "memory_used");
            engine.caps(Stage::sample);
        }
    });
    check(engine.counters().pipelines_created == pipelines, "pipelines are made once");
}

// Every thread makes engines, and what they made is looked at and let go by other threads, after the engine.
void values_outlive_engines(const EngineOptions& options, const std::vector<Bytes>& expected, std::uint32_t rounds)
{
    struct Held {
        Tokens tokens;
        std::uint32_t kind;
    };
    std::mutex mutex;
    std::deque<Held> passed;
    // Validation layers look up every call's instance in a map that making another one changes, without a lock
    // (1.3.239 does): under them one thread at a time, or the layer crashes.
    const bool in_turn = std::getenv("FOVEATE_VALIDATION") && options.backend.at("*") == "vulkan";
    std::mutex turns;
    const auto look = [&](const Held& held) {
        check(bytes_of(held.tokens) == expected[held.kind], "outlives, kind " + std::to_string(held.kind));
    };
    at_once("outlives", [&](std::uint32_t thread) {
        for (std::uint32_t i = 0; i < rounds; ++i) {
            const auto turn = in_turn ? std::unique_lock(turns) : std::unique_lock<std::mutex>();
            std::vector<Held> made;
            {
                Engine engine(options);
                for (std::uint32_t kind = 0; kind < 5; ++kind) {
                    const std::uint32_t turned = (kind + thread) % 5;
                    made.push_back({engine.tokens(views(turned, 1 + turned % 3), spec(turned)), turned});
                }
                made.erase(made.begin());  // back to a pool that is about to end
            }
            std::unique_lock lock(mutex);
            for (Held& held : made) passed.push_back(std::move(held));
            if (passed.size() < 6) continue;
            const Held other = std::move(passed.front());
            passed.pop_front();
            lock.unlock();
            look(other);
        }
    });
    for (const Held& held : passed) look(held);
}

// One engine, whose blocks another thread lets go while it goes on.
void released_elsewhere(const EngineOptions& options)
{
    Engine engine(options);
    std::mutex mutex;
    std::deque<Ref<Block>> passed;
    at_once("released elsewhere", [&](std::uint32_t thread) {
        for (std::uint32_t i = 0; i < calls(); ++i) {
            if (thread % 2 == 0) {
                Ref<Block> block = engine.tokens(views(thread + i, 1), spec(i)).patches.data;
                std::lock_guard lock(mutex);
                passed.push_back(block);
                passed.push_back(std::move(block));
            } else {
                Ref<Block> block;
                {
                    std::lock_guard lock(mutex);
                    if (passed.empty()) continue;
                    block = std::move(passed.back());
                    passed.pop_back();
                }
                check(block->size() > 0 && block->host(), "a block is whole");
            }
        }
    });
    passed.clear();
}

// ---- the pool of threads ----------------------------------------------------------------------------------

void pool_of_many_callers()
{
    cpu::Threads pool(4);
    at_once("pool", [&](std::uint32_t thread) {
        for (std::uint32_t i = 0; i < calls() * 8; ++i) {
            const std::uint32_t steps = (thread * 7 + i) % 23;
            std::vector<std::uint32_t> done(steps);
            pool.run(steps, [&](std::uint32_t step) { done[step] += step + 1; });
            check(std::accumulate(done.begin(), done.end(), 0u) == steps * (steps + 1) / 2, "every step once");
        }
    });
}

void pool_with_exceptions()
{
    cpu::Threads pool(3);
    at_once("pool with exceptions", [&](std::uint32_t thread) {
        for (std::uint32_t i = 0; i < calls() * 4; ++i) {
            const std::string expected = std::to_string(thread);
            std::string got;
            try {
                pool.run(16, [&](std::uint32_t step) {
                    if (step % 3 == 0) throw std::runtime_error(expected);
                });
            } catch (const std::runtime_error& error) {
                got = error.what();
            }
            check(got == expected, "the caller gets its own exception");
        }
    });
}

void pools_come_and_go()
{
    at_once("pools", [&](std::uint32_t) {
        for (std::uint32_t i = 0; i < calls(); ++i) {
            cpu::Threads pool(1 + i % 4);
            std::atomic<std::uint32_t> sum{0};
            if (i % 3) pool.run(8, [&](std::uint32_t step) { sum += step; });
            check(sum == (i % 3 ? 28u : 0u), "pools");
        }
    });
}

}  // namespace

int main()
try {
    const std::vector<Bytes> expected = golden();
    pool_of_many_callers();
    pool_with_exceptions();
    pools_come_and_go();

    const EngineOptions cpu{.backend = {{"*", "cpu"}}, .threads = 3};
    one_engine(cpu, expected);
    values_outlive_engines(cpu, expected, calls());
    released_elsewhere(cpu);

    const char* vulkan = std::getenv("FOVEATE_STRESS_VULKAN");
    if (vulkan && *vulkan == '1') {
        const EngineOptions options{.backend = {{"*", "vulkan"}}};
        one_engine(options, expected);
        values_outlive_engines(options, expected, 1 + calls() / 100);
        released_elsewhere(options);
        const EngineOptions mixed{.backend = {{"sample", "cpu"}, {"*", "vulkan"}}, .threads = 2};
        one_engine(mixed, expected);
    }
    for (const std::string& text : vulkan::message_texts()) check(false, text);
    check(vulkan::messages() == 0, "validation messages");
    std::printf("stress: %s\n", failures ? "FAILED" : "ok");
    return failures ? 1 : 0;
} catch (const Error& error) {
    std::fprintf(stderr, "%s\nstress: FAILED\n", error.what());
    return 1;
}
