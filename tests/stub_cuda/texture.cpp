// SPDX-License-Identifier: Apache-2.0
// Arrays with mip levels and the texture objects that read them, as tests/cuda_shim reads them.
#include <algorithm>
#include <cstring>

#include "tests/cuda_shim/texture.h"
#include "world.h"

using namespace stub;
using foveate::shim::Texture;

namespace {

struct Mipmap {
    std::vector<std::vector<unsigned char>> bytes;
    Texture texture{};
    int readers = 0;
};

Mipmap* mipmap_of(MipmapHandle handle) { return reinterpret_cast<Mipmap*>(handle); }

}  // namespace

// Whole levels, which is what the engine copies.
Result stub::fill_level(const Copy2dDesc& copy, Stream stream)
{
    const CopySide &from = copy.from, &to = copy.to;
    const auto* level = reinterpret_cast<const Texture::Level*>(to.array);
    if (from.x || from.y || to.x || to.y || copy.row_size != level->width * 4 || copy.rows != level->height ||
        from.pitch < copy.row_size)
        return INVALID_VALUE;
    auto* texels = const_cast<unsigned char*>(level->texels);
    const auto* rows = reinterpret_cast<const unsigned char*>(std::uintptr_t(from.address));
    return enqueue(stream, [texels, rows, width = copy.row_size, height = copy.rows, pitch = from.pitch] {
        for (std::size_t row = 0; row < height; ++row) std::memcpy(texels + row * width, rows + row * pitch, width);
        return true;
    });
}

extern "C" {

Result cuMipmappedArrayCreate(MipmapHandle* handle, const Array3dDesc* desc, unsigned levels)
{
    ENTER("cuMipmappedArrayCreate", field("width", desc->width), field("height", desc->height),
          field("levels", levels));
    const std::size_t longest = std::max(desc->width, desc->height);
    if (desc->format != FORMAT_UINT8 || desc->channels != 4 || desc->depth || desc->flags || !desc->width ||
        !desc->height || !levels || levels > Texture::LEVELS || longest >> (levels - 1) == 0)
        return INVALID_VALUE;
    auto* made = new Mipmap;
    made->texture.levels = levels;
    for (unsigned level = 0; level < levels; ++level) {
        const unsigned width = unsigned(std::max<std::size_t>(desc->width >> level, 1));
        const unsigned height = unsigned(std::max<std::size_t>(desc->height >> level, 1));
        made->bytes.emplace_back(std::size_t(width) * height * 4, 0xcd);
        made->texture.level[level] = {made->bytes.back().data(), width, height};
    }
    ++world().alive["mipmaps"];
    *handle = reinterpret_cast<MipmapHandle>(made);
    return SUCCESS;
}
Result cuMipmappedArrayGetLevel(ArrayHandle* array, MipmapHandle handle, unsigned level)
{
    ENTER("cuMipmappedArrayGetLevel", field("level", level));
    if (level >= mipmap_of(handle)->texture.levels) return INVALID_VALUE;
    *array = reinterpret_cast<ArrayHandle>(&mipmap_of(handle)->texture.level[level]);
    return SUCCESS;
}
Result cuMipmappedArrayDestroy(MipmapHandle handle)
{
    ENTER("cuMipmappedArrayDestroy");
    --world().alive["mipmaps"];
    if (mipmap_of(handle)->readers) world().alive["mipmaps"] += 1000;
    delete mipmap_of(handle);
    return SUCCESS;
}
// A handle is where the kernels of the shim find the texels.
Result cuTexObjectCreate(TextureHandle* handle, const ResourceDesc* resource, const TextureDesc* desc,
                         const ResourceViewDesc* view)
{
    ENTER("cuTexObjectCreate");
    const bool clamped = desc->address_mode[0] == ADDRESS_CLAMP && desc->address_mode[1] == ADDRESS_CLAMP;
    const bool linear = desc->filter_mode == FILTER_LINEAR && desc->mipmap_filter_mode == FILTER_LINEAR;
    Mipmap* mipmap = mipmap_of(resource->resource.mipmap);
    if (resource->type != RESOURCE_MIPMAP || !clamped || !linear || desc->flags != TEXTURE_NORMALISED || view ||
        desc->level_bias != 0 || desc->level_min != 0 || desc->level_max != float(mipmap->texture.levels - 1))
        return INVALID_VALUE;
    ++mipmap->readers;
    ++world().alive["textures"];
    *handle = TextureHandle(reinterpret_cast<std::uintptr_t>(&mipmap->texture));
    return SUCCESS;
}
Result cuTexObjectDestroy(TextureHandle handle)
{
    ENTER("cuTexObjectDestroy");
    auto* bytes = reinterpret_cast<char*>(std::uintptr_t(handle)) - offsetof(Mipmap, texture);
    --reinterpret_cast<Mipmap*>(bytes)->readers;
    --world().alive["textures"];
    return SUCCESS;
}
}
