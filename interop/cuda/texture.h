// SPDX-License-Identifier: Apache-2.0
// An image with mip levels that kernels filter: RGBA bytes, read as 0..1 at coordinates of 0..1, clamped to its edge.
#pragma once

#include "engine/compute/record.h"
#include "interop/cuda/driver.h"

namespace foveate::cuda {

// All calls with its context current. It is not freed but by release(): what a hung device works on is lost rather than
// pulled away.
class Texture {
public:
    Texture(const Driver& driver, const compute::TextureShape& shape);
    Texture(const Texture&) = delete;

    // What a kernel's parameter takes.
    TextureHandle handle() const { return handle_; }
    // From rows at this address, in the order of the stream.
    void fill(Address rows, Stream stream) const;
    // Nothing uses it any more, nor will.
    Result release() const;

private:
    const Driver& driver_;
    const compute::TextureShape shape_;
    MipmapHandle mipmap_ = nullptr;
    TextureHandle handle_ = 0;
};

}  // namespace foveate::cuda
