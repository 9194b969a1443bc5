// SPDX-License-Identifier: Apache-2.0
// Arrays of the engine's as CUDA tensors.
#pragma once

#include <optional>

#include "interop/cuda/link.h"
#include "interop/dlpack.h"

namespace foveate::cuda {

// Part of a block that is mapped.
struct Array {
    dlpack::Array array;                // its device is the link's; its base is the mapping's
    Ref<Link> link;

    Mapping& mapping() const { return static_cast<Mapping&>(*array.block->companion()); }
};

Array make_array(const Ref<Link>& link, dlpack::Array array);

// The stream that a consumer names by a number, as DLPack and the CUDA array interface do: 1 the legacy default one,
// 2 the thread's own default one, above that a handle; absent: 1. 0 could mean either, and is refused.
Stream stream_named(std::optional<std::int64_t> number, const char* what);

// The array for a consumer that works on one stream. It is told from then on when the consumer's tensor has ended.
// ordered: its stream comes behind what the engine has begun.
dlpack::Array lent(const Array& array, Stream stream, bool ordered);
// The same bytes in memory of the consumer's own, copied on its stream. Its strides are the array's.
dlpack::Array copied(const Array& array, Stream stream, bool ordered);
// A copy that the host reads.
dlpack::Array on_host(const Array& array);

// From the first byte to the one behind the last. Strides are not negative.
std::uint64_t span_of(const dlpack::Array& array);

}  // namespace foveate::cuda
