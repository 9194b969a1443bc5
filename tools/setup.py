# SPDX-License-Identifier: Apache-2.0
"""Makes a clone ready: system packages, .venv, Python packages, the build, more Vulkan drivers.

Every step looks before it acts, so running again is quick, and repairs whatever an interrupted run left.
What a step needs to know about its last run is a stamp: a hash of what the result was made from.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

from packages import Problem, install_packages, lavapipe_icd

TREE = Path(__file__).resolve().parent.parent
CACHE = TREE / ".cache"
VENV = TREE / ".venv"
STAMPS = VENV / "stamps"  # inside, so that they go with what they describe
PYTHON = VENV / "bin" / "python"
BUILD = TREE / "build" / "dev"
SWIFTSHADER = CACHE / "swiftshader"
MOCK = CACHE / "mock"
VISION = CACHE / "vision"
LEVELS = ("demo", "test")  # each has all of the ones before it


def clean_environment():
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return env | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "DEBIAN_FRONTEND": "noninteractive"}


def execute(name, command, hint, tail=0):
    """Runs quietly into .cache/log/<name>.log; a failure is one line that names the log and what to do."""
    log = CACHE / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        code = subprocess.run(
            [str(c) for c in command], cwd=TREE, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env=clean_environment(),
        ).returncode
    text = log.read_text(errors="replace")
    if code:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        for line in lines[-tail:] if tail else []:
            print(line, file=sys.stderr)
        # tools wrap up with advice: the first compiler error, else the first line marked as one, is the cause
        marked = [line for mark in (r": (fatal )?error:", r"^(ERROR|E|error|CMake Error)\b", r"(?i)error|not found")
                  for line in lines if re.search(mark, line)]
        error = (marked or lines[-1:] or ["no output"])[0]
        raise Problem(f"{name}: got exit status {code} ({error[:160]}). {hint} Log: {log.relative_to(TREE)}")
    return text


def digest(*parts):
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def stamped(name, key):
    path = STAMPS / name
    return path.is_file() and path.read_text() == key


def stamp(name, key):
    STAMPS.mkdir(parents=True, exist_ok=True)
    temporary = STAMPS / f".{name}"
    temporary.write_text(key)
    temporary.replace(STAMPS / name)


def announce(text):
    print(f"setup: {text}", flush=True)


def make_venv():
    key = digest(sys.version, sys.prefix, VENV)
    works = PYTHON.exists() and subprocess.run(
        [PYTHON, "-c", "import pip"], capture_output=True, env=clean_environment()
    ).returncode == 0
    if stamped("venv", key) and works:
        return
    announce(f"virtual environment (.venv, Python {sysconfig.get_python_version()})")
    shutil.rmtree(VENV, ignore_errors=True)
    execute("venv", [sys.executable, "-m", "venv", VENV], "Run `make setup` again.")
    stamp("venv", key)


def requirements(project, extra):
    """The requirements of an extra, with this package's own extras written out."""
    found = []
    for item in project["optional-dependencies"][extra]:
        own = item.removeprefix(project["name"] + "[").removesuffix("]")
        found += requirements(project, own) if own != item else [item]
    return found


def installed():
    return sorted(p.name for p in VENV.glob("lib/python*/site-packages/*.dist-info") if p.name[:7] != "foveate")


def install_requirements(level):
    meta = tomllib.loads((TREE / "pyproject.toml").read_text())
    project = meta["project"]
    extras = {"demo": "demo", "test": "dev"}
    for other in LEVELS[LEVELS.index(level):]:
        wanted = meta["build-system"]["requires"] + project["dependencies"]
        wanted += requirements(project, extras[other])
        key = digest(*sorted(wanted))
        record = STAMPS / f"pip-{other}"
        # the stamp's second line on is what pip left behind: a package that vanished is put back
        kept = record.read_text().splitlines() if record.is_file() else [""]
        if kept[0] == key and set(kept[1:]) <= set(installed()):
            return
        if other == level:
            mine = wanted, key
    wanted, key = mine
    announce(f"Python packages for {level} ({len(set(wanted))} and what they need)")
    execute("pip", [PYTHON, "-m", "pip", "install", "--retries", "2", *dict.fromkeys(wanted)],
            "With a network, run the same command again.")
    stamp(f"pip-{level}", "\n".join([key, *installed()]))


def install_vision():
    """timm and torchvision, beside the venv and not in it: transformers takes other ways where it sees torchvision, and
    tests want both worlds. Without what they need: the wheel's operators are for CUDA, and are not asked for.
    """
    wanted = ["timm==1.0.31", "torchvision==0.28.0"]
    key = digest(*wanted, sys.version)
    if stamped("vision", key) and all((VISION / name.partition("==")[0]).is_dir() for name in wanted):
        return
    announce("timm and torchvision (in .cache/vision)")
    shutil.rmtree(VISION, ignore_errors=True)
    execute("vision", [PYTHON, "-m", "pip", "install", "--retries", "2", "--no-deps", "--target", VISION, *wanted],
            "With a network, run the same command again.")
    stamp("vision", key)


def build(level):
    """The package, editable, in the venv; the build folder stays, so a changed file is one compile."""
    names = sorted(p.relative_to(TREE) for p in (TREE / "python" / "foveate").rglob("*.py"))
    sources = [TREE / "pyproject.toml", TREE / "CMakeLists.txt", *sorted(TREE.glob("cmake/*.cmake"))]
    vulkan = [shutil.which("glslangValidator"), Path("/usr/include/vulkan/vulkan.h").exists()]
    key = digest(*names, *(p.read_text() for p in sources), vulkan, PYTHON)
    hint = "Mend the source and run the same command again."
    if any(stamped(f"build-{other}", key) for other in LEVELS[LEVELS.index(level):]):
        execute("build", ["cmake", "--build", BUILD], hint, tail=30)
        # always: what was built by hand is not installed yet
        site = next(VENV.glob("lib/python*/site-packages"))
        if "-- Installing:" in execute("install", ["cmake", "--install", BUILD, "--prefix", site], hint):
            announce("rebuilt what had changed")
        return
    announce("building foveate (engine and Python module)")
    cache = BUILD / "CMakeCache.txt"
    if cache.exists() and f"CMAKE_HOME_DIRECTORY:INTERNAL={TREE}\n" not in cache.read_text(errors="replace"):
        shutil.rmtree(BUILD)  # the clone was moved: CMake refuses such a folder
    tests = "ON" if level == "test" else "OFF"
    execute("build", [PYTHON, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "-v", "-e", ".",
                      f"-Cbuild-dir={BUILD.relative_to(TREE)}", f"-Ccmake.define.FOVEATE_TESTS={tests}"],
            hint, tail=30)
    stamp(f"build-{level}", key)


def fetch_drivers():
    """From Debian's Chromium, unpacked here and not installed: a second Vulkan driver, unrelated to Mesa; and
    Khronos' mock driver, which executes nothing, with a validation layer newer than the system's.
    """
    libraries = {SWIFTSHADER: ("libvk_swiftshader.so",),
                 MOCK: ("libVkICD_mock_icd.so", "libVkLayer_khronos_validation.so")}
    missing = [f"{folder.name}/{name}" for folder, names in libraries.items() for name in names
               if not (folder / name).is_file()]
    if missing:
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise Problem(f"drivers: got no apt-get here, expected Debian. "
                          f"Put {', '.join(missing)} into {CACHE.relative_to(TREE)}/ and run again.")
        announce("SwiftShader, mock driver and validation layer (from Debian's chromium-common, unpacked into .cache)")
        temporary = CACHE / "drivers.partial"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        fetch = f"cd '{temporary}' && apt-get download chromium-common"
        lists = "" if os.geteuid() else "apt-get update && "
        execute("drivers", ["sh", "-c", f"({fetch}) || ({lists}{fetch})"],
                "With a network, run the same command again.")
        inside = " ".join(f"./usr/lib/chromium/{name}" for names in libraries.values() for name in names)
        execute("drivers", ["sh", "-c", f"cd '{temporary}' && dpkg-deb --fsys-tarfile chromium-common_*.deb"
                                        f" | tar -x --strip-components=4 {inside}"], "Run the same command again.")
        for folder, names in libraries.items():
            folder.mkdir(exist_ok=True)
            for name in names:
                (temporary / name).replace(folder / name)
        shutil.rmtree(temporary)
    for folder, names in libraries.items():
        write_manifest(folder / "icd.json", ICD={"library_path": str(folder / names[0]), "api_version": "1.3.0"})
    write_manifest(MOCK / "layers" / "VkLayer_khronos_validation.json", layer={
        "name": "VK_LAYER_KHRONOS_validation", "type": "GLOBAL", "library_path": str(MOCK / libraries[MOCK][1]),
        "api_version": "1.3.0", "implementation_version": "1", "description": "Khronos' validation, a newer one"})


def write_manifest(path, **content):
    text = json.dumps({"file_format_version": "1.0.0", **content}, indent=2) + "\n"
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def environment_file():
    """What the lanes need to know, for the Makefile to source."""
    lavapipe = lavapipe_icd()
    if not lavapipe:
        raise Problem("lavapipe: got no ICD file, expected lvp_icd*.json. Install mesa-vulkan-drivers.")
    (CACHE / "empty").mkdir(parents=True, exist_ok=True)
    lines = [f"export FOVEATE_ICD_LAVAPIPE='{lavapipe}'",
             f"export FOVEATE_ICD_SWIFTSHADER='{SWIFTSHADER / 'icd.json'}'",
             f"export FOVEATE_ICD_MOCK='{MOCK / 'icd.json'}'",
             f"export FOVEATE_LAYERS_NEW='{MOCK / 'layers'}'",
             f"export FOVEATE_VISION='{VISION}'",
             # a user's own vk_layer_settings.txt would beat ours
             f"export FOVEATE_EMPTY='{CACHE / 'empty'}'"]
    (CACHE / "env.sh").write_text("\n".join(lines) + "\n")


def main(arguments):
    level = arguments[0] if arguments else "test"
    if level not in LEVELS:
        raise Problem(f"level: got {level!r}, expected {' or '.join(LEVELS)}.")
    start = time.monotonic()
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            announce("waiting for another set-up of this clone")
            fcntl.flock(lock, fcntl.LOCK_EX)
        install_packages(level, execute, announce)
        make_venv()
        install_requirements(level)
        build(level)
        if level == "test":
            install_vision()
            fetch_drivers()
            environment_file()
    announce(f"ready for {level} ({time.monotonic() - start:.1f} s)")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Problem as problem:
        sys.exit(f"setup: {problem}")
    except OSError as error:  # a full disk, a read-only tree
        sys.exit(f"setup: {error.filename or TREE}: got {error.strerror}. Mend it and run the same command again.")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted. Run the same command again: it goes on where it stopped.")
