// SPDX-License-Identifier: Apache-2.0
#include "engine/types.h"

#include "engine/backend.h"

namespace foveate {

Patches patches_of(const Layout& layout, const SamplePlan& plan)
{
    const auto& params = plan.params;
    return {.data = {},
            .image_count = layout.image_count,
            .rows = layout.rows,
            .patch = params.patch_size,
            .merge = params.merge,
            .frames = params.frames,
            .channels = params.channels,
            .channels_last = params.channels_last != 0,
            .dtype = static_cast<Dtype>(params.dtype)};
}

}  // namespace foveate
