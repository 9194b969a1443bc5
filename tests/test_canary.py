# SPDX-License-Identifier: Apache-2.0
"""Planted faults that each proof of absence must see. A canary that is not reported fails, a tool that is missing
fails too, and each has a control without the fault, which must be clean.
"""

import os
import re
import subprocess

import pytest
from child import TREE, child, compiled, descriptors
from conftest import BACKENDS, DEVICES, manifest
from test_leak import MIB, steady

DRIVERS = [name for name in BACKENDS if name in DEVICES]


# The validation layer, with the settings of tools/validation.sh and nothing else

HAZARDS = {
    "none": None,
    "core": "VUID-vkCmdCopyBuffer-srcBuffer-00118",
    "leak": "VUID-vkDestroyDevice-device-00378",
    "sync": "SYNC-HAZARD-READ-AFTER-WRITE",     # within a command buffer
    "submit": "SYNC-HAZARD-WRITE-AFTER-READ",   # between two submissions
}
LAYER = ("VK_LAYER", "VK_INSTANCE_LAYERS", "VK_VALIDATION", "VK_LOADER", "XDG_DATA_HOME")


@pytest.fixture(scope="module")
def hazard(tmp_path_factory):
    sources = ["tests/canary/hazard.cpp", *(f"engine/vulkan/{name}.cpp" for name in
                                            ("context", "loader", "error", "fault", "sample_vrs_device")),
               "engine/error.cpp", "engine/handle.cpp"]
    return compiled(tmp_path_factory.mktemp("canary"), "hazard", sources, "-O0")


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    """What tools/validation.sh exports, on top of an environment without a word of layers."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(LAYER)}
    empty = str(tmp_path_factory.mktemp("empty"))
    done = subprocess.run(["bash", "-c", ". tools/validation.sh && env -0"], cwd=TREE, text=True, check=True,
                          capture_output=True, env=clean | {"FOVEATE_EMPTY": empty})
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


def messages(hazard, fault, driver, environment):
    files = manifest(driver)
    assert files, f"{driver}: no driver manifest"
    done = subprocess.run([hazard, fault], capture_output=True, text=True, timeout=60,
                          env=environment | {"VK_DRIVER_FILES": files, "VK_ICD_FILENAMES": files})
    assert done.returncode == 0, done.stderr
    return int(re.match(r"messages (\d+)", done.stdout)[1]), done.stdout


@pytest.mark.parametrize("fault", HAZARDS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_validation_layer(hazard, validation, driver, fault):
    count, text = messages(hazard, fault, driver, validation)
    if HAZARDS[fault] is None:
        assert count == 0, text
    else:
        assert count > 0, "the layer is missing, or says nothing"
        assert HAZARDS[fault] in text


@pytest.mark.parametrize("driver", DRIVERS[:1])
def test_without_the_layer_nothing_is_counted(hazard, validation, driver):
    """The messages above are the layer's, and those settings are what brings it."""
    clean = {k: v for k, v in validation.items() if not k.startswith(LAYER)}
    assert messages(hazard, "core", driver, clean)[0] == 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_engine_is_quiet_and_counted(validation, driver):
    """The same settings on a whole run: no message, and the layer is really in the process."""
    script = """
import sys, test_fault
sweep = test_fault.Sweep(sys.argv[1])
engine = sweep.make()
sweep.use(engine)
assert "libVkLayer_khronos_validation" in open("/proc/self/maps").read(), "no layer"
assert engine.stats["messages"] == 0
engine.close()
print(sweep.testing.messages(), sweep.testing.message_texts())
"""
    layers = {k: v for k, v in validation.items() if k.startswith(LAYER)}
    assert child(driver, script, driver, **layers) == "0 []"


# The sanitizers, with the flags of CMakeLists.txt and the options of tools/sanitize.sh

SANITIZERS = {
    ("address,undefined", "heap"): "heap-use-after-free",
    ("address,undefined", "leak"): "detected memory leaks",
    ("address,undefined", "undefined"): "signed integer overflow",
    ("address,undefined", "none"): None,
    ("thread", "race"): "data race",
    ("thread", "none"): None,
}


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Program by sanitizer."""
    flags = re.search(r"^ *(-O1 .*-fsanitize=\$\{FOVEATE_SANITIZE\}.*)\)$", (TREE / "CMakeLists.txt").read_text(), re.M)
    assert flags, "CMakeLists.txt: the sanitizers' flags"
    folder = tmp_path_factory.mktemp("sanitized")
    return {name: compiled(folder, name.replace(",", "-"), ["tests/canary/sanitizer.cpp"],
                           *flags[1].replace("${FOVEATE_SANITIZE}", name).split())
            for name in {name for name, _ in SANITIZERS}}


@pytest.mark.parametrize("sanitizer,fault", SANITIZERS)
def test_sanitizer(sanitized, sanitizer, fault):
    script = (TREE / "tools/sanitize.sh").read_text()
    given = dict(re.findall(r"^export (\w+_OPTIONS)=(\S+)$", script, re.M))
    assert given.keys() == {"ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}
    environment = os.environ | {k: v.replace("$PWD", str(TREE)) for k, v in given.items()}
    done = subprocess.run([sanitized[sanitizer], fault], capture_output=True, text=True, timeout=60, env=environment)
    expected = SANITIZERS[sanitizer, fault]
    if expected is None:
        assert (done.returncode, done.stdout, done.stderr) == (0, "ran to the end\n", "")
    else:
        assert done.returncode != 0 and expected in done.stderr, (done.returncode, done.stderr[-2000:])


# What tests/test_leak.py and tests/test_fault.py look with

def test_a_leaked_descriptor_is_seen():
    kept = []

    def work():
        kept.append(os.open(os.devnull, os.O_RDONLY))

    with pytest.raises(AssertionError, match="open files"):
        steady(work, 1, 3, 64 * MIB)
    for fd in kept:
        os.close(fd)


def test_leaked_memory_is_seen():
    kept = []
    with pytest.raises(AssertionError, match="memory: got"):
        steady(lambda: kept.append(b"x" * (8 << 10)), 256, 3, 1 * MIB)
    assert steady(lambda: bytes(8 << 10), 256, 3, 1 * MIB) <= MIB


def test_the_listing_of_descriptors_sees_one():
    before = descriptors()
    fd = os.open(os.devnull, os.O_RDONLY)
    assert len(descriptors()) == len(before) + 1
    os.close(fd)
    assert descriptors() == before


PLANTED = {  # a line that spoils a sweep, and the complaint it must lead to
    "other bytes": ("sweep.golden = b''", "no error, and other bytes"),
    "slow": ("sweep.limit_s = 0", "took"),
    "open file": ("run = sweep.canonical; sweep.canonical = lambda: (os.open(os.devnull, 0), run())[1]", "open"),
    "foreign error": ("sweep.canonical = foreign", "KeyError"),
    "nothing raised": ("sweep.attempt = lambda *_: None", "raised 0"),
}


@pytest.mark.parametrize("fault", PLANTED)
@pytest.mark.parametrize("driver", DRIVERS[:1])
def test_a_fault_sweep_sees(driver, fault):
    line, complaint = PLANTED[fault]
    script = f"""
import os, sys, test_fault
def foreign():
    raise KeyError("no foveate.Error")
sweep = test_fault.Sweep(sys.argv[1])
pairs = [(1, -4), (sweep.calls, -4)]  # one that raises, one that does not
{line}
try:
    sweep.whole(pairs)
except KeyError:
    pass
print("raised", sweep.raised, *sweep.complaints, sep=" ")
"""
    assert complaint in child(driver, script, driver)
