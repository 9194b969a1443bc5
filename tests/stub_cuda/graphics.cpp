// SPDX-License-Identifier: Apache-2.0
// OpenGL's objects: mapped, the host has their bytes, read from OpenGL when they are mapped and written back when they
// are unmapped. The functions come from EGL, which the test's own context is of; every one needs that context, as a
// real driver's do.
#include <dlfcn.h>

#include <cstring>

#include "world.h"

using namespace stub;

namespace {

using Name = unsigned;
using Int = int;

constexpr unsigned BUFFER_SIZE = 0x8764, TEXTURE_WIDTH = 0x1000, TEXTURE_HEIGHT = 0x1001,
                   TEXTURE_INTERNAL_FORMAT = 0x1003, RGBA = 0x1908, BYTES = 0x1401, FLOATS = 0x1406, RGBA8 = 0x8058,
                   RGBA32F = 0x8814, ERROR_NONE = 0;

template <class Function>
Function* egl(const char* name)
{
    void* library = dlopen("libEGL.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (!library) return nullptr;
    if (auto* direct = reinterpret_cast<Function*>(dlsym(library, name))) return direct;
    auto* address = reinterpret_cast<void* (*)(const char*)>(dlsym(library, "eglGetProcAddress"));
    return reinterpret_cast<Function*>(address(name));
}
template <class... Arguments>
bool gl(const char* name, Arguments... arguments)
{
    egl<unsigned()>("glGetError")();
    egl<void(Arguments...)>(name)(arguments...);
    return egl<unsigned()>("glGetError")() == ERROR_NONE;
}
bool context_is_current()
{
    auto* current = egl<void*()>("eglGetCurrentContext");
    return current && current();
}

GraphicsResource handle_of(Graphics* graphics) { return reinterpret_cast<GraphicsResource>(graphics); }

Result add(Graphics made, GraphicsResource* resource)
{
    for (const Graphics* other : world().graphics)
        if (other->name == made.name && other->texture == made.texture) return INVALID_VALUE;
    auto* kept = new Graphics(std::move(made));
    world().graphics.insert(kept);
    ++world().alive["graphics"];
    *resource = handle_of(kept);
    return SUCCESS;
}

Graphics* known(GraphicsResource resource)
{
    auto* graphics = reinterpret_cast<Graphics*>(resource);
    return world().graphics.count(graphics) ? graphics : nullptr;
}

unsigned texel_type(const Graphics& texture) { return texture.texel == 4 ? BYTES : FLOATS; }

bool read(Graphics& graphics)
{
    if (graphics.texture)
        return gl("glGetTextureImage", graphics.name, Int(0), RGBA, texel_type(graphics), Int(graphics.bytes.size()),
                  static_cast<void*>(graphics.bytes.data()));
    return gl("glGetNamedBufferSubData", graphics.name, std::intptr_t(0), std::intptr_t(graphics.bytes.size()),
              static_cast<void*>(graphics.bytes.data()));
}

bool write(const Graphics& graphics)
{
    if (graphics.texture) return true;      // it was registered as one that CUDA only reads
    return gl("glNamedBufferSubData", graphics.name, std::intptr_t(0), std::intptr_t(graphics.bytes.size()),
              static_cast<const void*>(graphics.bytes.data()));
}

}  // namespace

extern "C" {

void stub_gl_device(int ordinal) { world().gl_ordinal = ordinal; }

Result cuGLGetDevices_v2(unsigned* count, DeviceHandle* devices, unsigned, unsigned which)
{
    ENTER("cuGLGetDevices", field("which", which));
    if (!context_is_current()) return INVALID_GRAPHICS_CONTEXT;
    if (stack.empty()) return INVALID_CONTEXT;
    const int ordinal = world().gl_ordinal;
    if (ordinal < -1) return Result(-ordinal);
    *count = 1;
    devices[0] = ordinal >= 0 ? 100 + ordinal : int(reinterpret_cast<std::uintptr_t>(stack.back()) - 0x1000);
    return SUCCESS;
}
Result cuGraphicsGLRegisterBuffer(GraphicsResource* resource, Name name, unsigned flags)
{
    ENTER("cuGraphicsGLRegisterBuffer", field("name", name), field("flags", flags));
    if (!context_is_current()) return OPERATING_SYSTEM;
    Int size = 0;
    if (!gl("glGetNamedBufferParameteriv", name, BUFFER_SIZE, &size) || size <= 0) return INVALID_VALUE;
    Graphics made;
    made.name = name;
    made.bytes.resize(std::size_t(size));
    return add(std::move(made), resource);
}
Result cuGraphicsGLRegisterImage(GraphicsResource* resource, Name name, unsigned target, unsigned flags)
{
    ENTER("cuGraphicsGLRegisterImage", field("name", name), field("target", target), field("flags", flags));
    if (!context_is_current()) return OPERATING_SYSTEM;
    Graphics made;
    made.name = name;
    made.texture = true;
    Int format = 0;
    const auto ask = [&](unsigned what, Int& value) {
        return gl("glGetTextureLevelParameteriv", name, Int(0), what, &value);
    };
    if (target != GL_TEXTURE_2D || !ask(TEXTURE_WIDTH, made.width) || !ask(TEXTURE_HEIGHT, made.height) ||
        !ask(TEXTURE_INTERNAL_FORMAT, format) || made.width <= 0)
        return INVALID_VALUE;
    if (unsigned(format) != RGBA8 && unsigned(format) != RGBA32F) return INVALID_VALUE;
    made.texel = unsigned(format) == RGBA8 ? 4 : 16;
    made.bytes.resize(std::size_t(made.width) * std::size_t(made.height) * made.texel);
    return add(std::move(made), resource);
}
Result cuGraphicsUnregisterResource(GraphicsResource resource)
{
    ENTER("cuGraphicsUnregisterResource");
    Graphics* graphics = known(resource);
    if (!graphics || graphics->mapped) {
        world().alive["graphics"] += 1000;
        return INVALID_HANDLE;
    }
    if (!context_is_current()) return OPERATING_SYSTEM;
    world().graphics.erase(graphics);
    --world().alive["graphics"];
    delete graphics;
    return SUCCESS;
}
Result cuGraphicsMapResources(unsigned count, GraphicsResource* resources, Stream stream)
{
    ENTER("cuGraphicsMapResources", field("count", count), field("stream", stream));
    Graphics* graphics = known(*resources);
    if (!graphics || count != 1) return INVALID_HANDLE;
    if (graphics->mapped) return ALREADY_MAPPED;
    if (!context_is_current()) return OPERATING_SYSTEM;
    if (!read(*graphics)) return UNKNOWN;
    graphics->mapped = true;
    ++world().alive["maps"];
    return SUCCESS;
}
// What is on the stream comes before it: a stream that waits would have to be waited for here.
Result cuGraphicsUnmapResources(unsigned count, GraphicsResource* resources, Stream stream)
{
    ENTER("cuGraphicsUnmapResources", field("count", count), field("stream", stream));
    Graphics* graphics = known(*resources);
    if (!graphics || count != 1) return INVALID_HANDLE;
    if (!graphics->mapped) return NOT_MAPPED;
    if (!context_is_current()) return OPERATING_SYSTEM;
    graphics->mapped = false;
    --world().alive["maps"];
    return world().streams[stream].work.empty() && write(*graphics) ? SUCCESS : UNKNOWN;
}
Result cuGraphicsResourceGetMappedPointer_v2(Address* address, std::size_t* size, GraphicsResource resource)
{
    ENTER("cuGraphicsResourceGetMappedPointer");
    Graphics* graphics = known(resource);
    if (!graphics || graphics->texture || !graphics->mapped) return NOT_MAPPED;
    *address = Address(reinterpret_cast<std::uintptr_t>(graphics->bytes.data()));
    *size = graphics->bytes.size();
    return SUCCESS;
}
Result cuGraphicsSubResourceGetMappedArray(ArrayHandle* array, GraphicsResource resource, unsigned index,
                                           unsigned level)
{
    ENTER("cuGraphicsSubResourceGetMappedArray", field("index", index), field("level", level));
    Graphics* graphics = known(resource);
    if (!graphics || !graphics->texture || !graphics->mapped) return NOT_MAPPED;
    *array = reinterpret_cast<ArrayHandle>(graphics);
    return SUCCESS;
}
Result cuArrayGetDescriptor_v2(ArrayDesc* desc, ArrayHandle array)
{
    ENTER("cuArrayGetDescriptor");
    const auto& graphics = *reinterpret_cast<const Graphics*>(array);
    *desc = {std::size_t(graphics.width), std::size_t(graphics.height), graphics.texel == 4 ? 1u : 0x20u, 4};
    return SUCCESS;
}
Result cuMemcpy2DAsync_v2(const Copy2dDesc* desc, Stream stream)
{
    ENTER("cuMemcpy2DAsync", field("width", desc->row_size), field("rows", desc->rows), field("stream", stream));
    const Copy2dDesc copy = *desc;
    if (copy.from.type == MEMORY_DEVICE && copy.to.type == MEMORY_ARRAY) return fill_level(copy, stream);
    if (copy.from.type != MEMORY_ARRAY || copy.to.type != MEMORY_DEVICE) return NOT_SUPPORTED;
    const auto* graphics = reinterpret_cast<const Graphics*>(copy.from.array);
    return enqueue(stream, [copy, graphics] {
        for (std::size_t row = 0; row < copy.rows; ++row)
            std::memcpy(reinterpret_cast<std::byte*>(std::uintptr_t(copy.to.address)) + row * copy.to.pitch,
                        graphics->bytes.data() + row * std::size_t(graphics->width) * graphics->texel, copy.row_size);
        return true;
    });
}
}
