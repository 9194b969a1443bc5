// SPDX-License-Identifier: Apache-2.0
#include "engine/error.h"

namespace foveate {

void fail(ErrorKind kind, std::string_view what, std::string_view got, std::string_view expected,
          std::string_view hint)
{
    std::string text(what);
    if (!got.empty()) text.append(": got ").append(got);
    if (!expected.empty()) text.append(", expected ").append(expected);
    text += '.';
    if (!hint.empty()) text.append(" ").append(hint);
    throw Error(kind, text);
}

}  // namespace foveate
