// SPDX-License-Identifier: Apache-2.0
// Arithmetic of shading rate codes over whole arrays, and the devices whose rules are known. The rules themselves
// are in shaders/shared/rate_tiles.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/spec.h"

namespace foveate {

struct NamedProfile {
    const char* name;
    RateProfile profile;
};

std::span<const NamedProfile> rate_profiles();

using Codes = std::span<const std::uint8_t>;

// Codes of sizes (w, h), interleaved; NO_RATE where a side is not 1, 2 or 4. And back.
inline constexpr std::uint8_t NO_RATE = 255;
void rate_encoded(std::span<const std::uint32_t> sizes, std::span<std::uint8_t> codes);
void rate_decoded(Codes codes, std::span<std::uint32_t> sizes);
// (log2 w, log2 h) of each combination, interleaved: two logarithms for each pair of codes.
void rate_combined(std::uint32_t op, Codes a, Codes b, const RateProfile& profile, std::span<std::uint8_t> logs);
// The code of each such pair that the device has.
void rate_clamped(Codes logs, const RateProfile& profile, std::span<std::uint8_t> codes);
// Both stages and the clamp.
void rate_finals(Codes pipeline, Codes primitive, Codes attachment, std::uint32_t op0, std::uint32_t op1,
                 const RateProfile& profile, std::span<std::uint8_t> codes);
void rate_fixed(Codes codes, bool valar, std::span<std::uint8_t> fixed);

// The fragments shaded over an image: cut ones at its edge count, as they are shaded.
std::uint64_t rate_invocations(Codes codes, std::uint32_t tile, std::uint32_t width, std::uint32_t height);

// VK_NV_shading_rate_image: what one entry of a palette means. All 0: nothing is shaded.
struct PaletteEntry {
    const char* name;
    std::uint32_t w, h, invocations;
};

std::span<const PaletteEntry> rate_palette();           // by VkShadingRatePaletteEntryNV
std::uint64_t rate_palette_invocations(Codes entries, std::uint32_t tile, std::uint32_t width, std::uint32_t height);

}  // namespace foveate
