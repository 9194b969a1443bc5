// SPDX-License-Identifier: Apache-2.0
// Resizing to the bit as Pillow does it with BICUBIC: what models were trained on, and what their processors do
// before anything else. It stands beside the stages: a token of theirs is an average, and no two of them are resized.
//
//   Resizer resizer(threads, isa);
//   Ref<Block> rows = resizer.patches(views, sizes, table, {.patch = 14, .merge = 2, .frames = 2});
//
// The whole way from pixels to a model's rows is one pass over each image: no resized image is ever in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/cpu/memory.h"
#include "engine/cpu/rows_resize.h"
#include "engine/cpu/threads.h"
#include "engine/types.h"

namespace foveate::cpu {

inline std::uint64_t whole_steps(std::uint64_t value, std::uint64_t step) { return (value + step - 1) / step * step; }

// How one axis of `from` texels becomes one of `to`: a cubic of Keys (a = -1/2), stretched to the texels of the
// coarser side, cut at the ends of the image, in fixed point of 22 bits.
struct Taps {
    Taps(std::uint32_t from, std::uint32_t to, const ResizeRows& rows);

    std::uint32_t count, groups;        // outputs; fours of taps of each
    std::vector<std::uint32_t> first;   // texel of an output's first tap; fours of outputs, the last one repeated
    std::vector<std::uint32_t> keep;    // the least of `first` from an output on
    std::vector<std::uint32_t> end;     // behind the last texel that any output so far has
    std::vector<std::uint32_t> words;   // see ResizeRows::pack

    ResizeAxis axis() const { return {first.data(), words.data(), count, groups}; }
    const std::uint32_t* of(std::uint32_t output, const ResizeRows& rows) const
    {
        return &words[std::uint64_t(output) * groups * rows.words];
    }
};

// Pillow's first pass is across, and with some shapes down: which ones depends on its version.
struct Resize {
    std::uint32_t width, height;
    bool down_first = false;
};

struct PatchOrder {
    std::uint32_t patch = 14, merge = 2, frames = 2;
};

class Resizer {
public:
    Resizer(std::uint32_t threads, const std::string& isa);  // 0 and empty: all, and the best
    ~Resizer();

    // (height, width, channels) bytes; the image's own are bytes too.
    Ref<Block> bytes(const ImageView& image, const Resize& resize);
    // (patches of all images, 3 * frames * patch * patch) floats. sizes: of each resized image, whole
    // blocks of merge * patch. table[channel * 256 + value] is what a byte becomes; gray images are gray three times.
    Ref<Block> patches(std::span<const ImageView> images, std::span<const Resize> sizes,
                       std::span<const float> table, const PatchOrder& order);

    const char* isa() const { return isa_; }
    std::uint32_t threads() const { return threads_->count(); }

private:
    std::pair<ImageView, Ref<Block>> interleaved(const ImageView& image, const Resize& resize);

    const char* isa_;
    const ResizeRows& rows_;
    std::unique_ptr<Threads> threads_;
    Ref<Memory> memory_;
};

}  // namespace foveate::cpu
