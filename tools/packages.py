# SPDX-License-Identifier: Apache-2.0
"""What a clone needs from the system: how to see that it is there, and which Debian package brings it."""

import ctypes
import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

DATA = ("/usr/share", "/usr/local/share", "/etc")


class Problem(Exception):
    """One line for the user: what is wrong and what to do."""


def program(*names):
    return lambda: any(shutil.which(name) for name in names)


def library(name):
    def found():
        try:
            ctypes.CDLL(name)
        except OSError:
            return False
        return True

    return found


def data_file(pattern):
    return next((path for root in DATA for path in sorted(Path(root).glob(pattern))), None)


def lavapipe_icd():
    return data_file("vulkan/icd.d/lvp_icd*.json")


def llvmpipe():
    """Mesa's software OpenGL: a file of its own, and from Mesa 24.2 on part of one library."""
    return any(next(Path("/usr/lib").glob(name), None) for name in ("*/dri/swrast_dri.so", "*/libgallium*.so"))


def header(name, *folders):
    return lambda: any((Path(folder) / name).is_file() for folder in folders)


def compiler():
    return bool(shutil.which(os.environ.get("CXX", "c++")))


# (what it is, Debian package, is it there?)
BUILD = (
    ("C++20 compiler", "g++", compiler),
    ("CMake", "cmake", program("cmake")),
    ("Ninja", "ninja-build", program("ninja")),
    ("Python's headers", "python3-dev", header("Python.h", sysconfig.get_paths()["include"])),
    ("Python's venv module", "python3-venv",
     lambda: bool(importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"))),
)
# The engine builds without these; the Vulkan backend then says that it was left out.
VULKAN = (
    ("Vulkan headers", "libvulkan-dev", header("vulkan/vulkan.h", "/usr/include", "/usr/local/include")),
    ("glslangValidator", "glslang-tools", program("glslangValidator")),
)
TEST = (
    ("Vulkan loader", "libvulkan1", library("libvulkan.so.1")),
    ("lavapipe", "mesa-vulkan-drivers", lambda: lavapipe_icd() is not None),
    ("OpenGL", "libgl1", library("libGL.so.1")),
    ("EGL", "libegl1", library("libEGL.so.1")),
    ("Mesa's EGL", "libegl-mesa0", library("libEGL_mesa.so.0")),
    ("llvmpipe", "libgl1-mesa-dri", llvmpipe),
    ("Vulkan validation layer", "vulkan-validationlayers",
     lambda: data_file("vulkan/explicit_layer.d/VkLayer_khronos_validation.json") is not None),
    ("spirv-val", "spirv-tools", program("spirv-val")),
    ("readelf", "binutils", program("readelf")),
    ("openssl", "openssl", program("openssl")),
)


def missing(needs):
    return [(what, package) for what, package, there in needs if not there()]


def install_packages(level, execute, announce):
    """Installs exactly what is missing when root on a Debian system; else names the one line that does."""
    optional = VULKAN if level == "demo" else ()
    lacking = missing(BUILD + VULKAN + (TEST if level == "test" else ()))
    if not lacking:
        return
    names = [package for _, package in lacking]
    line = "apt-get update && apt-get install -y --no-install-recommends " + " ".join(names)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        announce("system packages: " + " ".join(names))
        execute("packages", ["sh", "-c", line], f"With a network, run: {line}.")
        lacking = missing(BUILD + VULKAN + (TEST if level == "test" else ()))
    hard = [what for what, package in lacking if package not in [p for _, p, _ in optional]]
    if hard:
        sudo = "" if os.geteuid() == 0 else "sudo "
        raise Problem(f"system: got no {', no '.join(hard)}. Run: {sudo}sh -c '{line}'")
    for what, package in lacking:
        announce(f"no {what}: the Vulkan backend is left out (Debian: {package})")
