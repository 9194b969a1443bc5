// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/graphics.h"

#include <dlfcn.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <tuple>

#include "engine/error.h"
#include "engine/lost.h"

namespace foveate::cuda {

namespace {

// A function of a library that the process has opened already; null where it has not.
template <class Function>
Function* found(const char* library, const char* name)
{
    void* handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
    if (!handle) return nullptr;
    auto* function = reinterpret_cast<Function*>(dlsym(handle, name));
    dlclose(handle);
    return function;
}

// OpenGL's context on this thread, of EGL or of a window system; null: there is none.
void* current_context()
{
    if (auto* egl = found<void*()>("libEGL.so.1", "eglGetCurrentContext"))
        if (void* context = egl()) return context;
    auto* glx = found<void*()>("libGL.so.1", "glXGetCurrentContext");
    return glx ? glx() : nullptr;
}

std::string renderer()
{
    constexpr unsigned RENDERER = 0x1f01;
    for (const char* library : {"libGL.so.1", "libOpenGL.so.0"})
        if (auto* get = found<const unsigned char*(unsigned)>(library, "glGetString"))
            if (const unsigned char* text = get(RENDERER)) return reinterpret_cast<const char*>(text);
    return "a context without a name";
}

const char* word(GraphicsKind kind) { return kind == GraphicsKind::buffer ? "buffer" : "texture"; }

// Registered in this process. CUDA may take an object twice, and then either end of it ends both.
class Registry {
public:
    using Key = std::tuple<const void*, GraphicsKind, unsigned>;

    bool add(const Key& key)
    {
        std::lock_guard lock(mutex_);
        return keys_.insert(key).second;
    }
    void remove(const Key& key)
    {
        std::lock_guard lock(mutex_);
        keys_.erase(key);
    }

private:
    std::mutex mutex_;
    std::set<Key> keys_;
};

Registry& registry()
{
    static auto* const made = new Registry;     // outlives every static destructor
    return *made;
}

}  // namespace

Graphics::Graphics(Ref<Link> link, GraphicsKind kind, unsigned name)
    : link_(std::move(link)), kind_(kind), name_(name), gl_(current_context())
{
    const Driver& cu = link_->context()->cu;
    require(gl_, "gl: register", "no OpenGL context on this thread", "the renderer's, current here",
            "Call it on the renderer's thread.");
    require(cu.GraphicsGLRegisterBuffer && cu.GraphicsGLRegisterImage && cu.GraphicsUnregisterResource &&
                cu.GraphicsMapResources && cu.GraphicsUnmapResources && cu.GraphicsResourceGetMappedPointer &&
                cu.GraphicsSubResourceGetMappedArray && cu.GLGetDevices && cu.ArrayGetDescriptor && cu.Memcpy2DAsync,
            "gl: register", cu.name + " without its calls for OpenGL", "a driver with them", "Install a newer one.",
            ErrorKind::unsupported);
    const Current current(*link_->context());
    need_device();
    require(registry().add({gl_, kind_, name_}), "gl: register",
            std::string(word(kind_)) + ' ' + std::to_string(name_) + ", which is registered", "one that is not",
            "Keep what the first call returned, or close() it.");
    try {
        const Result result = kind_ == GraphicsKind::buffer
                                  ? cu.GraphicsGLRegisterBuffer(&resource_, name_, 0)
                                  : cu.GraphicsGLRegisterImage(&resource_, name_, GL_TEXTURE_2D, GL_READ_ONLY);
        require(result != INVALID_VALUE && result != INVALID_HANDLE, "gl: register",
                std::string(word(kind_)) + ' ' + std::to_string(name_) + ", which CUDA refuses",
                "a buffer with bytes, or a 2D texture of R, RG or RGBA without a colour space",
                "Give it storage before.");
        check(cu, result, kind_ == GraphicsKind::buffer ? "register a buffer" : "register a texture");
        learn();
    } catch (...) {
        release();
        throw;
    }
}

Graphics::~Graphics()
{
    if (!resource_) return;
    if (current_context() == gl_) {
        release();
        return;
    }
    registry().remove({gl_, kind_, name_});
    lose(link_->context());
}

void Graphics::enter() const
{
    require(resource_, "gl: Registered", "a closed one", "one in use", "Register it again.");
    const void* here = current_context();
    require(here == gl_, "gl: Registered: context",
            here ? "another one on this thread" : "none on this thread", "the one it was registered with",
            "Call it on the renderer's thread.");
}

// OpenGL's device is the engine's: else CUDA would fail in the middle of something, and not say why.
void Graphics::need_device() const
{
    const Driver& cu = link_->context()->cu;
    unsigned count = 0;
    DeviceHandle devices[8] = {}, ours = 0;
    const Result result = cu.GLGetDevices(&count, devices, 8, GL_DEVICES_ALL);
    const bool none = result == NO_DEVICE || result == INVALID_GRAPHICS_CONTEXT || result == OPERATING_SYSTEM;
    if (!none) check(cu, result, "ask for OpenGL's device");
    check(cu, cu.DeviceGet(&ours, link_->device().ordinal), "open a device");
    std::string names;
    for (unsigned i = 0; !none && i < std::min(count, 8u); ++i) {
        if (devices[i] == ours) return;
        char name[256] = {};
        check(cu, cu.DeviceGetName(name, sizeof name - 1, devices[i]), "read a device's name");
        Uuid uuid{};
        check(cu, cu.DeviceGetUuid(&uuid, devices[i]), "read a device's UUID");
        names += (names.empty() ? "" : ", ") + std::string(name) + ' ' + hex(uuid);
    }
    fail(ErrorKind::unsupported, "gl: register: device",
         renderer() + " (" + (names.empty() ? "no device of CUDA's" : names) + ")",
         link_->device().name + ' ' + link_->device().uuid + ", the engine's",
         "Make the renderer's context on that device, or the engine on the context's.");
}

void Graphics::open(Stream stream)
{
    const Driver& cu = link_->context()->cu;
    require(!mapped_, "gl: Registered: map", "one that is mapped", "one that OpenGL has", "unmap() it before.");
    check(cu, cu.GraphicsMapResources(1, &resource_, stream), "map an object of OpenGL's");
    mapped_ = true;
    stream_ = stream;
}

ArrayHandle Graphics::first_level() const
{
    ArrayHandle array = nullptr;
    check(link_->context()->cu, link_->context()->cu.GraphicsSubResourceGetMappedArray(&array, resource_, 0, 0),
          "look at a texture");
    return array;
}

void Graphics::learn()
{
    const Driver& cu = link_->context()->cu;
    open(link_->stream());
    if (kind_ == GraphicsKind::buffer) {
        Address address = 0;
        std::size_t size = 0;
        check(cu, cu.GraphicsResourceGetMappedPointer(&address, &size, resource_), "look at a buffer");
        size_ = size;
    } else {
        ArrayDesc desc{};
        check(cu, cu.ArrayGetDescriptor(&desc, first_level()), "look at a texture");
        require(desc.format == FORMAT_UINT8 && desc.channels == 4, "gl: register: texture",
                "CUDA's format " + std::to_string(desc.format) + " of " + std::to_string(desc.channels) + " channels",
                "RGBA8: format 1 of 4 channels", "Draw into one, or into a buffer.");
        width_ = desc.width;
        height_ = desc.height;
        size_ = 4 * width_ * height_;
    }
    unmap();
}

Address Graphics::map(Stream stream)
{
    enter();
    const Driver& cu = link_->context()->cu;
    require(kind_ == GraphicsKind::buffer, "gl: Registered: map", "a texture, which has no rows of its own",
            "a buffer", "take() it.");
    const Current current(*link_->context());
    open(stream);
    Address address = 0;
    std::size_t size = 0;
    const Result result = cu.GraphicsResourceGetMappedPointer(&address, &size, resource_);
    if (result != SUCCESS) {
        unmap();
        check(cu, result, "look at a buffer");
    }
    return address;
}

void Graphics::unmap()
{
    if (!mapped_) return;
    enter();
    const Driver& cu = link_->context()->cu;
    const Current current(*link_->context());
    check(cu, cu.GraphicsUnmapResources(1, &resource_, stream_), "unmap an object of OpenGL's");
    mapped_ = false;
}

Ref<Block> Graphics::take()
{
    enter();
    const Driver& cu = link_->context()->cu;
    const Current current(*link_->context());
    open(link_->stream());
    Ref<Block> block;
    try {
        Address address = 0;
        std::size_t size = 0;
        if (kind_ == GraphicsKind::buffer)
            check(cu, cu.GraphicsResourceGetMappedPointer(&address, &size, resource_), "look at a buffer");
        block = kind_ == GraphicsKind::buffer ? link_->copy_in(address, size_)
                                              : link_->copy_in(first_level(), 4 * width_, height_);
    } catch (...) {
        mapped_ = cu.GraphicsUnmapResources(1, &resource_, stream_) != SUCCESS;
        throw;
    }
    unmap();
    return block;
}

void Graphics::close()
{
    if (!resource_) return;
    enter();
    const Driver& cu = link_->context()->cu;
    const Current current(*link_->context());
    unmap();
    check(cu, cu.GraphicsUnregisterResource(resource_), "unregister an object of OpenGL's");
    resource_ = nullptr;
    registry().remove({gl_, kind_, name_});
}

void Graphics::release() noexcept
{
    const Driver& cu = link_->context()->cu;
    const Current current(*link_->context(), std::nothrow);
    if (resource_ && current.result() == SUCCESS) {
        if (mapped_) cu.GraphicsUnmapResources(1, &resource_, stream_);
        cu.GraphicsUnregisterResource(resource_);
    }
    resource_ = nullptr;
    mapped_ = false;
    registry().remove({gl_, kind_, name_});
}

}  // namespace foveate::cuda
