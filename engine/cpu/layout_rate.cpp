// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/layout_rate.comp.glsl: a cell whose place is a multiple of its token's size begins a token.
#include <bit>

#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

std::uint32_t nearest(const LayoutPlan& plan, const shared::LayoutGrid& grid, const Token& token)
{
    const int x = 2 * (token.x >> FIXED_BITS) + int(token.w >> FIXED_BITS);
    const int y = 2 * (token.y >> FIXED_BITS) + int(token.h >> FIXED_BITS);
    std::uint32_t best = 0, least = ~0u;
    for (std::uint32_t i = 0; i < grid.gaze_count; ++i) {
        const int dx = x - plan.gaze[grid.gaze + i].x, dy = y - plan.gaze[grid.gaze + i].y;
        const std::uint32_t distance = std::uint32_t(dx * dx) + std::uint32_t(dy * dy);
        if (distance < least) least = distance, best = i;
    }
    return best;
}

}  // namespace

void write_rate_layout(const LayoutPlan& plan, const std::uint32_t* codes, Token* tokens)
{
    const std::uint32_t cell = plan.cell * plan.scale, scale = std::uint32_t(std::countr_zero(plan.scale));
    for (std::uint32_t image = 0; image < plan.image_count; ++image) {
        const shared::LayoutGrid& grid = plan.grids[image];
        Token* out = tokens + std::uint64_t(image) * plan.rows;
        std::uint32_t row = 0;
        for (std::uint32_t y = 0; y < grid.rows; ++y)
            for (std::uint32_t x = 0; x < grid.columns; ++x) {
                const std::uint32_t code = codes[grid.first + y * grid.columns + x];
                const std::uint32_t w = 1u << shared::rate_log2_w(code), h = 1u << shared::rate_log2_h(code);
                if ((x & (w - 1)) != 0 || (y & (h - 1)) != 0 || row == plan.rows) continue;
                Token token{};
                token.x = int(x * cell << FIXED_BITS);
                token.y = int(y * cell << FIXED_BITS);
                token.w = w * cell << FIXED_BITS;
                token.h = h * cell << FIXED_BITS;
                token.inv_w = 1.0f / 65536.0f / float(w * plan.scale);  // powers of two: exact
                token.inv_h = 1.0f / 65536.0f / float(h * plan.scale);
                token.image = image;
                token.fixation = nearest(plan, grid, token);
                token.rate = shared::rate_encode(shared::rate_log2_w(code) + scale, shared::rate_log2_h(code) + scale);
                token.valid = 1;
                token.row = row;
                out[row++] = token;
            }
        for (; row < plan.rows; ++row) {
            Token token{};
            token.image = image;
            token.row = row;
            out[row] = token;
        }
    }
}

}  // namespace foveate::cpu
