// SPDX-License-Identifier: Apache-2.0
// The part of the CUDA driver's ABI that we call, declared here so that no header of its is needed to build. Names of
// types and fields are ours; sizes, order and numbers are the driver's, and fixed for ever.
#pragma once

#include <cstddef>
#include <cstdint>

namespace foveate::cuda {

enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    DEINITIALIZED = 4,       // the process is ending: the driver has let go of everything
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    ALREADY_MAPPED = 208,
    NOT_MAPPED = 211,
    ECC_UNCORRECTABLE = 214,
    INVALID_GRAPHICS_CONTEXT = 219,
    OPERATING_SYSTEM = 304,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,   // from here to LAUNCH_FAILED: the context is of no use any more
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    UNKNOWN = 999,
};

using DeviceHandle = int;
using Address = unsigned long long;
using TextureHandle = unsigned long long;
using ContextHandle = struct ContextOpaque*;
using Stream = struct StreamOpaque*;
using EventHandle = struct EventOpaque*;
using ModuleHandle = struct ModuleOpaque*;
using FunctionHandle = struct FunctionOpaque*;
using ArrayHandle = struct ArrayOpaque*;
using MipmapHandle = struct MipmapOpaque*;
using ExternalMemory = struct ExternalMemoryOpaque*;
using ExternalSemaphore = struct ExternalSemaphoreOpaque*;
using GraphicsResource = struct GraphicsResourceOpaque*;

// Streams that every context has, by their handles.
inline Stream legacy_stream() { return reinterpret_cast<Stream>(std::uintptr_t(1)); }
inline Stream per_thread_stream() { return reinterpret_cast<Stream>(std::uintptr_t(2)); }

enum Numbers : unsigned {
    STREAM_NON_BLOCKING = 1,
    EVENT_DISABLE_TIMING = 2,
    ATTRIBUTE_COMPUTE_MAJOR = 75,
    ATTRIBUTE_COMPUTE_MINOR = 76,
    ATTRIBUTE_TIMELINE_SEMAPHORE = 114,  // of a device: it waits for timeline semaphores of others
    ATTRIBUTE_MIPMAPPED_WIDTH = 73,      // px of a texture with levels
    ATTRIBUTE_MIPMAPPED_HEIGHT = 74,
    POINTER_DEVICE_ORDINAL = 9,
    RESOURCE_MIPMAP = 1,
    ADDRESS_CLAMP = 1,
    FILTER_LINEAR = 1,
    TEXTURE_NORMALISED = 2,              // flag: coordinates are 0..1
    MEMORY_OPAQUE_FD = 1,
    MEMORY_DEDICATED = 1,                // flag: the memory was allocated for one resource alone
    SEMAPHORE_OPAQUE_FD = 1,             // a binary one: a wait uses up a signal
    SEMAPHORE_TIMELINE_FD = 9,
    GL_DEVICES_ALL = 1,                  // every device that the current OpenGL context uses
    GL_READ_ONLY = 1,                    // flag: CUDA never writes to it
    GL_TEXTURE_2D = 0x0de1,              // OpenGL's own number
    FORMAT_UINT8 = 1,
    MEMORY_DEVICE = 2,
    MEMORY_ARRAY = 3,
};

struct Uuid {
    unsigned char bytes[16];
};

struct MemoryHandleDesc {
    unsigned type;
    union {
        int fd;
        struct {
            void* handle;
            const void* name;
        } other;
    } handle;
    unsigned long long size;             // of the allocation, not of what lies in it
    unsigned flags;
    unsigned reserved[16];
};

struct MemoryBufferDesc {
    unsigned long long offset, size;
    unsigned flags;
    unsigned reserved[16];
};

struct Array3dDesc {
    std::size_t width, height, depth;
    unsigned format, channels, flags;
};

struct MemoryMipmapDesc {
    unsigned long long offset;
    Array3dDesc array;
    unsigned levels;
    unsigned reserved[16];
};

struct SemaphoreHandleDesc {
    unsigned type;
    union {
        int fd;
        struct {
            void* handle;
            const void* name;
        } other;
    } handle;
    unsigned flags;
    unsigned reserved[16];
};

struct ArrayDesc {
    std::size_t width, height;
    unsigned format, channels;
};

// One side of a copy of rows.
struct CopySide {
    std::size_t x, y;                    // x in bytes
    unsigned type;
    const void* host;
    Address address;
    ArrayHandle array;
    std::size_t pitch;                   // an array has none
};

struct Copy2dDesc {
    CopySide from, to;
    std::size_t row_size, rows;
};

// Of a signal and of a wait alike: they differ in what we leave zero.
struct SemaphoreParams {
    unsigned long long value;            // a timeline's; 0 for a binary one
    unsigned long long others[8];
    unsigned flags;
    unsigned reserved[16];
};

struct ResourceDesc {
    unsigned type;
    union {
        ArrayHandle array;
        MipmapHandle mipmap;
        int reserved[32];
    } resource;
    unsigned flags;
};

struct TextureDesc {
    unsigned address_mode[3];
    unsigned filter_mode, flags, anisotropy_max, mipmap_filter_mode;
    float level_bias, level_min, level_max;
    float border[4];
    int reserved[12];
};

struct ResourceViewDesc {
    unsigned format;
    std::size_t width, height, depth;
    unsigned first_level, last_level, first_layer, last_layer;
    unsigned reserved[16];
};

static_assert(sizeof(MemoryHandleDesc) == 104 && offsetof(MemoryHandleDesc, size) == 24);
static_assert(sizeof(MemoryBufferDesc) == 88 && sizeof(Array3dDesc) == 40 && sizeof(MemoryMipmapDesc) == 120);
static_assert(sizeof(ArrayDesc) == 24 && sizeof(CopySide) == 56 && sizeof(Copy2dDesc) == 128);
static_assert(sizeof(SemaphoreHandleDesc) == 96 && offsetof(SemaphoreHandleDesc, flags) == 24);
static_assert(sizeof(SemaphoreParams) == 144 && offsetof(SemaphoreParams, flags) == 72);
static_assert(sizeof(ResourceDesc) == 144 && sizeof(TextureDesc) == 104 && sizeof(ResourceViewDesc) == 112);

}  // namespace foveate::cuda
