// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/resize_strip.h"

#include <algorithm>
#include <cstring>

namespace foveate::cpu {

namespace {

const std::uint8_t* row_of(const ImageView& image, std::uint32_t y)
{
    return reinterpret_cast<const std::uint8_t*>(image.data) + y * image.row_stride;
}

// Bytes of a row from its first pixel to the end of its last.
std::uint64_t row_bytes(const ImageView& image)
{
    return (image.width - 1) * image.pixel_stride + (image.channels - 1) * image.channel_stride + 1;
}

}  // namespace

bool readable(const ImageView& image)
{
    return image.channels == 1 ? image.pixel_stride <= 2 : image.channel_stride == 1 && image.pixel_stride <= 4;
}

void copy_row(const ImageView& image, std::uint32_t y, const ResizeRows& rows, std::uint32_t stride, std::uint8_t* out)
{
    const std::uint8_t* row = row_of(image, y);
    if (image.channels == 3 && image.pixel_stride == 1) {
        rows.weave(row, row + image.channel_stride, row + 2 * image.channel_stride, image.width, out);
        return;
    }
    for (std::uint32_t x = 0; x < image.width; ++x)
        for (std::uint32_t c = 0; c < image.channels; ++c)
            out[std::uint64_t(x) * stride + c] = row[x * image.pixel_stride + c * image.channel_stride];
}

Strip::Strip(const ImageView& image, const Taps& across, const Taps& down, bool down_first, const ResizeRows& rows,
             Memory& memory)
    : image_(image), across_(across), down_(down), rows_(rows), down_first_(down_first), direct_(readable(image)),
      stride_(direct_ ? std::uint32_t(image.pixel_stride) : image.channels == 1 ? 1 : 4),
      pitch_(std::uint32_t(whole_steps(4ull * across.count, RESIZE_ROOM))),
      safe_(row_of(image, image.height - 1) + row_bytes(image))
{
    const std::uint32_t last = *std::max_element(across.first.begin(), across.first.end());
    const std::uint64_t reach = std::uint64_t(last + 4 * (across.groups - 1)) * stride_ + 16;
    const std::uint64_t row = whole_steps(std::uint64_t(image.width) * stride_, RESIZE_ROOM);
    std::uint32_t spares = rows.lines;
    if (down_first) {
        room_ = row;
        slots_ = rows.lines;
        spares = 4 * down.groups;
    } else {
        room_ = reach;
        for (std::uint32_t y = 0; y < down.count; ++y) slots_ = std::max(slots_, down.end[y] - down.keep[y]);
        slots_ += rows.lines - 1;
    }
    const std::uint64_t spare = std::max(row, reach), lines = down_first ? rows.lines : 0;
    memory_ = memory.allocate(std::uint64_t(slots_) * pitch_ + (spares + lines) * spare);
    ring_ = reinterpret_cast<std::uint8_t*>(memory_->host());
    spare_ = ring_ + std::uint64_t(slots_) * pitch_;
    narrow_ = spare_ + spares * spare;
    spare_pitch_ = spare;
    window_.resize(4 * down.groups);
}

void Strip::line(std::uint32_t y, std::uint8_t* out)
{
    down_first_ ? line_down_first(y, out) : line_across_first(y, out);
}

void Strip::line_across_first(std::uint32_t y, std::uint8_t* out)
{
    const std::uint32_t end = down_.end[y];
    if (!begun_) next_ = down_.keep[y], begun_ = true;
    for (; next_ < end; next_ += rows_.lines) {
        const std::uint8_t* from[RESIZE_LINES];
        std::uint8_t* to[RESIZE_LINES];
        for (std::uint32_t k = 0; k < rows_.lines; ++k) {
            from[k] = source(std::min(next_ + k, image_.height - 1), spare_ + k * spare_pitch_);
            to[k] = slot(next_ + k);
        }
        rows_.across(from, stride_, across_.axis(), to);
    }
    // Behind the end weights are 0: any row will do.
    for (std::uint32_t k = 0; k < window_.size(); ++k) window_[k] = slot(std::min(down_.first[y] + k, end - 1));
    rows_.down(window_.data(), down_.of(y, rows_), down_.groups, 4 * across_.count, out);
}

void Strip::line_down_first(std::uint32_t y, std::uint8_t* out)
{
    if (!begun_ || y >= next_) {
        const std::uint8_t* from[RESIZE_LINES];
        std::uint8_t* to[RESIZE_LINES];
        for (std::uint32_t k = 0; k < rows_.lines; ++k) {
            const std::uint32_t line = std::min(y + k, down_.count - 1);
            for (std::uint32_t j = 0; j < window_.size(); ++j)
                window_[j] = source(std::min(down_.first[line] + j, image_.height - 1), spare_ + j * spare_pitch_);
            std::uint8_t* narrow = narrow_ + k * spare_pitch_;
            rows_.down(window_.data(), down_.of(line, rows_), down_.groups, image_.width * stride_, narrow);
            from[k] = narrow;
            to[k] = slot(y + k);
        }
        rows_.across(from, stride_, across_.axis(), to);
        next_ = y + rows_.lines;
        begun_ = true;
    }
    std::memcpy(out, slot(y), pitch_);
}

// A row that may be read as far as the kernels read: the caller's own, or a copy.
const std::uint8_t* Strip::source(std::uint32_t y, std::uint8_t* spare) const
{
    const std::uint8_t* row = row_of(image_, y);
    if (!direct_) copy_row(image_, y, rows_, stride_, spare);
    else if (row + room_ <= safe_) return row;
    else std::memcpy(spare, row, row_bytes(image_));
    return spare;
}

}  // namespace foveate::cpu
