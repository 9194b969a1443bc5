// SPDX-License-Identifier: Apache-2.0
// Twin of shaders/layout.comp.glsl: one row per token, integers only.
#include "engine/cpu/backend.h"

namespace foveate::cpu {

namespace {

bool overlaps(const Token& token, const LayoutSpan& span)
{
    return token.x < int(span.image_width << FIXED_BITS) && token.y < int(span.image_height << FIXED_BITS) &&
           token.x + int(token.w) > 0 && token.y + int(token.h) > 0;
}

Token token_of(const LayoutSpan& span, const std::vector<LayoutCell>& cells, std::uint32_t index)
{
    Token token{};
    token.image = span.image;
    token.fixation = span.fixation;
    token.row = span.row + index;
    if (span.columns > 0) {
        const std::uint32_t column = index % span.columns, row = index / span.columns;
        const std::uint32_t left = shared::layout_edge(span.w, span.columns, column);
        const std::uint32_t top = shared::layout_edge(span.h, span.rows, row);
        token.x = span.x + int(left);
        token.y = span.y + int(top);
        token.w = shared::layout_edge(span.w, span.columns, column + 1) - left;
        token.h = shared::layout_edge(span.h, span.rows, row + 1) - top;
        token.inv_w = span.inv_w;
        token.inv_h = span.inv_h;
        token.rate = span.rate;
    } else if (span.pattern > 0) {
        const LayoutCell& cell = cells[span.pattern - 1 + index];
        token.x = span.x + cell.x * int(span.w);
        token.y = span.y + cell.y * int(span.h);
        token.w = cell.w * span.w;
        token.h = cell.h * span.h;
        token.inv_w = cell.inv_w;
        token.inv_h = cell.inv_h;
        token.rate = cell.rate;
        token.fixation = span.fixation + cell.fixation;
    } else {
        return token;
    }
    token.valid = overlaps(token, span) ? 1 : 0;
    return token;
}

}  // namespace

void write_layout(const LayoutPlan& plan, Token* tokens)
{
    for (const LayoutSpan& span : plan.spans)
        for (std::uint32_t index = 0; index < span.count; ++index)
            tokens[span.first + index] = token_of(span, plan.cells, index);
}

}  // namespace foveate::cpu
