// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/rows_warp.h"

#include <algorithm>
#include <cstring>

#include "engine/cpu/instructions.h"

namespace foveate::cpu::FOVEATE_ISA {

namespace {

using shared::WarpRun;

// Texels are taken less 32768, so that they are signed words as the multiplier wants them; the weights sum to
// WARP_ONE, so that what was taken is known.
constexpr std::int32_t TAKEN = 32768 * int(WARP_ONE);

#if defined(__SSE4_1__)
__m128i load_one(const std::uint16_t* from) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)); }
__m128i load_two(const std::uint16_t* low, const std::uint16_t* high)
{
    return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(load_one(low)), reinterpret_cast<const __m64*>(high)));
}
void store_total(__m128i total, std::uint32_t* to)
{
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_add_epi32(total, _mm_set1_epi32(TAKEN)));
}

// Rounded to bytes, red in the lowest.
std::uint32_t bytes_of(__m128i total)
{
    const __m128i rounded = _mm_srli_epi32(_mm_add_epi32(total, _mm_set1_epi32(TAKEN + (1 << 21))), 22);
    return std::uint32_t(_mm_cvtsi128_si32(_mm_packus_epi16(_mm_packus_epi32(rounded, rounded), rounded)));
}
#endif

#if defined(__AVX2__)

class Sum {
public:
    void add(const std::uint16_t* r, const std::uint16_t* g, const std::uint16_t* b, std::uint64_t weights)
    {
        add(_mm256_inserti128_si256(_mm256_castsi128_si256(load_two(r, g)), load_one(b), 1), weights);
    }
    // Four pixels of interleaved bytes.
    template <int STRIDE>
    void add_bytes(const std::byte* pixels, std::uint64_t weights)
    {
        constexpr int S = STRIDE;
        const __m256i spread = _mm256_setr_epi8(-1, 0, -1, S, -1, 2 * S, -1, 3 * S, -1, 1, -1, S + 1, -1, 2 * S + 1,
                                                -1, 3 * S + 1, -1, 2, -1, S + 2, -1, 2 * S + 2, -1, 3 * S + 2, -1,
                                                -1, -1, -1, -1, -1, -1, -1);
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels));
        add(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), spread), weights);
    }
    __m128i total() const
    {
        const __m256i pairs = _mm256_add_epi32(sum_, _mm256_shuffle_epi32(sum_, 0xb1));
        const __m128 low = _mm_castsi128_ps(_mm256_castsi256_si128(pairs));
        const __m128 high = _mm_castsi128_ps(_mm256_extracti128_si256(pairs, 1));
        return _mm_castps_si128(_mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
    }

    void store(std::uint32_t* to) const { store_total(total(), to); }
    std::uint32_t bytes() const { return bytes_of(total()); }

private:
    void add(__m256i texels, std::uint64_t weights)
    {
        texels = _mm256_xor_si256(texels, _mm256_set1_epi16(short(0x8000)));
        sum_ = _mm256_add_epi32(sum_, _mm256_madd_epi16(texels, _mm256_set1_epi64x(std::int64_t(weights))));
    }
    __m256i sum_ = _mm256_setzero_si256();
};

#elif defined(__SSE4_1__)

class Sum {
public:
    void add(const std::uint16_t* r, const std::uint16_t* g, const std::uint16_t* b, std::uint64_t weights)
    {
        add(load_two(r, g), load_one(b), weights);
    }
    template <int STRIDE>
    void add_bytes(const std::byte* pixels, std::uint64_t weights)
    {
        constexpr int S = STRIDE;
        const __m128i low = _mm_setr_epi8(-1, 0, -1, S, -1, 2 * S, -1, 3 * S, -1, 1, -1, S + 1, -1, 2 * S + 1, -1,
                                          3 * S + 1);
        const __m128i high = _mm_setr_epi8(-1, 2, -1, S + 2, -1, 2 * S + 2, -1, 3 * S + 2, -1, -1, -1, -1, -1, -1,
                                           -1, -1);
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels));
        add(_mm_shuffle_epi8(bytes, low), _mm_shuffle_epi8(bytes, high), weights);
    }
    __m128i total() const
    {
        const __m128 low = _mm_castsi128_ps(_mm_add_epi32(low_, _mm_shuffle_epi32(low_, 0xb1)));
        const __m128 high = _mm_castsi128_ps(_mm_add_epi32(high_, _mm_shuffle_epi32(high_, 0xb1)));
        return _mm_castps_si128(_mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
    }

    void store(std::uint32_t* to) const { store_total(total(), to); }
    std::uint32_t bytes() const { return bytes_of(total()); }

private:
    void add(__m128i low, __m128i high, std::uint64_t weights)
    {
        const __m128i half = _mm_set1_epi16(short(0x8000)), w = _mm_set1_epi64x(std::int64_t(weights));
        low_ = _mm_add_epi32(low_, _mm_madd_epi16(_mm_xor_si128(low, half), w));
        high_ = _mm_add_epi32(high_, _mm_madd_epi16(_mm_xor_si128(high, half), w));
    }
    __m128i low_ = _mm_setzero_si128(), high_ = _mm_setzero_si128();
};

#else

class Sum {
public:
    void add(const std::uint16_t* r, const std::uint16_t* g, const std::uint16_t* b, std::uint64_t weights)
    {
        for (std::uint32_t k = 0; k < WARP_RUN; ++k) {
            const std::uint32_t weight = weights >> 16 * k & 65535;
            sums_[0] += weight * r[k];
            sums_[1] += weight * g[k];
            sums_[2] += weight * b[k];
        }
    }
    template <int STRIDE>
    void add_bytes(const std::byte* pixels, std::uint64_t weights)
    {
        for (std::uint32_t k = 0; k < WARP_RUN; ++k)
            for (std::uint32_t c = 0; c < 3; ++c)
                sums_[c] += (weights >> 16 * k & 65535) * (std::uint32_t(pixels[k * STRIDE + c]) << 8);
    }
    void store(std::uint32_t* to) const { std::copy(sums_, sums_ + 4, to); }
    std::uint32_t bytes() const
    {
        const auto byte = [](std::uint32_t sum) { return (sum + (1u << 21)) >> 22; };
        return byte(sums_[0]) | byte(sums_[1]) << 8 | byte(sums_[2]) << 16;
    }

private:
    std::uint32_t sums_[4] = {};
};

#endif

std::uint64_t weights_of(const WarpRun& run) { return run.weights01 | std::uint64_t(run.weights23) << 32; }

// A run of level 0 in any order of memory, as planes of four words. Never reads past the end of the row.
void load_any(const WarpSource& source, const WarpRun& run, std::uint16_t (&to)[3][WARP_RUN])
{
    const std::uint32_t column = run.place & WARP_COLUMN_MASK;
    const std::byte* row = source.pixels + (run.place >> WARP_ROW_SHIFT & WARP_COLUMN_MASK) * source.row_stride;
    for (std::uint32_t c = 0; c < source.channels; ++c)
        for (std::uint32_t k = 0; k < WARP_RUN; ++k) {
            const std::byte* at = row + std::min(column + k, source.width - 1) * source.pixel_stride +
                                  c * source.channel_stride;
            std::uint16_t value;
            if (source.wide)
                std::memcpy(&value, at, 2);
            else
                value = source.decode ? source.decode[std::uint8_t(*at)] : std::uint16_t(std::uint8_t(*at) << 8);
            to[c][k] = value;
        }
}

// The rare cases stay out of line, so that the sum stays in a register.
[[gnu::noinline]] Sum add_any(Sum sum, const WarpSource& source, const WarpRun& run)
{
    std::uint16_t texels[3][WARP_RUN] = {};
    load_any(source, run, texels);
    sum.add(texels[0], texels[1], texels[2], weights_of(run));
    return sum;
}

// A level with less texels in a row than a run has: what follows them may be the end of memory.
[[gnu::noinline]] Sum add_narrow(Sum sum, const WarpSource& source, const WarpRun& run)
{
    const std::uint32_t level = run.place >> WARP_LEVEL_SHIFT;
    const std::uint16_t* at = source.levels[level] + (run.place & WARP_PLACE_MASK);
    std::uint16_t texels[3][WARP_RUN] = {};
    for (std::uint32_t c = 0; c < source.channels; ++c)
        for (std::uint32_t k = 0; k < source.widths[level]; ++k) texels[c][k] = at[c * source.planes[level] + k];
    sum.add(texels[0], texels[1], texels[2], weights_of(run));
    return sum;
}

// Runs of level 0. STRIDE: bytes from pixel to pixel of three interleaved bytes; 0: any other memory.
template <int STRIDE>
[[gnu::always_inline]] inline void add_first(Sum& sum, const WarpSource& source, const WarpRun* run,
                                             const WarpRun* end)
{
    const std::byte* const pixels = source.pixels;
    const std::uint64_t row_stride = source.row_stride, safe = source.safe;
    for (; run < end; ++run) {
        if constexpr (STRIDE > 0) {
            const std::uint64_t at = (run->place >> WARP_ROW_SHIFT) * row_stride +
                                     std::uint64_t(run->place & WARP_COLUMN_MASK) * STRIDE;
            if (at < safe) [[likely]] {
                sum.add_bytes<STRIDE>(pixels + at, weights_of(*run));
                continue;
            }
        }
        sum = add_any(sum, source, *run);
    }
}

// Runs of one level above.
[[gnu::always_inline]] inline void add_above(Sum& sum, const WarpSource& source, const WarpRun* run,
                                             const WarpRun* end)
{
    const std::uint32_t level = run->place >> WARP_LEVEL_SHIFT;
    const std::uint64_t plane = source.planes[level];
    const std::uint16_t* const red = source.levels[level];
    const std::uint16_t *const green = red + plane, *const blue = green + plane;
    if (source.widths[level] < WARP_RUN) [[unlikely]] {
        for (; run < end; ++run) sum = add_narrow(sum, source, *run);
        return;
    }
    for (; run < end; ++run) {
        const std::uint32_t at = run->place & WARP_PLACE_MASK;
        sum.add(red + at, green + at, blue + at, weights_of(*run));
    }
}

template <int STRIDE, class Store>
void warp(const WarpSource& source, const WarpRun* run, const WarpTable::Pixel* order, std::uint32_t count,
          const Store& store)
{
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint32_t runs = order[i].count;
        const WarpRun* const next = run + (runs >> 16 & 255);
        const WarpRun* const rest = next + (runs >> 24);
        const WarpRun* const end = run + (runs & 65535);
        Sum sum;
        if (run->place >> WARP_LEVEL_SHIFT == 0)
            add_first<STRIDE>(sum, source, run, next);
        else
            add_above(sum, source, run, next);
        if (next < rest) add_above(sum, source, next, rest);
        for (run = rest; run < end; ++run) add_above(sum, source, run, run + 1);
        store(i, sum);
    }
}

// What is written for one pixel of three bytes, and for any other.
struct StoreBytes {
    const WarpTable::Pixel* order;
    std::uint8_t* out;
    void operator()(std::uint32_t i, const Sum& sum) const
    {
        std::uint8_t* to = out + std::uint64_t(order[i].index) * 3;
        const std::uint32_t bytes = sum.bytes();
        const std::uint16_t two = std::uint16_t(bytes);
        std::memcpy(to, &two, 2);
        to[2] = std::uint8_t(bytes >> 16);
    }
};

struct StoreSums {
    std::uint32_t* out;
    void operator()(std::uint32_t i, const Sum& sum) const { sum.store(out + 4 * i); }
};

template <class Store>
void warp_any(const WarpSource& source, const WarpRun* runs, const WarpTable::Pixel* order,
              std::uint32_t count, const Store& store)
{
    const bool bytes = source.channels == 3 && !source.wide && !source.decode && source.channel_stride == 1 &&
                       source.width >= WARP_RUN;
    if (bytes && source.pixel_stride == 3)
        warp<3>(source, runs, order, count, store);
    else if (bytes && source.pixel_stride == 4)
        warp<4>(source, runs, order, count, store);
    else
        warp<0>(source, runs, order, count, store);
}

void warp_sums(const WarpSource& source, const WarpRun* runs, const WarpTable::Pixel* order, std::uint32_t count,
               std::uint32_t* sums)
{
    warp_any(source, runs, order, count, StoreSums{sums});
}

void warp_bytes(const WarpSource& source, const WarpRun* runs, const WarpTable::Pixel* order, std::uint32_t count,
                std::uint8_t* out)
{
    warp_any(source, runs, order, count, StoreBytes{order, out});
}

}  // namespace

const WarpRows warp_rows = {warp_sums, warp_bytes};

}  // namespace foveate::cpu::FOVEATE_ISA
