// SPDX-License-Identifier: Apache-2.0
// Pixels that are read where they lie: in memory the backend lent, or in the caller's own pages. Each time the bytes
// are those of the cpu backend, and the counter says whether there was a copy.
#include <vulkan/vulkan_core.h>

#include "vulkan_check.h"

using namespace foveate;
using namespace foveate::test;

namespace {

// Everything reads bytes; of the other types the levels and the patches do.
Spec spec_of(Element element)
{
    Spec spec;
    spec.pyramid.levels = 3;
    spec.sample.patch = spec.layout.cell = 16;
    spec.layout.kind = element == Element::u8 ? LayoutKind::rate : LayoutKind::grid;
    spec.layout.budget = 40;
    spec.relevance.gaze_on = true;
    spec.relevance.gaze.points = {{{0.3, 0.6}}};
    spec.relevance.cell = spec.rate.cell = 16;
    spec.rate.budget = 40;
    return spec;
}

// The same picture at another place.
ImageView moved(const Picture& picture, std::byte* to)
{
    std::memcpy(to, picture.bytes.data(), picture.bytes.size());
    ImageView view = picture.view;
    view.data = to;
    return view;
}

std::uint64_t copies(Backend& backend, const std::vector<ImageView>& views, const std::string& what)
{
    const Spec spec = spec_of(views.front().element);
    const std::uint64_t before = backend.counters().image_copies;
    check(run(backend, views, spec) == run(*cpu_backend(), views, spec), what);
    return backend.counters().image_copies - before;
}

struct Kind {
    const char* name;
    Picture picture;
};

std::vector<Kind> kinds()
{
    std::vector<Kind> list;
    list.push_back({"RGB8", {181, 123, 3, 3, Element::u8}});
    list.push_back({"RGBX8, padded rows", {181, 123, 3, 4, Element::u8, 13}});
    list.push_back({"planar RGB8", {181, 123, 3, 0, Element::u8}});
    list.push_back({"gray8", {301, 223, 1, 1, Element::u8}});
    list.push_back({"RGB16", {121, 93, 3, 3, Element::u16}});
    list.push_back({"planar float", {91, 73, 3, 0, Element::f32, 1}});
    return list;
}

// At every place within a word that its elements allow.
void lent(Backend& backend)
{
    for (const Kind& kind : kinds()) {
        const std::uint64_t size = kind.picture.bytes.size(), step = element_size(kind.picture.view.element);
        for (std::uint64_t at = 0; at < 4; at += step) {
            const Ref<Block> block = backend.empty(size + at);
            const ImageView view = moved(kind.picture, block->host() + at);
            check(copies(backend, {view}, std::string("lent: ") + kind.name) == 0, "nothing is copied");
        }
    }
    // A part of it, two images in it, and what reaches out of it.
    const Picture picture(181, 123, 3, 3, Element::u8);
    const std::uint64_t size = picture.bytes.size();
    const Ref<Block> block = backend.empty(2 * size + 100);
    ImageView first = moved(picture, block->host() + 1), second = moved(picture, block->host() + size + 100);
    check(copies(backend, {second, first}, "lent: two images") == 0, "two images in one block");
    first.data += 7 * first.row_stride + 5 * first.pixel_stride;
    first.width = 90, first.height = 70;
    check(copies(backend, {first}, "lent: a part") == 0, "a part of an image");
    const Picture small(40, 27, 3, 3, Element::u8);
    check(copies(backend, {first, small.view}, "lent: one of two") == 2, "one image lies elsewhere");
}

// The caller's own pages, from 64 KiB on; `shared`: the device can read them.
void borrowed(Backend& backend, bool shared)
{
    for (const Kind& kind : kinds()) {
        const std::uint64_t size = kind.picture.bytes.size(), step = element_size(kind.picture.view.element);
        std::vector<std::byte> own(size + 4096);
        for (std::uint64_t at : {std::uint64_t(0), step, 4096 - 3 * step, std::uint64_t(2048)}) {
            const std::uint64_t used = backend.counters().memory_used;
            const ImageView view = moved(kind.picture, own.data() + at);
            const std::uint64_t copied = copies(backend, {view}, std::string("borrowed: ") + kind.name);
            check(copied == (shared ? 0 : 1), std::string("borrowed, copies of ") + kind.name);
            if (at && shared) check(backend.counters().memory_used == used, "borrowed pages are not of the budget");
        }
    }
    const Picture small(100, 70, 3, 3, Element::u8);
    check(copies(backend, {small.view}, "borrowed: small") == 1, "little is copied");

    // Two images of one array, and two with foreign pages between them.
    const Picture picture(181, 123, 3, 3, Element::u8);
    const std::uint64_t size = picture.bytes.size();
    std::vector<std::byte> array(2 * size + 3 * 4096);
    const ImageView one = moved(picture, array.data());
    check(copies(backend, {one, moved(picture, array.data() + size + 20)}, "borrowed: a batch") == (shared ? 0 : 2),
          "a batch of one array");
    check(copies(backend, {one, moved(picture, array.data() + size + 2 * 4096)}, "borrowed: a gap") == 2,
          "pages between two images are not ours to map");
}

// Whichever call of a run fails: an error, or the right bytes by a copy; and nothing is left behind.
void faults(Backend& backend)
{
    const Picture picture(160, 140, 3, 3, Element::u8);
    Spec spec;
    spec.layout = {.kind = LayoutKind::grid, .budget = 6, .cell = 8};
    spec.sample = {.patch = 8};
    const Made expected = run(backend, {picture.view}, spec);
    vulkan::fault_arm(0, 0);
    run(backend, {picture.view}, spec);
    const std::uint64_t calls = vulkan::fault_calls(), used = backend.counters().memory_used;
    vulkan::fault_disarm();
    std::uint64_t copies = 0;
    for (std::uint64_t k = 1; k <= calls; ++k) {
        const std::uint64_t before = backend.counters().image_copies;
        vulkan::fault_arm(k, VK_ERROR_OUT_OF_HOST_MEMORY);
        try {
            check(run(backend, {picture.view}, spec) == expected, "right bytes after a fault");
            copies += backend.counters().image_copies - before;
        } catch (const Error& error) {
            check(std::strstr(error.what(), "got ") != nullptr, error.what());
        }
        vulkan::fault_disarm();
    }
    check(run(backend, {picture.view}, spec) == expected, "right bytes after all faults");
    check(backend.counters().memory_used <= used + (1 << 20), "memory after faults");
    if (backend.caps().host_visible) check(copies == 4, "a failed loan is a copy: " + std::to_string(copies));
}

// What was lent outlives the backend, and is found no more once it is back.
void life()
{
    Ref<Backend> backend = make_vulkan_backend("", 0);
    const Picture picture(181, 123, 3, 3, Element::u8);
    Ref<Block> block = backend->empty(picture.bytes.size());
    const ImageView view = moved(picture, block->host());
    check(copies(*backend, {view}, "alive") == 0, "found");
    const std::byte* const host = block->host();
    block = {};
    const Ref<Block> again = backend->empty(picture.bytes.size());
    check(again->host() == host, "the pool gives it out again");
    backend = {};
    std::memset(again->host(), 1, again->size());
}

}  // namespace

int main()
try {
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        const Ref<Backend> backend = make_vulkan_backend("", 0);
        lent(*backend);
        borrowed(*backend, *staging == '0');
        faults(*backend);
        life();
    }
    return report("vulkan_host");
} catch (const Error& error) {
    check(false, error.what());
    return report("vulkan_host");
}
