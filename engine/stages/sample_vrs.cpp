// SPDX-License-Identifier: Apache-2.0
// What the device shades is worked out here for every code that the attachment may hold: pipeline and primitive are
// the same for the whole draw.
#include "engine/sample_vrs.h"

#include "engine/error.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

constexpr const char* NAMES[] = {"keep", "replace", "min", "max", "mul"};

void validate(const Image& image, const VrsSpec& spec)
{
    require(image.views.size() == 1, "sample: vrs image", std::to_string(image.views.size()) + " images", "one",
            "Call once for each image.");
    require(image.element == Element::u8, "sample: vrs image", image.element == Element::u16 ? "uint16" : "float32",
            "uint8", "Shade what a renderer's frame has: 8 bits a channel.");
    require(spec.tile == 8 || spec.tile == 16 || spec.tile == 32, "sample: vrs tile", spec.tile, "8, 16 or 32 px");
    const ImageView& view = image.views[0];
    const std::uint64_t columns = (view.width + spec.tile - 1) / spec.tile;
    const std::uint64_t rows = (view.height + spec.tile - 1) / spec.tile;
    require(spec.codes.size() == columns * rows, "sample: vrs rates", std::to_string(spec.codes.size()) + " codes",
            std::to_string(rows) + " x " + std::to_string(columns) + " for tiles of " + std::to_string(spec.tile) +
                " px");
    for (const std::uint8_t code : spec.codes) check_rate_code("sample: vrs rates", code);
    check_rate_code("sample: vrs pipeline_rate", spec.pipeline_code);
    check_rate_code("sample: vrs primitive_rate", spec.primitive_code);
    require(spec.op0 <= RATE_MUL && spec.op1 <= RATE_MUL, "sample: vrs combiners", std::max(spec.op0, spec.op1),
            "0..4");
}

bool combines(const RateProfile& profile, const VrsSpec& spec)
{
    return (profile.flags & RATE_COMBINERS) != 0 || (spec.op0 <= RATE_REPLACE && spec.op1 <= RATE_REPLACE);
}

// Every reason against drawing this by the device's own rates.
std::vector<std::string> against(const ImageView& view, const VrsSpec& spec, const ShadingRate& device)
{
    std::vector<std::string> reasons = device.reasons;
    if (spec.has_profile) reasons.push_back("a profile is given, and the device has its own");
    if (!device.usable()) return reasons;
    if (spec.tile < device.profile.tile_min || spec.tile > device.profile.tile_max)
        reasons.push_back("tiles of " + std::to_string(spec.tile) + " px, the device has " +
                          std::to_string(device.profile.tile_min) + ".." + std::to_string(device.profile.tile_max));
    if (!combines(device.profile, spec))
        reasons.push_back(std::string("combiner ") + NAMES[std::max(spec.op0, spec.op1)] +
                          ", the device has keep and replace");
    if (std::max(view.width, view.height) > device.side_max)
        reasons.push_back("a side of " + std::to_string(std::max(view.width, view.height)) +
                          " px, the device draws up to " + std::to_string(device.side_max));
    return reasons;
}

std::string joined(const std::vector<std::string>& reasons)
{
    std::string text;
    for (const std::string& reason : reasons) text += (text.empty() ? "" : ", ") + reason;
    return text;
}

}  // namespace

VrsPlan plan_sample_vrs(const Image& image, const VrsSpec& spec, const ShadingRate& device)
{
    validate(image, spec);
    const ImageView& view = image.views[0];
    VrsPlan plan;
    plan.reasons = against(view, spec, device);
    require(spec.path != VrsPath::hardware || plan.reasons.empty(), "sample: vrs path",
            "\"hardware\" (" + joined(plan.reasons) + ")", "a device and options for it",
            "Use path=\"auto\" or path=\"software\".", ErrorKind::unsupported);
    plan.hardware = spec.path != VrsPath::software && plan.reasons.empty();
    if (spec.path == VrsPath::software) plan.reasons.insert(plan.reasons.begin(), "software was asked for");
    plan.profile = plan.hardware ? device.profile : spec.profile;
    require(combines(plan.profile, spec), "sample: vrs combiners", NAMES[std::max(spec.op0, spec.op1)],
            "keep or replace on this profile", "The device has no other combiner.");

    plan.codes = spec.codes;
    plan.tile = spec.tile;
    plan.columns = (view.width + spec.tile - 1) / spec.tile;
    plan.rows = (view.height + spec.tile - 1) / spec.tile;
    plan.pipeline_code = spec.pipeline_code;
    plan.op0 = spec.op0;
    plan.op1 = spec.op1;
    shared::VrsParams& params = plan.params;
    params.width = view.width;
    params.height = view.height;
    params.tile = plan.tile;
    params.columns = plan.columns;
    params.primitive = spec.primitive_code;
    params.channels = view.channels;
    for (std::uint32_t code = 0; code < RATE_CODES; ++code) {
        const std::uint32_t made = shared::rate_final(spec.pipeline_code, spec.primitive_code, code, spec.op0, spec.op1,
                                                      plan.profile.supported, plan.profile.flags);
        (code < 8 ? params.finals_low : params.finals_high) |= made << 4 * (code & 7);
    }
    return plan;
}

Shaded shaded_of(const Image& image, const VrsPlan& plan)
{
    Shaded shaded;
    shaded.width = plan.params.width;
    shaded.height = plan.params.height;
    shaded.channels = image.channels;
    shaded.pitch = shared::vrs_pitch(plan.params.width);
    shaded.hardware = plan.hardware;
    shaded.reasons = plan.reasons;
    shaded.profile = plan.profile;
    return shaded;
}

}  // namespace foveate
