# SPDX-License-Identifier: Apache-2.0
"""The stages' shaders on OpenGL 4.3 and newer, through moderngl on EGL: no window, no display server.

Needs `pip install foveate[gl]`. The context is the backend's own and current on a thread of its own, so that a caller's
context, of EGL or of a window, never notices.
"""

import contextlib
import os
import queue
import threading

from .. import _core, egl
from ..error import UnsupportedError
from ..gl import uuids

VERSION = 430
BINDINGS = 16           # storage blocks that a shader may have
ALIGNMENT = 256         # bytes: no driver may ask for more of a binding's offset
PARAMS = 15             # the uniform block of shaders/shared/api.h
WAIT_NS = _core.limits()["wait_ns"]
NONE = {"backend": "opengl", "device": "no device", "uuid": "", "driver": "", "software": False, "in_place": False,
        "shares": False, "sync": "host", "profiling": [], "usable": False, "reasons": [], "filter_side": 0,
        "shading_rate": {"usable": False, "reasons": ["no rasteriser"], "rates": [], "tile": [], "strict": False,
                         "combiners": False}}
SOFTWARE = ("llvmpipe", "softpipe", "SwiftShader")


def _moderngl():
    try:
        import moderngl
    except ImportError:
        raise UnsupportedError("Engine: opengl: got no moderngl, expected it. "
                               "Run: pip install 'foveate[gl]'") from None
    return moderngl


def _contexts(moderngl):
    """A context on each device of EGL, and last why there is no next one. Whoever takes a context releases it."""
    for index in range(64):
        try:
            yield moderngl.create_context(standalone=True, backend="egl", device_index=index, require=VERSION), ""
        except Exception as refused:    # what glcontext raises is of no narrower type
            yield None, f"device {index}: {refused}"
            return


def _described(context, index):
    """What `info()` says of a context's device, with what it lacks."""
    renderer, found = context.info["GL_RENDERER"], ("", "")
    with contextlib.suppress(UnsupportedError):
        found = uuids(context)
    software = any(name in renderer for name in SOFTWARE) or egl.devices()[index:index + 1] == [False]
    reasons = []
    blocks = context.info.get("GL_MAX_COMPUTE_SHADER_STORAGE_BLOCKS", BINDINGS)
    if blocks < BINDINGS:
        reasons.append(f"{blocks} storage blocks in a shader, needs {BINDINGS}")
    return NONE | {"device": renderer, "uuid": found[0], "driver": context.info["GL_VERSION"],
                   "filter_side": context.info["GL_MAX_TEXTURE_SIZE"],
                   "software": software, "usable": not reasons, "reasons": reasons}


class _Thread:
    """Where a context is current. Jobs come from destructors too, in the middle of anything: SimpleQueue allows it."""

    def __init__(self):
        self._jobs = queue.SimpleQueue()
        threading.Thread(target=self._work, name="foveate-opengl", daemon=True).start()

    def _work(self):
        while (job := self._jobs.get()) is not None:
            call, arguments, answer = job
            try:
                done = call(*arguments), None
            except BaseException as error:
                done = None, error
            if answer:
                answer.put(done)
            del job, call, arguments, answer, done      # nothing lives on until the next one

    def run(self, call, *arguments):
        """What it returns, or raises, there."""
        answer = queue.SimpleQueue()
        self._jobs.put((call, arguments, answer))
        result, error = answer.get()
        if error is not None:
            raise error
        return result

    def later(self, call):
        self._jobs.put((call, (), None))

    def end(self):
        self._jobs.put(None)


def candidates():
    """Every device of EGL, or why there is none."""
    thread = _Thread()
    try:
        return thread.run(_candidates)
    finally:
        thread.end()


def _candidates():
    try:
        moderngl = _moderngl()
    except UnsupportedError as lacking:
        return [NONE | {"reasons": [str(lacking)]}]
    found = []
    for index, (context, refused) in enumerate(_contexts(moderngl)):
        if context is None:
            return found or [NONE | {"reasons": [refused]}]
        found.append(_described(context, index))
        context.release()
    return found


def _fits(described, index, wanted):
    return (wanted == "" or wanted == str(index) or wanted.lower().replace("-", "") == described["uuid"]
            or wanted.lower() in described["device"].lower())


class _Device:
    """A context with the programs compiled in it. One serves every Engine of the process that asks for it."""

    def __init__(self, wanted):
        self.thread = _Thread()
        self.programs, self.texts = {}, _core.shaders()
        try:
            self.thread.run(self._open, wanted)
        except BaseException:
            self.thread.end()
            raise

    def _open(self, wanted):
        moderngl = _moderngl()
        seen = []
        for index, (context, refused) in enumerate(_contexts(moderngl)):
            if context is None:
                seen.append(refused)
                break
            self.caps = _described(context, index)
            if self.caps["usable"] and _fits(self.caps, index, wanted):
                self.context, self.fence = context, egl.Fence()
                return
            seen.append("; ".join([self.caps["device"], *self.caps["reasons"]]))
            context.release()
        raise UnsupportedError(f"Engine: no OpenGL device: got {', '.join(seen)}, expected one with OpenGL 4.3 "
                               f"that fits {wanted!r}. Use backend=\"cpu\".")

    def settle(self):
        """The device has done what it was given. Calls of OpenGL's that block come behind this one: it ends."""
        self.fence.wait(WAIT_NS)

    def program(self, shader, windows):
        """The program, and whether it was compiled just now."""
        key = shader, windows
        known = key in self.programs
        if not known:
            text = self.texts[shader]["glsl"].replace("\n", f"\n#define WINDOWS {windows}u\n", 1)
            self.programs[key] = self.context.compute_shader(text)
        return self.programs[key], not known


_devices = {}       # (process, selector) -> _Device
_lost = []          # those that never ended their work: ending them would wait for it
_lock = threading.Lock()


def _device(wanted):
    with _lock:
        key = os.getpid(), wanted       # the parent's thread is not in a child
        if key not in _devices:
            _devices[key] = _Device(wanted)
        return _devices[key]


def _forget(device):
    with _lock:
        for key in [key for key, known in _devices.items() if known is device]:
            del _devices[key]


def executor(wanted=""):
    """What runs lists on the device that `wanted` names: a UUID, an index, a part of the name; "": the first."""
    return Executor(wanted)


class Executor:
    """Runs lists in a context, in buffers of its own."""

    def __init__(self, wanted):
        self.pipelines_created = 0
        self._device = _device(wanted)
        self.caps, info = self._device.caps, self._device.context.info
        self.limits = {"range": info["GL_MAX_SHADER_STORAGE_BLOCK_SIZE"], "alignment": ALIGNMENT,
                       "groups": tuple(info["GL_MAX_COMPUTE_WORK_GROUP_COUNT"])}
        self._made, self._held, self._params, self._dropped = {}, {}, {}, []

    def run(self, made, dropped, steps):
        """One list; returns when all of it is done."""
        try:
            self._device.thread.run(self._run, made, dropped, steps)
        except BaseException:
            _forget(self._device)       # whatever state it is in, the next Engine gets another
            raise

    def close(self):
        """Lets go of its buffers, soon: nobody waits for it."""
        self._device.thread.later(self._release)

    def _run(self, made, dropped, steps):
        context = self._device.context
        self._made.update((number, (size, levels)) for number, size, levels in made)
        self._dropped += dropped
        if self._device.fence.pending:
            self._device.settle()       # of a run that was given up
        _ = context.error               # clears what came before
        while self._dropped:
            number = self._dropped.pop()
            del self._made[number]
            if number in self._held:
                self._held.pop(number).release()
        for kind, *step in steps:
            getattr(self, "_" + kind)(context, *step)
        self._device.settle()
        failed = context.error
        if failed != "GL_NO_ERROR":
            raise RuntimeError(failed)   # the engine makes a DeviceError of whatever comes

    def _release(self):
        try:
            if self._device.fence.pending:
                self._device.settle()
        except TimeoutError:
            _lost.append(self._device)
            return
        for held in (*self._held.values(), *self._params.values()):
            held.release()

    def _buffer(self, context, number):
        if number not in self._held:
            self._held[number] = context.buffer(reserve=self._made[number][0])
        return self._held[number]

    def _texture(self, context, number, rows, offset):
        """Fills every level from rows in a buffer, on the device."""
        levels = self._made[number][1]
        if number not in self._held:
            texture = self._held[number] = context.texture(levels[0][:2], 4)
            texture.build_mipmaps(0, len(levels) - 1)
            texture.filter = context.LINEAR_MIPMAP_LINEAR, context.LINEAR
            texture.repeat_x = texture.repeat_y = False
        context.memory_barrier()
        level_rows = context.buffer(reserve=4 * levels[0][0] * levels[0][1])    # a texture is written from its start
        for level, (width, height, at) in enumerate(levels):
            context.copy_buffer(level_rows, self._buffer(context, rows), 4 * width * height, read_offset=offset + at)
            self._held[number].write(level_rows, level=level)
        level_rows.release()

    def _upload(self, context, number, memory):
        self._buffer(context, number).write(memory)

    def _read(self, context, number, memory):
        context.memory_barrier()
        self._device.settle()
        self._buffer(context, number).read_into(memory, size=memory.nbytes)

    def _dispatch(self, context, shader, windows, params, parts, groups):
        for binding, number, offset, size in parts:
            if self._made[number][1]:
                self._held[number].use(binding)
            else:
                self._buffer(context, number).bind_to_storage_buffer(binding, offset, size)
        if params:
            if len(params) not in self._params:
                self._params[len(params)] = context.buffer(reserve=(len(params) + 15) // 16 * 16, dynamic=True)
            block = self._params[len(params)]
            block.write(params)
            block.bind_to_uniform_block(PARAMS)
        program, new = self._device.program(shader, windows)
        self.pipelines_created += new
        context.memory_barrier()
        program.run(*groups)
