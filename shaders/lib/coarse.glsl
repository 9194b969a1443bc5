// SPDX-License-Identifier: Apache-2.0
// One shading of an 8-bit image: what a bilinear fetch at the fragment's centre finds, in whole numbers, as bytes R, G,
// B, 255 of a word. After texel(x, y, channel). (x0, y0) and (x1, y1): the texels before and after the centre.
uint shade_channel(uint x0, uint y0, uint x1, uint y1, uint channel)
{
    uint sum = texel(x0, y0, channel) + texel(x1, y0, channel) + texel(x0, y1, channel) + texel(x1, y1, channel);
    return (sum + 2u) >> 2;
}

uint shade(uint channels, uint x0, uint y0, uint x1, uint y1)
{
    uint red = shade_channel(x0, y0, x1, y1, 0u);
    uint green = channels > 1u ? shade_channel(x0, y0, x1, y1, 1u) : red;
    uint blue = channels > 1u ? shade_channel(x0, y0, x1, y1, 2u) : red;
    return red | green << 8 | blue << 16 | 0xff000000u;
}
