// SPDX-License-Identifier: Apache-2.0
// Regions of gaze points: the image cut by the bisectors to the other points (a Voronoi cell), and the arcs of
// circles that lie in it.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <queue>

#include "engine/stages/plan.h"

namespace foveate {

namespace {

constexpr double TURN = 2 * std::numbers::pi;
constexpr double LEAST_ARC = 1e-9;  // rad; below, two lines meet but for rounding

struct Corner {
    double x, y;
};

// The part of a convex polygon with n . p <= d (Sutherland and Hodgman 1974).
std::vector<Corner> clipped(const std::vector<Corner>& polygon, double nx, double ny, double d)
{
    std::vector<Corner> result;
    for (std::size_t i = 0; i < polygon.size(); ++i) {
        const Corner a = polygon[i], b = polygon[(i + 1) % polygon.size()];
        const double over_a = nx * a.x + ny * a.y - d, over_b = nx * b.x + ny * b.y - d;
        if (over_a <= 0) result.push_back(a);
        if ((over_a < 0 && over_b > 0) || (over_a > 0 && over_b < 0)) {
            const double t = over_a / (over_a - over_b);
            result.push_back({a.x + t * (b.x - a.x), a.y + t * (b.y - a.y)});
        }
    }
    return result;
}

Region region_of(std::span<const GazePoint> points, std::uint32_t index, double width, double height)
{
    Region region;
    region.fixation = index;
    region.mirror_x = points[index].x > width * 0.5;
    region.mirror_y = points[index].y > height * 0.5;
    const double sx = region.mirror_x ? -1 : 1, sy = region.mirror_y ? -1 : 1;
    region.x = region.mirror_x ? width - points[index].x : points[index].x;
    region.y = region.mirror_y ? height - points[index].y : points[index].y;
    const double left = -region.x, right = width - region.x, top = -region.y, bottom = height - region.y;
    region.lines = {{0, right}, {TURN / 4, bottom}, {TURN / 2, -left}, {TURN * 3 / 4, -top}};
    std::vector<Corner> polygon = {{left, top}, {right, top}, {right, bottom}, {left, bottom}};
    for (const GazePoint& other : points) {
        const double dx = sx * (other.x - points[index].x), dy = sy * (other.y - points[index].y);
        const double distance = std::sqrt(dx * dx + dy * dy);
        if (distance == 0) continue;  // the point itself
        region.lines.push_back({std::atan2(dy, dx), distance * 0.5});
        polygon = clipped(polygon, dx / distance, dy / distance, distance * 0.5);
    }
    for (const Corner& corner : polygon)
        region.reach = std::max(region.reach, std::sqrt(corner.x * corner.x + corner.y * corner.y));
    std::erase_if(region.lines, [&](const Region::Line& line) { return line.distance >= region.reach; });
    return region;
}

}  // namespace

std::vector<Region> regions_of(std::span<const GazePoint> points, std::uint32_t width, std::uint32_t height)
{
    // Points that the eye does not tell apart would have regions without area.
    std::vector<GazePoint> kept;
    std::vector<std::uint32_t> fixations;
    for (std::uint32_t i = 0; i < points.size(); ++i) {
        const bool near = std::any_of(kept.begin(), kept.end(), [&](const GazePoint& other) {
            return std::abs(other.x - points[i].x) < 1 && std::abs(other.y - points[i].y) < 1;
        });
        if (near) continue;
        kept.push_back(points[i]);
        fixations.push_back(i);
    }
    std::vector<Region> regions;
    for (std::uint32_t i = 0; i < kept.size(); ++i) {
        regions.push_back(region_of(kept, i, width, height));
        regions.back().fixation = fixations[i];
    }
    return regions;
}

std::vector<Arc> arcs_of(const Region& region, double radius)
{
    std::vector<std::pair<double, double>> outside;  // begin, end; begin in one turn
    for (const auto& [angle, distance] : region.lines) {
        if (radius <= distance) continue;
        const double half = std::acos(distance / radius);
        const double begin = angle - half;
        const double turned = begin < 0 ? begin + TURN : begin;
        outside.push_back({turned, turned + 2 * half});
    }
    if (outside.empty()) return {{0, TURN}};
    std::sort(outside.begin(), outside.end());
    std::vector<Arc> arcs;
    // Round once from the first: what lies between the end of all before and the next begin. One that comes last
    // may reach past the first.
    double end = outside.front().second;
    for (const auto& interval : outside) end = std::max(end, interval.second - TURN);
    for (std::size_t i = 1; i <= outside.size(); ++i) {
        const double begin = i < outside.size() ? outside[i].first : outside.front().first + TURN;
        if (begin - end > LEAST_ARC) arcs.push_back({end, begin - end});
        if (i < outside.size()) end = std::max(end, outside[i].second);
    }
    return arcs;
}

std::vector<std::uint32_t> apportion(std::span<const double> weights, std::uint32_t count)
{
    // Whole weights: mirrored parts tie, whatever the last bit of a cosine.
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<double> shares;
    for (double weight : weights) shares.push_back(std::floor(weight / total * 0x1p32 + 0.5) + 1);
    std::vector<std::uint32_t> parts(weights.size(), 0);
    if (count < parts.size()) {
        std::vector<std::uint32_t> order(parts.size());
        std::iota(order.begin(), order.end(), 0u);
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return shares[a] > shares[b]; });
        for (std::uint32_t i = 0; i < count; ++i) parts[order[i]] = 1;
        return parts;
    }
    struct Claim {
        double value;
        std::uint32_t part;
        bool operator<(const Claim& other) const
        {
            return value != other.value ? value < other.value : part > other.part;
        }
    };
    std::priority_queue<Claim> claims;
    for (std::uint32_t i = 0; i < parts.size(); ++i) {
        parts[i] = 1;
        claims.push({shares[i] / 3, i});
    }
    for (std::uint32_t given = std::uint32_t(parts.size()); given < count; ++given) {
        const std::uint32_t part = claims.top().part;
        claims.pop();
        ++parts[part];
        claims.push({shares[part] / (2.0 * parts[part] + 1), part});
    }
    return parts;
}

}  // namespace foveate
