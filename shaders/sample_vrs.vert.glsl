// SPDX-License-Identifier: Apache-2.0
// One triangle over the whole of the image, so that no fragment is shaded twice along an edge, at the primitive's
// rate: its flags are the bits of the code.
#version 450
#extension GL_GOOGLE_include_directive : enable
#extension GL_EXT_fragment_shading_rate : require
#include "shared/sample_vrs.h"

PARAMS(VrsParams);

void main()
{
    gl_PrimitiveShadingRateEXT = int(p.primitive);
    gl_Position = vec4(float(gl_VertexIndex & 1) * 4.0 - 1.0, float(gl_VertexIndex >> 1) * 4.0 - 1.0, 0.0, 1.0);
}
