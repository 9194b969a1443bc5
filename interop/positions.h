// SPDX-License-Identifier: Apache-2.0
// The layout table as it leaves the engine: px as float32, one record per token.
#pragma once

#include <span>

#include "engine/types.h"

namespace foveate {

struct Position {                       // 40 bytes; python/foveate/types.py names the same fields
    float center_x, center_y;           // px
    float height, width;                // px
    std::int32_t level, rate, image, fixation;
    std::uint32_t row;
    std::uint32_t valid;                // read as a bool: its low byte
};
static_assert(sizeof(Position) == 40);

void positions(std::span<const Token> tokens, Position* target);

}  // namespace foveate
