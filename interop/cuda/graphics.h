// SPDX-License-Identifier: Apache-2.0
// OpenGL's buffers and textures, registered with CUDA: a renderer's pixels reach an engine without passing the host.
//
// OpenGL's context must be current on the thread of every call, the same one each time, and on the engine's device.
// That is asked before CUDA is: its driver answers a wrong one by "operating system call failed", or not at all.
#pragma once

#include "interop/cuda/link.h"

namespace foveate::cuda {

enum class GraphicsKind { buffer, texture };

// One registered object. It outlives the engine; OpenGL's object must outlive it.
class Graphics {
public:
    // name: OpenGL's. A texture is of 8-bit RGBA, with any number of levels: the first is taken.
    Graphics(Ref<Link> link, GraphicsKind kind, unsigned name);
    // Where OpenGL's context is not this thread's the object stays registered: OpenGL must not be called from
    // wherever memory happens to be freed.
    ~Graphics();
    Graphics(const Graphics&) = delete;
    Graphics& operator=(const Graphics&) = delete;

    GraphicsKind kind() const { return kind_; }
    std::uint64_t size() const { return size_; }        // bytes
    std::uint64_t width() const { return width_; }      // of a texture, in texels
    std::uint64_t height() const { return height_; }

    // What the stream is given from now on comes behind what OpenGL was given, and sees a buffer's bytes here. OpenGL
    // must leave them alone until unmap(), which comes behind the stream's work.
    Address map(Stream stream);
    void unmap();
    // A copy in memory of the engine's, where stages read it: made on the device, and done.
    Ref<Block> take();
    // Unregisters it. Calling it again does nothing.
    void close();

private:
    void enter() const;                 // the context is current, and it is not closed
    void need_device() const;
    void open(Stream stream);           // maps it, whatever it is
    void learn();                       // its size, and that it can be read
    void release() noexcept;
    ArrayHandle first_level() const;

    Ref<Link> link_;
    const GraphicsKind kind_;
    const unsigned name_;
    void* const gl_;                    // the context
    GraphicsResource resource_ = nullptr;
    bool mapped_ = false;
    Stream stream_ = nullptr;           // that it is mapped for
    std::uint64_t size_ = 0, width_ = 0, height_ = 0;
};

}  // namespace foveate::cuda
