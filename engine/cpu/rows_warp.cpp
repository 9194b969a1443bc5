// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/rows_warp.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef FOVEATE_ISA
#define FOVEATE_ISA baseline
#endif

namespace foveate::cpu::FOVEATE_ISA {

namespace {

using shared::WarpHead;
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
    void store(std::uint32_t* to) const
    {
        const __m256i pairs = _mm256_add_epi32(sum_, _mm256_shuffle_epi32(sum_, 0xb1));
        const __m128 low = _mm_castsi128_ps(_mm256_castsi256_si128(pairs));
        const __m128 high = _mm_castsi128_ps(_mm256_extracti128_si256(pairs, 1));
        const __m128i all = _mm_castps_si128(_mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_add_epi32(all, _mm_set1_epi32(TAKEN)));
    }

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
    void store(std::uint32_t* to) const
    {
        const __m128 low = _mm_castsi128_ps(_mm_add_epi32(low_, _mm_shuffle_epi32(low_, 0xb1)));
        const __m128 high = _mm_castsi128_ps(_mm_add_epi32(high_, _mm_shuffle_epi32(high_, 0xb1)));
        const __m128i all = _mm_castps_si128(_mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_add_epi32(all, _mm_set1_epi32(TAKEN)));
    }

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

template <int STRIDE>
void add_first(Sum& sum, const WarpSource& source, const WarpRun& run)
{
    if constexpr (STRIDE > 0) {
        const std::byte* at = source.pixels + (run.place >> WARP_ROW_SHIFT) * source.row_stride +
                              (run.place & WARP_COLUMN_MASK) * STRIDE;
        if (at < source.safe) [[likely]] {
            sum.add_bytes<STRIDE>(at, weights_of(run));
            return;
        }
    }
    std::uint16_t texels[3][WARP_RUN] = {};
    load_any(source, run, texels);
    sum.add(texels[0], texels[1], texels[2], weights_of(run));
}

void add_above(Sum& sum, const WarpSource& source, const WarpRun& run)
{
    const std::uint32_t level = run.place >> WARP_LEVEL_SHIFT;
    const std::uint16_t* at = source.levels[level] + (run.place & WARP_PLACE_MASK);
    const std::uint64_t plane = source.planes[level];
    if (source.narrow >> level & 1) [[unlikely]] {  // what follows the row may be the end of memory
        std::uint16_t texels[3][WARP_RUN] = {};
        for (std::uint32_t c = 0; c < source.channels; ++c)
            for (std::uint32_t k = 0; k < source.widths[level]; ++k) texels[c][k] = at[c * plane + k];
        sum.add(texels[0], texels[1], texels[2], weights_of(run));
        return;
    }
    sum.add(at, at + plane, at + 2 * plane, weights_of(run));
}

// STRIDE: bytes from pixel to pixel of three interleaved bytes; 0: any other memory.
template <int STRIDE>
void warp(const WarpSource& source, const WarpHead* heads, const WarpRun* runs, const std::uint32_t* order,
          std::uint32_t count, std::uint32_t* sums)
{
    for (std::uint32_t i = 0; i < count; ++i, sums += 4) {
        const WarpHead& head = heads[order[i]];
        const WarpRun* run = runs + head.first;
        const WarpRun* above = run + (head.count >> 16);
        const WarpRun* end = run + (head.count & 65535);
        Sum sum;
        for (; run < above; ++run) add_first<STRIDE>(sum, source, *run);
        for (; run < end; ++run) add_above(sum, source, *run);
        sum.store(sums);
    }
}

void warp_any(const WarpSource& source, const WarpHead* heads, const WarpRun* runs, const std::uint32_t* order,
              std::uint32_t count, std::uint32_t* sums)
{
    const bool bytes = source.channels == 3 && !source.wide && !source.decode && source.channel_stride == 1 &&
                       source.width >= WARP_RUN;
    (bytes && source.pixel_stride == 3   ? warp<3>
     : bytes && source.pixel_stride == 4 ? warp<4>
                                         : warp<0>)(source, heads, runs, order, count, sums);
}

}  // namespace

const WarpRows warp_rows = warp_any;

}  // namespace foveate::cpu::FOVEATE_ISA
