// SPDX-License-Identifier: Apache-2.0
// Pixels into one buffer, image after image. Rows are packed, so that what a caller's strides skip is not
// carried along; interleaved stays interleaved and planar stays planar.
#include <cstring>

#include "engine/vulkan/stages.h"

namespace foveate::vulkan {

namespace {

// How one image is stored: `planes` times `height` rows of `row` bytes, of which the last `skip` are unused.
struct Packing {
    std::uint32_t planes;
    std::uint64_t row, skip;
    std::uint64_t size;
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

shared::ImageDesc desc_of(const ImageView& view, const Packing& packing, std::uint64_t offset)
{
    return {.offset_word = std::uint32_t(offset / 4),
            .width = view.width,
            .height = view.height,
            .channels = view.channels,
            .row_stride = std::uint32_t(packing.row),
            .pixel_stride = std::uint32_t(view.pixel_stride),
            .channel_stride = packing.planes > 1 ? std::uint32_t(packing.row * view.height)
                                                 : element_size(view.element),
            .element = std::uint32_t(view.element),
            .offset_byte = 0,
            .pad0 = 0,
            .pad1 = 0,
            .pad2 = 0};
}

}  // namespace

Image VulkanBackend::image(Record& record, Image image)
{
    VulkanRecord& recording = this->recording(record);
    std::vector<Packing> packings;
    std::uint64_t size = 0;
    for (const ImageView& view : image.views) {
        packings.push_back(packing_of(view));
        size += whole_words(packings.back().size);
    }
    check_range("image: batch", size, caps_.image_bytes_max);

    const Ref<Buffer> pixels = recording.buffer(Use::device, size);
    std::byte* host = recording.fill(pixels);
    image.table.clear();
    std::uint64_t offset = 0;
    for (std::size_t i = 0; i < image.views.size(); ++i) {
        pack(image.views[i], packings[i], host + offset);
        image.table.push_back(desc_of(image.views[i], packings[i], offset));
        offset += whole_words(packings[i].size);
    }
    image.pixels = pixels;
    image_copies_ += image.views.size();
    return image;
}

Ref<Buffer> VulkanBackend::pixels_of(VulkanRecord& record, Image& image)
{
    const auto* buffer = dynamic_cast<const Buffer*>(image.pixels.get());
    if (!buffer || buffer->device() != device_.get()) image = this->image(record, std::move(image));
    return own(record, image.pixels, "image: pixels");
}

}  // namespace foveate::vulkan
