// SPDX-License-Identifier: Apache-2.0
#include "engine/stages/plan.h"

namespace foveate {

std::vector<Token> token_table(const Token* tokens, const Layout& layout, const Pyramid& pyramid,
                               const SampleSpec& spec)
{
    std::vector<Token> table(tokens, tokens + std::size_t(layout.image_count) * layout.rows);
    const std::uint32_t taps = sample_taps(spec);
    for (Token& token : table) {
        if (token.w == 0) continue;
        token.level = shared::sample_level(token.x, token.y, token.w, token.h, layout.cell, taps,
                                           pyramid.level_count - 1);
        while (token.level > 0 && pyramid.table[token.image * MAX_LEVELS + token.level].width == 0) --token.level;
    }
    return table;
}

}  // namespace foveate
