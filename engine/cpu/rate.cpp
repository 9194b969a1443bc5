// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/rate_tree, rate_select and rate: the tree of splits of each block, the splits that the budget
// pays for, and the code of each cell. A slope is kept at the place where its split begins: by depth, then cell.
#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

struct Place {                      // of a token: cells of its image, sides as logarithms
    std::uint32_t x, y, log2_w, log2_h;
};

// What every step needs to know about one image.
struct Field {
    const RatePlan& plan;
    const CellGrid& grid;
    const shared::RateImage& image;
    const std::uint32_t* detail;
    const std::uint32_t* relevance;  // null: 65535 everywhere
    const std::uint32_t* previous;   // codes; null: none

    std::uint32_t depth(const Place& at) const
    {
        const std::uint32_t max_log2 = plan.params.max_log2;
        return plan.params.square ? max_log2 - at.log2_w : 2 * max_log2 - at.log2_w - at.log2_h;
    }
    std::uint64_t slope_index(const Place& at) const
    {
        return std::uint64_t(depth(at)) * plan.params.cell_count + grid.first + at.y * grid.columns + at.x;
    }
    std::uint32_t order(const Place& at) const { return (depth(at) * grid.rows + at.y) * grid.columns + at.x; }

    // Halves that lie outside the image cost nothing to drop.
    Place inside(Place at) const
    {
        for (;;) {
            const std::uint32_t half_w = 1u << at.log2_w >> 1, half_h = 1u << at.log2_h >> 1;  // 0 of a whole
            const bool past_x = at.x + half_w >= grid.columns, past_y = at.y + half_h >= grid.rows;
            if (plan.params.square) {
                if (!half_w || !past_x || !past_y) return at;
                --at.log2_w, --at.log2_h;
            } else if (shared::rate_splits_x(at.log2_w, at.log2_h) && past_x) {
                --at.log2_w;
            } else if (shared::rate_splits_y(at.log2_w, at.log2_h) && past_y) {
                --at.log2_h;
            } else {
                return at;
            }
        }
    }

    // The places a split leads to; those outside the image are left out.
    std::uint32_t parts(const Place& at, bool along_y, Place out[4]) const
    {
        std::uint32_t count = 0;
        const bool square = plan.params.square;
        const std::uint32_t log2_w = at.log2_w - (square || !along_y), log2_h = at.log2_h - (square || along_y);
        for (std::uint32_t y = at.y; y < at.y + (1u << at.log2_h); y += 1u << log2_h)
            for (std::uint32_t x = at.x; x < at.x + (1u << at.log2_w); x += 1u << log2_w)
                if (x < grid.columns && y < grid.rows) out[count++] = {x, y, log2_w, log2_h};
        return count;
    }

    // What halving gains, weighted: the sum over the cells of the token.
    std::uint32_t gain(const Place& at, bool along_y) const
    {
        const auto& params = plan.params;
        const auto slot = [&](std::uint32_t log2_w, std::uint32_t log2_h, bool y) {
            return detail + std::uint64_t(shared::rate_slot(log2_w, log2_h, y)) * params.cell_count;
        };
        const std::uint32_t* from = slot(at.log2_w, at.log2_h, along_y);
        // quarters: along x, then both halves along y
        const std::uint32_t* more = params.square ? slot(at.log2_w - 1, at.log2_h, true) : nullptr;
        const std::uint32_t x1 = std::min(at.x + (1u << at.log2_w), grid.columns);
        const std::uint32_t y1 = std::min(at.y + (1u << at.log2_h), grid.rows);
        std::uint32_t sum = 0;
        bool held = params.hold;
        for (std::uint32_t y = at.y; y < y1; ++y)
            for (std::uint32_t x = at.x; x < x1; ++x) {
                const std::uint32_t cell = grid.first + y * grid.columns + x;
                const std::uint64_t value = from[cell] + (more ? more[cell] : 0);
                sum += std::uint32_t(value * (relevance ? relevance[cell] : RELEVANCE_ONE) >> (16 + params.drop));
                if (!held) continue;
                const bool narrow = shared::rate_log2_w(previous[cell]) < at.log2_w;
                const bool low = shared::rate_log2_h(previous[cell]) < at.log2_h;
                held = params.square ? narrow && low : along_y ? low : narrow;
            }
        return held ? shared::rate_held(sum, params.hysteresis) : sum;
    }
};

// The splits of one block and their slopes. Nodes are numbered as in a heap, the root 1.
class Tree {
public:
    Tree(const Field& field, std::uint32_t* slopes) : field_(field), slopes_(slopes) {}

    void run(std::uint32_t x, std::uint32_t y)
    {
        const std::uint32_t edge = field_.plan.params.max_log2;
        nodes_.clear();
        grow({x, y, edge, edge}, -1);
        for (std::size_t i = nodes_.size(); i-- > 0;) {
            Node& node = nodes_[i];
            if (node.parent < 0) continue;
            nodes_[std::size_t(node.parent)].sum += node.sum;
            nodes_[std::size_t(node.parent)].added += node.added;
        }
        slopes_of_.clear();
        for (const Node& node : nodes_) slopes_of_.push_back(slope_of(node));
        prune();
    }

private:
    struct Node {
        Place at;
        bool along_y;
        std::int32_t parent;
        std::uint32_t end;         // descendants are the nodes up to here
        std::uint32_t sum, added;  // over its live subtree
        std::uint32_t order;
    };
    static constexpr std::uint32_t DEAD = ~0u;

    // As bits: slopes are not negative, so they compare like whole numbers, and many at once.
    std::uint32_t slope_of(const Node& node) const
    {
        return std::bit_cast<std::uint32_t>(float(node.sum) * field_.plan.inverse[node.added]);
    }

    void grow(Place at, std::int32_t parent)
    {
        at = field_.inside(at);
        if (at.log2_w + at.log2_h == 0) return;
        Node node{.at = at, .parent = parent, .order = field_.order(at)};
        if (field_.plan.params.square) {
            node.sum = field_.gain(at, false);
        } else {
            const bool can_x = shared::rate_splits_x(at.log2_w, at.log2_h);
            const bool can_y = shared::rate_splits_y(at.log2_w, at.log2_h);
            const std::uint32_t along_x = can_x ? field_.gain(at, false) : 0;
            const std::uint32_t along_y = can_y ? field_.gain(at, true) : 0;
            node.along_y = !can_x || (can_y && along_y > along_x);
            node.sum = node.along_y ? along_y : along_x;
        }
        Place parts[4];
        const std::uint32_t count = field_.parts(at, node.along_y, parts);
        node.added = count - 1;
        const auto index = std::int32_t(nodes_.size());
        nodes_.push_back(node);
        for (std::uint32_t k = 0; k < count; ++k) grow(parts[k], index);
        nodes_[std::size_t(index)].end = std::uint32_t(nodes_.size());
    }

    // Again and again the weakest link is cut, with all that hangs on it.
    void prune()
    {
        std::uint32_t last = 0;
        for (;;) {
            std::uint32_t least = DEAD;
            for (const std::uint32_t slope : slopes_of_) least = std::min(least, slope);
            if (least == DEAD) return;
            std::size_t weakest = nodes_.size();
            for (std::size_t i = 0; i < nodes_.size(); ++i)
                if (slopes_of_[i] == least && (weakest == nodes_.size() || nodes_[i].order < nodes_[weakest].order))
                    weakest = i;
            const Node cut = nodes_[weakest];
            last = std::max(last, least);
            for (std::size_t i = weakest; i < cut.end; ++i) {
                if (slopes_of_[i] == DEAD) continue;
                slopes_of_[i] = DEAD;
                slopes_[field_.slope_index(nodes_[i].at)] = (last + 1) | (nodes_[i].along_y ? RATE_AXIS_Y : 0);
            }
            for (std::int32_t i = cut.parent; i >= 0; i = nodes_[std::size_t(i)].parent) {
                Node& node = nodes_[std::size_t(i)];
                node.sum -= cut.sum;
                node.added -= cut.added;
                slopes_of_[std::size_t(i)] = slope_of(node);
            }
        }
    }

    const Field& field_;
    std::uint32_t* slopes_;
    std::vector<Node> nodes_;
    std::vector<std::uint32_t> slopes_of_;  // by node
};

// The splits that fit into what the budget leaves.
shared::RateCut select(const Field& field, const std::uint32_t* slopes)
{
    const auto& params = field.plan.params;
    std::vector<std::uint64_t> found;  // slope, then the earlier place, as one number
    const std::uint32_t depths = params.square ? params.max_log2 : 2 * params.max_log2;
    const std::uint32_t cells = field.grid.columns * field.grid.rows;
    for (std::uint32_t depth = 0; depth < depths; ++depth) {
        const std::uint32_t* at = slopes + std::uint64_t(depth) * params.cell_count + field.grid.first;
        for (std::uint32_t i = 0; i < cells; ++i)
            if (at[i] != RATE_NONE)
                found.push_back(std::uint64_t(at[i] & ~RATE_AXIS_Y) << 32 | ~(depth * cells + i));
    }
    std::size_t taken = std::min<std::size_t>(field.image.need, found.size());
    if (params.square) {
        std::sort(found.begin(), found.end(), std::greater<>());
        std::uint32_t added = 0;
        for (taken = 0; taken < found.size(); ++taken) {
            const std::uint32_t order = ~std::uint32_t(found[taken]), depth = order / cells;
            const std::uint32_t log2_side = params.max_log2 - depth;
            Place parts[4];
            const std::uint32_t cell = order % cells;
            const Place at{cell % field.grid.columns, cell / field.grid.columns, log2_side, log2_side};
            const std::uint32_t more = field.parts(at, false, parts) - 1;
            if (added + more > field.image.need) break;
            added += more;
        }
    } else if (taken < found.size()) {
        std::nth_element(found.begin(), found.begin() + std::ptrdiff_t(taken), found.end(), std::greater<>());
    }
    if (taken == found.size()) return {};
    return {std::uint32_t(found[taken] >> 32), ~std::uint32_t(found[taken]), 0, 0};  // the first left out
}

void write_codes(const Field& field, const std::uint32_t* slopes, const shared::RateCut& cut, Place at,
                 std::uint32_t* codes)
{
    at = field.inside(at);
    const bool whole = at.log2_w + at.log2_h == 0;
    const std::uint32_t slope = whole ? 0 : slopes[field.slope_index(at)], value = slope & ~RATE_AXIS_Y;
    if (!whole && (value > cut.slope || (value == cut.slope && field.order(at) < cut.order))) {
        Place parts[4];
        const std::uint32_t count = field.parts(at, slope & RATE_AXIS_Y, parts);
        for (std::uint32_t k = 0; k < count; ++k) write_codes(field, slopes, cut, parts[k], codes);
        return;
    }
    const std::uint32_t code = shared::rate_encode(at.log2_w, at.log2_h);
    const std::uint32_t x1 = std::min(at.x + (1u << at.log2_w), field.grid.columns);
    const std::uint32_t y1 = std::min(at.y + (1u << at.log2_h), field.grid.rows);
    for (std::uint32_t y = at.y; y < y1; ++y)
        std::fill(codes + y * field.grid.columns + at.x, codes + y * field.grid.columns + x1, code);
}

}  // namespace

void rate_codes(const RatePlan& plan, const std::uint32_t* detail, const std::uint32_t* relevance,
                std::uint32_t* codes, Threads& threads)
{
    const std::uint32_t edge = plan.params.max_log2;
    std::vector<std::uint32_t> slopes(std::uint64_t(2 * edge) * plan.params.cell_count, RATE_NONE);
    const auto* previous =
        plan.previous_codes ? reinterpret_cast<const std::uint32_t*>(plan.previous_codes->host()) : nullptr;
    for (std::size_t i = 0; i < plan.grids.size(); ++i) {
        const shared::RateImage& image = plan.images[i];
        const Field field{plan, plan.grids[i], image, detail, relevance, previous};
        threads.run(image.block_rows, [&](std::uint32_t y) {
            Tree tree(field, slopes.data());
            for (std::uint32_t x = 0; x < image.block_columns; ++x) tree.run(x << edge, y << edge);
        });
        const shared::RateCut cut = select(field, slopes.data());
        for (std::uint32_t y = 0; y < image.block_rows; ++y)
            for (std::uint32_t x = 0; x < image.block_columns; ++x)
                write_codes(field, slopes.data(), cut, {x << edge, y << edge, edge, edge}, codes + plan.grids[i].first);
    }
}

}  // namespace foveate::cpu
