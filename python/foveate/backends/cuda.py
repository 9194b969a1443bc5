# SPDX-License-Identifier: Apache-2.0
"""The stages' shaders as CUDA kernels: for machines that have CUDA and no graphics driver.

Kernels are compiled when a stage first needs them, by NVRTC through cuda-python or CuPy, whichever is there, and kept
on disk beside the pipelines of Vulkan. `pip install foveate[cuda]` brings cuda-python and NVRTC.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from .. import _core
from ..error import UnsupportedError

# --fmad=false: a * b + c is rounded twice, as on the other backends
FLAGS = ("--std=c++20", "--fmad=false")


def candidates():
    """Every device that CUDA sees, or why there is none."""
    found = [dict(candidate) for candidate in _core.cuda_candidates()]
    if not any(candidate["usable"] for candidate in found):
        return found
    try:
        _compiler()
    except UnsupportedError as lacking:
        for candidate in found:
            candidate["usable"] = False
            candidate["reasons"] = [*candidate["reasons"], str(lacking)]
    return found


def executor(wanted=""):
    """What runs lists on the device that `wanted` names: a UUID, an ordinal, a part of the name; "": the first."""
    compiler = _compiler()
    return _core.cuda_executor(wanted, lambda shader, text, compute: _kept(compiler, shader, text, compute))


def _compiler():
    """(name and version, text, options -> cubin) of the first compiler that is there."""
    lacking = []
    for find in (_cuda_python, _cupy):
        try:
            return find()
        except ImportError as error:
            lacking.append(str(error))
    raise UnsupportedError(f"Engine: cuda: got no compiler ({'; '.join(lacking)}), expected cuda-python or CuPy. "
                           "Run: pip install 'foveate[cuda]'")


def _cuda_python():
    from cuda.bindings import nvrtc

    def need(result):
        code, *values = result
        if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise RuntimeError(code.name)
        return values[0] if len(values) == 1 else values

    def compile_text(text, options):
        program = need(nvrtc.nvrtcCreateProgram(text.encode(), b"kernel.cu", 0, [], []))
        try:
            code, = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
            if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
                log = b" " * need(nvrtc.nvrtcGetProgramLogSize(program))
                need(nvrtc.nvrtcGetProgramLog(program, log))
                raise RuntimeError(log.decode(errors="replace").strip("\0 \n"))
            image = b" " * need(nvrtc.nvrtcGetCUBINSize(program))
            need(nvrtc.nvrtcGetCUBIN(program, image))
            return image
        finally:
            nvrtc.nvrtcDestroyProgram(program)

    try:
        return f"NVRTC {need(nvrtc.nvrtcVersion())}", compile_text
    except RuntimeError as broken:      # the package is there and the library is not
        raise ImportError(f"NVRTC cannot be loaded: {broken}") from None


def _cupy():
    from cupy_backends.cuda.libs import nvrtc

    def compile_text(text, options):
        program = nvrtc.createProgram(text, "kernel.cu", (), ())
        try:
            nvrtc.compileProgram(program, options)
            return nvrtc.getCUBIN(program)
        except nvrtc.NVRTCError:
            raise RuntimeError(nvrtc.getProgramLog(program)) from None
        finally:
            nvrtc.destroyProgram(program)

    return f"NVRTC {nvrtc.getVersion()}", compile_text


def _folder():
    """Where kernels are kept, as pipelines are; None: nowhere."""
    chosen = os.environ.get("FOVEATE_CACHE_DIR")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    with contextlib.suppress(RuntimeError):     # there is no home
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "foveate"
    return None


def _kept(compiler, shader, text, compute):
    """The kernel as a file has it, or compiled now. A file that cannot be read or written is only slower."""
    version, compile_text = compiler
    options = (*FLAGS, f"-arch=sm_{compute}")
    key = hashlib.sha256("\0".join((version, *options, text)).encode()).digest()
    folder = _folder()
    path = folder and folder / f"cuda-{shader}-{key.hex()[:16]}.cubin"
    with contextlib.suppress(OSError):
        kept = path.read_bytes() if path else b""
        digest, image = kept[:32], kept[32:]
        if image and digest == hashlib.sha256(key + image).digest():
            return image
    image = compile_text(text, options)
    if path:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(hashlib.sha256(key + image).digest() + image)
            os.replace(file.name, path)
    return image
