// SPDX-License-Identifier: Apache-2.0
// Everything that needs a root, a logarithm or a power becomes a table of whole numbers here; a backend compares.
// Velocity curves: Hughes, "VALAR: Velocity and Luminance Adaptive Rasterization", Intel 2022.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

void check_rate_code(const char* what, std::uint32_t code)
{
    require(code < RATE_CODES && (code >> 2) < 3 && (code & 3) < 3, what, code, "a code of widths and heights 1, 2, 4");
}

namespace {

constexpr double JND_QUARTER = 2.13;    // VALAR's K: a quarter rate errs this much more than a half rate

void check_rows(const RateTilesSpec& spec)
{
    const std::size_t count = spec.rows.size();
    require(count >= 1 && count <= RATE_CUTS, "rate: thresholds", std::to_string(count) + " rows",
            "1.." + std::to_string(RATE_CUTS));
    const bool bands = spec.falloff == TileFalloff::bands;
    for (std::size_t i = 0; i < count; ++i) {
        check_rate_code("rate: thresholds", spec.rows[i].code);
        if (i + 1 == count) break;
        const double limit = spec.rows[i].limit;
        if (bands)
            require(std::isfinite(limit) && limit > (i ? spec.rows[i - 1].limit : 0.0), "rate: thresholds", limit,
                    "eccentricities above 0, rising");
        else
            require(limit > 0 && limit < (i ? spec.rows[i - 1].limit : 1.0), "rate: thresholds", limit,
                    "relevance in 0..1, falling");
    }
}

void check_maps(const char* what, const std::vector<std::vector<std::uint32_t>>& maps, const RateTilesPlan& plan)
{
    require(maps.empty() || maps.size() == plan.grids.size(), what, std::to_string(maps.size()) + " maps",
            "one for each image");
    for (std::size_t i = 0; i < maps.size(); ++i) {
        const shared::TileGrid& grid = plan.grids[i];
        require(maps[i].size() == std::size_t(grid.columns) * grid.rows, what,
                std::to_string(maps[i].size()) + " tiles",
                std::to_string(grid.rows) + " x " + std::to_string(grid.columns));
    }
}

void check_profile(const RateTilesSpec& spec)
{
    const RateProfile& profile = spec.profile;
    require((profile.supported & 1) == 1 && (profile.supported & ~0x777u) == 0, "rate: profile", profile.supported,
            "rates of 1, 2 and 4, 1x1 among them");
    require(spec.tile == 8 || spec.tile == 16 || spec.tile == 32, "rate: tile", spec.tile, "8, 16 or 32 px");
    require(spec.tile >= profile.tile_min && spec.tile <= profile.tile_max, "rate: tile", spec.tile,
            std::to_string(profile.tile_min) + ".." + std::to_string(profile.tile_max) + " px on this profile");
    require(spec.op0 <= RATE_MUL && spec.op1 <= RATE_MUL, "rate: combine", std::max(spec.op0, spec.op1), "0..4");
    constexpr const char* NAMES[] = {"keep", "replace", "min", "max", "mul"};
    require((profile.flags & RATE_COMBINERS) != 0 || (spec.op0 <= RATE_REPLACE && spec.op1 <= RATE_REPLACE),
            "rate: combine", NAMES[std::max(spec.op0, spec.op1)], "keep or replace on this profile",
            "The device has no other combiner.");
    require(spec.terms == RATE_MIN || spec.terms == RATE_MAX, "rate: terms", spec.terms, "min or max");
}

void check_spec(Sizes sizes, const Image* image, const RateTilesSpec& spec)
{
    require(!sizes.empty(), "rate: images", 0, "at least 1");
    require(sizes.size() <= limits::BATCH_IMAGES, "rate: images", sizes.size(),
            "at most " + std::to_string(limits::BATCH_IMAGES), "Send them in several calls.", ErrorKind::limit);
    for (const auto& size : sizes)
        require(size[0] >= 1 && size[1] >= 1 && size[0] <= limits::IMAGE_SIDE && size[1] <= limits::IMAGE_SIDE,
                "rate: size", std::to_string(size[1]) + " x " + std::to_string(size[0]),
                "sides of 1.." + std::to_string(limits::IMAGE_SIDE) + " px");
    check_profile(spec);
    const bool content = spec.content != TileContent::none;
    require(spec.has_gaze || content || !spec.velocity.empty(), "rate: terms", "none",
            "one or more of gaze, content and velocity");
    require(!content || image, "rate: content", "sizes alone", "pixels");
    require(spec.contrast > 0 && spec.contrast <= 1, "rate: contrast", spec.contrast, "above 0, up to 1");
    require(spec.ambient >= 0 && spec.ambient <= 1, "rate: ambient", spec.ambient, "0..1");
    check_rate_code("rate: pipeline", spec.pipeline_code);
    check_rate_code("rate: primitive", spec.primitive_code);
    for (const auto& map : spec.primitive)
        for (const std::uint32_t code : map) check_rate_code("rate: primitive", code);
    if (!spec.has_gaze) return;
    require(spec.fov_deg == 0 || (spec.fov_deg > 0 && spec.fov_deg < 180), "rate: fov", spec.fov_deg,
            "above 0, below 180 degrees");
    check_gaze("rate", spec.gaze, sizes.size());
    check_rows(spec);
}

struct HalfPx {
    std::uint32_t x, y;
};

// The squared distance, in half px, of the tile that is farthest from its nearest gaze point.
std::uint32_t farthest(const shared::TileGrid& grid, std::uint32_t tile, const std::vector<HalfPx>& points)
{
    const auto squared = [&](std::uint32_t column, std::uint32_t row) {
        std::uint32_t least = ~0u;
        for (const HalfPx& point : points) {
            const std::int32_t dx = std::int32_t((2 * column + 1) * tile) - std::int32_t(point.x);
            const std::int32_t dy = std::int32_t((2 * row + 1) * tile) - std::int32_t(point.y);
            least = std::min(least, std::uint32_t(dx * dx) + std::uint32_t(dy * dy));
        }
        return least;
    };
    std::uint32_t most = 0;
    const bool corners = points.size() == 1;    // with one point it is one of them
    const std::uint32_t right = corners ? std::max(1u, grid.columns - 1) : 1;
    const std::uint32_t down = corners ? std::max(1u, grid.rows - 1) : 1;
    for (std::uint32_t row = 0; row < grid.rows; row += down)
        for (std::uint32_t column = 0; column < grid.columns; column += right)
            most = std::max(most, squared(column, row));
    return most;
}

// How far out relevance falls to `limit`, as a share of the farthest tile's distance, where the last row begins.
double share_of(const RateTilesSpec& spec, double limit)
{
    const double last = spec.rows[spec.rows.size() - 2].limit;
    switch (spec.falloff) {
    case TileFalloff::polynomial: return std::sqrt((1 / limit - 1) / (1 / last - 1));
    case TileFalloff::exponential: return std::log(limit) / std::log(last);
    default: return 1 - limit;
    }
}

void add_cuts(RateTilesPlan& plan, const shared::TileGrid& grid, const RateTilesSpec& spec,
              const std::vector<HalfPx>& points)
{
    constexpr double RADIAN = std::numbers::pi / 180;
    const double focal = spec.fov_deg > 0 ? grid.width / std::tan(spec.fov_deg / 2 * RADIAN) : 0;  // half px
    const bool bands = spec.falloff == TileFalloff::bands;
    const double most = bands ? 0 : farthest(grid, spec.tile, points);
    for (std::size_t i = 0; i + 1 < spec.rows.size(); ++i) {
        const double limit = spec.rows[i].limit;
        double squared;
        if (bands && focal > 0) {
            const double distance = limit < 90 ? focal * std::tan(limit * RADIAN) : 1e9;
            squared = distance * distance;
        } else if (bands) {
            squared = limit * limit * (double(grid.width) * grid.width + double(grid.height) * grid.height);
        } else if (focal > 0) {
            const double distance = focal * std::tan(std::atan(std::sqrt(most) / focal) * share_of(spec, limit));
            squared = std::min(distance * distance, most);
        } else {
            const double share = share_of(spec, limit);
            squared = most * (share * share);
        }
        // Never within the gaze's own tile, wherever in it the gaze is.
        const double least = 2.0 * spec.tile * spec.tile + 1;
        plan.tables.push_back(std::uint32_t(std::clamp(std::ceil(squared), least, 4294967295.0)));
    }
}

void plan_gaze(RateTilesPlan& plan, const RateTilesSpec& spec)
{
    plan.params.gaze = 1;
    plan.params.cut_count = std::uint32_t(spec.rows.size() - 1);
    for (std::size_t i = 0; i < spec.rows.size(); ++i) plan.params.cut_codes |= spec.rows[i].code << (4 * i);
    for (std::uint32_t i = 0; i < plan.grids.size(); ++i) {
        shared::TileGrid& grid = plan.grids[i];
        std::vector<HalfPx> points;
        for (const GazePoint& at : gaze_of("rate", spec.gaze, i, grid.width, grid.height))
            points.push_back({std::uint32_t(std::floor(2 * at.x + 0.5)), std::uint32_t(std::floor(2 * at.y + 0.5))});
        grid.points = std::uint32_t(plan.tables.size());
        grid.point_count = std::uint32_t(points.size());
        for (const HalfPx& point : points) plan.tables.insert(plan.tables.end(), {point.x, point.y});
        grid.cuts = std::uint32_t(plan.tables.size());
        add_cuts(plan, grid, spec, points);
    }
}

// VALAR's curves over velocity in px a frame, at v = 0 both 1.
struct Curves {
    double half[RATE_CURVE], quarter[RATE_CURVE];
};

const Curves& curves()
{
    static const Curves table = [] {
        Curves made;
        for (std::uint32_t i = 0; i < RATE_CURVE; ++i) {
            made.half[i] = std::pow(1 / (1 + std::pow(1.05 * (i / 16.0), 3.10)), 0.35);
            made.quarter[i] = std::pow(1 / (1 + std::pow(0.55 * (i / 16.0), 2.41)), 0.49);
        }
        return made;
    }();
    return table;
}

void plan_weights(RateTilesPlan& plan, const RateTilesSpec& spec)
{
    const auto fixed = [](double value) { return std::uint32_t(std::floor(256 * value + 0.5)); };
    const Curves& velocity = curves();
    const bool squares = spec.content == TileContent::jnd;
    const double more = spec.content == TileContent::ffx ? 1 : JND_QUARTER;
    plan.params.curves = std::uint32_t(plan.tables.size());
    for (const double value : velocity.half) plan.tables.push_back(fixed(squares ? value * value : value));
    for (const double value : velocity.quarter) {
        const double quarter = more * value;
        plan.tables.push_back(fixed(squares ? quarter * quarter : quarter));
    }
    plan.params.fine = std::uint32_t(std::ceil(spec.contrast * 65280));
    plan.params.coarse = std::uint32_t(std::ceil(4 * spec.contrast * 65280));
    if (!squares) return;
    plan.params.jnd = std::uint32_t(plan.tables.size());
    for (std::uint32_t luma = 0; luma < 256; ++luma) {
        const double just = spec.contrast * (luma + spec.ambient * 255);
        plan.tables.push_back(std::max(1u, std::uint32_t(std::ceil(just * just * 4096))));
    }
}

void plan_maps(RateTilesPlan& plan, const RateTilesSpec& spec)
{
    check_maps("rate: velocity", spec.velocity, plan);
    check_maps("rate: primitive", spec.primitive, plan);
    plan.params.velocity = !spec.velocity.empty();
    plan.params.maps = !spec.velocity.empty() || !spec.primitive.empty();
    if (!plan.params.maps) return;
    plan.maps.assign(plan.tile_count, spec.primitive_code << 16);
    for (std::size_t i = 0; i < plan.grids.size(); ++i) {
        const shared::TileGrid& grid = plan.grids[i];
        for (std::uint32_t y = 0; y < grid.rows; ++y)
            for (std::uint32_t x = 0; x < grid.columns; ++x) {
                const std::size_t at = std::size_t(y) * grid.columns + x;
                std::uint32_t& to = plan.maps[grid.first + std::size_t(y) * grid.pitch + x];
                if (!spec.primitive.empty()) to = spec.primitive[i][at] << 16;
                if (!spec.velocity.empty()) to |= std::min(spec.velocity[i][at], RATE_CURVE - 1);
            }
    }
}

}  // namespace

RateTilesPlan plan_rate_tiles(Sizes sizes, const Image* image, const RateTilesSpec& spec)
{
    check_spec(sizes, image, spec);
    RateTilesPlan plan;
    shared::RateTilesParams& params = plan.params;
    params.image_count = std::uint32_t(sizes.size());
    params.tile = spec.tile;
    params.content = std::uint32_t(spec.content);
    params.primitive = spec.primitive_code;
    params.terms = spec.terms;
    for (const auto& [width, height] : sizes) {
        shared::TileGrid grid{};
        grid.first = std::uint32_t(plan.tile_count);
        grid.columns = (width + spec.tile - 1) / spec.tile;
        grid.rows = (height + spec.tile - 1) / spec.tile;
        grid.pitch = (grid.columns + 3) / 4 * 4;
        grid.width = width;
        grid.height = height;
        plan.tile_count += std::uint64_t(grid.pitch) * grid.rows;
        require(plan.tile_count < 1u << 31, "rate: tiles", plan.tile_count, "at most 2147483647 in one batch",
                "Send fewer images at once.", ErrorKind::limit);
        params.words = std::max(params.words, grid.pitch / 4);
        plan.grids.push_back(grid);
    }
    plan_maps(plan, spec);
    if (spec.has_gaze) plan_gaze(plan, spec);
    if (spec.content != TileContent::none || params.velocity) plan_weights(plan, spec);
    params.final_codes = std::uint32_t(plan.tables.size());
    for (std::uint32_t primitive = 0; primitive < RATE_CODES; ++primitive)
        for (std::uint32_t attachment = 0; attachment < RATE_CODES; ++attachment)
            plan.tables.push_back(shared::rate_final(spec.pipeline_code, primitive, attachment, spec.op0, spec.op1,
                                                     spec.profile.supported, spec.profile.flags));
    return plan;
}

}  // namespace foveate
