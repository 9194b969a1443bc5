# SPDX-License-Identifier: Apache-2.0
"""OpenGL beside an engine on one device: frames are drawn into the engine's memory and read where they lie.

Needs `pip install foveate[gl]` and an OpenGL driver with GL_EXT_memory_object_fd. All calls belong to the thread of
the context, and nothing here is released by the garbage collector: OpenGL must not be called from wherever it runs.
"""

import contextlib
import ctypes
import os

from . import _core
from .engine import Engine
from .error import UnsupportedError, require
from .gl_cuda import Registered, register  # noqa: F401 (public here)
from .share import SharedTexture
from .types import Array

NEEDED = "GL_EXT_memory_object_fd"
UUID = 16   # bytes
R8G8B8A8_UNORM = 37     # VkFormat


def _libraries():
    """moderngl and PyOpenGL, the latter for EGL where there is no window system."""
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
    try:
        import moderngl
        from OpenGL import GL
        from OpenGL.GL.EXT import memory_object, memory_object_fd
    except ImportError as lacking:
        raise UnsupportedError(f"gl: libraries: got no {lacking.name}, expected moderngl and PyOpenGL. "
                               "Run: pip install 'foveate[gl]'") from None
    return moderngl, GL, memory_object, memory_object_fd


def uuids(context) -> tuple[str, str]:
    """The device and the driver of a moderngl context, in hex as `Engine.caps` and `foveate info` have them.

    Raises:
        UnsupportedError: a context without GL_EXT_memory_object_fd.
    """
    _, _, memory_object, _ = _libraries()
    require(NEEDED in context.extensions, "gl: context", f"{context.info['GL_RENDERER']} without {NEEDED}",
            "one with it", "Make it with foveate.gl.context().", UnsupportedError)
    device, driver = (ctypes.c_ubyte * UUID)(), (ctypes.c_ubyte * UUID)()
    memory_object.glGetUnsignedBytei_vEXT(memory_object.GL_DEVICE_UUID_EXT, 0, device)
    memory_object.glGetUnsignedBytevEXT(memory_object.GL_DRIVER_UUID_EXT, driver)
    return bytes(device).hex(), bytes(driver).hex()


def context(device: str | None = None, version: int = 430):
    """A headless moderngl context by EGL: on the device with this UUID, or the first that can share memory.

    Args:
        device: 32 hex digits; None: any.
        version: of OpenGL at least, 430 for 4.3.

    Raises:
        UnsupportedError: no such device; every one that was found is listed.
    """
    moderngl, *_ = _libraries()
    found = []
    for index in range(64):
        try:
            made = moderngl.create_context(standalone=True, backend="egl", device_index=index, require=version)
        except Exception as refused:    # what glcontext raises is of no narrower type
            found.append(f"device {index}: {refused}")
            break
        with contextlib.suppress(UnsupportedError):
            if device in (None, uuids(made)[0]):
                return made
        found.append(made.info["GL_RENDERER"])
        made.release()
    raise UnsupportedError(f"gl: context: got {'; '.join(found)}, expected "
                           f"{f'the device {device}' if device else 'a device'} with {NEEDED}. "
                           "Install a driver's EGL, or draw with Vulkan.")


def engine(context, **options) -> Engine:
    """An Engine on the device of a context, which shares its memory.

    Args:
        context: from moderngl.
        options: of `foveate.Engine`, but for backend, device and share.

    Raises:
        UnsupportedError: no Vulkan driver for that device.
    """
    device, _ = uuids(context)
    seen = [found for found in _core.candidates() if found["backend"] == "vulkan"]
    require(any(found["uuid"] == device for found in seen), "gl: engine",
            "; ".join(f"{found['device']} {found['uuid']}".strip() for found in seen),
            f"a Vulkan device {device}, {context.info['GL_RENDERER']}", "Install that device's Vulkan driver.",
            UnsupportedError)
    return Engine("vulkan", device=device, share=True, **options)


def _opened(shared) -> int:
    """A memory object of it, which takes its descriptor."""
    *_, memory_object, memory_object_fd = _libraries()
    record, name = shared.record, ctypes.c_uint()
    memory_object.glCreateMemoryObjectsEXT(1, name)
    if record["dedicated"]:
        memory_object.glMemoryObjectParameterivEXT(
            name.value, memory_object.GL_DEDICATED_MEMORY_OBJECT_EXT, (ctypes.c_int * 1)(1))
    try:
        memory_object_fd.glImportMemoryFdEXT(name.value, record["allocation_size"],
                                             memory_object_fd.GL_HANDLE_TYPE_OPAQUE_FD_EXT, shared.fd)
    except Exception:
        memory_object.glDeleteMemoryObjectsEXT(1, name)
        raise
    shared.detach()     # the driver's now, which closes it with the memory object
    return name.value


class Frame:
    """A frame in the engine's memory that OpenGL draws.

    Args:
        engine: one that shares, as from `foveate.gl.engine`.
        context: the moderngl context that draws, on the same device.
        size: (height, width).

    `image` is an Array of (height, width, 4) bytes, RGBA, for any stage; `buffer` is the same memory as a moderngl
    Buffer, for what draws by itself. `release()` lets go of both, at the end of a `with` block too.

    Raises:
        InputError: an engine that does not share.
        UnsupportedError: an engine on another device or driver; a context that cannot open memory.
    """

    def __init__(self, engine: Engine, context, size: tuple[int, int]):
        self._context, self._memory, self._rows, self.buffer = context, None, None, None
        _, gl, memory_object, _ = _libraries()
        device, driver = uuids(context)
        self.image: Array = engine.empty((*size, 4))
        with engine.share(self.image) as shared:
            record = shared.record
            require((device, driver) == (record["device_uuid"], record["driver_uuid"]), "gl: Frame",
                    f"an engine on device {record['device_uuid']}, driver {record['driver_uuid']}",
                    f"device {device}, driver {driver}", "Make it with foveate.gl.engine(context).", UnsupportedError)
            _ = context.error       # clears what is not ours
            name = ctypes.c_uint()
            try:
                self._memory = _opened(shared)
                gl.glCreateBuffers(1, name)
                self.buffer = context.external_buffer(name.value, record["size"])
                memory_object.glNamedBufferStorageMemEXT(name.value, record["size"], self._memory, record["offset"])
            except gl.GLError as refused:
                self.release()
                raise UnsupportedError(f"gl: Frame: memory: got OpenGL's {refused.description!r}, expected memory that "
                                       "it opens. Use a smaller frame.") from None
        self._rows = context.simple_framebuffer((size[1], size[0]), components=4)

    def take(self, framebuffer) -> Array:
        """Copies what is drawn into the frame, on the device, and waits for it.

        Args:
            framebuffer: a moderngl Framebuffer of this size, one sample a pixel. OpenGL's first row is the lowest,
                an image's is the highest: the copy turns them round.

        Returns:
            `image`.
        """
        height, width, _ = self.image.shape
        require(self.buffer is not None, "gl: Frame", "a released one", "one in use", "Make a new one.")
        require(framebuffer.size == (width, height), "gl: Frame: framebuffer",
                f"{framebuffer.size[1]} x {framebuffer.size[0]} px", f"{height} x {width}",
                "Make a frame of its size.")
        _, gl, *_ = _libraries()
        gl.glBlitNamedFramebuffer(framebuffer.glo, self._rows.glo, 0, 0, width, height, 0, height, width, 0,
                                  gl.GL_COLOR_BUFFER_BIT, gl.GL_NEAREST)
        self._rows.read_into(self.buffer, components=4, alignment=1)
        self._context.finish()
        return self.image

    def release(self) -> None:
        """Lets go of OpenGL's side; `image` lives on. Calling it again does nothing."""
        _, gl, memory_object, _ = _libraries()
        if self.buffer is not None:
            gl.glDeleteBuffers(1, [self.buffer.glo])    # moderngl leaves what it did not make
            self.buffer.release()
        if self._rows is not None:
            self._rows.release()
        if self._memory is not None:
            memory_object.glDeleteMemoryObjectsEXT(1, (ctypes.c_uint * 1)(self._memory))
        self.buffer = self._memory = self._rows = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


class Mipmap:
    """An image of `Engine.texture`, with its levels, that OpenGL samples.

    Args:
        context: a moderngl context, on the engine's device.
        shared: its descriptor is used up. With `ahead`, `Engine.settle` comes first.

    `texture` is a moderngl Texture that filters between texels and levels. Its first row is the image's uppermost, so
    v goes down. `release()` lets go of it and of the memory, at the end of a `with` block too.

    Raises:
        InputError: a texture of another format than R8G8B8A8_UNORM.
        UnsupportedError: one of another device or driver; a context that cannot open it.
    """

    def __init__(self, context, shared: SharedTexture):
        moderngl, gl, memory_object, _ = _libraries()
        self._memory = self.texture = None
        device, driver = uuids(context)
        record = shared.record
        require((device, driver) == (record["device_uuid"], record["driver_uuid"]), "gl: Mipmap",
                f"a texture of device {record['device_uuid']}, driver {record['driver_uuid']}",
                f"device {device}, driver {driver}", "Make it with an engine of foveate.gl.engine(context).",
                UnsupportedError)
        require(record["format"] == R8G8B8A8_UNORM, "gl: Mipmap: format", record["format"],
                f"R8G8B8A8_UNORM ({R8G8B8A8_UNORM})", "Share what Engine.texture makes.")
        size, name = (record["width"], record["height"]), ctypes.c_uint()
        _ = context.error       # clears what is not ours
        try:
            self._memory = _opened(shared)
            gl.glCreateTextures(gl.GL_TEXTURE_2D, 1, name)
            self.texture = context.external_texture(name.value, size, 4, 0, "f1")
            gl.glTextureParameteri(name.value, memory_object.GL_TEXTURE_TILING_EXT,
                                   memory_object.GL_OPTIMAL_TILING_EXT)
            memory_object.glTextureStorageMem2DEXT(name.value, record["levels"], gl.GL_RGBA8, *size, self._memory,
                                                   record["offset"])
        except gl.GLError as refused:
            self.release()
            raise UnsupportedError(f"gl: Mipmap: memory: got OpenGL's {refused.description!r}, expected an image that "
                                   "it opens. Give the record as it came.") from None
        self.texture.filter = moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR

    def release(self) -> None:
        """Lets go of OpenGL's side. Calling it again does nothing."""
        _, gl, memory_object, _ = _libraries()
        if self.texture is not None:
            gl.glDeleteTextures(1, [self.texture.glo])      # moderngl leaves what it did not make
            self.texture.release()
        if self._memory is not None:
            memory_object.glDeleteMemoryObjectsEXT(1, (ctypes.c_uint * 1)(self._memory))
        self.texture = self._memory = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()
