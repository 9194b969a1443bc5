// SPDX-License-Identifier: Apache-2.0
// logpolar and cortical: square tokens around each gaze point, as dense as the square of a magnification
// M(r) = 1 / (r + a), r the distance to the gaze in px (Schwartz 1980; Blauch, Alvarez and Konkle 2026).
// logpolar: on rings r = e^rho - a of equal steps of rho. cortical: a golden spiral through the inverse of the
// mass that a radius encloses, after Vogel 1979.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "engine/limits.h"
#include "engine/stages/plan.h"

namespace foveate {

namespace {

constexpr double FOVEATION = 0.15;              // of half the diagonal: the default a
constexpr double LEAST = 0.001, MOST = 100;
constexpr std::uint32_t BINS = 1024;            // of the radius, for the enclosed mass
constexpr double GOLDEN = 0.6180339887498949;   // 1 / golden ratio

struct Spot {
    double x, y, size;                          // px; centre from the gaze point
};

// What a region's circles have of length inside it, at the middle of each bin; bins grow outwards.
struct Profile {
    std::vector<double> radius, area;
};

double bin_edge(const Region& region, std::uint32_t bin)
{
    const double t = double(bin) / BINS;
    return region.reach * t * t;
}

Profile profile_of(const Region& region)
{
    Profile profile;
    for (std::uint32_t bin = 0; bin < BINS; ++bin) {
        const double inner = bin_edge(region, bin), outer = bin_edge(region, bin + 1), radius = (inner + outer) * 0.5;
        double open = 0;
        for (const Arc& arc : arcs_of(region, radius)) open += arc.length;
        profile.radius.push_back(radius);
        profile.area.push_back(open * radius * (outer - inner));
    }
    return profile;
}

double mass_of(const Profile& profile, double a)
{
    double mass = 0;
    for (std::uint32_t bin = 0; bin < BINS; ++bin) {
        const double scale = profile.radius[bin] + a;
        mass += profile.area[bin] / (scale * scale);
    }
    return mass;
}

double mass_of(const std::vector<Profile>& profiles, double a)
{
    double mass = 0;
    for (const Profile& profile : profiles) mass += mass_of(profile, a);
    return mass;
}

// The given foveation; or the default, as much weaker as it takes for a token at the gaze to be `cell` px wide.
double foveation(const std::vector<Profile>& profiles, double given, double half_diagonal, std::uint32_t count,
                 double cell)
{
    if (given > 0) return given * half_diagonal;
    const auto pitch = [&](double a) { return a * std::sqrt(mass_of(profiles, a) / count); };
    double low = FOVEATION * half_diagonal, high = MOST * half_diagonal;
    if (pitch(low) >= cell) return low;
    if (pitch(high) < cell) return high;  // more tokens than the image has cells
    for (int step = 0; step < 40; ++step) {
        const double middle = std::sqrt(low * high);
        (pitch(middle) < cell ? low : high) = middle;
    }
    return high;
}

struct Sector {                                 // one arc of one ring
    std::uint32_t ring;
    double radius;
    Arc arc;
};

std::vector<Sector> sectors_of(const Region& region, double a, std::uint32_t rings)
{
    std::vector<Sector> sectors;
    const double range = std::log((region.reach + a) / a);
    for (std::uint32_t ring = 0; ring < rings; ++ring) {
        const double radius = a * std::expm1(range * (ring + 0.5) / rings);
        for (const Arc& arc : arcs_of(region, radius)) sectors.push_back({ring, radius, arc});
    }
    return sectors;
}

std::vector<Spot> logpolar_spots(const Region& region, const Profile& profile, double a, std::uint32_t count)
{
    // The step of rho and of the angle that makes `count` square cells.
    const double step = std::sqrt(mass_of(profile, a) / count);
    const double range = std::log((region.reach + a) / a);
    std::uint32_t rings = std::uint32_t(std::max(1.0, std::floor(range / step + 0.5)));
    std::vector<Sector> sectors = sectors_of(region, a, rings);
    while (rings > 1 && sectors.size() > count) sectors = sectors_of(region, a, --rings);

    std::vector<double> weights;
    for (const Sector& sector : sectors) weights.push_back(sector.arc.length * sector.radius / (sector.radius + a));
    const std::vector<std::uint32_t> counts = apportion(weights, count);

    std::vector<Spot> spots;
    double size = 0;
    for (std::size_t first = 0, last; first < sectors.size(); first = last) {
        const auto& [ring, radius, arc] = sectors[first];
        double length = 0, tokens = 0;
        for (last = first; last < sectors.size() && sectors[last].ring == ring; ++last) {
            length += sectors[last].arc.length * radius;
            tokens += counts[last];
        }
        if (tokens == 0) continue;
        const double band = a * (std::expm1(range * (ring + 1) / rings) - std::expm1(range * ring / rings));
        // The outermost arcs are cut short: no token is smaller than one nearer to the gaze.
        size = std::max(size, std::sqrt(band * length / tokens));
        // One token that goes all the way round has its centre in the middle.
        const double at = tokens == 1 && arc.length >= 6.28 ? 0 : radius;
        for (std::size_t i = first; i < last; ++i)
            for (std::uint32_t token = 0; token < counts[i]; ++token) {
                const double angle = sectors[i].arc.begin + sectors[i].arc.length * (token + 0.5) / counts[i];
                spots.push_back({at * std::cos(angle), at * std::sin(angle), size});
            }
    }
    return spots;
}

std::vector<Spot> cortical_spots(const Region& region, const Profile& profile, double a, std::uint32_t count)
{
    std::vector<Spot> spots;
    const double total = mass_of(profile, a), step = std::sqrt(total / count);
    double before = 0;
    std::uint32_t bin = 0;
    for (std::uint32_t rank = 0; rank < count; ++rank) {
        const double wanted = total * (rank + 0.5) / count;
        double mass;
        for (;; before += mass, ++bin) {
            const double scale = profile.radius[bin] + a;
            mass = profile.area[bin] / (scale * scale);
            if (before + mass >= wanted || bin + 1 == BINS) break;
        }
        const double share = mass > 0 ? std::clamp((wanted - before) / mass, 0.0, 1.0) : 0.5;
        const double inner = bin_edge(region, bin), outer = bin_edge(region, bin + 1);
        double radius = inner + (outer - inner) * share;
        std::vector<Arc> arcs = arcs_of(region, radius);
        for (std::uint32_t lower = bin; arcs.empty(); --lower) {  // nothing of this circle: a corner's last px
            radius = profile.radius[lower];
            arcs = arcs_of(region, radius);
        }
        double open = 0;
        for (const Arc& arc : arcs) open += arc.length;
        const double turns = (rank + 0.5) * GOLDEN;
        double left = open * (turns - std::floor(turns));
        std::size_t i = 0;
        for (; i + 1 < arcs.size() && left >= arcs[i].length; ++i) left -= arcs[i].length;
        const double angle = arcs[i].begin + std::min(left, arcs[i].length);
        spots.push_back({radius * std::cos(angle), radius * std::sin(angle), step * (radius + a)});
    }
    return spots;
}

LayoutCell cell_of(const Region& region, const Spot& spot, std::uint32_t width, std::uint32_t height,
                   std::uint32_t cell)
{
    // Never finer than 1 px a texel: a smaller token would show the same px again.
    const double side = std::max(double(cell), std::min(spot.size, double(std::max(width, height))));
    const auto step = std::uint32_t(std::floor(side * FIXED_ONE / cell + 0.5));
    LayoutCell result{};
    result.w = result.h = step * cell;
    const auto corner = [&](double centre, std::uint32_t extent, bool mirror) {
        const double inside = std::clamp(centre, 0.0, double(extent));
        const auto at = std::int64_t(std::floor(inside * FIXED_ONE + 0.5)) - std::int64_t(result.w / 2);
        return std::int32_t(mirror ? (std::int64_t(extent) << FIXED_BITS) - at - result.w : at);
    };
    result.x = corner(region.x + spot.x, width, region.mirror_x);
    result.y = corner(region.y + spot.y, height, region.mirror_y);
    result.inv_w = result.inv_h = float(1.0 / step);
    result.rate = rate_code(step, step);
    result.fixation = region.fixation;
    return result;
}

void add_cells(LayoutPlan& plan, const LayoutSpec& spec, const std::vector<GazePoint>& points, std::uint32_t width,
               std::uint32_t height)
{
    const std::vector<Region> regions = regions_of(points, width, height);
    std::vector<Profile> profiles;
    for (const Region& region : regions) profiles.push_back(profile_of(region));
    const double half_diagonal = std::sqrt(double(width) * width + double(height) * height) * 0.5;
    const bool logpolar = spec.kind == LayoutKind::logpolar;
    const double a = foveation(profiles, logpolar ? spec.alpha : spec.e0, half_diagonal, spec.budget, spec.cell);

    std::vector<double> masses;
    for (const Profile& profile : profiles) masses.push_back(mass_of(profile, a));
    const std::vector<std::uint32_t> counts = apportion(masses, spec.budget);
    const auto first = std::ptrdiff_t(plan.cells.size());
    for (std::size_t i = 0; i < regions.size(); ++i)
        for (const Spot& spot : logpolar ? logpolar_spots(regions[i], profiles[i], a, counts[i])
                                         : cortical_spots(regions[i], profiles[i], a, counts[i]))
            plan.cells.push_back(cell_of(regions[i], spot, width, height, spec.cell));
    if (!spec.level_order)
        std::stable_sort(plan.cells.begin() + first, plan.cells.end(), [](const LayoutCell& a, const LayoutCell& b) {
            const auto key = [](const LayoutCell& c) {
                return std::pair(2 * std::int64_t(c.y) + c.h, 2 * std::int64_t(c.x) + c.w);
            };
            return key(a) < key(b);
        });
}

bool strength(double value) { return value == 0 || (value >= LEAST && value <= MOST); }  // 0: the default

}  // namespace

void plan_polar(LayoutPlan& plan, Sizes sizes, const LayoutSpec& spec)
{
    require(strength(spec.alpha), "layout: alpha", spec.alpha, "0.001..100 half image diagonals");
    require(strength(spec.e0), "layout: e0", spec.e0, "0.001..100 half image diagonals");
    require(spec.budget > 0, "layout: budget", spec.budget, "1..65536 tokens");
    plan.rows = spec.budget;
    plan.fixations = 1;
    for (const auto& points : spec.gaze.points) plan.fixations = std::max(plan.fixations, std::uint32_t(points.size()));
    require(plan.fixations <= spec.budget, "layout: budget", spec.budget,
            std::to_string(plan.fixations) + " or more, one for each gaze point");
    check_rows(plan);

    std::map<std::array<std::uint32_t, 3>, std::uint32_t> known;  // images of one size and gaze share their cells
    for (std::uint32_t i = 0; i < plan.image_count; ++i) {
        const auto [width, height] = sizes[i];
        const auto [at, unknown] = known.try_emplace({width, height, spec.gaze.points.size() > 1 ? i : 0},
                                                     std::uint32_t(plan.cells.size()));
        if (unknown) add_cells(plan, spec, gaze_of("layout", spec.gaze, i, width, height), width, height);
        LayoutSpan span{};
        span.count = spec.budget;
        span.pattern = at->second + 1;
        span.w = span.h = 1;
        add_span(plan, span, i, 0, width, height);
    }
    for (const LayoutCell& cell : plan.cells) plan.step_max = std::max(plan.step_max, cell.w / spec.cell + 1);
}

}  // namespace foveate
