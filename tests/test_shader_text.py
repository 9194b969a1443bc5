# SPDX-License-Identifier: Apache-2.0
"""One shader, three texts: what the translator writes, that the build embeds it, and that OpenGL takes it."""

import re
import shutil
import subprocess
import sys

import pytest
from foveate import _core, gl
from kernels import TREE

sys.path.insert(0, str(TREE / "tools"))

import shader_text

PATHS = {shader_text.name_of(path): path for path in sorted((TREE / "shaders").glob("*.comp.glsl"))}
EXAMPLE = """
// a comment
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "shared/warp.h"
PARAMS(WarpParams);
layout(local_size_x = 8, local_size_y = 2) in;
#define ACCESS readonly
SPECIAL(0, WINDOWS, 4u);
SPECIAL(1, DEPTH, 3u);
layout(std430, binding = 1) writeonly buffer Out { uint words[]; };
layout(std430, binding = 0) ACCESS buffer In { WarpHead heads[]; };
layout(binding = 2) uniform sampler2D picture;
shared float row[16];

void half_of(uint a, inout float b, out uint c)
{
    precise float d = b * 0.5 + 1e-6 + .25e2;
    b = d;
    c = a;
}
#pragma unroll 1
void main() { barrier(); }
"""


def example(tmp_path, text=EXAMPLE):
    path = tmp_path / "example.comp.glsl"
    path.write_text(text)
    return path


def test_cuda_text(tmp_path):
    text = shader_text.cuda(example(tmp_path))
    for piece in (
        "#define LOCAL_X 8u\n#define LOCAL_Y 2u\n#define LOCAL_Z 1u\n#define BLOCK_WAITS 1",
        "#ifndef WINDOWS\n#define WINDOWS 1u\n#endif", "#ifndef DEPTH\n#define DEPTH 3u\n#endif",
        "__shared__ float row[16];\n\nstruct Kernel\n{\n"
        "const WarpHead* __restrict__ heads;\nuint* words;\ncudaTextureObject_t picture;\nconst WarpParams& p;\n",
        "__device__ __forceinline__ void half_of(uint a, float& b, uint& c)\n",
        "precise float d = b * 0.5f + 1e-6f + .25e2f;",
        "#pragma unroll 1\n__device__ __forceinline__ void invoke() { barrier(); }",
        'extern "C" __global__ void __launch_bounds__(16)\nexample(const WarpHead* __restrict__ heads,\n'
        "    uint* words,\n    cudaTextureObject_t picture,\n    const __grid_constant__ WarpParams p)\n{\n"
        "    Kernel{heads, words, picture, p}.invoke();\n}",
    ):
        assert piece in text
    assert "static_assert" not in text and "comment" not in text


def test_glsl_text(tmp_path):
    text = shader_text.glsl(example(tmp_path))
    assert text.startswith("#version 430\n")
    assert "#ifndef WINDOWS\n#define WINDOWS 4u\n#endif" in text
    assert "#include" not in text and "push_constant" not in text and "#pragma" not in text
    assert "struct WarpRun" in text and "precise float d = b * 0.5 + 1e-6 + .25e2;" in text


@pytest.mark.parametrize("line, message", [
    ("layout(r32f, binding = 3) uniform image2D picture;", "'layout' has no CUDA text"),
    ("layout(std430, binding = 3) restrict buffer Other { uint other[]; };", "buffer Other: got 'restrict'"),
    ("layout(local_size_x = 8) in;", "got 2 local sizes"),
    ("#if 1", "got '#if 1'"),
])
def test_what_it_does_not_know_is_an_error(tmp_path, line, message):
    with pytest.raises(shader_text.ShaderError, match=re.escape(message)):
        shader_text.cuda(example(tmp_path, EXAMPLE + line + "\n"))


def test_command(tmp_path):
    def run(path):
        return subprocess.run([sys.executable, TREE / "tools" / "shader_text.py", "--out", tmp_path, path],
                              capture_output=True, text=True)

    path = example(tmp_path)
    assert run(path).returncode == 0
    assert (tmp_path / "example.glsl").read_text() == shader_text.glsl(path)
    assert (tmp_path / "example.cu").read_text() == shader_text.cuda(path)
    assert (tmp_path / "example.inc").is_file()
    bad = run(example(tmp_path, EXAMPLE + "#if 1\n"))
    assert bad.returncode == 1 and bad.stderr.startswith("shader_text: example.comp.glsl:")


@pytest.mark.parametrize("name", PATHS)
def test_the_build_embeds_what_the_translator_writes(name):
    shader = _core.shaders()[name]
    assert shader["glsl"] == shader_text.glsl(PATHS[name])
    assert shader["cuda"] == shader_text.cuda(PATHS[name])
    assert shader["spirv"][:4] == b"\x03\x02\x23\x07"
    # the kernel's arguments are the slots of reflection, then the Params
    call = re.search(r"Kernel\{(.*)\}\.invoke", shader["cuda"])[1].split(", ")
    blocks = dict(re.findall(r"buffer (\w+) \{ \w+ (\w+)\[\]", shader["glsl"]))
    blocks |= {name: name for name in re.findall(r"uniform sampler2D (\w+);", shader["glsl"])}
    assert call == [blocks[slot] for slot, _ in shader["slots"]] + ["p"]
    assert shader["slots"] == sorted(shader["slots"], key=lambda slot: slot[1])


def test_the_build_has_all():
    assert sorted(_core.shaders()) == sorted(PATHS)


# OpenGL

@pytest.fixture(scope="module")
def context():
    context = gl.context()
    yield context
    context.release()


@pytest.mark.parametrize("name", PATHS)
def test_glslang_takes_it(name, tmp_path):
    assert shutil.which("glslangValidator"), "got no glslangValidator. Install glslang-tools."
    path = tmp_path / f"{name}.comp"
    path.write_text(shader_text.glsl(PATHS[name]))
    done = subprocess.run(["glslangValidator", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("windows", ["4u", "1u"])
@pytest.mark.parametrize("name", PATHS)
def test_a_driver_takes_it(context, name, windows):
    version, rest = shader_text.glsl(PATHS[name]).split("\n", 1)
    program = context.compute_shader(f"{version}\n#define WINDOWS {windows}\n{rest}")
    shader = _core.shaders()[name]
    bindings = [binding for _, binding in shader["slots"]]
    assert len(bindings) <= context.info["GL_MAX_COMPUTE_SHADER_STORAGE_BLOCKS"]
    assert max(bindings) < context.info["GL_MAX_SHADER_STORAGE_BUFFER_BINDINGS"]
    # std140 of scalars lies as C++ does, and is a whole number of 16 bytes, which is how far a driver may read
    assert program["Params"].size == shader["params_size"]
    assert program["Params"].binding == 15
