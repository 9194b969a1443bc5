// SPDX-License-Identifier: Apache-2.0
// Row kernels of the rates for hardware; see rows.h for how they are compiled and chosen.
#pragma once

#include <cstdint>
#include <string>

namespace foveate::cpu {

// Largest difference within each group of 4 x 4 px, then within each tile; planes of `plane` values.
enum Contrast : std::uint32_t { FINE_X, FINE_Y, FINE_Z, COARSE_X, COARSE_Y, COARSE_Z, CONTRASTS };

inline constexpr std::uint32_t TILE_LANES = 64;    // px that row kernels take at once: rows of luma are padded to it

struct TileKernels {
    // Luma of 8-bit pixels: interleaved, of 3 or 4 bytes, or from planes.
    void (*luma_pixels)(const std::uint8_t* in, std::uint32_t stride, std::uint32_t n, std::uint8_t* out);
    void (*luma_planes)(const std::uint8_t* r, const std::uint8_t* g, const std::uint8_t* b, std::uint32_t n,
                        std::uint8_t* out);

    // ffx. Four rows of n px (whole TILE_LANES) into n / 4 values a plane, each the larger of what was and what is.
    void (*contrast)(const std::uint8_t* const* rows, std::uint32_t n, std::uint32_t* planes, std::uint32_t plane);
    // Neighbours made one, in place: n values of each plane from 2n.
    void (*halve)(std::uint32_t* planes, std::uint32_t plane, std::uint32_t n);
    void (*codes_ffx)(const std::uint32_t* planes, std::uint32_t plane, const std::uint32_t* half_weights,
                      const std::uint32_t* quarter_weights, std::uint32_t fine, std::uint32_t coarse, std::uint32_t n,
                      std::uint8_t* codes);

    // jnd. Light of luma; then, added up by column: squared differences to the right (where `inside`) and down
    // (below: null in a tile's last row), and the light itself.
    void (*light)(const std::uint8_t* luma, std::uint32_t n, std::uint8_t* out);
    void (*squares)(const std::uint8_t* row, const std::uint8_t* below, const std::uint8_t* inside, std::uint32_t n,
                    std::uint32_t* across, std::uint32_t* down, std::uint32_t* sum);

    // The gaze term of a row of tiles whose middle is at y, all in half px. points: x, y of each.
    void (*gaze)(const std::uint32_t* points, std::uint32_t count, std::uint32_t tile, std::uint32_t y,
                 const std::uint32_t* cuts, std::uint32_t cut_count, std::uint32_t cut_codes, std::uint32_t n,
                 std::uint8_t* codes);
    void (*join)(std::uint32_t op, const std::uint8_t* other, std::uint32_t n, std::uint8_t* codes);
};

namespace baseline { const TileKernels& tile_kernels(); }
#if defined(__x86_64__)
namespace avx2 { const TileKernels& tile_kernels(); }
namespace avx512 { const TileKernels& tile_kernels(); }
#endif

// Those of the instruction set that RowKernels name.
inline const TileKernels& tile_kernels(const std::string& isa)
{
#if defined(__x86_64__)
    if (isa == "avx512") return avx512::tile_kernels();
    if (isa == "avx2") return avx2::tile_kernels();
#endif
    (void)isa;
    return baseline::tile_kernels();
}

}  // namespace foveate::cpu
