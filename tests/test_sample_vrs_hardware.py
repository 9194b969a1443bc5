# SPDX-License-Identifier: Apache-2.0
"""sample, with shading rates: the hardware path, on a machine without the hardware.

A driver of ours (canary/rate_device.cpp) stands in front of another one and says that it has the extension:
before lavapipe it draws at 1x1, so that what is drawn, counted and read back is compared; before Khronos' mock
driver it draws nothing, and a new validation layer sees every call.
"""

import json
import os
from pathlib import Path

import pytest
from child import child, compiled
from conftest import BACKENDS, DEVICES, manifest

LAYER = "VK_LAYER_KHRONOS_validation"
# What the layer says of the loader, whose names are older than its own.
LOADERS_OWN = "WARNING-vkGetDeviceProcAddr-device"
FLAT = [name for name in ("lavapipe",) if name in BACKENDS]
MOCK = ["mock"] if set(BACKENDS) & set(DEVICES) else []     # not where the cpu alone is tested
PREAMBLE = """
import json, sys
import foveate, numpy as np
from foveate import _core, rate_codes
from foveate.sample_vrs import compare, sample_vrs
engine = foveate.Engine(backend="vulkan")
image = np.random.default_rng(1).integers(0, 256, (75, 107, 3), np.uint8)
codes = np.random.default_rng(2).choice(rate_codes.CODES["vulkan"], (10, 14))
"""


def named(variable):
    path = os.environ.get(variable)
    if not path or not Path(path).exists():
        pytest.fail(f"{variable}: got {path!r}, expected what `make setup` wrote to .cache/env.sh.")
    return path


def driver_of(icd):
    return json.loads(Path(icd).read_text())["ICD"]["library_path"]


@pytest.fixture(scope="module")
def shims(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    device = compiled(folder, "librate_device.so", ["tests/canary/rate_device.cpp"], "-shared", "-fPIC")
    fault = compiled(folder, "librate_fault.so", ["tests/canary/rate_fault.cpp"], "-shared", "-fPIC")
    icd = folder / "icd.json"
    icd.write_text(json.dumps({"file_format_version": "1.0.0",
                               "ICD": {"library_path": str(device), "api_version": "1.3.0"}}))
    return str(icd), str(fault)


@pytest.fixture(scope="module")
def on_mock(shims):
    """on_mock(script, fault=None): what a child prints with the mock driver and the new validation layer."""
    icd, fault_library = shims

    def run(script, fault=None, **more):
        environment = {"VK_DRIVER_FILES": icd, "VK_ICD_FILENAMES": icd, "XDG_DATA_HOME": str(Path(icd).parent),
                       "RATE_DEVICE_DRIVER": driver_of(named("FOVEATE_ICD_MOCK")), "RATE_DEVICE_FLAT": "",
                       "VK_LAYER_PATH": named("FOVEATE_LAYERS_NEW"), "VK_INSTANCE_LAYERS": LAYER,
                       "VK_LAYER_ENABLES": "", "VK_VALIDATION_VALIDATE_SYNC": "1",
                       "VK_LAYER_MESSAGE_ID_FILTER": LOADERS_OWN}
        if fault:
            environment |= {"FOVEATE_VULKAN_LIBRARY": fault_library, "RATE_FAULT": fault}
        return child(None, PREAMBLE + script, **environment | more)

    return run


@pytest.fixture(scope="module")
def on_flat(shims):
    """on_flat(driver, script): the same with a driver that draws at 1x1, and without a layer."""
    def run(driver, script, **more):
        icd, behind = shims[0], manifest(driver)
        assert behind, f"{driver}: no driver manifest"
        return child(None, PREAMBLE + script, VK_DRIVER_FILES=icd, VK_ICD_FILENAMES=icd, VK_INSTANCE_LAYERS="",
                     RATE_DEVICE_FLAT="1", RATE_DEVICE_DRIVER=driver_of(behind), **more)

    return run


# Drawn, counted and read back

@pytest.mark.parametrize("driver", FLAT)
def test_what_is_drawn(on_flat, driver):
    got = json.loads(on_flat(driver, """
rate = engine.caps["shading_rate"]
assert rate["usable"] and rate["rates"] == [[1, 1]] and rate["tile"] == [8, 32], rate
results = []
for channels, tile in ((1, 8), (3, 8), (3, 16), (3, 32)):
    part = np.ascontiguousarray(image[..., :channels])
    rates = np.zeros((-(-75 // tile), -(-107 // tile)), np.uint8)
    shaded = sample_vrs(part, rates, tile=tile, engine=engine)
    results.append([shaded.path, shaded.reasons, shaded.agrees, np.array_equal(shaded.image, part),
                    shaded.invocations, shaded.statistic >= shaded.invocations, shaded.profile.rates])
    again = sample_vrs(part, rates, tile=tile, path="software", engine=engine)
    assert again.path == "software" and np.array_equal(again.image, shaded.image)
    assert again.reasons == ("software was asked for",)
array = shaded.array
engine.close()
assert np.array_equal(np.from_dlpack(array), image)
print(json.dumps(results))
""").splitlines()[-1])
    assert got == [["hardware", [], True, True, 75 * 107, True, [[1, 1]]]] * 4


@pytest.mark.parametrize("driver", FLAT)
def test_a_device_that_lies_is_found_out(on_flat, driver):
    """Before lavapipe the shader reads the primitive's rate for the final one: wrong for all but 1x1."""
    got = json.loads(on_flat(driver, """
print(json.dumps([[row["path"], row["primitive_rate"], row["agrees"], row["rates"], row["image"],
                   row["invocations"] == row["model_invocations"]] for row in compare(size=(75, 107), engine=engine)]))
""").splitlines()[-1])
    assert len(got) == 28
    assert [row for row in got if row[1] == [1, 1]] == [["hardware", [1, 1], True, 1, True, True]] * 3
    assert all(row[2:] == [False, 0, True, True] for row in got if row[1] != [1, 1])


@pytest.mark.parametrize("driver", FLAT)
def test_reasons_of_a_call(on_flat, driver):
    assert on_flat(driver, """
found = [sample_vrs(image, codes, tile=8, profile="rdna2", engine=engine),
         sample_vrs(np.zeros((8, 16384), np.uint8), np.zeros((1, 2048), np.uint8), tile=8, engine=engine)]
print([(shaded.path, shaded.reasons) for shaded in found][0])
try:
    sample_vrs(image, codes, tile=8, profile="rdna2", path="hardware", engine=engine)
except foveate.error.UnsupportedError as error:
    print(error)
""") == ("('software', ('a profile is given, and the device has its own',))\n"
         'sample: vrs path: got "hardware" (a profile is given, and the device has its own), expected a device and '
         'options for it. Use path="auto" or path="software".')


@pytest.mark.parametrize("driver", FLAT)
def test_an_image_that_is_too_large(on_flat, driver):
    assert on_flat(driver, """
try:
    sample_vrs(np.zeros((8192, 8192, 3), np.uint8), np.zeros((256, 256), np.uint8), tile=32, engine=engine)
except foveate.error.LimitError as error:
    print(error)
""") == ("sample: vrs pixels: got 201326592 bytes, expected at most 134217728 on this device. Shade a smaller image.")


@pytest.mark.parametrize("driver", FLAT)
def test_memory_is_flat(on_flat, driver):
    used, budget = json.loads(on_flat(driver, """
used = []
for _ in range(12):
    sample_vrs(image, codes * 0, tile=8, path="hardware", engine=engine)
    used.append(engine.stats["memory_used"])
small = foveate.Engine(backend="vulkan", memory_budget=100000)
try:
    sample_vrs(image, codes * 0, tile=8, path="hardware", engine=small)
except foveate.error.MemoryBudgetError as error:
    print(json.dumps([used, str(error)]))
""").splitlines()[-1])
    assert len(set(used[1:])) == 1
    assert budget.startswith("memory: budget: got ") and "expected at most 100000 bytes" in budget


@pytest.mark.parametrize("driver", FLAT)
def test_a_device_that_hangs(on_flat, driver, tmp_path):
    """What hangs is let go of, not waited for; nothing of it is destroyed while the device has it."""
    shim = compiled(tmp_path, "libhang.so", ["tests/canary/hang.cpp"], "-shared", "-fPIC")
    assert on_flat(driver, """
import ctypes, os
library = ctypes.CDLL(os.environ["FOVEATE_VULKAN_LIBRARY"])
def draw():
    return np.array_equal(sample_vrs(image, codes * 0, tile=8, path="hardware", engine=engine).image, image)
assert draw()
library.hang(1)
try:
    draw()
except foveate.error.WaitTimeoutError as error:
    print(str(error).split(".")[0])
library.hang(0)
print(draw())
engine.close()
""", FOVEATE_VULKAN_LIBRARY=str(shim)) == (
        "vulkan: wait for the device: got VK_TIMEOUT, expected VK_SUCCESS\nTrue")


# Every call is valid

DRAW = """
rate = engine.caps["shading_rate"]
assert rate["usable"] and len(rate["rates"]) == 7 and rate["combiners"] and rate["strict"], rate
for tile in (8, 16, 32, 8):
    for ops in (("keep", "replace"), ("max", "mul")):
        shaded = sample_vrs(image, np.zeros((-(-75 // tile), -(-107 // tile)), np.uint8) + 5, tile=tile,
                            pipeline_rate=(2, 1), primitive_rate=(1, 2), combiners=ops, engine=engine)
        assert shaded.path == "hardware"
del shaded
assert "libVkLayer_khronos_validation" in open("/proc/self/maps").read(), "no layer"
engine.close()
print(_core.testing.messages(), "\\n".join(_core.testing.message_texts()))
"""


@pytest.mark.parametrize("staging", ["0", "1"])
@pytest.mark.parametrize("driver", MOCK)
def test_no_message(on_mock, driver, staging):
    assert on_mock(DRAW, FOVEATE_VULKAN_STAGING=staging) == "0"


PLANTED = {
    "none": None,
    "usage": "VK_IMAGE_USAGE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR usage flag set",
    "layout": "is VK_IMAGE_LAYOUT_FRAGMENT_SHADING_RATE_ATTACHMENT_OPTIMAL_KHR and the previous known layout of the "
              "attachment is VK_IMAGE_LAYOUT_GENERAL",
    "texel": "is greater than maxFragmentShadingRateAttachmentTexelSize",
    "extent": "smaller than the corresponding framebuffer width",
    "sync": "WRITE_AFTER_WRITE hazard",
    "leak": "leaked objects",
}


@pytest.mark.parametrize("fault", PLANTED)
@pytest.mark.parametrize("driver", MOCK)
def test_a_planted_fault_is_seen(on_mock, driver, fault):
    text = on_mock(DRAW, fault)
    if PLANTED[fault] is None:
        assert text == "0"
    else:
        assert int(text.split()[0]) > 0 and PLANTED[fault] in text


SWEEP = """
testing = _core.testing
rates = np.zeros((10, 14), np.uint8)
def draw():
    made = foveate.Engine(backend="vulkan")
    try:
        return sample_vrs(image, rates, tile=8, path="hardware", engine=made).path
    finally:
        made.close()
engine.close()
testing.fault_arm(0, 0)
draw()
calls, raised, survived = testing.fault_calls(), 0, 0
for k in range(1, calls + 1):
    testing.fault_arm(k, [-1, -2, -4][k % 3])
    try:
        draw()
        survived += 1
    except foveate.Error:
        raised += 1
    finally:
        testing.fault_disarm()
assert draw() == "hardware"
print(json.dumps([calls, raised, survived, testing.messages(), testing.message_texts()[:3]]))
"""


@pytest.mark.parametrize("driver", MOCK)
def test_every_call_that_fails(on_mock, driver):
    """An error each time, nothing leaked, nothing used after it was destroyed: the layer would say so."""
    calls, raised, survived, messages, texts = json.loads(on_mock(SWEEP).splitlines()[-1])
    assert calls > 60 and raised + survived == calls
    assert survived <= 8        # names of objects, and pools that are only dropped
    assert messages == 0, texts
