// SPDX-License-Identifier: Apache-2.0
// The words of GLSL that the shaders use and CUDA C++ lacks. Put in front of every CUDA text by
// tools/shader_text.py, which also sets LOCAL_X, LOCAL_Y and LOCAL_Z. Only CUDA's own built-ins are called: NVRTC has
// no headers. Compile with --fmad=false, or `precise` is a lie.
typedef unsigned int uint;
#define precise

struct vec2
{
    float x, y;
};

struct vec4
{
    float x, y, z, w;
};

struct uvec2
{
    uint x, y;
};

struct uvec3
{
    uint x, y, z;
};

struct uvec4
{
    uint x, y, z, w;
    __device__ __forceinline__ uint& operator[](uint i) { return i == 0u ? x : i == 1u ? y : i == 2u ? z : w; }
};

__device__ __forceinline__ vec4 operator+(vec4 a, vec4 b) { return vec4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
__device__ __forceinline__ vec4 operator*(vec4 v, float f) { return vec4(v.x * f, v.y * f, v.z * f, v.w * f); }
__device__ __forceinline__ uvec2 operator<<(uvec2 v, uint count) { return uvec2(v.x << count, v.y << count); }

#define gl_LocalInvocationID uvec3(threadIdx.x, threadIdx.y, threadIdx.z)
#define gl_WorkGroupID uvec3(blockIdx.x, blockIdx.y, blockIdx.z)
#define gl_NumWorkGroups uvec3(gridDim.x, gridDim.y, gridDim.z)
#define gl_WorkGroupSize uvec3(LOCAL_X, LOCAL_Y, LOCAL_Z)
#define gl_GlobalInvocationID \
    uvec3(blockIdx.x * LOCAL_X + threadIdx.x, blockIdx.y * LOCAL_Y + threadIdx.y, blockIdx.z * LOCAL_Z + threadIdx.z)

__device__ __forceinline__ uint floatBitsToUint(float value) { return __float_as_uint(value); }
__device__ __forceinline__ float uintBitsToFloat(uint bits) { return __uint_as_float(bits); }
__device__ __forceinline__ uint bitfieldReverse(uint bits) { return __brev(bits); }
__device__ __forceinline__ int findMSB(uint bits) { return 31 - __clz(int(bits)); }
__device__ __forceinline__ void umulExtended(uint a, uint b, uint& high, uint& low)
{
    high = __umulhi(a, b);
    low = a * b;
}

__device__ __forceinline__ int clamp(int value, int low, int high) { return min(max(value, low), high); }
__device__ __forceinline__ float clamp(float value, float low, float high) { return min(max(value, low), high); }

// GLSL passes the memory itself, CUDA wants to know where it is.
__device__ __forceinline__ uint atomicAdd(uint& into, uint value) { return ::atomicAdd(&into, value); }
__device__ __forceinline__ uint atomicMax(uint& into, uint value) { return ::atomicMax(&into, value); }

__device__ __forceinline__ void barrier() { __syncthreads(); }
__device__ __forceinline__ void memoryBarrierBuffer() { __threadfence(); }

// A sampler2D is a texture object: four bytes a texel, read as 0..1 at normalised coordinates.
__device__ __forceinline__ vec4 textureLod(cudaTextureObject_t image, vec2 at, float lod)
{
    const float4 texel = tex2DLod<float4>(image, at.x, at.y, lod);
    return vec4(texel.x, texel.y, texel.z, texel.w);
}
