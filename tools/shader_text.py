# SPDX-License-Identifier: Apache-2.0
"""One shader, two more texts: OpenGL GLSL with its includes resolved, and CUDA C++.

`python tools/shader_text.py --out FOLDER SHADER...` writes NAME.glsl, NAME.cu and NAME.inc, both as C++ strings.

The CUDA text is the shader itself, line for line, between a prelude (shaders/lib/cuda.h) and a kernel:
- the shader's globals and functions become members of a struct, so that functions see the buffers as they do in GLSL;
  everything is inlined, and the struct is gone from the machine code;
- a buffer is a pointer, a readonly one `const T* __restrict__`: no stage binds memory that it writes as a readonly
  buffer too. Others may alias, as the windows of one buffer do;
- a `uniform sampler2D` is a texture object, which `textureLod` of the prelude reads;
- the kernel's arguments are the buffers and textures by binding, then the Params by value, where the shader has them.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

SHADERS = Path(__file__).resolve().parent.parent / "shaders"
LICENCE = "// SPDX-License-Identifier: Apache-2.0"
DEVICE = "__device__ __forceinline__"
GL_VERSION = "#version 430"
# 64-bit pointers need no windows; OpenGL's caller says 1 where both buffers fit the first one
CUDA_SPECIAL = {"WINDOWS": "1u"}


class ShaderError(Exception):
    """A line that the translator does not know: it never passes one on in silence."""


@dataclass
class Line:
    text: str
    shared: bool        # of shaders/shared/


@dataclass
class Buffer:
    name: str           # of its block
    binding: int
    type: str
    array: str
    readonly: bool

    def argument(self):
        return f"const {self.type}* __restrict__ {self.array}" if self.readonly else f"{self.type}* {self.array}"


@dataclass
class Texture:
    array: str          # its name
    binding: int

    def argument(self):
        return f"cudaTextureObject_t {self.array}"


def lines_of(path, defined):
    """The file's lines with includes and conditionals resolved, comments and directives to the compiler dropped.

    `defined` maps macros to their text and grows with every #define; function-like ones are not looked up.
    """
    groups = []         # of each open conditional: is it taken?
    for number, raw in enumerate(Path(path).read_text().splitlines(), 1):
        text = re.sub(r"\s*//.*", "", raw).rstrip()
        word = re.match(r"\s*#\s*(\w+)\s*(.*)", text)
        if not word:
            if all(groups) and (text or not raw.strip()) and text not in ("SHARED_BEGIN", "SHARED_END"):
                yield Line(text, Path(path).parent.name == "shared")
            continue
        directive, rest = word.groups()
        if directive in ("ifdef", "ifndef"):
            groups.append((rest in defined) == (directive == "ifdef"))
        elif directive == "else":
            groups[-1] = not groups[-1]
        elif directive == "endif":
            groups.pop()
        elif not all(groups) or directive in ("version", "extension"):
            continue
        elif directive == "pragma":
            if "CUDA" in defined:
                yield Line(text, Path(path).parent.name == "shared")
        elif directive == "include" and rest.startswith('"'):
            name = rest.strip('"')
            beside = Path(path).parent / name
            yield from lines_of(beside if beside.is_file() else SHADERS / name, defined)
        elif directive == "define":
            name, _, value = rest.partition(" ")
            defined[name] = value.strip()
            if not name.endswith("_H"):
                yield Line(text, Path(path).parent.name == "shared")
        else:
            raise ShaderError(f"{Path(path).name}:{number}: got {text.strip()!r}, expected ifdef, ifndef, else, endif, "
                              "include, define or pragma.")


def tidy(text):
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def special(text, values):
    """Specialisation constants as macros, so that the caller may define them first."""
    def macro(found):
        name, value = found.groups()
        return f"#ifndef {name}\n#define {name} {values.get(name, value)}\n#endif"

    return re.sub(r"^SPECIAL\(\d+, (\w+), (\w+)\);", macro, text, flags=re.M)


def name_of(path):
    return Path(path).name.split(".")[0]


def glsl(path):
    """OpenGL 4.3 text of a shader. WINDOWS may be defined after the first line."""
    body = "\n".join(line.text for line in lines_of(path, {}))
    return f"{GL_VERSION}\n{LICENCE}\n" + tidy(special(body, {}))


def cut(pattern, text):
    """(what the pattern's groups matched each time, the text without it)"""
    return [found.groups() for found in re.finditer(pattern, text, re.M)], re.sub(pattern, "", text, flags=re.M)


def slots_of(body, defined):
    found, body = cut(r"^layout\(std430, binding = (\d+)\) ([\w ]*)buffer (\w+) \{ (\w+) (\w+)\[\]; \};", body)
    result = []
    for binding, access, name, kind, array in found:
        words = " ".join(defined.get(word, word) for word in access.split()).split()
        if not set(words) <= {"readonly", "writeonly", "coherent"}:
            raise ShaderError(f"buffer {name}: got {access.strip()!r}, expected readonly, writeonly or coherent.")
        result.append(Buffer(name, int(binding), kind, array, "readonly" in words))
    textures, body = cut(r"^layout\(binding = (\d+)\) uniform sampler2D (\w+);", body)
    result += [Texture(name, int(binding)) for binding, name in textures]
    return sorted(result, key=lambda slot: slot.binding), body


def functions(text):
    """Marks every function as CUDA's, and says `T&` for what GLSL gives back through `out` and `inout`."""
    def mark(found):
        kind, name, parameters = found.groups()
        parameters = re.sub(r"\b(?:inout|out) (\w+) ", r"\1& ", parameters)
        return f"{DEVICE} {kind} {'invoke' if name == 'main' else name}({parameters})"

    return re.sub(r"^(\w+) (\w+)\(([^(){};]*)\)(?=\s*\{)", mark, text, flags=re.M)


def float_literals(text):
    """`0.5` is a float in GLSL and a double in C++."""
    return re.sub(r"(?<![\w.])((?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\w.])", r"\1f", text)


def check(name, text):
    for line in functions(text).splitlines():
        if unknown := re.search(r"\b(layout|buffer|uniform|shared|in|out|inout|PARAMS|SPECIAL)\b", line):
            raise ShaderError(f"{name}: {unknown[0]!r} has no CUDA text in {line.strip()!r}. "
                              "Write it as other shaders do, or teach tools/shader_text.py.")


def local_of(name, found):
    if len(found) != 1:
        raise ShaderError(f"{name}: got {len(found)} local sizes, expected 1.")
    sizes = dict(re.findall(r"local_size_([xyz]) = (\d+)", found[0][0]))
    return tuple(int(sizes.get(axis, 1)) for axis in "xyz")


def cuda(path):
    """CUDA C++20 text of a shader: one kernel of the shader's name."""
    name, defined = name_of(path), {"CUDA": ""}
    lines = list(lines_of(path, defined))
    head = float_literals("\n".join(line.text for line in lines if line.shared))
    body = "\n".join(line.text for line in lines if not line.shared)
    params, body = cut(r"^PARAMS\((\w+)\);", body)
    local, body = cut(r"^layout\((local_size_[^)]*)\) in;", body)
    local = local_of(name, local)
    slots, body = slots_of(body, defined)
    shared, body = cut(r"^shared ([^;]+;)", body)
    specials, body = cut(r"^(SPECIAL\([^)]*\);)", body)
    # a struct has neither macros nor shared memory of its own
    macros, body = cut(r"^(#define .*)", body)
    check(name, body)
    arguments = [slot.argument() for slot in slots]
    members = [f"{argument};" for argument in arguments]
    names = [slot.array for slot in slots]
    for (kind,) in params:
        arguments.append(f"const __grid_constant__ {kind} p")
        members.append(f"const {kind}& p;")
        names.append("p")
    text = "\n".join([
        "\n".join(f"#define LOCAL_{axis} {size}u" for axis, size in zip("XYZ", local, strict=True)),
        f"#define BLOCK_WAITS {int('barrier()' in body)}     // do its threads wait for one another?",
        "\n".join(line.text for line in lines_of(SHADERS / "lib" / "cuda.h", {})),
        head,
        *(special(line, CUDA_SPECIAL) for (line,) in specials),
        *(line for (line,) in macros),
        "",
        *(f"__shared__ {line}" for (line,) in shared),
        "\nstruct Kernel\n{",
        *members,
        functions(float_literals(body)),
        "};\n",
        f'extern "C" __global__ void __launch_bounds__({local[0] * local[1] * local[2]})',
        f"{name}({(',' + chr(10) + '    ').join(arguments)})",
        "{",
        f"    Kernel{{{', '.join(names)}}}.invoke();",
        "}",
    ])
    return f"{LICENCE}\n" + tidy(text)


def quoted(name, text):
    """A C++ string, a line of text to a line."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in text.splitlines())
    return f"constexpr char {name}[] =\n" + "\n".join(f'    "{line}\\n"' for line in escaped) + ";\n"


def write(path, folder):
    name, folder = name_of(path), Path(folder)
    texts = {"glsl": glsl(path), "cu": cuda(path)}
    for suffix, text in texts.items():
        (folder / f"{name}.{suffix}").write_text(text)
    strings = quoted(f"{name}_glsl", texts["glsl"]) + quoted(f"{name}_cuda", texts["cu"])
    (folder / f"{name}.inc").write_text(f"{LICENCE}\n" + strings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shader", nargs="+")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    try:
        for shader in options.shader:
            write(shader, options.out)
    except ShaderError as error:
        sys.exit(f"shader_text: {error}")


if __name__ == "__main__":
    main()
