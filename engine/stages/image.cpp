// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

std::string size_text(const ImageView& view)
{
    return std::to_string(view.height) + " x " + std::to_string(view.width);
}

void validate(const ImageView& view, const Image& first)
{
    require(view.width > 0 && view.height > 0, "image: size", size_text(view), "at least 1 x 1 px");
    require(view.width <= limits::IMAGE_SIDE && view.height <= limits::IMAGE_SIDE, "image: size", size_text(view),
            "sides of at most " + std::to_string(limits::IMAGE_SIDE) + " px",
            "Cut the image into parts.", ErrorKind::limit);
    require(std::uint64_t(view.width) * view.height <= limits::IMAGE_PIXELS, "image: size", size_text(view),
            "at most " + std::to_string(limits::IMAGE_PIXELS) + " px", "Cut the image into parts.",
            ErrorKind::limit);
    require(view.channels == 1 || view.channels == 3, "image: channels", view.channels, "1 or 3");
    require(view.element == first.element, "image: element type", "two types in one batch", "one",
            "Convert the images to one type, or call once for each.");
    require(view.channels == first.channels, "image: channels", "gray and colour in one batch", "one or the other",
            "Convert the images, or call once for each.");
    require(view.data != nullptr, "image: data", "a null pointer", "pixels");

    const std::uint64_t size = element_size(view.element);
    const bool interleaved = view.channels == 1 || view.channel_stride == size;
    const std::uint64_t pixel = view.pixel_stride / size;
    const bool pixels_fit = view.pixel_stride % size == 0 && view.row_stride % size == 0 &&
                            (interleaved ? pixel >= view.channels && pixel <= MAX_CHANNELS
                                         : pixel == 1 && view.channel_stride % size == 0);
    require(pixels_fit, "image: strides", std::to_string(view.pixel_stride) + " bytes from pixel to pixel",
            "interleaved channels or whole planes", "Copy the image to one of the two first.");
    const std::uint64_t row_end = std::uint64_t(view.width - 1) * view.pixel_stride +
                                  (interleaved ? view.channels * size : size);
    require(view.row_stride >= row_end || view.height == 1, "image: strides",
            std::to_string(view.row_stride) + " bytes from row to row",
            "at least " + std::to_string(row_end));
}

}  // namespace

Image gather_images(std::vector<ImageView> views)
{
    require(!views.empty(), "image: count", 0, "at least 1 image");
    require(views.size() <= limits::BATCH_IMAGES, "image: count", views.size(),
            "at most " + std::to_string(limits::BATCH_IMAGES) + " images", "Send them in several calls.",
            ErrorKind::limit);
    Image image;
    image.element = views.front().element;
    image.channels = views.front().channels;
    for (const ImageView& view : views) validate(view, image);
    image.views = std::move(views);
    return image;
}

std::vector<std::array<std::uint32_t, 2>> image_sizes(const Image& image)
{
    std::vector<std::array<std::uint32_t, 2>> sizes;
    sizes.reserve(image.views.size());
    for (const ImageView& view : image.views) sizes.push_back({view.width, view.height});
    return sizes;
}

// IEC 61966-2-1. Made once, in double, so that every backend reads the same numbers.
const float* srgb_decode()
{
    static const auto table = [] {
        std::array<float, 256> values;
        for (int i = 0; i < 256; ++i) {
            const double code = i / 255.0;
            const double light = code <= 0.04045 ? code / 12.92 : std::pow((code + 0.055) / 1.055, 2.4);
            values[i] = float(std::floor(light * 65535.0 + 0.5));
        }
        return values;
    }();
    return table.data();
}

const float* srgb_encode()
{
    static const auto table = [] {
        std::vector<float> values(65536);
        for (int i = 0; i < 65536; ++i) {
            const double light = i / 65535.0;
            values[i] = float(light <= 0.0031308 ? light * 12.92 : 1.055 * std::pow(light, 1 / 2.4) - 0.055);
        }
        return values;
    }();
    return table.data();
}

}  // namespace foveate
