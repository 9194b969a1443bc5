// SPDX-License-Identifier: Apache-2.0
// What CUDA C++ has of its own and the kernels use, for a plain C++ compiler. `__shared__` memory belongs to the thread
// of the host that runs the block.
#pragma once

#include <math.h>
#include <stdlib.h>

#include <bit>
#include <cstdint>
#include <utility>

#include "tests/cuda_shim/texture.h"

#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(threads)
#define __forceinline__ inline
#define __shared__ static thread_local

namespace foveate::shim {

struct Index {
    unsigned x, y, z;
};

// Of the invocation that runs.
extern constinit thread_local Index thread_index, block_index, grid_size;

// Returns once every thread of the block has come here.
void wait_for_block();

using Call = void (*)(void** args);

struct Kernel {
    const char* name;
    Index block;
    bool waits;         // its threads wait for one another
    Call call;          // one thread; args as cuLaunchKernel takes them
};

struct Register {
    explicit Register(const Kernel& kernel);
};

template <auto KERNEL>
void call(void** args)
{
    [args]<class... A>(void (*kernel)(A...)) {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            kernel(*static_cast<A*>(args[I])...);
        }(std::index_sequence_for<A...>());
    }(KERNEL);
}

}  // namespace foveate::shim

#define threadIdx foveate::shim::thread_index
#define blockIdx foveate::shim::block_index
#define gridDim foveate::shim::grid_size

inline void __syncthreads() { foveate::shim::wait_for_block(); }
inline void __threadfence() {}

inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline int __clz(int bits) { return std::countl_zero(unsigned(bits)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((std::uint64_t(a) * b) >> 32); }
inline unsigned __brev(unsigned bits)
{
    unsigned result = 0;
    for (int i = 0; i < 32; ++i) result |= (bits >> i & 1u) << (31 - i);
    return result;
}

using cudaTextureObject_t = unsigned long long;
struct float4 {
    float x, y, z, w;
};
template <class T>
T tex2DLod(cudaTextureObject_t texture, float u, float v, float lod)
{
    float sum[4] = {};
    const auto* levels = reinterpret_cast<const foveate::shim::Texture*>(std::uintptr_t(texture));
    foveate::shim::read_texture(*levels, u, v, lod, sum);
    return {sum[0], sum[1], sum[2], sum[3]};
}

inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline float min(float a, float b) { return b < a ? b : a; }
inline float max(float a, float b) { return a < b ? b : a; }

inline unsigned atomicAdd(unsigned* into, unsigned value)
{
    return __atomic_fetch_add(into, value, __ATOMIC_RELAXED);
}
inline unsigned atomicMax(unsigned* into, unsigned value)
{
    unsigned seen = __atomic_load_n(into, __ATOMIC_RELAXED);
    while (seen < value &&
           !__atomic_compare_exchange_n(into, &seen, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return seen;
}
