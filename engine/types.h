// SPDX-License-Identifier: Apache-2.0
// What the stages pass on: plain move-only values over counted blocks of memory. A stage returns a new value
// and never reaches back into the one it was given.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/handle.h"
#include "shared/layout.h"
#include "shared/pyramid.h"
#include "shared/rate.h"
#include "shared/rate_tiles.h"
#include "shared/relevance.h"
#include "shared/sample.h"
#include "shared/warp.h"

namespace foveate {

using shared::CellGrid;
using shared::LayoutCell;
using shared::LayoutSpan;
using shared::Token;

enum class Element : std::uint32_t { u8 = ELEMENT_U8, u16 = ELEMENT_U16, f32 = ELEMENT_F32 };
enum class Dtype : std::uint32_t { f32 = DTYPE_F32, f16 = DTYPE_F16, bf16 = DTYPE_BF16 };
enum class Edge : std::uint32_t { aligned, exact };
enum class Color : std::uint32_t { encoded, linear };

constexpr std::uint32_t element_size(Element element)
{
    return element == Element::u8 ? 1 : element == Element::u16 ? 2 : 4;
}
constexpr std::uint32_t dtype_size(Dtype dtype) { return dtype == Dtype::f32 ? 4 : 2; }

// What another API keeps for the memory of a block, for as long as that memory exists: its import. It knows when
// nobody there works with the memory any more: only then is it used again.
class Companion : public Counted {
public:
    virtual void released() = 0;                   // the block's last owner has let go
    virtual bool idle(std::uint64_t wait_ns) = 0;  // waits for that, so long at most
};

// A block of memory that a backend made. Counted: a DLPack consumer may hold it longer than the engine lives.
class Block : public Counted {
public:
    // Null when the host cannot see this memory. Waits, bounded, while the device still writes to it.
    virtual std::byte* host() = 0;
    virtual bool visible() { return host() != nullptr; }  // the same question without the wait
    std::uint64_t size() const { return size_; }
    const void* owner() const { return owner_; }  // the backend that made it, only to tell one from another
    Companion* companion() const { return companion_.get(); }
    void set_companion(Ref<Companion> companion) { companion_ = std::move(companion); }

protected:
    Ref<Companion> companion_;
    const void* owner_ = nullptr;
    std::uint64_t size_ = 0;
};

// A block as another device, API or process opens it. Its content is complete when it is handed out.
struct SharedMemory {
    Fd fd;                              // opaque: only an import may look into it
    std::uint64_t address = 0;          // instead of one: where the device has it already, with nothing to import
    std::uint64_t allocation_size = 0;  // of the memory: what an import must name, and not the block's
    std::uint64_t buffer_size = 0;      // of the buffer that lies at its start
    std::uint64_t offset = 0, size = 0;  // bytes of the block, within both
    std::uint32_t memory_type = 0;      // as the device numbers them
    bool dedicated = false;             // the memory was allocated for that one buffer, and an import must say so
    std::string device_uuid, driver_uuid;  // 32 hex digits each: only the same pair understands the descriptor
};

// An image of optimal tiling as another device, API or process opens it: it must be made there by the same numbers.
// Formats, usages and layouts are Vulkan's. One side at a time has it: it is given to the external queue family in
// `layout`, and taken from there.
struct SharedTexture {
    Fd fd;                              // opaque
    std::uint64_t allocation_size = 0, offset = 0;  // of the memory; of the image within it
    std::uint32_t memory_type = 0;
    bool dedicated = false;             // the memory was allocated for that one image
    std::uint32_t width = 0, height = 0, levels = 1;
    std::uint32_t format = 0, usage = 0, layout = 0;
    std::string device_uuid, driver_uuid;
};

// How the work of two sides is ordered, the worst first: the host waits; a semaphore for every point, with one wait
// each; one semaphore that counts.
enum class Sync : std::uint32_t { host, binary, timeline };
inline constexpr const char* SYNC_NAMES[] = {"host", "binary", "timeline"};

// A point in the work of one side, for the other to wait for on the device.
struct SharedSemaphore {
    Fd fd;                    // opaque. A timeline's is always the same semaphore, a binary one's is good for one wait
    Sync kind = Sync::host;   // host: it is reached already
    std::uint64_t value = 0;  // that a timeline reaches or passes; of a binary one its number
    bool expected = false;    // the other side signals it, and it waits in the engine that made it: by its value
    std::string device_uuid, driver_uuid;
};

// One image in the caller's memory. Strides in bytes, positive. Only `channels` of the stored ones are read.
struct ImageView {
    const std::byte* data = nullptr;
    std::uint32_t width = 0, height = 0;
    std::uint32_t channels = 0;  // 1 or 3
    std::uint64_t row_stride = 0, pixel_stride = 0, channel_stride = 0;
    Element element = Element::u8;
};

// A batch of images of one element type and channel count. The pixels stay the caller's: they must live and
// rest unchanged until every value made from them is finished.
struct Image {
    std::vector<ImageView> views;
    Ref<Block> pixels;                              // the backend's own copy, where it needs one
    std::vector<shared::ImageDesc> table;           // where each image lies in `pixels`
    Element element = Element::u8;
    std::uint32_t channels = 0;
};

// Levels 1.. of every image in one buffer; level 0 is the image itself.
struct Pyramid {
    Image image;
    Ref<Block> levels;                              // null when only level 0 was asked for
    std::vector<shared::LevelDesc> table;           // [image * MAX_LEVELS + level]
    std::uint32_t level_count = 1;                  // largest over the batch, level 0 included
    Element element = Element::u16;                 // of levels 1..
    Edge edge = Edge::aligned;
    Color color = Color::encoded;
    float unit = 65280.0f;                          // the stored value that means 1.0
};

// One importance for each cell of each image.
struct Relevance {
    Ref<Block> cells;                               // u32 a cell, 0..65535
    Ref<Block> luma;                                // what motion is measured against; null without content terms
    std::vector<CellGrid> grids;                    // by image
    std::uint32_t cell = 0;                         // px a cell's edge
    std::vector<std::array<std::uint32_t, 2>> sizes;  // (width, height)
};

// One rate for each cell of each image: the code of the token that covers it.
struct Rates {
    Ref<Block> codes;                               // u32 a cell
    Ref<Block> detail;                              // u32[slot][cell]: what splitting gains, for the next frame
    std::vector<CellGrid> grids;                    // by image
    std::uint32_t cell = 0;                         // px a cell's edge
    std::uint32_t budget = 0;                       // tokens an image
    std::uint32_t max_rate = 4;                     // cells a block's edge
    std::uint32_t scale = 1;                        // px a texel of the finest token: cell = scale * patch * merge
    bool square = false;                            // rates are squares
    std::vector<std::array<std::uint32_t, 2>> sizes;  // (width, height)
};

// One rate code for each tile of each image, a byte each, as hardware reads it.
struct TileRates {
    Ref<Block> codes;
    std::vector<shared::TileGrid> grids;            // by image
    std::uint32_t tile = 0;                         // px a tile's edge
};

// K token rows for each image, image after image.
struct Layout {
    Ref<Block> tokens;                              // Token[image_count * rows]
    std::uint32_t image_count = 0, rows = 0;
    std::uint32_t cell = 0;                         // texels per token edge
    std::uint32_t fixations = 0;                    // most gaze points an image has
    std::uint32_t step_max = 0;                     // largest texel footprint, px in 1/65536: how deep to build
    std::vector<std::array<std::uint32_t, 2>> sizes;  // (width, height) the layout was made for
};

// rows * merge^2 patches for each image, in the order the model wants.
struct Patches {
    Ref<Block> data;
    std::uint32_t image_count = 0, rows = 0;
    std::uint32_t patch = 0, merge = 1, frames = 1, channels = 3;
    bool channels_last = false;
    Dtype dtype = Dtype::f32;

    std::uint64_t patch_elements() const { return std::uint64_t(channels) * frames * patch * patch; }
    std::uint64_t patch_count() const { return std::uint64_t(image_count) * rows * merge * merge; }
};

// Images of one size, interleaved; each starts `image_stride` bytes after the one before.
struct Warped {
    Ref<Block> data;
    std::uint32_t image_count = 0, width = 0, height = 0, channels = 0;
    Element element = Element::u8;
    std::uint64_t image_stride = 0;
};

}  // namespace foveate
