// SPDX-License-Identifier: Apache-2.0
// The stage sample with shading rates: an image as a rasteriser shades it whose fragments are coarse, by a device's
// own shading rate attachment where there is one, else by a compute shader or the cpu that follow the same rules.
//
//   Shaded shaded = engine.sample_vrs(image, {.codes = codes, .tile = 16});
//   shaded.hardware, shaded.reasons     // which path ran, and why not the other
#pragma once

#include <string>
#include <vector>

#include "engine/spec.h"
#include "shared/sample_vrs.h"

namespace foveate {

// What a device says of VK_KHR_fragment_shading_rate.
struct ShadingRate {
    std::vector<std::string> reasons = {"no rasteriser"};   // against the hardware path; empty: it is there
    RateProfile profile;                // rates at one sample a px, and the texel sizes of an attachment
    std::uint32_t side_max = 0;         // px: of what can be drawn to

    bool usable() const { return reasons.empty(); }
};

enum class VrsPath : std::uint32_t { automatic, hardware, software };

struct VrsSpec {
    std::vector<std::uint8_t> codes;    // of the attachment: ceil(height / tile) rows of ceil(width / tile)
    std::uint32_t tile = 16;            // px: 8, 16 or 32
    std::uint32_t pipeline_code = 0, primitive_code = 0;
    std::uint32_t op0 = RATE_KEEP, op1 = RATE_REPLACE;
    VrsPath path = VrsPath::automatic;
    bool has_profile = false;           // rules of another device, which software alone can follow
    RateProfile profile;
};

struct VrsPlan {
    shared::VrsParams params{};
    std::vector<std::uint8_t> codes;
    std::uint32_t columns = 0, rows = 0, tile = 0;
    std::uint32_t pipeline_code = 0, op0 = 0, op1 = 0;
    bool hardware = false;
    std::vector<std::string> reasons;   // against hardware
    RateProfile profile;                // the rules of the model
};

struct Shaded {
    Ref<Block> colors;                  // four bytes a px: R, G, B, 255; gray is R = G = B
    Ref<Block> codes;                   // a byte a px, rows of `pitch`: the rate at which it was shaded
    Ref<Block> counter;                 // u32: fragments, counted by the shader
    std::uint32_t width = 0, height = 0, channels = 0, pitch = 0;
    std::uint64_t invocations = 0;      // the counter, as read by the host
    std::uint64_t statistic = 0;        // hardware: the pipeline's own count, in which helpers may be
    bool hardware = false;
    std::vector<std::string> reasons;   // against hardware
    RateProfile profile;                // hardware: the device's
};


VrsPlan plan_sample_vrs(const Image& image, const VrsSpec& spec, const ShadingRate& device);
// The value a backend returns, without its memory.
Shaded shaded_of(const Image& image, const VrsPlan& plan);

}  // namespace foveate
