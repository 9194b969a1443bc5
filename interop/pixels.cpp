// SPDX-License-Identifier: Apache-2.0
#include "interop/pixels.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "engine/error.h"

namespace foveate::pixels {

namespace {

std::optional<Element> element_of(dlpack::DataType type)
{
    for (Element element : {Element::u8, Element::u16, Element::f32})
        if (type == dlpack::type_of(element)) return element;
    return std::nullopt;
}

constexpr std::uint32_t EXPONENT = 0x7f800000u;  // all ones in NaN and infinity only

std::uint32_t bits_at(const std::byte* pixel)
{
    std::uint32_t bits;
    std::memcpy(&bits, pixel, sizeof bits);
    return bits;
}

// No early exit and no branch: this is what the compiler turns into vector code.
bool finite(const std::byte* values, std::size_t count)
{
    std::uint32_t bad = 0;
    for (std::size_t i = 0; i < count; ++i)
        bad |= std::uint32_t((bits_at(values + 4 * i) & EXPONENT) == EXPONENT);
    return bad == 0;
}

bool finite_row(const ImageView& view, const std::byte* row)
{
    if (view.channel_stride == 4 && view.pixel_stride == 4ull * view.channels)
        return finite(row, std::size_t(view.width) * view.channels);
    for (std::uint32_t c = 0; c < view.channels; ++c) {
        const std::byte* plane = row + c * view.channel_stride;
        if (view.pixel_stride == 4) {
            if (!finite(plane, view.width)) return false;
            continue;
        }
        for (std::uint32_t x = 0; x < view.width; ++x)
            if ((bits_at(plane + x * view.pixel_stride) & EXPONENT) == EXPONENT) return false;
    }
    return true;
}

[[noreturn]] void report(const ImageView& view, std::size_t image, std::uint32_t y)
{
    for (std::uint32_t x = 0; x < view.width; ++x)
        for (std::uint32_t c = 0; c < view.channels; ++c) {
            const std::uint32_t bits =
                bits_at(view.data + y * view.row_stride + x * view.pixel_stride + c * view.channel_stride);
            if ((bits & EXPONENT) != EXPONENT) continue;
            const char* value = bits & ~(EXPONENT | 0x80000000u) ? "nan" : bits >> 31 ? "-inf" : "inf";
            std::ostringstream where;
            where << value << " in image " << image << " at row " << y << ", column " << x;
            fail(ErrorKind::input, "image: pixels", where.str(), "finite numbers", "");
        }
    fail(ErrorKind::input, "image: pixels", "values that change while they are read", "pixels at rest", "");
}

// Strides of one image, in bytes. An axis of one is never stepped along, and what the array says about it may
// be nonsense: it gets the stride it would have in a compact image.
struct Steps {
    std::int64_t row, pixel, channel;
};

Steps steps_of(const dlpack::Borrowed& array, const Reading& reading, std::int64_t size)
{
    const auto length = [&](int axis) { return axis < 0 ? 1 : array.shape[std::size_t(axis)]; };
    const auto step = [&](int axis, std::int64_t instead) {
        return length(axis) <= 1 ? instead : array.strides[std::size_t(axis)];
    };
    Steps steps;
    steps.channel = step(reading.channel, size);
    const std::int64_t used = length(reading.channel) >= 3 ? 3 : 1;
    steps.pixel = step(reading.column, steps.channel == size ? size * used : size);
    steps.row = step(reading.row, steps.pixel * std::max<std::int64_t>(length(reading.column), 1));
    return steps;
}

}  // namespace

bool in_place(const dlpack::Borrowed& array, const Reading& reading)
{
    const std::optional<Element> element = element_of(array.type);
    if (!element) return false;
    const std::int64_t size = element_size(*element);
    if (std::bit_cast<std::uintptr_t>(array.data) % std::uintptr_t(size) != 0) return false;
    if (reading.image >= 0 && array.shape[std::size_t(reading.image)] > 1 &&
        array.strides[std::size_t(reading.image)] % size != 0)
        return false;
    // Interleaved channels or whole planes, rows that do not overlap, strides that fit 32 bits.
    const Steps steps = steps_of(array, reading, size);
    for (std::int64_t step : {steps.row, steps.pixel, steps.channel})
        if (step < size || step % size != 0 || step > std::int64_t(UINT32_MAX)) return false;
    const std::int64_t used = reading.channel >= 0 && array.shape[std::size_t(reading.channel)] >= 3 ? 3 : 1;
    const bool interleaved = steps.channel == size;
    const std::int64_t least = interleaved ? used * size : size;
    const std::int64_t most = interleaved ? std::int64_t(MAX_CHANNELS) * size : size;
    if (steps.pixel < least || steps.pixel > most) return false;
    return steps.row >= (array.shape[std::size_t(reading.column)] - 1) * steps.pixel + least;
}

void append_views(const dlpack::Borrowed& array, const Reading& reading, std::vector<ImageView>& views)
{
    const auto length = [&](int axis) { return axis < 0 ? 1 : array.shape[std::size_t(axis)]; };
    const std::optional<Element> element = element_of(array.type);
    require(element.has_value(), "image: dtype", dlpack::name_of(array.type), "uint8, uint16 or float32");
    const Steps steps = steps_of(array, reading, element_size(*element));
    const auto side = [&](int axis) {
        return std::uint32_t(std::min<std::int64_t>(length(axis), UINT32_MAX));
    };
    ImageView view;
    view.width = side(reading.column);
    view.height = side(reading.row);
    view.channels = length(reading.channel) >= 3 ? 3 : 1;
    view.row_stride = std::uint64_t(steps.row);
    view.pixel_stride = std::uint64_t(steps.pixel);
    view.channel_stride = std::uint64_t(steps.channel);
    view.element = *element;
    for (std::int64_t i = 0; i < length(reading.image); ++i) {
        view.data = array.data + (i ? i * array.strides[std::size_t(reading.image)] : 0);
        views.push_back(view);
    }
}

void require_finite(const std::vector<ImageView>& views)
{
    for (std::size_t image = 0; image < views.size(); ++image) {
        const ImageView& view = views[image];
        if (view.element != Element::f32) continue;
        for (std::uint32_t y = 0; y < view.height; ++y)
            if (!finite_row(view, view.data + y * view.row_stride)) report(view, image, y);
    }
}

}  // namespace foveate::pixels
