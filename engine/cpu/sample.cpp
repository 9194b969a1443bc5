// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/sample.comp.glsl. The box over a footprint is separable, so a token is read row by row:
// source rows are blended down to one (vertical), then its texels are gathered from it (horizontal).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/cpu/backend.h"
#include "engine/cpu/sample_axis.h"

namespace foveate::cpu {

namespace {

constexpr std::uint32_t STEP_TEXELS = 1 << 14;  // work handed to a thread at once
constexpr std::uint32_t ROOM = 16;              // floats that vector loads may read past a row
constexpr std::uint32_t SPREAD_ROOM = 63;       // texels that planes_u8 may read and write past a row

// Short and often: a call of memcpy would cost more than the copy.
void copy_row(std::byte* to, const std::byte* from, std::uint32_t size)
{
    if (size < 16) {
        for (std::uint32_t i = 0; i < size; ++i) to[i] = from[i];
        return;
    }
    for (std::uint32_t i = 0;; i = i + 32 <= size ? i + 16 : size - 16) {
        std::memcpy(to + i, from + i, 16);
        if (i + 16 >= size) return;
    }
}

// One level of one image as rows of elements: `planes` rows of interleaved pixels, or one row per channel.
struct Source {
    const std::byte* data;
    const std::byte* end;          // of what may be read
    std::uint32_t width, height, planes, channels;
    std::uint64_t row_stride, plane_stride;
    std::uint32_t pixel_elements;  // elements from texel to texel within a row
    Element element;
};

Source source_of(const Pyramid& pyramid, std::uint32_t index, std::uint32_t level)
{
    const std::uint32_t channels = pyramid.image.channels;
    if (level == 0) {
        const ImageView& view = pyramid.image.views[index];
        const std::uint32_t size = element_size(view.element);
        const bool interleaved = channels == 1 || view.channel_stride == size;
        const std::byte* last = view.data + (view.height - 1) * view.row_stride +
                                (view.width - 1) * view.pixel_stride + (channels - 1) * view.channel_stride;
        return {view.data, last + size, view.width, view.height, interleaved ? 1 : channels, channels,
                view.row_stride, view.channel_stride, std::uint32_t(view.pixel_stride / size), view.element};
    }
    const shared::LevelDesc& desc = pyramid.table[index * MAX_LEVELS + level];
    const std::uint32_t size = element_size(pyramid.element);
    const std::byte* data = pyramid.levels->host();
    return {data + std::uint64_t(desc.offset) * size, data + pyramid.levels->size(), desc.width, desc.height,
            channels, channels, std::uint64_t(desc.pitch) * size,
            std::uint64_t(desc.pitch) * desc.height * size, 1, pyramid.element};
}

// Scratch of one thread, kept while it works through its tokens.
class Sampler {
public:
    Sampler(const Pyramid& pyramid, const SamplePlan& plan, const RowKernels& rows, std::byte* out)
        : pyramid_(pyramid), plan_(plan), p_(plan.params), rows_(*rows.sample), out_(out), texels_(4 * p_.cell + ROOM),
          normal_((p_.cell + ROOM) * MAX_CHANNELS), half_((p_.cell + ROOM) * MAX_CHANNELS),
          room_((p_.cell + 3) / 4 * 4)
    {
    }

    void run(const Token& token, std::uint64_t index);

private:
    struct Columns {
        std::int32_t low, high;              // read: [low, high), never empty
        std::uint32_t left, inside, right;   // of the token's columns
    };
    Columns columns_of(const Source& source) const;
    const std::byte* decode_row(const std::byte* from, std::uint32_t n, std::uint32_t slot);
    void vertical(const Source& source, std::uint32_t line);
    void horizontal();
    void normalise();
    bool reads_whole(const Source& source) const;
    bool shuffled(const Source& source) const;
    void whole(const Source& source, std::uint64_t index);
    void lines(const Source& source, std::uint64_t index);
    void round(const float* planes);
    void store(std::uint64_t index, std::uint32_t line);
    void repeat(std::uint64_t index);
    template <class T>
    void blend(void (*kernel)(const T* const*, const float*, std::uint32_t, std::uint32_t, float*),
               std::uint32_t line, std::uint32_t n, float* to)
    {
        kernel(reinterpret_cast<const T* const*>(pointers_.data()), &y_.weights[line * y_.taps],
               y_.count[line], n, to);
    }

    const Pyramid& pyramid_;
    const SamplePlan& plan_;
    const shared::SampleParams& p_;
    const SampleRows& rows_;
    std::byte* out_;
    Axis x_, y_;
    std::uint32_t level_ = 0;
    std::vector<const std::byte*> pointers_;
    std::vector<std::uint16_t> decoded_;
    std::vector<float> planes_, blended_, texels_;
    std::vector<float> normal_;          // planes of room_ floats
    std::vector<std::uint16_t> half_;
    std::uint32_t room_;                 // a cell in whole groups
    const float* line_ = nullptr;        // the current line: pixels of line_stride_ floats,
    std::uint32_t line_stride_ = 4;      // or planes that lie so far apart
    bool planar_ = false;
    const std::byte* packed_ = nullptr;
};

// The columns of the level that a token reads, and how often the first and the last of them are repeated for
// what lies outside.
Sampler::Columns Sampler::columns_of(const Source& source) const
{
    const int width = int(source.width), total = x_.high - x_.low;
    Columns columns;
    columns.low = std::clamp(x_.low, 0, width - 1);
    columns.high = std::clamp(x_.high, columns.low + 1, width);
    columns.left = std::uint32_t(std::clamp(-x_.low, 0, total));
    columns.inside = std::uint32_t(std::max(0, std::min(x_.high, width) - std::max(x_.low, 0)));
    columns.right = std::uint32_t(total) - columns.left - columns.inside;
    return columns;
}

// A row of bytes as the light they stand for.
const std::byte* Sampler::decode_row(const std::byte* from, std::uint32_t n, std::uint32_t slot)
{
    const std::size_t room = std::size_t(n) + ROOM;
    if (decoded_.size() < room * y_.taps) decoded_.resize(room * y_.taps);
    std::uint16_t* to = decoded_.data() + room * slot;
    for (std::uint32_t i = 0; i < n; ++i) to[i] = std::uint16_t(plan_.decode[std::uint8_t(from[i])]);
    return reinterpret_cast<const std::byte*>(to);
}

void Sampler::vertical(const Source& source, std::uint32_t line)
{
    const Columns columns = columns_of(source);
    const bool decode = p_.linear && level_ == 0;
    const Element element = decode ? Element::u16 : source.element;
    const std::uint32_t pixel = source.pixel_elements, size = element_size(source.element);
    const std::uint32_t total = columns.left + columns.inside + columns.right;
    // The last pixel counts its channels only: what follows them may not be the caller's to read.
    const std::uint32_t used = source.planes > 1 ? 1 : source.channels;
    const std::uint32_t exact = std::uint32_t(columns.high - columns.low - 1) * pixel + used;
    // Whole vectors where what follows the row may be read: an overlapping last one would stall the next step.
    const std::uint32_t whole = (exact + ROOM - 1) / ROOM * ROOM;
    const std::size_t plane_room = std::size_t(total) * pixel + whole + ROOM;
    if (planes_.size() < plane_room * source.planes) planes_.resize(plane_room * source.planes);
    pointers_.resize(y_.taps);
    for (std::uint32_t plane = 0; plane < source.planes; ++plane) {
        const std::byte* from = source.data + plane * source.plane_stride + std::uint64_t(columns.low) * pixel * size;
        std::uint32_t n = whole;
        for (std::uint32_t k = 0; k < y_.count[line]; ++k) {
            const int y = std::clamp(y_.first[line] + int(k), 0, int(source.height) - 1);
            pointers_[k] = from + std::uint32_t(y) * source.row_stride;
            if (decode)
                pointers_[k] = decode_row(pointers_[k], exact, k);
            else if (source.end - pointers_[k] < std::int64_t(whole) * size)
                n = exact;
        }
        float* to = planes_.data() + plane_room * plane;
        float* middle = to + std::size_t(columns.left) * pixel;
        if (element == Element::u8)
            blend(rows_.blend_u8, line, n, middle);
        else if (element == Element::u16)
            blend(rows_.blend_u16, line, n, middle);
        else
            blend(rows_.blend_f32, line, n, middle);
        if (columns.inside == total) continue;

        // The edge is repeated after the sum, which is the same sum.
        float first[MAX_CHANNELS], last[MAX_CHANNELS];
        for (std::uint32_t c = 0; c < used; ++c) {
            first[c] = middle[c];
            last[c] = middle[std::size_t(columns.high - columns.low - 1) * pixel + c];
        }
        float* after = middle + std::size_t(columns.inside) * pixel;
        for (std::uint32_t c = 0; c < used; ++c) {
            for (std::uint32_t i = 0; i < columns.left; ++i) to[i * pixel + c] = first[c];
            for (std::uint32_t i = 0; i < columns.right; ++i) after[i * pixel + c] = last[c];
        }
    }
    line_ = planes_.data();
    line_stride_ = source.pixel_elements;
    planar_ = source.planes > 1 && x_.copy;
    if (source.planes > 1 && !x_.copy) {
        if (blended_.size() < 4 * std::size_t(total) + ROOM) blended_.resize(4 * std::size_t(total) + ROOM);
        rows_.interleave(planes_.data(), planes_.data() + plane_room, planes_.data() + 2 * plane_room, total,
                         blended_.data());
        line_ = blended_.data();
        line_stride_ = 4;
    } else if (planar_) {
        line_stride_ = std::uint32_t(plane_room);
    }
}

void Sampler::horizontal()
{
    if (x_.copy) return;
    rows_.gather(line_, line_stride_, x_.offset.data(), x_.weights.data(), x_.taps, p_.cell, texels_.data());
    line_ = texels_.data();
    line_stride_ = 4;
}

// The line as planes of the output's own type, in packed_.
void Sampler::normalise()
{
    // Bytes stand for byte * 256; a power of two moves from the value to the scale without a change.
    const bool bytes = level_ == 0 && pyramid_.image.element == Element::u8 && !p_.linear;
    const float factor = bytes ? 256.0f : 1.0f;
    const float scales[3] = {p_.scale0 * factor, p_.scale1 * factor, p_.scale2 * factor};
    const float biases[3] = {p_.bias0, p_.bias1, p_.bias2};
    float* out = normal_.data();
    if (p_.linear || p_.image_channels == 1 || planar_) {
        for (std::uint32_t c = 0; c < p_.channels; ++c) {
            const std::uint32_t channel = p_.image_channels == 1 ? 0 : c;
            const float* from = planar_ ? line_ + std::size_t(channel) * line_stride_ : line_ + channel;
            const std::uint32_t stride = planar_ ? 1 : line_stride_;
            float* to = out + std::size_t(c) * room_;
            for (std::uint32_t i = 0; i < p_.cell; ++i) {
                const float value = from[i * stride];
                to[i] = p_.linear ? plan_.encode[std::uint32_t(std::floor(value * p_.quantise + 0.5f))] : value;
            }
            rows_.normalise_plane(to, p_.cell, scales[c], biases[c], to);
        }
    } else {
        rows_.normalise_pixels(line_, line_stride_, p_.cell, scales, biases, out, room_);
    }
    round(out);
}

void Sampler::round(const float* planes)
{
    packed_ = reinterpret_cast<const std::byte*>(planes);
    if (p_.dtype == DTYPE_F32) return;
    (p_.dtype == DTYPE_F16 ? rows_.round_f16 : rows_.round_bf16)(planes, p_.channels * room_, half_.data());
    packed_ = reinterpret_cast<const std::byte*>(half_.data());
}

// Most tokens of a rate layout: a texel is one of the level's across, or the mean of two, none of them outside.
bool Sampler::reads_whole(const Source& source) const
{
    const bool planes = source.planes == 3 && source.element == Element::u16 && source.pixel_elements == 1;
    return (x_.copy || (x_.pairs && y_.copy)) && p_.channels == 3 && !p_.linear &&
           (planes || shuffled(source)) && x_.low >= 0 && x_.high <= std::int32_t(source.width);
}

// Interleaved bytes that whole vectors may be read of, for any line of the token.
bool Sampler::shuffled(const Source& source) const
{
    if (source.planes != 1 || source.channels != 3 || source.element != Element::u8) return false;
    const std::uint32_t pixel = source.pixel_elements;
    if (pixel != 3 && pixel != 4) return false;
    const std::int32_t last = std::clamp(y_.high - 1, 0, std::int32_t(source.height) - 1);
    const std::byte* from = source.data + std::uint64_t(last) * source.row_stride + std::uint64_t(x_.low) * pixel;
    return source.end - from >= std::int64_t(pixel) * (x_.high - x_.low + SPREAD_ROOM);
}

// A token line by line, each in one go: straight into the output where it takes lines as they are.
void Sampler::whole(const Source& source, std::uint64_t index)
{
    const std::uint32_t n = std::uint32_t(x_.high - x_.low), pixel = source.pixel_elements;
    const std::uint64_t wide = std::uint64_t(n) * pixel * element_size(source.element);
    const auto row_of = [&, from = source.data + wide / n * std::uint32_t(x_.low)](std::int32_t y) {
        return from + std::uint32_t(std::clamp(y, 0, std::int32_t(source.height) - 1)) * source.row_stride;
    };
    // The rows lie pages apart, which no processor foresees. (In a function of its own, GCC takes the calls for ones
    // without effect.)
    for (std::int32_t y = y_.low; y < y_.high; ++y)
        for (std::uint32_t plane = 0; plane < source.planes; ++plane) {
            const std::byte* from = row_of(y) + plane * source.plane_stride;
            for (std::uint64_t i = 0; i < wide; i += 64) __builtin_prefetch(from + i);
            __builtin_prefetch(from + wide - 1);
        }

    const bool bytes = source.element == Element::u8, direct = p_.dtype == DTYPE_F32 && !p_.channels_last;
    const std::uint64_t room = n + SPREAD_ROOM;
    if (bytes && decoded_.size() < 3 * room * y_.taps) decoded_.resize(3 * room * y_.taps);
    pointers_.resize(y_.taps);
    const float scale[3] = {p_.scale0, p_.scale1, p_.scale2}, bias[3] = {p_.bias0, p_.bias1, p_.bias2};
    WholeLine to{.rows = reinterpret_cast<const std::uint16_t* const*>(pointers_.data()),
                 .pairs = x_.pairs,
                 .plane = bytes ? room : source.plane_stride / sizeof(std::uint16_t),
                 .scale = scale, .bias = bias, .patch = p_.cell, .parts = 1,
                 .out = normal_.data(), .part = 0, .channel = room_};
    if (direct) {
        to.patch = p_.patch_size, to.parts = p_.merge;
        to.channel = std::uint64_t(p_.frames) * p_.patch_size * p_.patch_size, to.part = 3 * to.channel;
    }
    for (std::uint32_t line = 0; line < p_.cell; ++line) {
        for (std::uint32_t k = 0; k < y_.count[line]; ++k) {
            pointers_[k] = row_of(y_.first[line] + std::int32_t(k));
            if (!bytes) continue;
            std::uint16_t* planes = decoded_.data() + 3 * room * k;
            rows_.planes_u8(reinterpret_cast<const std::uint8_t*>(pointers_[k]), pixel, n, planes, room);
            pointers_[k] = reinterpret_cast<const std::byte*>(planes);
        }
        to.weights = &y_.weights[line * y_.taps], to.count = y_.count[line];
        if (direct)
            to.out = reinterpret_cast<float*>(out_) + line % p_.patch_size * p_.patch_size +
                     (index * p_.merge + line / p_.patch_size) * p_.merge * to.part;
        rows_.whole_u16(to);
        if (direct) continue;
        round(normal_.data());
        store(index, line);
    }
}

void Sampler::store(std::uint64_t index, std::uint32_t line)
{
    const std::uint32_t merge = p_.merge, patch = p_.patch_size, y = line % patch;
    const std::uint32_t size = dtype_size(static_cast<Dtype>(p_.dtype));
    const std::uint64_t patch_elements = std::uint64_t(p_.channels) * p_.frames * patch * patch;
    for (std::uint32_t part = 0; part < merge; ++part) {
        std::byte* to = out_ + ((index * merge + line / patch) * merge + part) * patch_elements * size;
        const std::byte* from = packed_ + std::size_t(part) * patch * size;
        if (p_.channels_last) {
            std::byte* row = to + std::uint64_t(y) * patch * p_.channels * size;
            for (std::uint32_t x = 0; x < patch; ++x)
                for (std::uint32_t c = 0; c < p_.channels; ++c, row += size)
                    std::memcpy(row, from + (std::size_t(c) * room_ + x) * size, size);
            continue;
        }
        for (std::uint32_t c = 0; c < p_.channels; ++c)
            copy_row(to + (std::uint64_t(c) * p_.frames * patch + y) * patch * size,
                     from + std::size_t(c) * room_ * size, patch * size);
    }
}

// Later frames are the first one again: copied in whole planes, once the token is complete.
void Sampler::repeat(std::uint64_t index)
{
    const std::uint64_t planes = p_.channels_last ? 1 : p_.channels;  // that lie `frames` times in a row
    const std::uint64_t size = std::uint64_t(p_.channels) / planes * p_.patch_size * p_.patch_size *
                               dtype_size(static_cast<Dtype>(p_.dtype));
    const std::uint64_t parts = std::uint64_t(p_.merge) * p_.merge * planes;
    std::byte* plane = out_ + index * parts * p_.frames * size;
    for (std::uint64_t i = 0; i < parts; ++i, plane += p_.frames * size)
        for (std::uint32_t frame = 1; frame < p_.frames; ++frame) std::memcpy(plane + frame * size, plane, size);
}

void Sampler::lines(const Source& source, std::uint64_t index)
{
    for (std::uint32_t line = 0; line < p_.cell; ++line) {
        // Above and below the image every line is the one before it.
        const int last = int(source.height) - 1, end = y_.first[line] + int(y_.count[line]) - 1;
        const bool again = line > 0 && (end <= 0 || y_.first[line - 1] >= last);
        if (!again) {
            vertical(source, line);
            horizontal();
            normalise();
        }
        store(index, line);
    }
}

void Sampler::run(const Token& token, std::uint64_t index)
{
    if (token.w == 0) {  // a padding row
        const std::uint64_t bytes = std::uint64_t(p_.channels) * p_.frames * p_.cell * p_.cell *
                                    dtype_size(static_cast<Dtype>(p_.dtype));
        std::memset(out_ + index * bytes, 0, bytes);
        return;
    }
    level_ = shared::sample_level(token.x, token.y, token.w, token.h, p_.cell, p_.taps, p_.level_max);
    // An image smaller than its batch mates has fewer levels: its last one is 1x1 and serves for the rest.
    while (level_ > 0 && pyramid_.table[token.image * MAX_LEVELS + level_].width == 0) --level_;
    x_.plan(token.x, token.w, p_.cell, level_, token.inv_w);
    y_.plan(token.y, token.h, p_.cell, level_, token.inv_h);
    const Source source = source_of(pyramid_, token.image, level_);
    if (reads_whole(source))
        whole(source, index);
    else
        lines(source, index);
    if (p_.frames > 1) repeat(index);
}

}  // namespace

void sample_patches(const Pyramid& pyramid, const Token* tokens, const SamplePlan& plan, std::byte* out,
                    const RowKernels& rows, Threads& threads)
{
    const std::uint32_t count = plan.params.token_count, cell = plan.params.cell;
    const std::uint32_t in_step = std::max(1u, STEP_TEXELS / (cell * cell));
    threads.run((count + in_step - 1) / in_step, [&](std::uint32_t step) {
        Sampler sampler(pyramid, plan, rows, out);
        const std::uint32_t end = std::min(count, (step + 1) * in_step);
        for (std::uint32_t index = step * in_step; index < end; ++index) sampler.run(tokens[index], index);
    });
}

}  // namespace foveate::cpu
