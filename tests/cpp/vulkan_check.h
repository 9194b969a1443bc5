// SPDX-License-Identifier: Apache-2.0
// What the Vulkan tests share: a check that says where it failed, images made by code, and one canonical run
// through the stages whose bytes can be compared between backends.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "engine/cpu/backend.h"
#include "engine/stages/plan.h"
#include "engine/vulkan/backend.h"

namespace foveate::test {

inline int failures = 0;

inline void check(bool condition, const std::string& what)
{
    if (condition) return;
    ++failures;
    std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

// The test's exit code. Messages of a validation layer count as failures.
inline int report(const char* name)
{
    for (const std::string& text : vulkan::message_texts())
        std::fprintf(stderr, "message: %s\n", text.c_str());
    check(vulkan::messages() == 0, std::to_string(vulkan::messages()) + " validation messages");
    std::printf("%s: %s\n", name, failures ? "FAILED" : "ok");
    return failures ? 1 : 0;
}

// The error's text, or "" where nothing was thrown.
inline std::string thrown(ErrorKind kind, const std::function<void()>& call)
{
    try {
        call();
    } catch (const Error& error) {
        check(error.kind == kind, std::string("kind of: ") + error.what());
        return error.what();
    }
    return "";
}

// SwiftShader keeps one file of its own for every device that ever was; those are not ours to count.
inline int open_files()
{
    int count = 0;
    DIR* folder = opendir("/proc/self/fd");
    while (const dirent* entry = readdir(folder)) {
        char target[256] = {};
        const ssize_t size = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
        count += size < 0 || std::strstr(target, "swiftshader_jit") == nullptr;
    }
    closedir(folder);
    return count;
}

// One image of pseudo-random bytes. `stored`: channels in memory; planar when 0.
struct Picture {
    std::vector<std::byte> bytes;
    ImageView view;

    Picture(std::uint32_t width, std::uint32_t height, std::uint32_t channels, std::uint32_t stored,
            Element element, std::uint32_t padding = 0)
    {
        const std::uint64_t size = element_size(element);
        view.width = width;
        view.height = height;
        view.channels = channels;
        view.element = element;
        view.pixel_stride = size * std::max(stored, 1u);
        view.row_stride = width * view.pixel_stride + padding * size;
        view.channel_stride = stored ? size : height * view.row_stride;
        // As small as it may be: what follows the last channel is not the caller's to read.
        bytes.resize((stored ? 0 : (channels - 1) * view.channel_stride) + (height - 1) * view.row_stride +
                     (width - 1) * view.pixel_stride + (stored ? channels : 1) * size);
        std::uint32_t state = width * 2654435761u + height * 40503u + channels;
        const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
        if (element == Element::f32)
            for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) {
                const float value = float(next() & 0xffff) / 65535.0f;
                std::memcpy(&bytes[i], &value, 4);
            }
        else
            for (std::byte& byte : bytes) byte = std::byte(next());
        view.data = bytes.data();
    }
};

struct Spec {
    PyramidSpec pyramid;
    RelevanceSpec relevance;            // these two for the layout of kind rate
    RateSpec rate;
    LayoutSpec layout;
    SampleSpec sample;
    bool exact = true;
};

// Everything a run made, as the host reads it.
struct Made {
    std::vector<std::byte> levels, cells, codes, tokens, patches;
    bool operator==(const Made&) const = default;
};

inline std::vector<std::byte> copied(const Ref<Block>& block)
{
    if (!block) return {};
    return {block->host(), block->host() + block->size()};
}

// The texels of levels 1.., without what lies between the end of a row and the next.
inline std::vector<std::byte> texels(const Ref<Block>& levels, const Pyramid& pyramid)
{
    std::vector<std::byte> packed;
    if (!levels) return packed;
    const std::uint64_t size = element_size(pyramid.element);
    for (std::size_t i = 0; i < pyramid.table.size(); ++i) {
        const auto& level = pyramid.table[i];
        if (i % MAX_LEVELS == 0 || level.width == 0) continue;
        for (std::uint64_t row = 0; row < std::uint64_t(level.height) * pyramid.image.channels; ++row) {
            const std::byte* from = levels->host() + (level.offset + row * level.pitch) * size;
            packed.insert(packed.end(), from, from + level.width * size);
        }
    }
    return packed;
}

// `gap`: elements left unused before the levels.
inline Made run(Backend& backend, const std::vector<ImageView>& views, const Spec& spec,
                std::uint32_t gap = 0)
{
    const Image image = gather_images(views);
    const Ref<Record> record = backend.begin();
    PyramidPlan plan = plan_pyramid(image, spec.pyramid);
    for (auto& level : plan.table) level.offset += gap;
    plan.level_elements += gap;
    const Pyramid pyramid = backend.pyramid(*record, backend.image(*record, image), plan);
    const auto sizes = image_sizes(image);
    Relevance relevance;
    Rates rates;
    RateShape shape;
    const bool rated = spec.layout.kind == LayoutKind::rate;
    if (rated) {
        // Two frames: what the second takes over from the first must be the same as well.
        for (int frame = 0; frame < 2; ++frame) {
            const Relevance before = relevance;
            const Rates last = rates;
            relevance = backend.relevance(*record, pyramid,
                                          plan_relevance(sizes, spec.relevance, frame ? &before : nullptr));
            rates = backend.rate(*record, pyramid.image, &relevance,
                                 plan_rate(pyramid.image, spec.rate, frame ? &last : nullptr));
        }
        shape = {rates.grids, rates.cell, rates.budget, rates.max_rate, rates.scale};
    }
    const LayoutPlan rows = plan_layout(sizes, spec.layout, rated ? &shape : nullptr);
    const Layout layout = backend.layout(*record, rows, rated ? &rates : nullptr);
    Patches patches;
    if (spec.pyramid.edge == Edge::aligned) {
        SamplePlan plan = plan_sample(pyramid, layout, spec.sample);
        if (!spec.exact) plan.fast_levels = fast_levels(pyramid, layout, plan, backend.caps().filter_side);
        patches = backend.sample(*record, pyramid, layout, plan);
    }
    const Ref<Block> levels = backend.tensor(*record, pyramid.levels);
    const Ref<Block> cells = backend.tensor(*record, relevance.cells);
    const Ref<Block> codes = backend.tensor(*record, rates.codes);
    const Ref<Block> tokens = backend.tensor(*record, layout.tokens);
    const Ref<Block> data = backend.tensor(*record, patches.data);
    backend.finish(*record);
    return {texels(levels, pyramid), copied(cells), copied(codes), copied(tokens), copied(data)};
}

inline Ref<Backend> cpu_backend()
{
    return Ref<Backend>(new cpu::CpuBackend(1, "", 1ull << 30));
}

}  // namespace foveate::test
