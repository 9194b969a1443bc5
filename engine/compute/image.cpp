// SPDX-License-Identifier: Apache-2.0
// Pixels where they lie, if they are in one buffer or can be made one; else into one buffer, image after image.
// Rows are packed then, so that what a caller's strides skip is not carried along; interleaved stays interleaved
// and planar stays planar.
#include <algorithm>
#include <cstring>

#include "engine/compute/backend.h"

namespace foveate::compute {

namespace {

// How one image is stored: `planes` times `height` rows of `row` bytes, of which the last `skip` are unused.
struct Packing {
    std::uint32_t planes;
    std::uint64_t row, skip;
    std::uint64_t size;
    bool hidden = false;                // copied on the device as it lies: from the first byte that is read to the last
};

Packing packing_of(const ImageView& view)
{
    const std::uint64_t element = element_size(view.element);
    const bool interleaved = view.channels == 1 || view.channel_stride == element;
    Packing packing;
    packing.planes = interleaved ? 1 : view.channels;
    packing.row = view.width * view.pixel_stride;
    packing.skip = interleaved ? view.pixel_stride - view.channels * element : 0;
    packing.size = packing.planes * view.height * packing.row;
    return packing;
}

constexpr std::uint64_t PAGE = 4096;  // bytes: the least that is mapped

std::uint64_t whole_words(std::uint64_t bytes) { return (bytes + 3) / 4 * 4; }

// Never reads past the caller's last channel: the fourth byte of the last RGBX pixel may not be there.
void pack(const ImageView& view, const Packing& packing, std::byte* to)
{
    for (std::uint32_t plane = 0; plane < packing.planes; ++plane) {
        const std::byte* from = view.data + plane * view.channel_stride;
        std::byte* plane_to = to + plane * view.height * packing.row;
        if (view.row_stride == packing.row) {
            std::memcpy(plane_to, from, view.height * packing.row - packing.skip);
            continue;
        }
        for (std::uint64_t y = 0; y < view.height; ++y)
            std::memcpy(plane_to + y * packing.row, from + y * view.row_stride, packing.row - packing.skip);
    }
}

shared::ImageDesc desc_of(const ImageView& view, std::uint64_t row_stride, std::uint64_t channel_stride,
                          std::uint64_t offset)
{
    return {.offset_word = std::uint32_t(offset / 4),
            .width = view.width,
            .height = view.height,
            .channels = view.channels,
            .row_stride = std::uint32_t(row_stride),
            .pixel_stride = std::uint32_t(view.pixel_stride),
            .channel_stride = std::uint32_t(channel_stride),
            .element = std::uint32_t(view.element),
            .offset_byte = std::uint32_t(offset % 4),
            .pad0 = 0,
            .pad1 = 0,
            .pad2 = 0};
}

bool addressable(const ImageView& view)
{
    constexpr std::uint64_t MOST = ~std::uint32_t(0);
    return view.row_stride <= MOST && view.channel_stride <= MOST &&
           reinterpret_cast<std::uintptr_t>(view.data) % element_size(view.element) == 0;
}

const std::byte* end_of(const ImageView& view)
{
    return view.data + (view.height - 1) * view.row_stride + (view.width - 1) * view.pixel_stride +
           (view.channels - 1) * view.channel_stride + element_size(view.element);
}

// From the first byte that is read to the last.
struct Reach {
    const std::byte *low, *high;
    bool gapless;  // every page holds pixels of some view, or lies between rows of one
};

Reach reach_of(const std::vector<ImageView>& views)
{
    std::vector<const ImageView*> order;
    for (const ImageView& view : views) order.push_back(&view);
    std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->data < b->data; });
    const auto page_of = [](const std::byte* at) { return reinterpret_cast<std::uintptr_t>(at) / PAGE; };
    Reach reach{order.front()->data, end_of(*order.front()), true};
    for (const ImageView* view : order) {
        if (page_of(view->data) > page_of(reach.high - 1) + 1) reach.gapless = false;
        reach.high = std::max(reach.high, end_of(*view));
    }
    return reach;
}

}  // namespace

// Pages are borrowed where copying would take longer than having them mapped.
bool ComputeBackend::in_place(ComputeRecord& recording, Image& image, std::uint64_t packed) const
{
    constexpr std::uint64_t WORTH = 1 << 16;  // bytes
    if (!std::all_of(image.views.begin(), image.views.end(), addressable)) return false;
    const Reach reach = reach_of(image.views);
    // One that needs a choice of windows where a copy would not is slower than the copy.
    const std::uint64_t size_max = std::min(std::max(packed, WINDOW), WINDOWS * WINDOW);
    const Place place = this->place(recording, reach.low, reach.high, packed >= WORTH && reach.gapless, size_max);
    if (!place.block) return false;
    image.table.clear();
    for (const ImageView& view : image.views) {
        const std::uint64_t offset = std::uint64_t(view.data - place.base);
        image.table.push_back(desc_of(view, view.row_stride, view.channel_stride, offset));
    }
    image.pixels = place.block;
    return true;
}

Image ComputeBackend::image(Record& record, Image image)
{
    ComputeRecord& recording = this->recording(record);
    std::vector<Packing> packings;
    std::uint64_t size = 0;
    for (const ImageView& view : image.views) {
        packings.push_back(packing_of(view));
        if (hidden(view.data, end_of(view)))
            packings.back() = {1, view.row_stride, 0, std::uint64_t(end_of(view) - view.data), true};
        size += whole_words(packings.back().size);
    }
    if (in_place(recording, image, size)) return image;
    check_range("image: batch", size, WINDOWS * WINDOW);

    const Ref<Block> pixels = recording.buffer(size);
    const bool seen = !std::ranges::all_of(packings, &Packing::hidden);
    std::byte* host = seen ? recording.fill(pixels) : nullptr;
    image.table.clear();
    std::uint64_t offset = 0;
    for (std::size_t i = 0; i < image.views.size(); ++i) {
        const ImageView& view = image.views[i];
        if (packings[i].hidden) {
            gather(recording, pixels, offset, view.data, end_of(view));
            image.table.push_back(desc_of(view, view.row_stride, view.channel_stride, offset));
            offset += whole_words(packings[i].size);
            continue;
        }
        pack(image.views[i], packings[i], host + offset);
        const std::uint64_t channel_stride = packings[i].planes > 1 ? packings[i].row * image.views[i].height
                                                                    : element_size(image.element);
        image.table.push_back(desc_of(image.views[i], packings[i].row, channel_stride, offset));
        offset += whole_words(packings[i].size);
    }
    image.pixels = pixels;
    image_copies_ += image.views.size();
    return image;
}

Ref<Block> ComputeBackend::pixels_of(ComputeRecord& record, Image& image)
{
    if (!image.pixels || !owns(*image.pixels)) image = this->image(record, std::move(image));
    return own(record, image.pixels, "image: pixels");
}

}  // namespace foveate::compute
