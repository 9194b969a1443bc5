// SPDX-License-Identifier: Apache-2.0
// Falloffs over eccentricity. cortical: magnification M = 1 / (e + e0), squared for area (E. L. Schwartz, 1977).
// geisler: the finest frequency the eye resolves at e (W. S. Geisler and J. S. Perry, 1998) over what the display
// shows. They are tables over squared distance, so that no backend takes a root.
#include <algorithm>
#include <bit>
#include <cmath>
#include <list>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>

#include "engine/stages/plan.h"

namespace foveate {

namespace {

constexpr double PI = 3.14159265358979323846;

struct Curve {
    Falloff kind;
    std::vector<double> values;
    bool degrees;
    double display = 0;                 // geisler: cycles per degree that the display shows

    bool operator==(const Curve&) const = default;

    double operator()(double e) const
    {
        const std::vector<double>& v = values;
        switch (kind) {
        case Falloff::cortical: return (v[0] / (e + v[0])) * (v[0] / (e + v[0]));
        case Falloff::polynomial: return 1 / (1 + v[0] * std::pow(e, v[1]));
        case Falloff::exponential: return std::exp(-v[0] * e);
        case Falloff::bands:
            for (std::size_t i = 0; i + 1 < v.size(); i += 2)
                if (e < v[i]) return v[i + 1];
            return v.back();
        case Falloff::geisler: {
            const double seen = v[1] * std::log(1 / v[2]) / (v[0] * (e + v[1])) / display;
            return std::min(1.0, seen) * std::min(1.0, seen);
        }
        }
        return 0;
    }
};

std::vector<double> defaults(Falloff kind, bool degrees)
{
    switch (kind) {
    case Falloff::cortical: return {degrees ? 2.5 : 0.15};
    case Falloff::polynomial: return {5, 2};
    case Falloff::exponential: return {3};
    case Falloff::bands:
        return degrees ? std::vector<double>{5, 1, 15, 0.5, 30, 0.25} : std::vector<double>{0.25, 1, 0.5, 0.5, 1, 0.25};
    case Falloff::geisler: return {0.106, 2.3, 1.0 / 64};
    }
    return {};
}

std::vector<double> checked(const RelevanceSpec& spec, bool degrees)
{
    std::vector<double> values = spec.falloff_values.empty() ? defaults(spec.falloff, degrees) : spec.falloff_values;
    std::ostringstream got;
    for (std::size_t i = 0; i < values.size(); ++i) got << (i ? ", " : "") << values[i];
    const bool finite = std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
    const auto positive = [&](std::size_t count) {
        return finite && values.size() == count &&
               std::all_of(values.begin(), values.end(), [](double v) { return v > 0; });
    };
    switch (spec.falloff) {
    case Falloff::cortical:
        require(positive(1), "relevance: falloff cortical", got.str(), "e0 above 0");
        break;
    case Falloff::polynomial:
        require(positive(2), "relevance: falloff polynomial", got.str(), "k and p above 0");
        break;
    case Falloff::exponential:
        require(positive(1), "relevance: falloff exponential", got.str(), "lambda above 0");
        break;
    case Falloff::bands: {
        bool good = finite && values.size() >= 2 && values.size() % 2 == 0;
        for (std::size_t i = 0; good && i < values.size(); i += 2)
            good = values[i] > (i ? values[i - 2] : 0) && values[i + 1] >= 0 && values[i + 1] <= 1;
        require(good, "relevance: falloff bands", got.str(),
                "pairs (e_max, value), e_max above 0 and growing, values 0..1");
        break;
    }
    case Falloff::geisler:
        require(positive(3) && values[2] < 1, "relevance: falloff geisler", got.str(),
                "alpha and e2 above 0, ct0 above 0 and below 1");
        require(degrees, "relevance: falloff geisler", "no field of view", "fov_deg or viewing_px",
                "It is defined over degrees.");
        break;
    }
    return values;
}

using Table = std::shared_ptr<const std::vector<std::uint32_t>>;

Table make_table(const Curve& curve)
{
    std::vector<std::uint32_t> values(GAZE_BINS);
    for (std::uint32_t i = 0; i < GAZE_BINS; ++i) {
        const double low = std::bit_cast<float>((GAZE_BASE + i) << GAZE_SHIFT);
        const double high = std::bit_cast<float>((GAZE_BASE + i + 1) << GAZE_SHIFT);
        const double e = i == 0 ? 0 : std::sqrt((low + high) / 2);
        const double value = curve(curve.degrees ? std::atan(e) * 180 / PI : e);
        values[i] = std::uint32_t(std::floor(RELEVANCE_ONE * std::clamp(value, 0.0, 1.0) + 0.5));
    }
    return std::make_shared<const std::vector<std::uint32_t>>(std::move(values));
}

// Every frame of a video asks for the same one.
Table table_of(const Curve& curve)
{
    static std::mutex mutex;
    static std::list<std::pair<Curve, Table>> known;
    const std::lock_guard lock(mutex);
    for (auto it = known.begin(); it != known.end(); ++it)
        if (it->first == curve) {
            known.splice(known.begin(), known, it);
            return it->second;
        }
    known.emplace_front(curve, make_table(curve));
    if (known.size() > 16) known.pop_back();
    return known.front().second;
}

}  // namespace

void plan_gaze(RelevancePlan& plan, const RelevanceSpec& spec)
{
    const std::string stage = "relevance";
    check_gaze(stage, spec.gaze, plan.images.size());
    require(spec.fov_deg == 0 || (spec.fov_deg > 0 && spec.fov_deg < 180), "relevance: fov_deg", spec.fov_deg,
            "above 0 and below 180");
    require(spec.viewing_px == 0 || (spec.viewing_px > 0 && spec.viewing_px <= 1e6), "relevance: viewing_px",
            spec.viewing_px, "above 0, at most 1000000");
    require(spec.fov_deg == 0 || spec.viewing_px == 0, "relevance: fov_deg", "viewing_px as well",
            "one of the two");
    const bool degrees = spec.fov_deg > 0 || spec.viewing_px > 0;
    Curve curve{spec.falloff, checked(spec, degrees), degrees};

    std::vector<double> displays;       // of the tables so far
    for (std::uint32_t i = 0; i < plan.images.size(); ++i) {
        shared::RelevanceImage& image = plan.images[i];
        const double width = plan.sizes[i][0], height = plan.sizes[i][1];
        image.gaze_first = std::uint32_t(plan.points.size() / 2);
        for (const GazePoint& point : gaze_of(stage, spec.gaze, i, plan.sizes[i][0], plan.sizes[i][1])) {
            plan.points.push_back(std::uint32_t(std::floor(point.x * 2 + 0.5)));
            plan.points.push_back(std::uint32_t(std::floor(point.y * 2 + 0.5)));
            ++image.gaze_count;
        }
        const double focal =
            spec.viewing_px > 0 ? spec.viewing_px : degrees ? width / 2 / std::tan(spec.fov_deg / 2 * PI / 180) : 0;
        image.gaze_scale = float(degrees ? 0.25 / (focal * focal) : 1.0 / (width * width + height * height));
        if (spec.falloff == Falloff::geisler) curve.display = 0.5 * focal * PI / 180;
        const auto at = std::find(displays.begin(), displays.end(), curve.display);
        image.gaze_table = std::uint32_t(at - displays.begin()) * GAZE_BINS;
        if (at == displays.end()) {
            displays.push_back(curve.display);
            const Table table = table_of(curve);
            plan.falloff.insert(plan.falloff.end(), table->begin(), table->end());
        }
    }
}

}  // namespace foveate
