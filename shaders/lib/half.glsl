// SPDX-License-Identifier: Apache-2.0
// Rounding to nearest even, written out: drivers may round packHalf2x16 as they like.

uint f16_from_float(float value)
{
    uint bits = floatBitsToUint(value);
    uint magnitude = bits & 0x7fffffffu;
    uint normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    // Below 2^-14: adding 0.5 leaves the half's mantissa at the bottom, rounded to even by the adder.
    precise float shifted = uintBitsToFloat(magnitude) + 0.5;
    uint tiny = floatBitsToUint(shifted) - 0x3f000000u;
    uint half_bits = magnitude < 0x38800000u ? tiny : normal;
    if (magnitude > 0x477fefffu) half_bits = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    return half_bits | ((bits >> 16) & 0x8000u);
}

uint bf16_from_float(float value)
{
    uint bits = floatBitsToUint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
