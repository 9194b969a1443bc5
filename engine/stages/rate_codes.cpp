// SPDX-License-Identifier: Apache-2.0
#include "engine/rate_codes.h"

#include <algorithm>

#include "engine/error.h"

namespace foveate {

namespace {

constexpr std::uint32_t RATES_TO_2 = 1u << 0 | 1u << 1 | 1u << 4 | 1u << 5;
constexpr std::uint32_t RATES_TO_4 = RATES_TO_2 | 1u << 6 | 1u << 9 | 1u << 10;  // no 1x4, no 4x1

// spec-min: the least that a device with the attachment has. The others as their drivers report them (Mesa radv,
// anv and nvk); NVIDIA's tile of 16 px is from memory.
constexpr NamedProfile PROFILES[] = {
    {"spec-min", {1u << 0 | 1u << 4 | 1u << 5, 0, 8, 32}},
    {"rdna2", {RATES_TO_2, RATE_STRICT | RATE_COMBINERS, 8, 8}},
    {"dg2", {RATES_TO_4, RATE_STRICT | RATE_COMBINERS, 8, 8}},
    {"nvidia", {RATES_TO_4, RATE_STRICT | RATE_COMBINERS, 16, 16}},
    {"nonstrict-mul", {RATES_TO_4, RATE_COMBINERS, 8, 8}},
};

constexpr PaletteEntry PALETTE[] = {
    {"none", 0, 0, 0},        {"16 per pixel", 1, 1, 16}, {"8 per pixel", 1, 1, 8}, {"4 per pixel", 1, 1, 4},
    {"2 per pixel", 1, 1, 2}, {"1x1", 1, 1, 1},           {"2x1", 2, 1, 1},         {"1x2", 1, 2, 1},
    {"2x2", 2, 2, 1},         {"4x2", 4, 2, 1},           {"2x4", 2, 4, 1},         {"4x4", 4, 4, 1},
};

// Sum over the tiles of an image of count(entry, covered width, covered height).
template <class Count>
std::uint64_t over_tiles(Codes entries, std::uint32_t tile, std::uint32_t width, std::uint32_t height, Count&& count)
{
    require(tile >= 1, "rate: tile", tile, "1 px or more");
    require(width >= 1 && height >= 1, "rate: size", std::to_string(height) + " x " + std::to_string(width),
            "sides of 1 px or more");
    const std::uint64_t columns = (std::uint64_t(width) + tile - 1) / tile;
    const std::uint64_t rows = (std::uint64_t(height) + tile - 1) / tile;
    require(entries.size() == columns * rows, "rate: codes", std::to_string(entries.size()) + " tiles",
            std::to_string(rows) + " x " + std::to_string(columns));
    std::uint64_t sum = 0;
    for (std::uint64_t y = 0; y < rows; ++y)
        for (std::uint64_t x = 0; x < columns; ++x)
            sum += count(entries[y * columns + x], std::uint32_t(std::min<std::uint64_t>(tile, width - x * tile)),
                         std::uint32_t(std::min<std::uint64_t>(tile, height - y * tile)));
    return sum;
}

}  // namespace

std::span<const NamedProfile> rate_profiles() { return PROFILES; }
std::span<const PaletteEntry> rate_palette() { return PALETTE; }

void rate_encoded(std::span<const std::uint32_t> sizes, std::span<std::uint8_t> codes)
{
    const auto known = [](std::uint32_t side) { return side == 1 || side == 2 || side == 4; };
    for (std::size_t i = 0; i < codes.size(); ++i) {
        const std::uint32_t w = sizes[2 * i], h = sizes[2 * i + 1];
        codes[i] = known(w) && known(h) ? std::uint8_t(shared::rate_code(w / 2, h / 2)) : NO_RATE;
    }
}

void rate_decoded(Codes codes, std::span<std::uint32_t> sizes)
{
    for (std::size_t i = 0; i < codes.size(); ++i) {
        sizes[2 * i] = 1u << shared::rate_log_w(codes[i]);
        sizes[2 * i + 1] = 1u << shared::rate_log_h(codes[i]);
    }
}

void rate_combined(std::uint32_t op, Codes a, Codes b, const RateProfile& profile, std::span<std::uint8_t> logs)
{
    for (std::size_t i = 0; i < a.size(); ++i) {
        const std::uint32_t wide =
            shared::rate_combine(op, shared::rate_wide(a[i]), shared::rate_wide(b[i]), profile.flags);
        logs[2 * i] = std::uint8_t(wide >> 8);
        logs[2 * i + 1] = std::uint8_t(wide);
    }
}

void rate_clamped(Codes logs, const RateProfile& profile, std::span<std::uint8_t> codes)
{
    for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = std::uint8_t(
            shared::rate_clamp(logs[2 * i] << 8 | logs[2 * i + 1], profile.supported, profile.flags));
}

void rate_finals(Codes pipeline, Codes primitive, Codes attachment, std::uint32_t op0, std::uint32_t op1,
                 const RateProfile& profile, std::span<std::uint8_t> codes)
{
    for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = std::uint8_t(shared::rate_final(pipeline[i], primitive[i], attachment[i], op0, op1,
                                                   profile.supported, profile.flags));
}

void rate_fixed(Codes codes, bool valar, std::span<std::uint8_t> fixed)
{
    for (std::size_t i = 0; i < codes.size(); ++i)
        fixed[i] = std::uint8_t(valar ? shared::rate_fix_valar(codes[i]) : shared::rate_fix(codes[i]));
}

std::uint64_t rate_invocations(Codes codes, std::uint32_t tile, std::uint32_t width, std::uint32_t height)
{
    return over_tiles(codes, tile, width, height, [](std::uint32_t code, std::uint32_t w, std::uint32_t h) {
        return std::uint64_t(shared::rate_fragments(w, shared::rate_log_w(code))) *
               shared::rate_fragments(h, shared::rate_log_h(code));
    });
}

std::uint64_t rate_palette_invocations(Codes entries, std::uint32_t tile, std::uint32_t width, std::uint32_t height)
{
    for (const std::uint8_t entry : entries)
        require(entry < std::size(PALETTE), "rate: palette entry", std::uint32_t(entry), "0..11");
    return over_tiles(entries, tile, width, height, [](std::uint32_t index, std::uint32_t w, std::uint32_t h) {
        const PaletteEntry& entry = PALETTE[index];
        if (entry.invocations == 0) return std::uint64_t(0);
        return std::uint64_t((w + entry.w - 1) / entry.w) * ((h + entry.h - 1) / entry.h) * entry.invocations;
    });
}

}  // namespace foveate
