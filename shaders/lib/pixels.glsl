// SPDX-License-Identifier: Apache-2.0
// The images and the pyramid as words. Some drivers bind at most 128 MiB to one name, so each buffer is seen
// through four windows of that size; constant indices only, for drivers without dynamic buffer indexing.
// Where both buffers fit the first window, WINDOWS is 1 and the choice is compiled away.
#define WINDOW_BITS 25u
#define WINDOW_MASK 0x1ffffffu
SPECIAL(0, WINDOWS, 4u);

layout(std430, binding = 0) readonly buffer Pixels0 { uint pixels0[]; };
layout(std430, binding = 1) readonly buffer Pixels1 { uint pixels1[]; };
layout(std430, binding = 2) readonly buffer Pixels2 { uint pixels2[]; };
layout(std430, binding = 3) readonly buffer Pixels3 { uint pixels3[]; };
layout(std430, binding = 4) LEVEL_ACCESS buffer Levels0 { uint levels0[]; };
layout(std430, binding = 5) LEVEL_ACCESS buffer Levels1 { uint levels1[]; };
layout(std430, binding = 6) LEVEL_ACCESS buffer Levels2 { uint levels2[]; };
layout(std430, binding = 7) LEVEL_ACCESS buffer Levels3 { uint levels3[]; };
layout(std430, binding = 8) readonly buffer Images { ImageDesc images[]; };
layout(std430, binding = 9) readonly buffer LevelTable { LevelDesc level_table[]; };

uint pixel_word(uint word)
{
    if (WINDOWS == 1u) return pixels0[word];
    uint at = word & WINDOW_MASK;
    switch (word >> WINDOW_BITS) {
    case 0u: return pixels0[at];
    case 1u: return pixels1[at];
    case 2u: return pixels2[at];
    default: return pixels3[at];
    }
}

uint level_word(uint word)
{
    if (WINDOWS == 1u) return levels0[word];
    uint at = word & WINDOW_MASK;
    switch (word >> WINDOW_BITS) {
    case 0u: return levels0[at];
    case 1u: return levels1[at];
    case 2u: return levels2[at];
    default: return levels3[at];
    }
}

// A stored element of an image as it is: a byte, 16 bits, or the bits of a float.
uint image_bits(ImageDesc image, uint x, uint y, uint channel)
{
    uint at = image.offset_byte + y * image.row_stride + x * image.pixel_stride + channel * image.channel_stride;
    uint word = pixel_word(image.offset_word + (at >> 2));
    if (image.element == ELEMENT_U8) return (word >> ((at & 3u) * 8u)) & 255u;
    if (image.element == ELEMENT_U16) return (word >> ((at & 2u) * 8u)) & 65535u;
    return word;
}

// An element of level 1 and up.
uint level_bits(LevelDesc level, uint element, uint x, uint y, uint channel)
{
    uint at = level.offset + (channel * level.height + y) * level.pitch + x;
    if (element == ELEMENT_F32) return level_word(at);
    return (level_word(at >> 1) >> ((at & 1u) * 16u)) & 65535u;
}
