// SPDX-License-Identifier: Apache-2.0
// The log-polar map with an offset, w = log(z + alpha) (Schwartz, "Computational anatomy and functional
// architecture of striate cortex", 1980): magnification 1 / (r + alpha). Cartesian: the same magnification along
// rays of a dense grid, as the sensor of FOVI (Blauch, Alvarez and Konkle, 2026).
#include "engine/stages/warp.h"

#include <cmath>
#include <numbers>
#include <string>

#include "engine/limits.h"

namespace foveate {

namespace {

constexpr double FULL_TURN = 2 * std::numbers::pi;
// Acuity falls as 1 / (1 + beta e), beta = 0.35 a degree: bins of equal acuity are log-polar with alpha 1 / beta.
// Without degrees the warp ends at 60 of them.
constexpr double BETA = 0.35, END_DEG = 60;

double distance(const WarpGeometry& g, double s, double t)
{
    return g.round ? std::sqrt(s * s + t * t) : std::max(std::abs(s), std::abs(t));
}

double lod_of(double across, double along) { return 0.5 * std::log2(across * along); }

void validate(const WarpSpec& spec)
{
    const auto side = [](const char* what, std::uint32_t got) {
        require(got >= 1 && got <= limits::IMAGE_SIDE, what, got, "1.." + std::to_string(limits::IMAGE_SIDE) + " px");
    };
    side("warp: height", spec.height);
    side("warp: width", spec.width);
    require(std::uint64_t(spec.width) * spec.height <= limits::WARP_PIXELS, "warp: size",
            std::to_string(spec.height) + " x " + std::to_string(spec.width),
            "at most " + std::to_string(limits::WARP_PIXELS) + " px", "Warp to a smaller size.", ErrorKind::limit);
    require(spec.alpha == 0 || (spec.alpha >= 1e-4 && spec.alpha <= 1e6), "warp: alpha", spec.alpha,
            "0.0001..1000000");
    require(spec.radius == 0 || (spec.radius >= 1 && spec.radius <= 1e6), "warp: radius", spec.radius,
            "1..1000000 px");
    require(spec.fov_deg == 0 || (spec.fov_deg > 0 && spec.fov_deg <= 360), "warp: fov_deg", spec.fov_deg,
            "above 0, up to 360");
    require(spec.taps >= 1 && spec.taps <= limits::WARP_TAPS, "warp: taps", spec.taps,
            "1.." + std::to_string(limits::WARP_TAPS));
    require(spec.lod_bias >= -4 && spec.lod_bias <= 4, "warp: lod_bias", spec.lod_bias, "-4..4");
    require(spec.kind == WarpKind::cartesian || !spec.round, "warp: norm", "\"round\" with kind=\"logpolar\"",
            "\"square\"", "Only kind=\"cartesian\" has a choice of norm.");
    check_gaze("warp", spec.gaze, spec.gaze.points.size());
    for (const auto& points : spec.gaze.points)
        require(points.size() == 1, "warp: gaze", std::to_string(points.size()) + " points", "1 point an image",
                "Call once for each point.");
}

}  // namespace

WarpPoint warp_px(const WarpGeometry& g, double u, double v)
{
    const double length = std::log1p(g.radius / g.alpha);
    if (g.kind == WarpKind::logpolar) {
        const double r = g.alpha * std::expm1(u * length), angle = FULL_TURN * v;
        return {g.x + r * std::cos(angle), g.y + r * std::sin(angle),
                lod_of(FULL_TURN * r / g.warped_height, (r + g.alpha) * length / g.warped_width)};
    }
    const double s = 2 * u - 1, t = 2 * v - 1, rho = distance(g, s, t);
    const double scale = rho > 0 ? g.alpha * std::expm1(rho * length) / rho : g.alpha * length;
    return {g.x + s * scale, g.y + t * scale,
            lod_of(scale * 2 / g.warped_width,
                   (g.alpha * std::expm1(rho * length) + g.alpha) * length * 2 / g.warped_height)};
}

WarpPoint warp_uv(const WarpGeometry& g, double x, double y)
{
    const double length = std::log1p(g.radius / g.alpha), dx = x - g.x, dy = y - g.y;
    if (g.kind == WarpKind::logpolar) {
        const double r = std::sqrt(dx * dx + dy * dy);
        double turns = std::atan2(dy, dx) / FULL_TURN;
        if (turns < 0) turns += 1;
        // The gaze itself has every angle; a pixel is never nearer to it than half its own side.
        return {std::log1p(r / g.alpha) / length, turns,
                lod_of(g.warped_height / (FULL_TURN * std::max(r, 0.5)), g.warped_width / ((r + g.alpha) * length))};
    }
    const double r = distance(g, dx, dy);
    const double scale = r > 0 ? std::log1p(r / g.alpha) / length / r : 1 / (g.alpha * length);
    return {(dx * scale + 1) / 2, (dy * scale + 1) / 2,
            lod_of(scale * g.warped_width / 2, g.warped_height / ((r + g.alpha) * length * 2))};
}

WarpGeometry warp_geometry(const WarpSpec& spec, std::uint32_t index, std::uint32_t width, std::uint32_t height)
{
    WarpGeometry g;
    g.kind = spec.kind;
    g.inverse = spec.inverse;
    g.round = spec.round;
    g.image_width = spec.inverse ? spec.width : width;
    g.image_height = spec.inverse ? spec.height : height;
    g.warped_width = spec.inverse ? width : spec.width;
    g.warped_height = spec.inverse ? height : spec.height;
    const GazePoint gaze = gaze_of("warp", spec.gaze, index, g.image_width, g.image_height)[0];
    g.x = gaze.x;
    g.y = gaze.y;
    const double right = std::max(g.x, g.image_width - g.x), down = std::max(g.y, g.image_height - g.y);
    g.radius = spec.radius          ? spec.radius
               : spec.kind == WarpKind::logpolar || spec.round ? std::sqrt(right * right + down * down)
                                                               : std::max(right, down);
    const double px_from_deg = spec.fov_deg ? g.image_width / spec.fov_deg : g.radius / END_DEG;
    g.alpha = spec.alpha && !spec.fov_deg ? spec.alpha : (spec.alpha ? spec.alpha : 1 / BETA) * px_from_deg;
    g.taps = spec.taps;
    g.lod_bias = spec.lod_bias;
    return g;
}

WarpPlan plan_warp(const Image& image, const WarpSpec& spec, WarpTables& tables)
{
    validate(spec);
    require(spec.gaze.points.size() <= 1 || spec.gaze.points.size() == image.views.size(), "warp: gaze",
            std::to_string(spec.gaze.points.size()) + " points for " + std::to_string(image.views.size()) + " images",
            "one for all images, or one for each");
    WarpPlan plan;
    for (std::uint32_t i = 0; i < image.views.size(); ++i) {
        const ImageView& view = image.views[i];
        plan.tables.push_back(tables.table(warp_geometry(spec, i, view.width, view.height)));
        plan.level_count = std::max(plan.level_count, plan.tables.back()->level_count);
    }
    const bool linear = spec.color == Color::linear;
    const bool floats = image.element == Element::f32;
    Warped& shape = plan.shape;
    shape.image_count = std::uint32_t(image.views.size());
    shape.width = spec.width;
    shape.height = spec.height;
    shape.channels = image.channels;
    shape.element = spec.as_float ? Element::f32 : image.element;
    // Each image begins where a device can bind it.
    const std::uint64_t bytes = std::uint64_t(spec.width) * spec.height * image.channels * element_size(shape.element);
    shape.image_stride = (bytes + 255) / 256 * 256;

    auto& params = plan.params;
    params.channels = image.channels;
    params.source_element = std::uint32_t(image.element);
    params.level_element = floats ? ELEMENT_F32 : ELEMENT_U16;
    params.output_element = std::uint32_t(shape.element);
    params.linear = linear;
    const double unit = floats ? 1.0 : image.element == Element::u16 || linear ? 65535.0 : 65280.0;
    params.scale = float(1.0 / (256.0 * unit));
    if (linear) {
        plan.decode = srgb_decode();
        plan.encode = srgb_encode();
    }
    return plan;
}

void check_warp_pyramid(const Pyramid& pyramid, const WarpSpec& spec, const WarpPlan& plan)
{
    require(pyramid.edge == Edge::aligned, "warp: pyramid edge", "\"exact\"", "\"aligned\"",
            "Build the pyramid with edge=\"aligned\": its texels lie on the px grid.");
    require(pyramid.color == spec.color, "warp: pyramid color", "another one than asked for", "the same",
            "Give color= to the pyramid, or give the image itself.");
    require(pyramid.level_count >= plan.level_count, "warp: pyramid levels", pyramid.level_count,
            "at least " + std::to_string(plan.level_count), "Build more of them, or give the image itself.");
}

}  // namespace foveate
