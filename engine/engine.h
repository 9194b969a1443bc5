// SPDX-License-Identifier: Apache-2.0
// Engine: owns the backends and calls the stages in flow order.
//
//   Engine engine({.backend = {"auto"}});
//   Patches patches = engine.tokens(views, {.layout = {.kind = LayoutKind::rings}, .sample = {...}}).patches;
//
// An Engine may be used from many threads at once. It belongs to the process that made it: in a child of
// fork() every call throws ErrorKind::forked. Nothing touches a GPU before the first Engine is made.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/error.h"
#include "engine/spec.h"
#include "engine/types.h"

namespace foveate {

struct EngineOptions;

// Makes a backend that lives outside of the engine.
using MakeBackend = std::function<Ref<Backend>(const EngineOptions& options)>;

struct EngineOptions {
    // Stage name or "*" -> "auto", "cpu", "vulkan" or one of `others`.
    std::map<std::string, std::string> backend = {{"*", "auto"}};
    std::map<std::string, MakeBackend> others = {};
    std::string device;                 // Vulkan device by UUID, index or part of its name; empty: the first fit
    std::uint64_t memory_budget = 0;    // bytes; 0: limits::MEMORY_BUDGET
    bool share = false;                 // vulkan: every block can be shared with other APIs and processes
    bool trace = false;                 // vulkan: spans() says when each dispatch ran
    bool exact = true;                  // false: stages may use the filters of hardware, within docs/backends.md
    bool ahead = false;                 // vulkan: calls do not wait for the device, reading their results does
    std::uint32_t threads = 0;          // cpu; 0: as many as the process may use
    std::string isa;                    // cpu: an instruction set by name, for tests; empty: the best there is
};

// The rows of a layout, image_count * rows of them, for the host to read when it needs them.
struct TokenTable {
    Layout layout;                      // whose tokens the host can read
    Pyramid pyramid;                    // without its memory; empty: each row is of no level
    SampleSpec sample;

    std::vector<Token> tokens() const;  // waits, where the device is not done
};

struct Tokens {
    Patches patches;                    // readable by the host
    TokenTable table;
    Relevance relevance;                // empty where the layout is of another kind
    Rates rates;
};

class Engine {
public:
    explicit Engine(const EngineOptions& options = {});
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Validates and gathers; the views' pixels stay the caller's.
    Image image(std::vector<ImageView> views);
    Pyramid pyramid(const Image& image, const PyramidSpec& spec);
    // `previous`: of the frame before, for motion and against flicker; may be null.
    Relevance relevance(const Pyramid& pyramid, const RelevanceSpec& spec, const Relevance* previous);
    // The same, building only the levels that its terms look at.
    Relevance relevance(const Image& image, const RelevanceSpec& spec, const Relevance* previous);
    // Without relevance every cell weighs the same. `previous`: of the frame before, whose splits are kept where
    // that costs little.
    Rates rate(const Image& image, const RateSpec& spec, const Relevance* relevance = nullptr,
               const Rates* previous = nullptr);
    // `rates`: for the kind rate.
    Layout layout(std::span<const std::array<std::uint32_t, 2>> sizes, const LayoutSpec& spec,
                  const Rates* rates = nullptr);
    // Rates for hardware. Without a content term the sizes are enough, and `image` may be null.
    TileRates rate_tiles(std::span<const std::array<std::uint32_t, 2>> sizes, const Image* image,
                         const RateTilesSpec& spec);
    Patches sample(const Pyramid& pyramid, const Layout& layout, const SampleSpec& spec);
    // Both ways to and from log-polar and the like. From an image only the levels that are read are built.
    Warped warp(const Pyramid& pyramid, const WarpSpec& spec);
    // host: where the host reads it, not only its device.
    Warped warp(const Image& image, const WarpSpec& spec, bool host = true);
    // One 8-bit image, shaded coarsely; by the backend of the stage sample.
    Shaded sample_vrs(const Image& image, const VrsSpec& spec);
    // The same stages in one recording, building no level that no token needs.
    // `previous`: of the frame before, where frames of a video follow each other.
    Tokens tokens(std::vector<ImageView> views, const TokensSpec& spec, const Tokens* previous = nullptr);

    // Memory that the host writes, and in which images are read in place. accompanied: for a Companion of the block,
    // who writes to it on the device, and the host may not see it.
    Ref<Block> empty(std::uint64_t size, bool accompanied = false);
    // With EngineOptions::share: a block for others to open, and what others share as a block of this engine.
    SharedMemory share(const Ref<Block>& block, bool accompanied = false);
    Ref<Block> attach(SharedMemory memory);
    Ref<Block> attach_texture(SharedTexture texture);
    Ref<Block> take(const Ref<Block>& texture);
    // Every level of one 8-bit image as a new image of mip levels, for others to open; its memory is theirs then.
    SharedTexture texture(const Pyramid& pyramid, std::uint32_t image);
    // How the work of this engine is ordered with that of others who share its memory: see Backend.
    SharedSemaphore signal();
    SharedSemaphore expect();
    void wait(SharedSemaphore point);
    void settle();
    // A block as the host reads it: itself, or a copy.
    Ref<Block> host(const Ref<Block>& block);
    // The rows of a layout; with a pyramid and a sample spec, the level each row is read from as well.
    TokenTable table(const Layout& layout, const Pyramid* pyramid, const SampleSpec* spec);

    const Caps& caps(Stage stage) const;
    Counters counters() const;          // summed over the backends in use
    std::vector<Span> spans();          // with EngineOptions::trace: what devices did since the last call
    std::vector<Kernel> kernels();      // the same: what their drivers say of each kernel
    bool copy(std::uint64_t size);      // the same: see Backend::copy

    static std::vector<Candidate> candidates();

protected:
    void close();                       // what the destructor does; no other call may follow

private:
    struct State;
    std::unique_ptr<State> state_;
};

// What the stages share with Python: the documented default pattern and the rows of a layout.
std::vector<std::uint32_t> ring_counts(std::span<const std::uint32_t> strides, std::span<const std::uint32_t> grids);

}  // namespace foveate
