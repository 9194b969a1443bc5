// SPDX-License-Identifier: Apache-2.0
// The CUDA driver at run time: nothing links to it. libcuda.so.1 is opened once, on first use, and never closed.
#pragma once

#include <string>

#include "interop/cuda/abi.h"

namespace foveate::cuda {

// X(our name, the symbol that cuda.h maps the call to, its arguments). Every one must be there.
#define CUDA_FUNCTIONS(X)                                                                                             \
    X(Init, cuInit, (unsigned flags))                                                                                 \
    X(DriverGetVersion, cuDriverGetVersion, (int* version))                                                           \
    X(GetErrorName, cuGetErrorName, (Result error, const char** text))                                                \
    X(GetErrorString, cuGetErrorString, (Result error, const char** text))                                            \
    X(DeviceGetCount, cuDeviceGetCount, (int* count))                                                                 \
    X(DeviceGet, cuDeviceGet, (DeviceHandle * device, int ordinal))                                                   \
    X(DeviceGetName, cuDeviceGetName, (char* name, int size, DeviceHandle device))                                    \
    X(DeviceGetUuid, cuDeviceGetUuid, (Uuid * uuid, DeviceHandle device))                                             \
    X(DeviceGetAttribute, cuDeviceGetAttribute, (int* value, unsigned attribute, DeviceHandle device))                \
    X(DevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (ContextHandle * context, DeviceHandle device))               \
    X(DevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (DeviceHandle device))                                   \
    X(CtxGetCurrent, cuCtxGetCurrent, (ContextHandle * context))                                                      \
    X(CtxSetCurrent, cuCtxSetCurrent, (ContextHandle context))                                                        \
    X(CtxPushCurrent, cuCtxPushCurrent_v2, (ContextHandle context))                                                   \
    X(CtxPopCurrent, cuCtxPopCurrent_v2, (ContextHandle * context))                                                   \
    X(MemAlloc, cuMemAlloc_v2, (Address * address, std::size_t size))                                                 \
    X(MemFree, cuMemFree_v2, (Address address))                                                                       \
    X(MemHostAlloc, cuMemHostAlloc, (void** memory, std::size_t size, unsigned flags))                                \
    X(MemFreeHost, cuMemFreeHost, (void* memory))                                                                     \
    X(MemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (Address to, const void* from, std::size_t size, Stream stream))         \
    X(MemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void* to, Address from, std::size_t size, Stream stream))               \
    X(MemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (Address to, Address from, std::size_t size, Stream stream))             \
    X(MemsetD8Async, cuMemsetD8Async, (Address to, unsigned char value, std::size_t size, Stream stream))             \
    X(PointerGetAttribute, cuPointerGetAttribute, (void* value, unsigned attribute, Address address))                 \
    X(StreamCreate, cuStreamCreate, (Stream * stream, unsigned flags))                                                \
    X(StreamDestroy, cuStreamDestroy_v2, (Stream stream))                                                             \
    X(StreamQuery, cuStreamQuery, (Stream stream))                                                                    \
    X(StreamSynchronize, cuStreamSynchronize, (Stream stream))                                                        \
    X(StreamWaitEvent, cuStreamWaitEvent, (Stream stream, EventHandle event, unsigned flags))                         \
    X(EventCreate, cuEventCreate, (EventHandle * event, unsigned flags))                                              \
    X(EventDestroy, cuEventDestroy_v2, (EventHandle event))                                                           \
    X(EventRecord, cuEventRecord, (EventHandle event, Stream stream))                                                 \
    X(EventQuery, cuEventQuery, (EventHandle event))                                                                  \
    X(ImportExternalMemory, cuImportExternalMemory, (ExternalMemory * memory, const MemoryHandleDesc* desc))          \
    X(DestroyExternalMemory, cuDestroyExternalMemory, (ExternalMemory memory))                                        \
    X(ExternalMemoryGetMappedBuffer, cuExternalMemoryGetMappedBuffer,                                                 \
      (Address * address, ExternalMemory memory, const MemoryBufferDesc* desc))                                       \
    X(ExternalMemoryGetMappedMipmappedArray, cuExternalMemoryGetMappedMipmappedArray,                                 \
      (MipmapHandle * mipmap, ExternalMemory memory, const MemoryMipmapDesc* desc))                                   \
    X(MipmappedArrayCreate, cuMipmappedArrayCreate,                                                                   \
      (MipmapHandle * mipmap, const Array3dDesc* desc, unsigned levels))                                              \
    X(Memcpy2DAsync, cuMemcpy2DAsync_v2, (const Copy2dDesc* copy, Stream stream))                                     \
    X(MipmappedArrayGetLevel, cuMipmappedArrayGetLevel, (ArrayHandle * array, MipmapHandle mipmap, unsigned level))   \
    X(MipmappedArrayDestroy, cuMipmappedArrayDestroy, (MipmapHandle mipmap))                                          \
    X(ImportExternalSemaphore, cuImportExternalSemaphore,                                                             \
      (ExternalSemaphore * semaphore, const SemaphoreHandleDesc* desc))                                               \
    X(DestroyExternalSemaphore, cuDestroyExternalSemaphore, (ExternalSemaphore semaphore))                            \
    X(WaitExternalSemaphoresAsync, cuWaitExternalSemaphoresAsync,                                                     \
      (const ExternalSemaphore* semaphores, const SemaphoreParams* params, unsigned count, Stream stream))            \
    X(SignalExternalSemaphoresAsync, cuSignalExternalSemaphoresAsync,                                                 \
      (const ExternalSemaphore* semaphores, const SemaphoreParams* params, unsigned count, Stream stream))            \
    X(ModuleLoadData, cuModuleLoadData, (ModuleHandle * module, const void* image))                                   \
    X(ModuleUnload, cuModuleUnload, (ModuleHandle module))                                                            \
    X(ModuleGetFunction, cuModuleGetFunction, (FunctionHandle * function, ModuleHandle module, const char* name))     \
    X(FuncGetAttribute, cuFuncGetAttribute, (int* value, unsigned attribute, FunctionHandle function))                \
    X(LaunchKernel, cuLaunchKernel,                                                                                   \
      (FunctionHandle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,                  \
       unsigned block_y, unsigned block_z, unsigned shared_size, Stream stream, void** arguments, void** extra))      \
    X(TexObjectCreate, cuTexObjectCreate,                                                                             \
      (TextureHandle * texture, const ResourceDesc* resource, const TextureDesc* desc, const ResourceViewDesc* view)) \
    X(TexObjectDestroy, cuTexObjectDestroy, (TextureHandle texture))

// Null where the driver is too old for them.
#define CUDA_LATER_FUNCTIONS(X)                                                                                       \
    X(DeviceGetUuidOfInstance, cuDeviceGetUuid_v2, (Uuid * uuid, DeviceHandle device))                                \
    X(GraphicsGLRegisterBuffer, cuGraphicsGLRegisterBuffer,                                                           \
      (GraphicsResource * resource, unsigned buffer, unsigned flags))                                                 \
    X(GraphicsGLRegisterImage, cuGraphicsGLRegisterImage,                                                             \
      (GraphicsResource * resource, unsigned image, unsigned target, unsigned flags))                                 \
    X(GraphicsUnregisterResource, cuGraphicsUnregisterResource, (GraphicsResource resource))                          \
    X(GraphicsMapResources, cuGraphicsMapResources, (unsigned count, GraphicsResource* resources, Stream stream))     \
    X(GraphicsUnmapResources, cuGraphicsUnmapResources, (unsigned count, GraphicsResource* resources, Stream stream)) \
    X(GraphicsResourceGetMappedPointer, cuGraphicsResourceGetMappedPointer_v2,                                        \
      (Address * address, std::size_t* size, GraphicsResource resource))                                              \
    X(GraphicsSubResourceGetMappedArray, cuGraphicsSubResourceGetMappedArray,                                         \
      (ArrayHandle * array, GraphicsResource resource, unsigned index, unsigned level))                               \
    X(GLGetDevices, cuGLGetDevices_v2,                                                                                \
      (unsigned* count, DeviceHandle* devices, unsigned room, unsigned which))                                        \
    X(ArrayGetDescriptor, cuArrayGetDescriptor_v2, (ArrayDesc * desc, ArrayHandle array))

struct Driver {
    std::string name;                   // of the library
    int version = 0;                    // 12040: of CUDA 12.4
#define X(function, symbol, arguments) Result(*function) arguments = nullptr;
    CUDA_FUNCTIONS(X)
    CUDA_LATER_FUNCTIONS(X)
#undef X
};

// FOVEATE_CUDA_LIBRARY where it is set, else libcuda.so.1. Null when there is none that works, and then `reason`
// says why. Safe from any thread. Throws ErrorKind::forked where a parent process has opened it.
const Driver* find_driver(std::string& reason);
// The same, or an error.
const Driver& need_driver();

// Around every call of the driver. Throws, with the driver's name and text of the result.
[[noreturn]] void check_failed(const Driver& driver, Result result, const char* doing);
inline void check(const Driver& driver, Result result, const char* doing)
{
    if (result != SUCCESS) [[unlikely]]
        check_failed(driver, result, doing);
}

}  // namespace foveate::cuda
