// SPDX-License-Identifier: Apache-2.0
// The stages as shaders: what each binds and how much it dispatches, the same on every API that runs them.
// The arithmetic is in shaders/; memory and recording are the API's.
#pragma once

#include <atomic>

#include "engine/compute/record.h"

namespace foveate::compute {

// The images and the levels are seen through four bindings of this many bytes each: what every device can
// bind at once, and what shaders/lib/pixels.glsl counts in words.
inline constexpr std::uint64_t WINDOW = 128ull << 20;
inline constexpr std::uint32_t WINDOWS = 4;

struct Limits {
    std::uint64_t range = WINDOW;       // bytes in one binding
    std::uint64_t alignment = 256;      // of a binding's offset, bytes
    Groups groups{65535, 65535, 65535};
};

class ComputeBackend : public Backend {
public:
    Image image(Record& record, Image image) override;
    Pyramid pyramid(Record& record, Image image, const PyramidPlan& plan) override;
    Relevance relevance(Record& record, const Pyramid& pyramid, const RelevancePlan& plan) override;
    Rates rate(Record& record, const Image& image, const Relevance* relevance, const RatePlan& plan) override;
    Layout layout(Record& record, const LayoutPlan& plan, const Rates* rates) override;
    TileRates rate_tiles(Record& record, const Image& image, const RateTilesPlan& plan) override;
    Patches sample(Record& record, const Pyramid& pyramid, const Layout& layout,
                   const SamplePlan& plan) override;
    Warped warp(Record& record, const Pyramid& pyramid, const WarpPlan& plan) override;
    // The software path.
    Shaded sample_vrs(Record& record, const Image& image, const VrsPlan& plan) override;
    Ref<Block> upload(Record& record, const void* data, std::uint64_t size) override;

protected:
    // Memory that a stage may read without a copy: `block` begins where the host has `base`.
    struct Place {
        Ref<Block> block;
        const std::byte* base = nullptr;
    };

    virtual const Limits& limits() const = 0;
    virtual const Program& program(const char* name, std::uint32_t windows) const = 0;
    // The record as this backend's own.
    virtual ComputeRecord& recording(Record& record) const = 0;
    virtual bool owns(const Block& block) const = 0;
    // What reaches from `low` to `high`, in a block of at most `size_max` bytes; null where it must be copied.
    // borrow: the caller's own pages may be made one.
    virtual Place place(ComputeRecord&, const std::byte* low, const std::byte* high, bool borrow,
                        std::uint64_t size_max) const;

    // Memory of this device's that the host cannot read, and its copy into a buffer, on the device.
    virtual bool hidden(const std::byte* low, const std::byte* high) const;
    virtual void gather(ComputeRecord&, const Ref<Block>& to, std::uint64_t offset, const std::byte* low,
                        const std::byte* high) const;
    // One 8-bit image as rows of RGBA bytes in a buffer. A shape larger than its levels is filled by their edges.
    struct TextureRows {
        std::uint32_t image;
        TextureShape shape;
        std::uint64_t offset = 0;
    };
    void texture_rows(ComputeRecord& record, const Pyramid& pyramid, std::span<const TextureRows> all,
                      const Ref<Block>& texels);

    std::atomic<std::uint64_t> image_copies_{0};

private:
    // sample_fast.cpp: by the filters of the device, for a plan that says so.
    Patches sample_fast(ComputeRecord& record, const Pyramid& pyramid, const Layout& layout, const SamplePlan& plan);
    // The shader for these buffers: one that fits its first window needs no choice between them.
    const Program& program_for(const char* name, const Ref<Block>& pixels = {}, const Ref<Block>& levels = {}) const;
    // The block on this device, uploaded where it is another's.
    Ref<Block> own(ComputeRecord& record, const Ref<Block>& block, const char* what) const;
    // True: the image is read where it lies, its table and pixels are set.
    bool in_place(ComputeRecord& record, Image& image, std::uint64_t packed) const;
    // The pixels of an image on this device, packed now where image() was another backend's.
    Ref<Block> pixels_of(ComputeRecord& record, Image& image);
    // Groups for a flat list of items, which the shaders number row by row; throws when there are too many.
    Groups flat_groups(const Program& program, std::uint64_t items) const;
    void check_groups(const Program& program, const Groups& groups) const;
    void check_range(const char* what, std::uint64_t bytes, std::uint64_t bytes_max) const;
};

// Tokens in one dispatch of the stage sample: what the output binding and the work groups hold, in steps that keep the
// next dispatch's part of the output aligned.
struct TokenChunk {
    std::uint64_t count, step;
};
TokenChunk token_chunk(const Limits& limits, const Program& program, std::uint64_t token_bytes,
                       std::uint64_t token_items);

// Adds <stem>0 .. <stem>3; `names` holds the four names. Null: unused.
void add_windows(std::vector<Binding>& bindings, const char* const (&names)[WINDOWS], const Ref<Block>& buffer);

inline constexpr const char* PIXEL_WINDOWS[WINDOWS] = {"Pixels0", "Pixels1", "Pixels2", "Pixels3"};
inline constexpr const char* LEVEL_WINDOWS[WINDOWS] = {"Levels0", "Levels1", "Levels2", "Levels3"};

}  // namespace foveate::compute
