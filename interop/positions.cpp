// SPDX-License-Identifier: Apache-2.0
#include "interop/positions.h"

namespace foveate {

void positions(std::span<const Token> tokens, Position* target)
{
    constexpr double PX = 1.0 / FIXED_ONE;
    for (const Token& token : tokens)
        *target++ = {
            .center_x = float((token.x + token.w * 0.5) * PX),
            .center_y = float((token.y + token.h * 0.5) * PX),
            .height = float(token.h * PX),
            .width = float(token.w * PX),
            .level = std::int32_t(token.level),
            .rate = std::int32_t(token.rate),
            .image = std::int32_t(token.image),
            .fixation = std::int32_t(token.fixation),
            .row = token.row,
            .valid = token.valid,
        };
}

}  // namespace foveate
