// SPDX-License-Identifier: Apache-2.0
// One row of the layout table per invocation, from the span that holds it. Integers only.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/layout.h"

PARAMS(LayoutParams);
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer Spans { LayoutSpan spans[]; };
layout(std430, binding = 1) readonly buffer Cells { LayoutCell cells[]; };
layout(std430, binding = 2) writeonly buffer Tokens { Token tokens[]; };

bool overlaps(Token token, LayoutSpan span)
{
    return token.x < int(span.image_width << FIXED_BITS) && token.y < int(span.image_height << FIXED_BITS) &&
           token.x + int(token.w) > 0 && token.y + int(token.h) > 0;
}

// The last span that begins at or before the row.
uint span_of(uint row)
{
    uint low = 0u;
    uint high = p.span_count - 1u;
    while (low < high) {
        uint middle = (low + high + 1u) >> 1;
        if (spans[middle].first <= row)
            low = middle;
        else
            high = middle - 1u;
    }
    return low;
}

Token token_of(LayoutSpan span, uint index)
{
    Token token = Token(0, 0, 0u, 0u, 0.0, 0.0, span.image, span.fixation, 0u, 0u, span.row + index, 0u);
    if (span.columns > 0u) {
        uint column = index % span.columns;
        uint row = index / span.columns;
        uint left = layout_edge(span.w, span.columns, column);
        uint top = layout_edge(span.h, span.rows, row);
        token.x = span.x + int(left);
        token.y = span.y + int(top);
        token.w = layout_edge(span.w, span.columns, column + 1u) - left;
        token.h = layout_edge(span.h, span.rows, row + 1u) - top;
        token.inv_w = span.inv_w;
        token.inv_h = span.inv_h;
        token.rate = span.rate;
    } else if (span.pattern > 0u) {
        LayoutCell cell = cells[span.pattern - 1u + index];
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
    token.valid = overlaps(token, span) ? 1u : 0u;
    return token;
}

void main()
{
    uint row = gl_GlobalInvocationID.x;
    if (row >= p.token_count) return;
    LayoutSpan span = spans[span_of(row)];
    tokens[row] = token_of(span, row - span.first);
}
