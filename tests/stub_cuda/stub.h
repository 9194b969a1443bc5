// SPDX-License-Identifier: Apache-2.0
// A CUDA driver over the host's memory, for tests on machines without one. It imports memory by mapping the
// descriptor, as no real driver does: it knows where lavapipe and SwiftShader keep the bytes in their files.
//
// Environment: FOVEATE_STUB_CUDA_DEVICES   comma list of UUIDs, 32 hex digits each. Behind one "/" and another: the
//                                          UUID of its instance; "-": it knows no timeline semaphores.
//              FOVEATE_STUB_CUDA_KERNELS   a library with foveate_kernel(name, grid, arguments): 0 when it ran. With
//                                          grid null it only says whether it knows the name.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {
// Every call so far, a line each: its name, then name=value for what tests look at. Returns the length; the text is
// cut at `size`. clear: forgets them.
std::size_t stub_log(char* text, std::size_t size, int clear);
// The k-th call from now on returns `result` and does nothing; 0: none does. Returns the calls since the last time.
std::uint64_t stub_fail(std::uint64_t k, int result);
// A stream that is held does nothing of what it is given from then on. Null: all of them.
void stub_hold(void* stream, int hold);
// Every address is of this device; -1: of the current one.
void stub_place(int ordinal);
// The OpenGL context that is current is on this device; -1: on the current one; below: asking fails, by minus this.
void stub_gl_device(int ordinal);
// Events say that they are over while they are not: to see that somebody looks at them.
void stub_lie(int lie);
// External semaphores are never signalled from outside.
void stub_mute(int mute);
// How many there are now of: contexts, streams, events, memories, mappings, semaphores, allocations, modules,
// mipmaps, textures, graphics (objects of OpenGL's) and maps (of such). One that was misused (freed twice, or in the
// wrong order) counts 1000.
std::int64_t stub_alive(const char* what);
}
