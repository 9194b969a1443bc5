// SPDX-License-Identifier: Apache-2.0
// A borrowed array, read as images.
#pragma once

#include <vector>

#include "interop/dlpack.h"

namespace foveate::pixels {

// Which axis of the array is which; -1: there is none.
struct Reading {
    int image = -1, row = 0, column = 1, channel = -1;
};

// True when the engine can read these pixels where they are. Otherwise they must be copied into a compact
// array of the same type, or of float32, first.
bool in_place(const dlpack::Borrowed& array, const Reading& reading);

// One view per image; in_place() holds. The last of 2 or 4 channels is alpha, which is not read.
void append_views(const dlpack::Borrowed& array, const Reading& reading, std::vector<ImageView>& views);

// Throws where a float pixel is NaN or infinite, naming the first one in raster order.
void require_finite(const std::vector<ImageView>& views);

}  // namespace foveate::pixels
