// SPDX-License-Identifier: Apache-2.0
// Some lines of a resized image, one after another, out of a few rows that are kept meanwhile.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/cpu/memory.h"
#include "engine/cpu/resize.h"

namespace foveate::cpu {

// Rows whose pixels the kernels read as they are.
bool readable(const ImageView& image);
// A row as pixels `stride` bytes apart: 4 is RGBx, 1 gray.
void copy_row(const ImageView& image, std::uint32_t y, const ResizeRows& rows, std::uint32_t stride, std::uint8_t* out);

class Strip {
public:
    // down_first: of an image that is readable().
    Strip(const ImageView& image, const Taps& across, const Taps& down, bool down_first, const ResizeRows& rows,
          Memory& memory);

    std::uint32_t pitch() const { return pitch_; }  // bytes that a line takes

    // Line y of RGBx. Lines in rising order; the first may be any.
    void line(std::uint32_t y, std::uint8_t* out);

private:
    void line_across_first(std::uint32_t y, std::uint8_t* out);
    void line_down_first(std::uint32_t y, std::uint8_t* out);
    const std::uint8_t* source(std::uint32_t y, std::uint8_t* spare) const;
    std::uint8_t* slot(std::uint32_t row) const { return ring_ + std::uint64_t(row % slots_) * pitch_; }

    const ImageView& image_;
    const Taps &across_, &down_;
    const ResizeRows& rows_;
    const bool down_first_, direct_;
    std::uint32_t stride_;              // bytes from pixel to pixel of what source() gives
    std::uint32_t pitch_, slots_ = 0;   // of a row of the ring; rows in it
    std::uint64_t room_ = 0;            // bytes of a source row that are read
    std::uint64_t spare_pitch_ = 0;     // of copies and narrow lines
    const std::uint8_t* safe_;          // what lies behind may not be the caller's
    std::uint32_t next_ = 0;            // row or line that is not made yet
    bool begun_ = false;
    Ref<Block> memory_;
    std::uint8_t *ring_, *spare_, *narrow_;  // rows made, copies of source rows, lines not yet made wide
    std::vector<const std::uint8_t*> window_;
};

}  // namespace foveate::cpu
