// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/relevance*.comp.glsl: luma of the content level, statistics of each cell, what needs the whole
// image, and the terms together.
#include <bit>

#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

using shared::RelevanceImage;

constexpr std::uint32_t STEP_LUMA = 1 << 16;  // work handed to a thread at once
constexpr std::uint32_t STEP_CELLS = 1 << 10;

struct Finder {
    const Pyramid& pyramid;
    const RelevancePlan& plan;
    std::uint16_t* luma;
    std::uint32_t* cells;
    const RelevanceRows& rows;
    std::vector<std::uint32_t> stats{};             // [STAT_* * cell_count + cell]
    std::vector<std::uint32_t> largest{};           // [image * 2]: of gradient and surround
    std::vector<std::uint32_t> spectral{};          // [image * 64 * 64 + ...]

    std::uint32_t* stat(std::uint32_t which, const RelevanceImage& image)
    {
        return &stats[std::uint64_t(which) * plan.params.cell_count + image.first];
    }
    std::uint16_t* luma_row(const RelevanceImage& image, std::uint32_t y) const
    {
        return luma + image.luma_offset + std::uint64_t(y) * image.luma_pitch;
    }
    const std::uint16_t* previous_row(const RelevanceImage& image, std::uint32_t y) const
    {
        return reinterpret_cast<const std::uint16_t*>(plan.previous_luma->host()) + image.luma_offset +
               std::uint64_t(y) * image.luma_pitch;
    }
    std::uint32_t first_texel(const RelevanceImage& image, std::uint32_t index, std::uint32_t size) const
    {
        return shared::relevance_first(plan.params.cell, image.level, index, size);
    }
    void make_luma(std::uint32_t index, std::uint32_t y);
    void measure(const RelevanceImage& image, std::uint32_t row);
    void measure_surround(const RelevanceImage& image);
    void combine(std::uint32_t index, std::uint32_t row);
};

void Finder::make_luma(std::uint32_t index, std::uint32_t y)
{
    const RelevanceImage& image = plan.images[index];
    const std::uint32_t n = image.level_width, channels = pyramid.image.channels;
    std::uint16_t* out = luma_row(image, y);
    if (image.luma_pitch > n) out[n] = 0;
    if (image.level > 0) {
        const shared::LevelDesc& level = pyramid.table[index * MAX_LEVELS + image.level];
        const std::uint64_t at = level.offset + std::uint64_t(y) * level.pitch;
        const std::uint64_t plane = channels == 1 ? 0 : std::uint64_t(level.height) * level.pitch;
        if (pyramid.element == Element::u16) {
            const auto* r = reinterpret_cast<const std::uint16_t*>(pyramid.levels->host()) + at;
            rows.luma_u16(r, r + plane, r + 2 * plane, 1, n, out);
        } else {
            const auto* r = reinterpret_cast<const float*>(pyramid.levels->host()) + at;
            rows.luma_f32(r, r + plane, r + 2 * plane, 1, n, out);
        }
        return;
    }
    const ImageView& view = pyramid.image.views[index];
    const std::byte* r = view.data + y * view.row_stride;
    const std::byte* g = r + (channels == 1 ? 0 : view.channel_stride);
    const std::byte* b = g + (channels == 1 ? 0 : view.channel_stride);
    const auto stride = std::uint32_t(view.pixel_stride) / element_size(view.element);
    const auto as = [](auto* type, const std::byte* bytes) { return reinterpret_cast<decltype(type)>(bytes); };
    if (view.element == Element::u8) {
        const std::uint8_t* type = nullptr;
        rows.luma_u8(as(type, r), as(type, g), as(type, b), stride, n, out);
    } else if (view.element == Element::u16) {
        const std::uint16_t* type = nullptr;
        rows.luma_u16(as(type, r), as(type, g), as(type, b), stride, n, out);
    } else {
        const float* type = nullptr;
        rows.luma_f32(as(type, r), as(type, g), as(type, b), stride, n, out);
    }
}

std::uint32_t entropy_of(const Finder& finder, const RelevanceImage& image, std::uint32_t left, std::uint32_t right,
                         std::uint32_t top, std::uint32_t bottom)
{
    // Four histograms: neighbours mostly fall into the same bin, and would wait for each other.
    alignas(64) std::uint16_t bins[4][ENTROPY_BINS] = {};
    for (std::uint32_t y = top; y < bottom; ++y) {
        const std::uint16_t* row = finder.luma_row(image, y);
        std::uint32_t x = left;
        for (; x + 4 <= right; x += 4) {
            ++bins[0][row[x] >> 11];
            ++bins[1][row[x + 1] >> 11];
            ++bins[2][row[x + 2] >> 11];
            ++bins[3][row[x + 3] >> 11];
        }
        for (; x < right; ++x) ++bins[0][row[x] >> 11];
    }
    std::uint32_t sum = 0;
    for (std::uint32_t k = 0; k < ENTROPY_BINS; ++k)
        sum += finder.plan.entropy[std::uint32_t(bins[0][k] + bins[1][k] + bins[2][k] + bins[3][k])];
    const std::uint32_t all = finder.plan.entropy[(right - left) * (bottom - top)];
    return all - std::min(all, sum);
}

// One row of cells.
void Finder::measure(const RelevanceImage& image, std::uint32_t row)
{
    const std::uint32_t top = first_texel(image, row, image.level_height);
    const std::uint32_t bottom = first_texel(image, row + 1, image.level_height);
    const std::uint32_t n = image.level_width, last = image.level_height - 1;
    const std::uint64_t first = std::uint64_t(row) * image.columns;
    const std::uint32_t saliency = plan.params.saliency;
    std::vector<std::uint32_t> sums(n);

    const auto spread = [&](std::uint32_t which, auto&& finish) {
        std::uint32_t* to = stat(which, image) + first;
        std::uint32_t left = 0;
        for (std::uint32_t c = 0; c < image.columns; ++c) {
            const std::uint32_t right = first_texel(image, c + 1, n);
            std::uint32_t sum = 0;
            for (std::uint32_t x = left; x < right; ++x) sum += sums[x];
            const std::uint32_t count = (right - left) * (bottom - top);
            to[c] = count ? finish(sum, count) : 0;
            left = right;
        }
    };
    const auto mean = [](std::uint32_t sum, std::uint32_t count) { return sum / count; };

    if (plan.params.terms & TERM_INFORMATION) {
        std::uint32_t* to = stat(STAT_INFORMATION, image) + first;
        std::uint32_t left = 0;
        for (std::uint32_t c = 0; c < image.columns; ++c) {
            const std::uint32_t right = first_texel(image, c + 1, n);
            const std::uint32_t count = (right - left) * (bottom - top);
            const std::uint32_t entropy = count ? entropy_of(*this, image, left, right, top, bottom) : 0;
            to[c] = count ? shared::relevance_information(entropy, count) : 0;
            left = right;
        }
    }
    if (saliency & SALIENCY_GRADIENT) {
        for (std::uint32_t y = top; y < bottom; ++y)
            rows.add_gradient(luma_row(image, y > 0 ? y - 1 : 0), luma_row(image, y),
                              luma_row(image, std::min(y + 1, last)), n, sums.data());
        spread(STAT_GRADIENT, mean);
        std::fill(sums.begin(), sums.end(), 0);
    }
    if (saliency & SALIENCY_SURROUND) {
        for (std::uint32_t y = top; y < bottom; ++y) rows.add(luma_row(image, y), n, sums.data());
        spread(STAT_MEAN, mean);
        std::fill(sums.begin(), sums.end(), 0);
    }
    if (plan.params.motion_on) {
        for (std::uint32_t y = top; y < bottom; ++y)
            rows.add_motion(luma_row(image, y), previous_row(image, y), n, sums.data());
        spread(STAT_MOTION, [](std::uint32_t sum, std::uint32_t count) {
            return std::min(8 * (sum / count), RELEVANCE_ONE);
        });
    }
}

// Sums over windows from sums over everything above and to the left, exact even where they wrap around.
void Finder::measure_surround(const RelevanceImage& image)
{
    const std::uint32_t pitch = image.filled_columns + 1;
    std::vector<std::uint32_t> sums(std::uint64_t(pitch) * (image.filled_rows + 1));
    const std::uint32_t* mean = stat(STAT_MEAN, image);
    for (std::uint32_t y = 0; y < image.filled_rows; ++y) {
        std::uint32_t line = 0;
        for (std::uint32_t x = 0; x < image.filled_columns; ++x) {
            line += mean[std::uint64_t(y) * image.columns + x];
            sums[std::uint64_t(y + 1) * pitch + x + 1] = sums[std::uint64_t(y) * pitch + x + 1] + line;
        }
    }
    std::uint32_t* to = stat(STAT_SURROUND, image);
    for (std::uint32_t y = 0; y < image.filled_rows; ++y)
        for (std::uint32_t x = 0; x < image.filled_columns; ++x) {
            const std::uint64_t at = std::uint64_t(y) * image.columns + x;
            for (const std::uint32_t reach : {1u, 3u}) {
                const std::uint32_t left = x - std::min(x, reach);
                const std::uint32_t right = std::min(x + reach + 1, image.filled_columns);
                const std::uint64_t top = y - std::min(y, reach);
                const std::uint64_t bottom = std::min(y + reach + 1, image.filled_rows);
                const std::uint32_t sum = sums[bottom * pitch + right] - sums[bottom * pitch + left] -
                                          sums[top * pitch + right] + sums[top * pitch + left];
                const std::uint32_t around = sum / ((right - left) * std::uint32_t(bottom - top));
                to[at] = std::max(to[at], std::max(mean[at], around) - std::min(mean[at], around));
            }
        }
}

std::uint32_t gaze_of(const RelevancePlan& plan, const RelevanceImage& image, std::uint32_t x, std::uint32_t y,
                      std::uint32_t saliency)
{
    const int center_x = int((2 * x + 1) * plan.params.cell), center_y = int((2 * y + 1) * plan.params.cell);
    const std::uint32_t* point = &plan.points[2 * image.gaze_first];
    std::uint32_t nearest = ~0u;
    for (std::uint32_t k = 0; k < image.gaze_count; ++k, point += 2) {
        const int dx = center_x - int(point[0]), dy = center_y - int(point[1]);
        nearest = std::min(nearest, std::uint32_t(dx * dx) + std::uint32_t(dy * dy));
    }
    float distance = float(nearest) * image.gaze_scale;
    if (plan.params.shrink_on) distance = distance * plan.shrink[saliency >> 8];
    const int bin = int(std::bit_cast<std::uint32_t>(distance) >> GAZE_SHIFT) - int(GAZE_BASE);
    return plan.falloff[image.gaze_table + std::uint32_t(std::clamp(bin, 0, int(GAZE_BINS) - 1))];
}

// One row of cells.
void Finder::combine(std::uint32_t index, std::uint32_t row)
{
    const shared::RelevanceParams& params = plan.params;
    const RelevanceImage& image = plan.images[index];
    const std::uint32_t* previous =
        params.smooth_on ? reinterpret_cast<const std::uint32_t*>(plan.previous_cells->host()) : nullptr;
    const bool gradient = params.saliency & SALIENCY_GRADIENT, surround = params.saliency & SALIENCY_SURROUND;
    const auto bin_of = [&](std::uint32_t at, std::uint32_t size) {
        return std::min(((2 * at + 1) * params.cell) >> (image.level + 1), size - 1) * SPECTRAL_SIZE / size;
    };
    for (std::uint32_t x = 0; x < image.columns; ++x) {
        const std::uint64_t at = std::uint64_t(row) * image.columns + x, cell = image.first + at;
        const auto value = [&](std::uint32_t which) { return stats[std::uint64_t(which) * params.cell_count + cell]; };
        std::uint32_t saliency = 0;
        if (params.saliency & SALIENCY_SPECTRAL) {
            const bool filled = x < image.filled_columns && row < image.filled_rows;
            const std::uint32_t bin = bin_of(row, image.level_height) * SPECTRAL_SIZE + bin_of(x, image.level_width);
            saliency = filled ? spectral[std::uint64_t(index) * SPECTRAL_SIZE * SPECTRAL_SIZE + bin] : 0;
        } else {
            if (gradient) saliency += shared::relevance_normalise(value(STAT_GRADIENT), largest[2 * index]);
            if (surround) saliency += shared::relevance_normalise(value(STAT_SURROUND), largest[2 * index + 1]);
            if (gradient && surround) saliency >>= 1;
        }
        const std::uint32_t gaze = params.terms & TERM_GAZE ? gaze_of(plan, image, x, row, saliency) : 0;
        const std::uint32_t information = params.terms & TERM_INFORMATION ? value(STAT_INFORMATION) : 0;
        const std::uint32_t motion = params.motion_on ? value(STAT_MOTION) : 0;
        const std::uint32_t query = params.terms & TERM_QUERY ? plan.maps[cell] : 0;
        const std::uint32_t roi = params.terms & TERM_ROI ? plan.maps[params.roi_first + cell] : 0;
        std::uint32_t result = shared::relevance_combine(params, gaze, information, saliency, query, motion, roi);
        result = std::max(result, params.floor_value);
        cells[cell] = previous ? shared::relevance_smooth(params, result, previous[cell]) : result;
    }
}

struct Step {
    std::uint32_t image, from, to;
};

// `rows` of each image in steps of about `work` items, of which a row has `row_items`.
template <class R, class I>
std::vector<Step> steps_of(const RelevancePlan& plan, std::uint32_t work, R&& rows, I&& row_items)
{
    std::vector<Step> steps;
    for (std::uint32_t i = 0; i < plan.images.size(); ++i) {
        const std::uint32_t count = rows(plan.images[i]);
        const std::uint32_t at_once = std::max(1u, work / std::max(1u, row_items(plan.images[i])));
        for (std::uint32_t y = 0; y < count; y += at_once) steps.push_back({i, y, std::min(count, y + at_once)});
    }
    return steps;
}

template <class F>
void run(Threads& threads, const std::vector<Step>& steps, F&& call)
{
    threads.run(std::uint32_t(steps.size()), [&](std::uint32_t index) {
        for (std::uint32_t y = steps[index].from; y < steps[index].to; ++y) call(steps[index].image, y);
    });
}

}  // namespace

void find_relevance(const Pyramid& pyramid, const RelevancePlan& plan, std::uint16_t* luma, std::uint32_t* cells,
                    const RowKernels& rows, Threads& threads)
{
    Finder finder{pyramid, plan, luma, cells, *rows.relevance};
    const std::uint32_t saliency = plan.params.saliency, images = plan.params.image_count;
    const auto cell_rows = [](const RelevanceImage& image) { return image.rows; };
    if (plan.luma_elements) {
        run(threads, steps_of(plan, STEP_LUMA, [](const RelevanceImage& image) { return image.level_height; },
                              [](const RelevanceImage& image) { return image.level_width; }),
            [&](std::uint32_t image, std::uint32_t y) { finder.make_luma(image, y); });
        finder.stats.resize(std::uint64_t(STAT_COUNT) * plan.params.cell_count);
        run(threads, steps_of(plan, STEP_LUMA, cell_rows,
                              [](const RelevanceImage& image) { return image.level_width * CONTENT_TEXELS; }),
            [&](std::uint32_t image, std::uint32_t row) { finder.measure(plan.images[image], row); });
    }
    if (saliency) {
        finder.largest.resize(2 * std::uint64_t(images));
        if (saliency & SALIENCY_SPECTRAL)
            finder.spectral.resize(std::uint64_t(images) * SPECTRAL_SIZE * SPECTRAL_SIZE);
        threads.run(images, [&](std::uint32_t index) {
            const RelevanceImage& image = plan.images[index];
            const std::uint64_t count = std::uint64_t(image.columns) * image.rows;
            const auto most = [&](std::uint32_t which) {
                const std::uint32_t* from = finder.stat(which, image);
                return *std::max_element(from, from + count);
            };
            if (saliency & SALIENCY_SURROUND) finder.measure_surround(image);
            if (saliency & SALIENCY_GRADIENT) finder.largest[2 * index] = most(STAT_GRADIENT);
            if (saliency & SALIENCY_SURROUND) finder.largest[2 * index + 1] = most(STAT_SURROUND);
            if (saliency & SALIENCY_SPECTRAL)
                spectral_map(luma + image.luma_offset, image, plan.spectral, finder.rows,
                             &finder.spectral[std::uint64_t(index) * SPECTRAL_SIZE * SPECTRAL_SIZE]);
        });
    }
    run(threads, steps_of(plan, STEP_CELLS, cell_rows, [](const RelevanceImage& image) {
            return image.columns * (1 + image.gaze_count / 8);
        }),
        [&](std::uint32_t image, std::uint32_t row) { finder.combine(image, row); });
}

}  // namespace foveate::cpu
