// SPDX-License-Identifier: Apache-2.0
// What can never be ended, because others still work with it, and waiting for them for ever would be worse.
#pragma once

#include "engine/handle.h"

namespace foveate {

// Keeps it to the end of the process, where a leak checker finds it: it is lost, not forgotten.
void lose(Ref<Counted> object) noexcept;

}  // namespace foveate
