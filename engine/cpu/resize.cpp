// SPDX-License-Identifier: Apache-2.0
// R. Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981; in the arithmetic of Pillow's
// resampling of 8-bit images: two passes, each rounded to bytes, and which comes first shows.
#include "engine/cpu/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/cpu/resize_strip.h"
#include "engine/error.h"
#include "engine/limits.h"

namespace foveate::cpu {

namespace {

constexpr std::uint64_t STREAMED = 4ull << 20;  // bytes of output from which on it goes past the caches

const ResizeRows& rows_for(const char* isa)
{
#if defined(__x86_64__)
    if (std::strcmp(isa, "avx512") == 0) return avx512::resize_rows;
    if (std::strcmp(isa, "avx2") == 0) return avx2::resize_rows;
#endif
    return baseline::resize_rows;
}

double cubic(double x)
{
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

void require_fits(const ImageView& image, const Resize& resize)
{
    require(image.element == Element::u8, "model: resize dtype", "another", "uint8");
    const std::uint32_t longest = std::max({image.width, image.height, resize.width, resize.height});
    const std::uint32_t shortest = std::min({image.width, image.height, resize.width, resize.height});
    require(shortest > 0 && longest <= limits::IMAGE_SIDE, "model: resize side", shortest ? longest : 0,
            "1.." + std::to_string(limits::IMAGE_SIDE) + " px", "Cut the image into parts.", ErrorKind::limit);
}

}  // namespace

Taps::Taps(std::uint32_t from, std::uint32_t to, const ResizeRows& rows) : count(to), groups(1)
{
    const double scale = double(from) / to, stretch = std::max(scale, 1.0), support = 2.0 * stretch;
    const std::uint32_t most = std::uint32_t(std::ceil(support)) * 2 + 1;
    std::vector<std::int32_t> weights(std::uint64_t(to) * most);
    std::vector<double> exact(most);
    for (std::uint32_t i = 0; i < to; ++i) {
        const double center = (i + 0.5) * scale, shrink = 1.0 / stretch;
        const int low = std::max(int(center - support + 0.5), 0);
        const int high = std::min(int(center + support + 0.5), int(from));
        double sum = 0;
        for (int k = 0; k < high - low; ++k) sum += exact[k] = cubic((k + low - center + 0.5) * shrink);
        std::int32_t* fixed = &weights[std::uint64_t(i) * most];
        int begin = high - low, behind = 0;
        for (int k = 0; k < high - low; ++k) {
            const double weight = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << RESIZE_BITS);
            fixed[k] = std::int32_t(weight < 0 ? weight - 0.5 : weight + 0.5);
            if (fixed[k]) begin = std::min(begin, k), behind = k + 1;
        }
        std::copy(fixed + begin, fixed + behind, fixed);
        std::fill(fixed + behind - begin, fixed + most, 0);
        first.push_back(std::uint32_t(low + begin));
        end.push_back(std::uint32_t(low + behind));
        groups = std::max(groups, std::uint32_t(behind - begin + 3) / 4);
    }
    // Weights of 0 are cut off, so that an output may begin before the one in front of it, or end behind the next.
    keep = first;
    for (std::uint32_t i = to - 1; i-- > 0;) keep[i] = std::min(keep[i], keep[i + 1]);
    for (std::uint32_t i = 1; i < to; ++i) end[i] = std::max(end[i], end[i - 1]);
    const std::uint64_t fours = whole_steps(to, 4);
    words.resize(fours * groups * rows.words);
    for (std::uint32_t i = 0; i < fours; ++i) {
        const std::uint32_t same = std::min(i, to - 1);
        if (i >= to) first.push_back(first[same]);
        for (std::uint32_t g = 0; g < groups; ++g) {
            std::int32_t taps[4] = {};
            for (std::uint32_t k = 0; k < 4 && 4 * g + k < most; ++k)
                taps[k] = weights[std::uint64_t(same) * most + 4 * g + k];
            rows.pack(taps, &words[(std::uint64_t(i) * groups + g) * rows.words]);
        }
    }
}

Resizer::Resizer(std::uint32_t threads, const std::string& isa)
    : isa_(rows_named(isa).name), rows_(rows_for(isa_)),
      threads_(new Threads(threads ? threads : Threads::available())), memory_(new Memory(~0ull >> 1, this))
{
}

// In a child of fork() there is no thread to be stopped, and the memory's lock may be held for ever.
Resizer::~Resizer()
{
    if (memory_->forked()) {
        (void)threads_.release();
        memory_.detach();
        return;
    }
    memory_->close();
}

// An image whose rows can be read as they are, and what then holds them.
std::pair<ImageView, Ref<Block>> Resizer::interleaved(const ImageView& image, const Resize& resize)
{
    if (!resize.down_first || readable(image)) return {image, {}};
    Ref<Block> block = memory_->allocate(4ull * image.width * image.height);
    auto* pixels = reinterpret_cast<std::uint8_t*>(block->host());
    threads_->run(image.height, [&](std::uint32_t y) {
        copy_row(image, y, rows_, image.channels == 1 ? 1 : 4, pixels + 4ull * image.width * y);
    });
    ImageView view = image;
    view.data = block->host();
    view.row_stride = 4ull * image.width;
    view.pixel_stride = image.channels == 1 ? 1 : 4;
    view.channel_stride = 1;
    return {view, std::move(block)};
}

Ref<Block> Resizer::bytes(const ImageView& given, const Resize& resize)
{
    require_fits(given, resize);
    const auto [width, height, down_first] = resize;
    const auto [image, held] = interleaved(given, resize);
    const Taps across(image.width, width, rows_), down(image.height, height, rows_);
    Ref<Block> block = memory_->allocate(std::uint64_t(width) * height * image.channels);
    auto* out = reinterpret_cast<std::uint8_t*>(block->host());
    const std::uint32_t steps = std::min(height, 4 * threads_->count());
    threads_->run(steps, [&](std::uint32_t step) {
        Strip strip(image, across, down, down_first, rows_, *memory_);
        const Ref<Block> line = memory_->allocate(strip.pitch() + RESIZE_ROOM);
        auto* pixels = reinterpret_cast<std::uint8_t*>(line->host());
        const std::uint32_t last = std::uint64_t(height) * (step + 1) / steps;
        for (std::uint32_t y = std::uint64_t(height) * step / steps; y < last; ++y) {
            strip.line(y, pixels);
            rows_.narrow(pixels, width, image.channels, out + std::uint64_t(y) * width * image.channels);
        }
    });
    return block;
}

Ref<Block> Resizer::patches(std::span<const ImageView> images, std::span<const Resize> sizes,
                            std::span<const float> table, const PatchOrder& order)
{
    const auto [patch, merge, frames] = order;
    require(patch >= 1 && patch <= limits::PATCH && merge >= 1 && merge <= limits::MERGE && frames >= 1 &&
                frames <= limits::FRAMES && images.size() == sizes.size() && table.size() == 3 * 256,
            "model: patch order", patch, "patches, blocks and tables that fit");
    struct Job {
        std::pair<ImageView, Ref<Block>> image;
        Taps across, down;
        std::uint64_t first;    // float of its first patch
    };
    struct Step {
        std::uint32_t job, begin, end;  // lines of patches
    };
    std::vector<Job> jobs;
    std::uint64_t floats = 0;
    std::uint32_t lines = 0;
    for (std::size_t i = 0; i < images.size(); ++i) {
        require_fits(images[i], sizes[i]);
        const auto [width, height, down_first] = sizes[i];
        const std::uint32_t cell = patch * merge;
        require(width % cell == 0 && height % cell == 0, "model: resize size",
                std::to_string(width) + " x " + std::to_string(height), "multiples of " + std::to_string(cell));
        jobs.push_back({interleaved(images[i], sizes[i]), Taps(images[i].width, width, rows_),
                        Taps(images[i].height, height, rows_), floats});
        floats += 3ull * frames * width * height;
        lines += height / patch;
    }
    // Few long steps: each begins with rows that its neighbour has made as well.
    const std::uint32_t most = std::max(1u, lines / (4 * threads_->count()));
    std::vector<Step> steps;
    for (std::uint32_t i = 0; i < jobs.size(); ++i) {
        const std::uint32_t own = sizes[i].height / patch, parts = (own + most - 1) / most;
        for (std::uint32_t k = 0; k < parts; ++k) steps.push_back({i, own * k / parts, own * (k + 1) / parts});
    }

    Ref<Block> block = memory_->allocate(floats * sizeof(float));
    auto* out = reinterpret_cast<float*>(block->host());
    threads_->run(std::uint32_t(steps.size()), [&](std::uint32_t index) {
        const Step& step = steps[index];
        const Job& job = jobs[step.job];
        Strip strip(job.image.first, job.across, job.down, sizes[step.job].down_first, rows_, *memory_);
        const Ref<Block> room = memory_->allocate(std::uint64_t(patch) * strip.pitch());
        auto* pixels = reinterpret_cast<std::uint8_t*>(room->host());
        PatchLine line{.rows = pixels, .pitch = strip.pitch(), .table = table.data(), .patch = patch,
                       .frames = frames, .columns = job.across.count / patch, .merge = merge,
                       .stream = floats * sizeof(float) >= STREAMED};
        for (std::uint32_t row = step.begin; row < step.end; ++row) {
            for (std::uint32_t y = 0; y < patch; ++y) strip.line(row * patch + y, pixels + y * strip.pitch());
            const std::uint64_t before = std::uint64_t(row / merge) * merge * line.columns + row % merge * merge;
            line.out = out + job.first + before * 3 * frames * patch * patch;
            rows_.patches(line);
        }
    });
    return block;
}

}  // namespace foveate::cpu
