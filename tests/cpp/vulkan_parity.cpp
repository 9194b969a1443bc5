// SPDX-License-Identifier: Apache-2.0
// Every stage on Vulkan gives the bytes of the cpu: element types, strides, layouts, orders, both memory
// policies, several threads at once.
#include <thread>

#include "engine/stages/warp.h"
#include "vulkan_check.h"

using namespace foveate;
using namespace foveate::test;

namespace {

struct Batch {
    const char* name;
    std::vector<Picture> pictures;
    std::vector<ImageView> views() const
    {
        std::vector<ImageView> list;
        for (const Picture& picture : pictures) list.push_back(picture.view);
        return list;
    }
};

std::vector<Batch> batches()
{
    std::vector<Batch> list(6);
    list[0].name = "rgb u8, sizes mixed";
    for (auto [w, h] : {std::pair{129u, 65u}, {1u, 1u}, {64u, 200u}, {37u, 5u}})
        list[0].pictures.emplace_back(w, h, 3, 3, Element::u8);
    list[1].name = "rgbx u8 with padded rows";
    list[1].pictures.emplace_back(101u, 77u, 3, 4, Element::u8, 3);
    list[1].pictures.emplace_back(16u, 16u, 3, 4, Element::u8);
    list[2].name = "planar u8";
    list[2].pictures.emplace_back(50u, 61u, 3, 0, Element::u8, 2);
    list[3].name = "gray u16";
    list[3].pictures.emplace_back(99u, 33u, 1, 1, Element::u16, 1);
    list[4].name = "planar f32";
    list[4].pictures.emplace_back(40u, 71u, 3, 0, Element::f32);
    list[5].name = "rgb f32";
    list[5].pictures.emplace_back(33u, 31u, 3, 3, Element::f32);
    return list;
}

std::vector<std::pair<std::string, Spec>> specs()
{
    std::vector<std::pair<std::string, Spec>> list;
    const auto add = [&](const std::string& name) -> Spec& { return list.emplace_back(name, Spec{}).second; };
    {
        Spec& spec = add("grid");
        spec.layout = {.kind = LayoutKind::grid, .budget = 30, .cell = 16};
        spec.sample = {.patch = 16, .mean = {0.5f, 0.4f, 0.3f}, .std = {0.5f, 0.25f, 0.2f}};
    }
    {
        Spec& spec = add("rings, bf16, channels last");
        spec.layout = {
            .kind = LayoutKind::rings, .budget = 0, .cell = 8, .strides = {1, 2, 4}, .grids = {4, 4, 4}};
        spec.sample = {.patch = 8, .frames = 2, .channels_last = true, .dtype = Dtype::bf16};
    }
    {
        Spec& spec = add("views, f16, merged");
        spec.layout = {.kind = LayoutKind::views, .budget = 20, .cell = 12, .gaze = {.points = {{{0.3, 0.6}}}}};
        spec.sample = {.patch = 6, .merge = 2, .frames = 2, .dtype = Dtype::f16, .taps = 3.0};
    }
    {
        Spec& spec = add("linear, odd patch");
        spec.pyramid.color = Color::linear;
        spec.layout = {.kind = LayoutKind::grid, .budget = 12, .cell = 7};
        spec.sample = {.patch = 7, .mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f}};
    }
    {
        Spec& spec = add("rate");
        spec.layout = {.kind = LayoutKind::rate, .budget = 90, .cell = 8, .gaze = {.points = {{{0.7, 0.4}}}}};
        spec.relevance.gaze_on = true;
        spec.relevance.gaze = spec.layout.gaze;
        spec.relevance.cell = spec.rate.cell = 8;
        spec.relevance.information = spec.relevance.motion = true;
        spec.relevance.saliency = Saliency::both;
        spec.rate.budget = 90;
        spec.rate.steady = true;
        spec.sample = {.patch = 8};
    }
    {
        Spec& spec = add("rate, squares, spectral");
        spec.layout = {.kind = LayoutKind::rate, .budget = 60, .cell = 7};
        spec.relevance.cell = spec.rate.cell = 7;
        spec.relevance.saliency = Saliency::spectral;
        spec.rate.budget = 60;
        spec.rate.max_rate = 16;
        spec.rate.square = true;
        spec.sample = {.patch = 7};
    }
    {
        Spec& spec = add("logpolar");
        spec.layout = {.kind = LayoutKind::logpolar, .budget = 40, .cell = 8};
        spec.sample = {.patch = 8};
    }
    {
        Spec& spec = add("exact");
        spec.pyramid.edge = Edge::exact;
        spec.layout = {.kind = LayoutKind::grid, .budget = 12, .cell = 16};
    }
    return list;
}

void parity(Backend& vulkan, const std::string& policy)
{
    const Ref<Backend> cpu = cpu_backend();
    for (const Batch& batch : batches())
        for (auto [name, spec] : specs()) {
            const ImageView& first = batch.pictures[0].view;
            if (spec.pyramid.color == Color::linear && first.element != Element::u8) continue;
            if (first.channels == 1) spec.sample.mean = {0.5f}, spec.sample.std = {0.5f};
            const Made expected = run(*cpu, batch.views(), spec);
            const Made got = run(vulkan, batch.views(), spec);
            const std::string what = policy + ", " + batch.name + ", " + name;
            check(got.levels == expected.levels, what + ": levels");
            check(got.cells == expected.cells, what + ": relevance");
            check(got.codes == expected.codes, what + ": rates");
            check(got.tokens == expected.tokens, what + ": tokens");
            check(got.patches == expected.patches, what + ": patches");
        }
}

// Warped images and rates of tiles: what uploads between its dispatches, or packs bytes.
void others(Backend& vulkan)
{
    const Picture picture(90, 70, 3, 3, Element::u8);
    const auto made = [&](Backend& backend) {
        const Image image = gather_images({picture.view, picture.view});
        const Ref<Record> record = backend.begin();
        const Pyramid pyramid =
            backend.pyramid(*record, backend.image(*record, image), plan_pyramid(image, {.levels = 4}));
        WarpTables tables;
        const WarpPlan plan = plan_warp(image, {.width = 24, .height = 40}, tables);
        const Warped warped = backend.warp(*record, pyramid, plan);
        const Ref<Block> texels = backend.tensor(*record, warped.data);
        const RateTilesSpec spec{.tile = 8, .content = TileContent::ffx};
        const TileRates rates =
            backend.rate_tiles(*record, pyramid.image, plan_rate_tiles(image_sizes(image), &image, spec));
        const Ref<Block> codes = backend.tensor(*record, rates.codes);
        backend.finish(*record);
        // Without what pads images and rows to whole words.
        std::vector<std::byte> bytes;
        const auto add = [&](const Ref<Block>& block, std::uint64_t from, std::uint64_t size) {
            bytes.insert(bytes.end(), block->host() + from, block->host() + from + size);
        };
        for (std::uint32_t i = 0; i < 2; ++i) {
            add(texels, i * warped.image_stride, 24 * 40 * 3);
            for (std::uint32_t row = 0; row < rates.grids[i].rows; ++row)
                add(codes, rates.grids[i].first + row * rates.grids[i].pitch, rates.grids[i].columns);
        }
        return bytes;
    };
    check(made(vulkan) == made(*cpu_backend()), "warp and rates of tiles");
}

void threads(Backend& vulkan)
{
    const Batch batch = std::move(batches()[0]);
    const Spec spec = specs()[0].second;
    const Made expected = run(*cpu_backend(), batch.views(), spec);
    std::vector<std::thread> list;
    std::atomic<int> wrong{0};
    for (int i = 0; i < 4; ++i)
        list.emplace_back([&] {
            for (int round = 0; round < 4; ++round) wrong += !(run(vulkan, batch.views(), spec) == expected);
        });
    for (std::thread& thread : list) thread.join();
    check(wrong == 0, "threads: " + std::to_string(wrong) + " runs differ");
}

// The output in several dispatches: more bytes than lavapipe binds at once. Most rows are padding, which
// costs nothing but its bytes.
void chunks(Backend& vulkan)
{
    const Picture picture(64, 48, 3, 3, Element::u8);
    Spec spec;
    spec.layout = {.kind = LayoutKind::views, .budget = 1500, .cell = 32};
    spec.layout.views = {{.x0 = 0, .y0 = 0, .x1 = 1, .y1 = 1, .rows = 2, .columns = 2}};
    spec.sample = {.patch = 32, .frames = 2};
    const std::vector<ImageView> views(4, picture.view);
    check(run(vulkan, views, spec) == run(*cpu_backend(), views, spec), "chunks");
}

// Pixels, then levels, of more bytes than one window, and tokens that read the far end of them.
void windows(Backend& vulkan)
{
    const Picture large(16384, 2800, 3, 3, Element::u8);
    Spec spec;
    spec.pyramid.levels = 1;
    spec.layout = {.kind = LayoutKind::views, .budget = 4, .cell = 8};
    spec.layout.views = {{.x0 = 0.99, .y0 = 0.9, .x1 = 1, .y1 = 1, .rows = 2, .columns = 2}};
    spec.sample = {.patch = 8};
    check(run(vulkan, {large.view}, spec) == run(*cpu_backend(), {large.view}, spec), "windows: pixels");

    const Picture small(200, 150, 3, 3, Element::u8);
    spec.pyramid.levels = 0;
    spec.layout.views = {{.x0 = 0, .y0 = 0, .x1 = 1, .y1 = 1, .rows = 2, .columns = 2}};
    for (const std::uint32_t gap :
         {(1u << 26) - 20000u, 3u << 26})  // 16-bit elements: across two windows, the last
        check(run(vulkan, {small.view}, spec, gap) == run(*cpu_backend(), {small.view}, spec, gap),
              "windows: levels");
}

}  // namespace

int main()
try {
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        const Ref<Backend> backend = make_vulkan_backend("", 0);
        std::printf("%s, %s, host_visible %d\n", backend->caps().device.c_str(),
                    backend->caps().driver.c_str(), backend->caps().host_visible);
        check(backend->caps().host_visible == (*staging == '0'), "memory policy");
        parity(*backend, *staging == '1' ? "staged" : "shared");
        others(*backend);
        const std::uint64_t pipelines = backend->counters().pipelines_created;
        threads(*backend);
        if (*staging == '0') chunks(*backend);
        check(backend->counters().pipelines_created == pipelines, "a pipeline was made twice");
        if (*staging == '0') windows(*backend);
        check(backend->counters().messages == 0, "messages of this backend");
    }
    return report("vulkan_parity");
} catch (const Error& error) {
    check(false, error.what());
    return report("vulkan_parity");
}
