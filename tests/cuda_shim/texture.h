// SPDX-License-Identifier: Apache-2.0
// What a texture object of the stub driver is, for the kernels that read it: RGBA bytes with mip levels, clamped and
// filtered between texels and levels as CUDA does it.
// CUDA C++ Programming Guide, "Texture Fetching": positions within a texel have 8 bits of fraction.
#pragma once

#include <algorithm>
#include <cmath>

namespace foveate::shim {

struct Texture {
    static constexpr unsigned LEVELS = 16;
    struct Level {
        const unsigned char* texels;
        unsigned width, height;
    };
    Level level[LEVELS];
    unsigned levels;
};

inline float eighth_bit(float fraction) { return std::floor(fraction * 256.0f + 0.5f) / 256.0f; }

// Adds one level's texel at normalised coordinates, four channels of 0..1.
inline void add_texel(const Texture::Level& level, float u, float v, float weight, float* sum)
{
    const float x = u * float(level.width) - 0.5f, y = v * float(level.height) - 0.5f;
    const float left = std::floor(x), top = std::floor(y);
    const float right_part = eighth_bit(x - left), lower_part = eighth_bit(y - top);
    const auto at = [](float position, unsigned size) {
        return std::size_t(std::clamp(position, 0.0f, float(size - 1)));
    };
    for (int corner = 0; corner < 4; ++corner) {
        const bool right = corner & 1, lower = corner & 2;
        const float part = (right ? right_part : 1.0f - right_part) * (lower ? lower_part : 1.0f - lower_part);
        const std::size_t column = at(left + float(right), level.width), row = at(top + float(lower), level.height);
        const unsigned char* texel = level.texels + (row * level.width + column) * 4;
        for (int channel = 0; channel < 4; ++channel) sum[channel] += weight * part * (float(texel[channel]) / 255.0f);
    }
}

inline void read_texture(const Texture& texture, float u, float v, float lod, float* sum)
{
    const float at = std::clamp(lod, 0.0f, float(texture.levels - 1));
    const auto level = unsigned(at);
    const float part = eighth_bit(at - float(level));
    add_texel(texture.level[level], u, v, 1.0f - part, sum);
    if (part > 0.0f) add_texel(texture.level[level + 1], u, v, part, sum);
}

}  // namespace foveate::shim
