// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/texture.h"

namespace foveate::cuda {

Texture::Texture(const Driver& driver, const compute::TextureShape& shape) : driver_(driver), shape_(shape)
{
    const Array3dDesc array{.width = shape.width, .height = shape.height, .depth = 0, .format = FORMAT_UINT8,
                            .channels = 4, .flags = 0};
    check(driver_, driver_.MipmappedArrayCreate(&mipmap_, &array, shape.levels), "allocate a texture");
    ResourceDesc resource{};
    resource.type = RESOURCE_MIPMAP;
    resource.resource.mipmap = mipmap_;
    TextureDesc texture{};
    for (unsigned& mode : texture.address_mode) mode = ADDRESS_CLAMP;
    texture.filter_mode = texture.mipmap_filter_mode = FILTER_LINEAR;
    texture.flags = TEXTURE_NORMALISED;
    texture.level_max = float(shape.levels - 1);
    const Result result = driver_.TexObjectCreate(&handle_, &resource, &texture, nullptr);
    if (result != SUCCESS) driver_.MipmappedArrayDestroy(mipmap_);
    check(driver_, result, "create a texture");
}

Result Texture::release() const
{
    const Result texture = driver_.TexObjectDestroy(handle_);
    const Result array = driver_.MipmappedArrayDestroy(mipmap_);
    return texture == SUCCESS ? array : texture;
}

void Texture::fill(Address rows, Stream stream) const
{
    for (std::uint32_t level = 0; level < shape_.levels; ++level) {
        Copy2dDesc copy{};
        copy.from.type = MEMORY_DEVICE;
        copy.from.address = rows + shape_.offset(level);
        copy.from.pitch = copy.row_size = shape_.width_at(level) * compute::TextureShape::TEXEL;
        copy.to.type = MEMORY_ARRAY;
        check(driver_, driver_.MipmappedArrayGetLevel(&copy.to.array, mipmap_, level), "find a level");
        copy.rows = shape_.height_at(level);
        check(driver_, driver_.Memcpy2DAsync(&copy, stream), "fill a texture");
    }
}

}  // namespace foveate::cuda
