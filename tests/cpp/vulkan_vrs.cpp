// SPDX-License-Identifier: Apache-2.0
// sample_vrs on this driver: the same bytes as the cpu with shared and with staged memory, and what a stage refuses.
#include "vulkan_check.h"

using namespace foveate;
using namespace foveate::test;

namespace {

constexpr std::uint8_t CODES[] = {0, 1, 2, 4, 5, 6, 8, 9, 10};

VrsSpec spec_of(const ImageView& view, std::uint32_t tile, std::uint32_t seed)
{
    VrsSpec spec;
    spec.tile = tile;
    spec.codes.resize(std::size_t((view.width + tile - 1) / tile) * ((view.height + tile - 1) / tile));
    for (std::uint8_t& code : spec.codes) {
        seed = seed * 1664525u + 1013904223u;
        code = CODES[(seed >> 16) % std::size(CODES)];
    }
    return spec;
}

struct Result {
    std::vector<std::byte> colors, codes, counter;
    bool operator==(const Result&) const = default;
};

Result shade(Backend& backend, const ImageView& view, const VrsSpec& spec)
{
    const Image image = gather_images({view});
    const VrsPlan plan = plan_sample_vrs(image, spec, backend.caps().shading_rate);
    const Ref<Record> record = backend.begin();
    Shaded shaded = backend.sample_vrs(*record, image, plan);
    for (Ref<Block>* block : {&shaded.colors, &shaded.codes, &shaded.counter}) *block = backend.tensor(*record, *block);
    backend.finish(*record);
    check(!shaded.hardware && !shaded.reasons.empty(), "the software path, with a reason");
    Result result{copied(shaded.colors), {}, copied(shaded.counter)};
    for (std::uint32_t y = 0; y < shaded.height; ++y) {     // the end of a row is nobody's
        const std::byte* row = shaded.codes->host() + std::size_t(y) * shaded.pitch;
        result.codes.insert(result.codes.end(), row, row + shaded.width);
    }
    return result;
}

void parity()
{
    const Ref<Backend> backend = make_vulkan_backend("", 0);
    for (const auto& [width, height] : {std::pair{2u, 1u}, {5u, 3u}, {37u, 53u}, {128u, 64u}, {131u, 257u}})
        for (const std::uint32_t channels : {1u, 3u})
            for (const std::uint32_t tile : {8u, 16u, 32u})
                for (const std::uint32_t stored : {0u, channels, 4u}) {
                    const Picture picture(width, height, channels, stored, Element::u8, stored == 4 ? 3 : 0);
                    const VrsSpec spec = spec_of(picture.view, tile, width + tile);
                    check(shade(*backend, picture.view, spec) == shade(*cpu_backend(), picture.view, spec),
                          std::to_string(width) + " x " + std::to_string(height) + ", tiles of " +
                              std::to_string(tile));
                }
}

void refused()
{
    const Picture picture(40, 27, 3, 3, Element::u8);
    const Image image = gather_images({picture.view});
    ShadingRate device;
    device.reasons.clear();
    device.profile.supported = 0x1;
    device.profile.flags = 0;
    device.profile.tile_min = device.profile.tile_max = 16;
    device.side_max = 32;
    const auto text = [&](ErrorKind kind, auto change) {
        VrsSpec spec = spec_of(picture.view, 8, 1);
        change(spec);
        return thrown(kind, [&] { plan_sample_vrs(image, spec, device); });
    };
    const auto equal = [](const std::string& got, const std::string& expected) {
        check(got == expected, "text \"" + got + "\", expected \"" + expected + "\"");
    };
    equal(text(ErrorKind::unsupported,
               [](VrsSpec& spec) {
                   spec.path = VrsPath::hardware;
                   spec.op0 = RATE_MAX;
               }),
          "sample: vrs path: got \"hardware\" (tiles of 8 px, the device has 16..16, combiner max, the device has keep "
          "and replace, a side of 40 px, the device draws up to 32), expected a device and options for it. Use "
          "path=\"auto\" or path=\"software\".");
    equal(text(ErrorKind::input, [](VrsSpec& spec) { spec.codes.pop_back(); }),
          "sample: vrs rates: got 19 codes, expected 4 x 5 for tiles of 8 px.");
    equal(text(ErrorKind::input, [](VrsSpec& spec) { spec.codes[3] = 12; }),
          "sample: vrs rates: got 12, expected a code of widths and heights 1, 2, 4.");
    equal(text(ErrorKind::input, [](VrsSpec& spec) { spec.pipeline_code = 3; }),
          "sample: vrs pipeline_rate: got 3, expected a code of widths and heights 1, 2, 4.");
    equal(text(ErrorKind::input, [](VrsSpec& spec) { spec.primitive_code = 16; }),
          "sample: vrs primitive_rate: got 16, expected a code of widths and heights 1, 2, 4.");
    equal(text(ErrorKind::input, [](VrsSpec& spec) { spec.op1 = 5; }), "sample: vrs combiners: got 5, expected 0..4.");

    // What fits the device is drawn by it.
    VrsSpec spec = spec_of(picture.view, 16, 1);
    device.side_max = 40;
    const VrsPlan plan = plan_sample_vrs(image, spec, device);
    check(plan.hardware && plan.reasons.empty() && plan.profile.supported == 1, "a plan for the device");
    check(plan.params.finals_low == 0 && plan.params.finals_high == 0, "clamped to what the device has");
}

}  // namespace

int main()
try {
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        parity();
    }
    refused();
    return report("vulkan_vrs");
} catch (const Error& error) {
    check(false, error.what());
    return report("vulkan_vrs");
}
