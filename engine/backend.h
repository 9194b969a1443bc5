// SPDX-License-Identifier: Apache-2.0
// The seam: everything a backend must do. Stages validate first and hand over plans whose every number is in
// range; a backend only moves bytes. It answers "unsupported" through caps(), never half way through a stage.
//
// A Record is one run through the stages: calls on it may be queued, and finish() waits for all of them.
// Different Records may be used from different threads at once; one Record belongs to one thread.
// Values made on a Record may be read by the host, or used on another backend, after finish(). A backend that runs
// ahead hands the work to its device there and goes on: Block::host() is what waits then.
#pragma once

#include <string>
#include <vector>

#include "engine/plan.h"
#include "engine/sample_vrs.h"
#include "engine/trace.h"

namespace foveate {

enum class Stage : std::uint32_t { image, pyramid, relevance, rate, layout, sample, warp, tensor };
inline constexpr std::uint32_t STAGE_COUNT = 8;
inline constexpr const char* STAGE_NAMES[STAGE_COUNT] = {"image",  "pyramid", "relevance", "rate",
                                                         "layout", "sample",  "warp",      "tensor"};

struct Caps {
    std::string backend;                // "cpu", "vulkan"
    std::string device;                 // as the driver calls it
    std::string uuid;                   // 32 hex digits; empty where there is none
    std::string driver;
    std::string isa;                    // cpu: the instruction set in use
    bool software = true;               // runs on the host's cores
    bool host_visible = true;           // every Block::host() is non-null
    Sync sync = Sync::host;             // how its work is ordered with that of others who share its memory
    std::uint64_t memory_budget = 0;
    std::uint64_t image_bytes_max = 0;  // largest packed image the backend can address
    std::string shaders;                // "release", or "profile": with their source; empty where there are none
    std::vector<std::string> profiling; // what the device can tell: timestamps, sources, statistics
    ShadingRate shading_rate;           // of the hardware path of sample_vrs
    std::uint32_t filter_side = 0;      // px a side of images that its hardware filters; 0: none
};

// One backend that could be, and every reason against it.
struct Candidate {
    std::string backend, device, uuid, driver;
    bool usable = false;
    std::vector<std::string> reasons;
    bool software = false;              // runs on the host's cores
    bool in_place = false;              // reads the caller's memory where it lies
    bool shares = false;                // memory can be opened by other devices, APIs and processes
    Sync sync = Sync::host;             // the best that the device has for those
    std::vector<std::string> profiling; // what it can tell: timestamps, sources, statistics
    ShadingRate shading_rate;           // of the hardware path of sample_vrs
    std::uint32_t filter_side = 0;      // px a side of images that its hardware filters; 0: none
};

class Record : public Counted {};

struct Counters {                                  // since the backend was made
    std::uint64_t records = 0;
    std::uint64_t pipelines_created = 0;
    std::uint64_t image_copies = 0;                // images copied because memory could not be used in place
    std::uint64_t host_waits = 0;
    std::uint64_t memory_used = 0, memory_peak = 0;  // bytes in blocks, pooled ones included
    std::uint64_t spans_dropped = 0;               // beyond what is kept between two calls of spans()
    std::uint64_t fast_samples = 0;                // runs of the stage sample that hardware filters made
    std::uint64_t messages = 0;                    // of the validation layer, warnings and errors
};

class Backend : public Counted {
public:
    virtual const Caps& caps() const = 0;
    virtual Counters counters() const = 0;
    // What was traced since the last call.
    virtual std::vector<Span> spans() { return {}; }
    // With trace: what the driver says of every kernel made so far; nothing where it says nothing.
    virtual std::vector<Kernel> kernels() { return {}; }
    // Copies so many bytes of the device's memory, traced as "copy": the bandwidth that stages are held against.
    // False where there is nothing to trace.
    virtual bool copy(Record&, std::uint64_t) { return false; }

    virtual Ref<Record> begin() = 0;
    // Makes the pixels readable: the cpu takes the caller's memory as it is, others may copy.
    virtual Image image(Record& record, Image image) = 0;
    virtual Pyramid pyramid(Record& record, Image image, const PyramidPlan& plan) = 0;
    // The pyramid is looked at only where the plan has luma.
    virtual Relevance relevance(Record& record, const Pyramid& pyramid, const RelevancePlan& plan) = 0;
    // `image` as image() made it. Without relevance every cell weighs the same.
    virtual Rates rate(Record& record, const Image& image, const Relevance* relevance, const RatePlan& plan) = 0;
    // `rates`: of this backend, for a plan that follows them; else null.
    virtual Layout layout(Record& record, const LayoutPlan& plan, const Rates* rates) = 0;
    // One rate for each tile. `image` has pixels where the plan has a content term.
    virtual TileRates rate_tiles(Record& record, const Image& image, const RateTilesPlan& plan) = 0;
    virtual Patches sample(Record& record, const Pyramid& pyramid, const Layout& layout,
                           const SamplePlan& plan) = 0;
    virtual Warped warp(Record& record, const Pyramid& pyramid, const WarpPlan& plan) = 0;
    // A plan for hardware is only made where caps() has it.
    virtual Shaded sample_vrs(Record& record, const Image& image, const VrsPlan& plan) = 0;
    // A block with the same bytes that the host can read after finish(): the block itself where it can be.
    virtual Ref<Block> tensor(Record& record, const Ref<Block>& block) = 0;
    // A block of this backend with these bytes: how a value crosses from another backend.
    virtual Ref<Block> upload(Record& record, const void* data, std::uint64_t size) = 0;
    // Memory that the host writes images to, and image() reads in place.
    virtual Ref<Block> empty(std::uint64_t size) = 0;
    // The same for a Companion, who writes to it on the device: the host may not see it.
    virtual Ref<Block> empty_on_device(std::uint64_t size) { return empty(size); }
    // The block for others to open, and what others share as a block. Throws where the backend cannot.
    // accompanied: for a Companion of the block, so that its memory can be used again.
    virtual SharedMemory share(const Ref<Block>& block, bool accompanied = false) = 0;
    virtual Ref<Block> attach(SharedMemory memory) = 0;
    // An image that others share, by backends that attach(), and its first level as an array of rows that image()
    // reads in place. The block stands for the image and has no bytes itself.
    virtual Ref<Block> attach_texture(SharedTexture) { return attach(SharedMemory()); }
    virtual Ref<Block> take(Record&, const Ref<Block>&) { return attach(SharedMemory()); }
    // The levels of one image, which check_texture() has seen, as an image for others to open, by backends that share.
    virtual SharedTexture texture(Record& record, const Pyramid& pyramid, std::uint32_t image);
    // A point behind everything that was finished; a point that the other side is to signal; and what is finished
    // from now on comes behind that point, on the device. Each point is waited for once at most.
    virtual SharedSemaphore signal() = 0;
    virtual SharedSemaphore expect() = 0;
    virtual void wait(SharedSemaphore point) = 0;
    // Waits, bounded by limits::WAIT_NS, unless it runs ahead. Throws what went wrong on the way.
    virtual void finish(Record& record) = 0;
    // Waits for everything, also where it runs ahead.
    virtual void settle() = 0;
};

}  // namespace foveate
