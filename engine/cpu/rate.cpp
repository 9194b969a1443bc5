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
        for (std::uint32_t y = at.y; y < y1; ++y) {
            const std::uint32_t first = grid.first + y * grid.columns;
            sum += weighted(from, more, first + at.x, first + x1);
            for (std::uint32_t cell = first + at.x; held && cell < first + x1; ++cell) {
                const bool narrow = shared::rate_log2_w(previous[cell]) < at.log2_w;
                const bool low = shared::rate_log2_h(previous[cell]) < at.log2_h;
                held = params.square ? narrow && low : along_y ? low : narrow;
            }
        }
        return held ? shared::rate_held(sum, params.hysteresis) : sum;
    }

private:
    std::uint32_t weighted(const std::uint32_t* from, const std::uint32_t* more, std::uint32_t cell,
                           std::uint32_t end) const
    {
        const std::uint32_t shift = 16 + plan.params.drop;
        const auto at = [&](std::uint32_t i, std::uint32_t value) {
            return std::uint32_t(std::uint64_t(value) * (relevance ? relevance[i] : RELEVANCE_ONE) >> shift);
        };
        std::uint32_t sum = 0;
        if (more)
            for (; cell < end; ++cell) sum += at(cell, from[cell] + more[cell]);
        else
            for (; cell < end; ++cell) sum += at(cell, from[cell]);
        return sum;
    }
};

// The splits of one block and their slopes: again and again the weakest link is cut, with all that hangs on it.
// What is cut within a subtree does not depend on what lies outside of it: so each node, from the leaves up, takes
// the cuts of its parts one after the other until it is the weakest itself.
class Tree {
public:
    Tree(const Field& field, std::uint32_t* slopes) : field_(field), slopes_(slopes) {}

    void run(std::uint32_t x, std::uint32_t y)
    {
        const std::uint32_t edge = field_.plan.params.max_log2;
        nodes_.clear();
        std::uint32_t last = 0;  // rounding can make a slope less than the one before
        for (std::uint32_t i = grow({x, y, edge, edge}).first; i != NONE; i = nodes_[i].next) {
            last = std::max(last, std::uint32_t(nodes_[i].key >> 32));
            for (std::uint32_t k = i; k < nodes_[i].end; ++k) {
                Node& node = nodes_[k];
                if (node.dead) continue;
                node.dead = true;
                slopes_[field_.slope_index(node.at)] = (last + 1) | (node.along_y ? RATE_AXIS_Y : 0);
            }
        }
    }

private:
    static constexpr std::uint32_t NONE = ~0u;

    struct Node {
        Place at;
        std::uint32_t order;
        std::uint32_t end = 0;            // descendants are the nodes up to here
        bool along_y = false, dead = false;
        std::uint32_t sum = 0, added = 0;  // over what is left of its subtree when it is cut
        std::uint64_t key = 0;             // the slope of that, then the earlier place: the least is cut first
        std::uint32_t next = NONE;         // the cut after this one
    };

    struct Cuts {
        std::uint32_t first = NONE;        // the last one is the root
        std::uint32_t sum = 0, added = 0;  // over the whole subtree
    };

    Cuts grow(Place at)
    {
        at = field_.inside(at);
        if (at.log2_w + at.log2_h == 0) return {};
        Node node{.at = at, .order = field_.order(at)};
        Cuts all;
        if (field_.plan.params.square) {
            all.sum = field_.gain(at, false);
        } else {
            const bool can_x = shared::rate_splits_x(at.log2_w, at.log2_h);
            const bool can_y = shared::rate_splits_y(at.log2_w, at.log2_h);
            const std::uint32_t along_x = can_x ? field_.gain(at, false) : 0;
            const std::uint32_t along_y = can_y ? field_.gain(at, true) : 0;
            node.along_y = !can_x || (can_y && along_y > along_x);
            all.sum = node.along_y ? along_y : along_x;
        }
        Place parts[4];
        const std::uint32_t count = field_.parts(at, node.along_y, parts);
        all.added = count - 1;
        const auto index = std::uint32_t(nodes_.size());
        nodes_.push_back(node);
        std::uint32_t heads[4], alive = 0;  // the first cuts of the parts
        for (std::uint32_t k = 0; k < count; ++k) {
            const Cuts part = grow(parts[k]);
            if (part.first == NONE) continue;
            heads[alive++] = part.first;
            all.sum += part.sum;
            all.added += part.added;
        }
        nodes_[index].end = std::uint32_t(nodes_.size());
        all.first = merge(nodes_[index], index, all, heads, alive);
        return all;
    }

    // As bits: slopes are not negative, so they compare like whole numbers.
    std::uint64_t key_of(std::uint32_t sum, std::uint32_t added, std::uint32_t order) const
    {
        return std::uint64_t(std::bit_cast<std::uint32_t>(float(sum) * field_.plan.inverse[added])) << 32 | order;
    }

    std::uint32_t merge(Node& node, std::uint32_t index, const Cuts& all, std::uint32_t* heads, std::uint32_t alive)
    {
        std::uint32_t sum = all.sum, added = all.added, first = NONE, *end = &first;
        std::uint64_t keys[4], own = key_of(sum, added, node.order);
        for (std::uint32_t k = 0; k < alive; ++k) keys[k] = nodes_[heads[k]].key;
        while (alive) {
            std::uint32_t least = 0;
            for (std::uint32_t k = 1; k < alive; ++k) least = keys[k] < keys[least] ? k : least;
            if (own < keys[least]) break;
            Node& cut = nodes_[heads[least]];
            sum -= cut.sum;
            added -= cut.added;
            own = key_of(sum, added, node.order);
            *end = heads[least];
            end = &cut.next;
            if (cut.next == NONE) {
                heads[least] = heads[--alive];
                keys[least] = keys[alive];
            } else {
                heads[least] = cut.next;
                keys[least] = nodes_[cut.next].key;
            }
        }
        *end = index;
        node.sum = sum, node.added = added, node.key = own;
        return first;
    }

    const Field& field_;
    std::uint32_t* slopes_;
    std::vector<Node> nodes_;
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
