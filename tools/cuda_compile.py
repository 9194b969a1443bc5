# SPDX-License-Identifier: Apache-2.0
"""Compiles the CUDA text of every shader, by nvcc or by NVRTC. Neither needs a GPU or its driver.

`python tools/cuda_compile.py` prints what each kernel takes, `--out docs/measured` writes it down. What was compiled
is remembered in .cache/cuda, by a hash of the text, the flags and the compiler.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import shader_text

TREE = Path(__file__).resolve().parent.parent
CACHE = TREE / ".cache" / "cuda"
ARCHES = ("sm_80", "sm_90")
# without --fmad=false a * b + c is rounded once, and the bytes are not those of the other backends
FLAGS = ("--std=c++20", "--fmad=false")


class CompileError(Exception):
    """One line, or what the compiler said."""


@dataclass
class Compiled:
    size: int           # bytes of the cubin
    registers: int
    shared: int         # bytes, static
    stack: int          # bytes of local memory
    spills: int         # bytes stored and loaded


def compiled(log, size):
    """From what ptxas says with -v."""
    frame = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    used = re.findall(r"Used (\d+) registers", log)
    if len(used) != 1 or not frame:
        raise CompileError(f"ptxas: got {log.strip()!r}, expected what one kernel uses.")
    shared = re.search(r"(\d+) bytes smem", log)
    return Compiled(size, int(used[0]), int(shared[1]) if shared else 0, sum(int(f[0]) for f in frame),
                    sum(int(f[1]) + int(f[2]) for f in frame))


class Nvcc:
    def __init__(self):
        """That of PATH, else that of the package nvidia-cuda-nvcc."""
        packaged = sorted(Path(sysconfig.get_paths()["purelib"]).glob("nvidia/cu*/bin/nvcc"))
        self.path = shutil.which("nvcc") or (str(packaged[-1]) if packaged else None)
        if not self.path:
            raise CompileError("nvcc: got none, expected one in PATH or in this Python. "
                               "Run `pip install 'nvidia-cuda-nvcc>=13'`, or `make setup`.")
        self.version = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=True).stdout

    def __call__(self, text, arch):
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder, "kernel.cu"), Path(folder, "kernel.cubin")
            source.write_text(text)
            done = subprocess.run([self.path, "-cubin", f"-arch={arch}", *FLAGS, "-Xptxas", "-v", "-o", out, source],
                                  capture_output=True, text=True)
            if done.returncode:
                raise CompileError(done.stderr)
            return done.stdout + done.stderr, out.stat().st_size


class Nvrtc:
    def __init__(self):
        try:
            from cuda.bindings import nvrtc
        except ImportError as error:
            raise CompileError(f"NVRTC: got no cuda.bindings ({error}), expected it in this Python. "
                               "Run `pip install 'foveate[cuda]'`, or `make setup`.") from None
        self.api = nvrtc
        self.version = str(self.need(nvrtc.nvrtcVersion()))

    def need(self, result):
        code, *values = result
        if code != self.api.nvrtcResult.NVRTC_SUCCESS:
            raise CompileError(f"NVRTC: got {code.name}, expected success.")
        return values[0] if len(values) == 1 else values

    def __call__(self, text, arch):
        options = [option.encode() for option in (*FLAGS, f"-arch={arch}", "--ptxas-options=-v")]
        program = self.need(self.api.nvrtcCreateProgram(text.encode(), b"kernel.cu", 0, [], []))
        try:
            code, = self.api.nvrtcCompileProgram(program, len(options), options)
            log = b" " * self.need(self.api.nvrtcGetProgramLogSize(program))
            self.need(self.api.nvrtcGetProgramLog(program, log))
            if code != self.api.nvrtcResult.NVRTC_SUCCESS:
                raise CompileError(log.decode(errors="replace"))
            return log.decode(errors="replace"), self.need(self.api.nvrtcGetCUBINSize(program))
        finally:
            self.api.nvrtcDestroyProgram(program)


def remembered(compiler, text, arch):
    key = hashlib.sha256("\0".join([type(compiler).__name__, compiler.version, arch, *FLAGS, text]).encode())
    kept = CACHE / f"{key.hexdigest()}.json"
    if kept.is_file():
        return compiled(*json.loads(kept.read_text()))
    log, size = compiler(text, arch)
    result = compiled(log, size)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=CACHE, delete=False) as file:
        json.dump([log, size], file)
    os.replace(file.name, kept)
    return result


def compile_all(compiler, texts):
    """{(name, arch): Compiled, or the CompileError}"""
    def one(job):
        name, arch = job
        try:
            return job, remembered(compiler, texts[name], arch)
        except CompileError as error:
            return job, error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(one, [(name, arch) for name in texts for arch in ARCHES]))


def sources():
    return sorted(shader_text.SHADERS.glob("*.comp.glsl"))


def texts():
    return {shader_text.name_of(path): shader_text.cuda(path) for path in sources()}


def table(compiler, found):
    version = ".".join(re.findall(r"\d+", compiler.version))
    lines = ["# What a kernel takes", "",
             f"NVRTC {version}, `{' '.join(FLAGS)}`. Written by `python tools/cuda_compile.py --out docs/measured`;",
             "no GPU was asked. Local memory is none everywhere, and a test holds that.", "",
             "| kernel | threads | " + " | ".join(f"registers, {arch} | cubin, {arch}" for arch in ARCHES)
             + " | shared memory, bytes |",
             "|---" * (3 + 2 * len(ARCHES)) + "|"]
    for name, text in texts().items():
        threads = re.search(r"__launch_bounds__\((\d+)\)", text)[1]
        each = [found[name, arch] for arch in ARCHES]
        cells = [f"{one.registers} | {one.size / 1024:.0f} KiB" for one in each]
        lines.append(f"| {name} | {threads} | {' | '.join(cells)} | {each[0].shared} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    try:
        compiler = Nvrtc()
    except CompileError as error:
        sys.exit(str(error))
    found = compile_all(compiler, texts())
    if failed := [f"{name}, {arch}: {e}" for (name, arch), e in found.items() if isinstance(e, CompileError)]:
        sys.exit("\n".join(failed))
    text = table(compiler, found)
    print(text, end="")
    if options.out:
        (options.out / "kernels.md").write_text(text)


if __name__ == "__main__":
    main()
