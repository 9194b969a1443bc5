# SPDX-License-Identifier: Apache-2.0
"""Every Vulkan call that can fail is made to fail: a typed error or the right bytes, and nothing left behind."""

import json
import random
import re
import time

import pytest
from child import TREE, child, compiled, descriptors
from conftest import BACKENDS, DEVICES, options
from images import LONG, random_image

DRIVERS = [name for name in BACKENDS if name in DEVICES]
FEW = DRIVERS if LONG else DRIVERS[:1]  # an engine on SwiftShader takes a second to make
# VkResult: its name, and the errors that may be raised for it. A driver that cannot be set up at all is no
# candidate, and then there is no device.
CODES = {
    -1: ("VK_ERROR_OUT_OF_HOST_MEMORY", {"MemoryBudgetError"}),
    -2: ("VK_ERROR_OUT_OF_DEVICE_MEMORY", {"MemoryBudgetError"}),
    -3: ("VK_ERROR_INITIALIZATION_FAILED", {"DeviceError", "UnsupportedError"}),
    -4: ("VK_ERROR_DEVICE_LOST", {"DeviceLostError"}),
}
TIMEOUT = 2  # VK_TIMEOUT
WAIT_NS = 30 * 10**9  # limits::WAIT_NS
# Longest that a failing run may take beyond four good ones, s. The engine's own limit for a wait is 30 s.
SLOW = 2.0
# Calls whose failure need not be seen: reading and writing the pipeline cache, trying again with less memory,
# making a recording clean for reuse. The rest, all but this share, must raise.
SURVIVED = 0.15

IMAGE = random_image(5, 24, 40)
RINGS = {"layout": "rings", "strides": [1, 2], "grids": [4, 4], "patch": 4, "dtype": "float16"}


# What runs in the child

class Sweep:
    """One fault after another. Every complaint is a line of its report."""

    def __init__(self, backend):
        from foveate import _core

        self.testing = _core.testing
        self.options = options(backend)
        self.complaints, self.raised, self.survived = [], 0, []
        self.testing.fault_arm(0, 0)
        self.golden = self.canonical()
        self.calls = self.testing.fault_calls()
        start = time.monotonic()
        assert self.canonical() == self.golden
        self.limit_s = SLOW + 4 * (time.monotonic() - start)

    def make(self):
        import foveate

        return foveate.Engine(**self.options)

    def use(self, engine):
        """Rings, a grid and a pyramid of one image, read back."""
        rings = engine.tokens(IMAGE, gaze=(0.4, 0.6), **RINGS)
        grid = engine.tokens(IMAGE, budget=6, patch=4)
        pyramid = engine.pyramid(IMAGE)
        return b"".join([rings.patches.numpy().tobytes(), rings.center_px.tobytes(),
                         grid.patches.numpy().tobytes(), pyramid.numpy(2).tobytes()])

    def canonical(self):
        engine = self.make()
        try:
            return self.use(engine)
        finally:
            engine.close()

    def attempt(self, run, k, code, names):
        """The error that a run raised with its k-th call failing, or None."""
        import foveate

        at = f"call {k}, VkResult {code}"
        start = time.monotonic()
        error = None
        self.testing.fault_arm(k, code)
        try:
            if run() != self.golden:
                self.complaints.append(f"{at}: no error, and other bytes")
        except Exception as raised:
            error = raised.with_traceback(None)  # which holds the values of every frame
        finally:
            self.testing.fault_disarm()
        took = time.monotonic() - start
        if took > self.limit_s:
            self.complaints.append(f"{at}: took {took:.1f} s")
        if error is None:
            self.survived.append((k, code))
            return None
        self.raised += 1
        if not isinstance(error, foveate.Error) or type(error).__name__ not in names:
            self.complaints.append(f"{at}: {type(error).__name__}: {error}")
        if not re.search(r"(?s)^(vulkan|Engine): .+ got .+, expected .+\. \w.+\.$|^Engine: no Vulkan device: .+\.$",
                         str(error)):
            self.complaints.append(f"{at}: no such message: {error}")
        if code in CODES and CODES[code][0] not in str(error):
            self.complaints.append(f"{at}: the result is not named: {error}")
        return error

    def whole(self, pairs, golden_every=1):
        """From no engine to bytes to no engine. A run without a fault follows every so many."""
        files = descriptors()
        for i, (k, code) in enumerate(pairs):
            self.attempt(self.canonical, k, code, CODES[code][1])
            if descriptors() != files:
                self.complaints.append(f"call {k}, VkResult {code}: open {descriptors()}, before {files}")
                files = descriptors()
            due = i + 1 == len(pairs) or (i + 1) % golden_every == 0
            if due and self.canonical() != self.golden:
                self.complaints.append(f"call {k}, VkResult {code}: a new engine gives other bytes")

    def living(self, codes, step):
        """Faults in an engine that lives on: it works again, unless its device was lost. Returns what it holds
        after each of two sweeps: the second must need no more than the first."""
        import foveate

        held = []
        engine = self.make()
        self.use(engine)
        self.testing.fault_arm(0, 0)
        self.use(engine)
        calls = self.testing.fault_calls()
        for _ in range(2):
            for k in range(1, calls + 1, step):
                for code in codes:
                    at = f"call {k} of a living engine, VkResult {code}"
                    names = {"WaitTimeoutError"} if code == TIMEOUT else CODES[code][1]
                    error = self.attempt(lambda: self.use(engine), k, code, names)  # noqa: B023
                    if "wait" in str(error):
                        time.sleep(0.02)  # the device was not waited for
                    try:
                        if self.use(engine) != self.golden or self.use(engine) != self.golden:
                            self.complaints.append(f"{at}: other bytes afterwards")
                    except foveate.error.DeviceLostError as lost:
                        if type(error) is not foveate.error.DeviceLostError:
                            self.complaints.append(f"{at}: {lost}")
                        engine.close()
                        engine = self.make()
            held.append(engine.stats["memory_used"])
        if held[1] > held[0]:
            self.complaints.append(f"holds {held[1]} bytes after as many faults again, {held[0]} before")
        engine.close()

    def report(self):
        messages = self.testing.messages()
        if messages:
            self.complaints += [f"{messages} validation messages", *self.testing.message_texts()]
        print(json.dumps({"calls": self.calls, "raised": self.raised, "survived": self.survived,
                          "complaints": self.complaints}))


def pairs_of(calls, count, each):
    """(call, code): `count` of them drawn with a seed, None for all; and each call with one code or another."""
    pairs = [(k, code) for k in range(1, calls + 1) for code in CODES]
    if count is None:
        return pairs
    drawn = set(random.Random(1).sample(pairs, count))
    codes = list(CODES)
    return sorted(drawn | {(k, codes[k % len(codes)]) for k in range(1, calls + 1)} if each else drawn)


def sweep_whole(backend, count, each):
    sweep = Sweep(backend)
    sweep.whole(pairs_of(sweep.calls, count, each), golden_every=len(CODES) if count is None else 8)
    sweep.report()


def sweep_living(backend, codes, step):
    sweep = Sweep(backend)
    sweep.living(codes, step)
    sweep.report()


def run(backend, call, **env):
    output = child(backend, f"import test_fault; test_fault.{call}", timeout=3600 if LONG else 300, **env)
    report = json.loads(output.splitlines()[-1])
    assert report["complaints"] == [], "\n".join(report["complaints"][:20])
    return report


# What pytest runs

# (driver, FOVEATE_VULKAN_STAGING: 1 copies as for a discrete GPU): pairs drawn, and whether each call is among
# them. FOVEATE_LONG takes all. tests/cpp/vulkan_faults.cpp does so always, a layer further down.
SWEEPS = {("lavapipe", "0"): (30, True), ("lavapipe", "1"): (24, False),
          ("swiftshader", "0"): (5, False)} | ({("swiftshader", "1"): (None, True)} if LONG else {})


@pytest.mark.parametrize("driver,staging", [pair for pair in SWEEPS if pair[0] in DRIVERS])
def test_every_failing_call(driver, staging, tmp_path):
    count, each = (None, True) if LONG else SWEEPS[driver, staging]
    report = run(driver, f"sweep_whole({driver!r}, {count}, {each})", FOVEATE_VULKAN_STAGING=staging,
                 FOVEATE_CACHE_DIR=str(tmp_path / "cache"))
    assert report["calls"] > 60  # an injector that is not there would see none
    survived = len(report["survived"])
    assert report["raised"] + survived >= (report["calls"] if each else count)
    assert not each or survived <= SURVIVED * (report["raised"] + survived), report["survived"]
    assert any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("driver", FEW)
def test_an_engine_survives_what_is_no_loss(driver):
    codes, step = ([*CODES, TIMEOUT], 1) if LONG or driver == "lavapipe" else ([-1, -4, TIMEOUT], 7)
    assert run(driver, f"sweep_living({driver!r}, {codes}, {step})")["raised"] > 0


HANG = """
import ctypes, json, os, sys, time
import foveate, test_fault
from child import descriptors
library = ctypes.CDLL(os.environ["FOVEATE_VULKAN_LIBRARY"])
library.longest_wait_ns.restype = library.swallowed_count.restype = ctypes.c_uint64
sweep = test_fault.Sweep(sys.argv[1])
files = descriptors()
engine = sweep.make()
library.hang(1)
texts, start = [], time.monotonic()
for _ in range(3):
    try:
        sweep.use(engine)
    except foveate.error.WaitTimeoutError as error:
        texts.append(str(error))
library.hang(0)
again = sweep.use(engine) == sweep.golden
engine.close()
fresh = sweep.canonical() == sweep.golden
print(json.dumps({"texts": texts, "again": again, "fresh": fresh, "longest_ns": library.longest_wait_ns(),
                  "swallowed": library.swallowed_count(), "took": time.monotonic() - start,
                  "files": descriptors() == files, "messages": sweep.testing.messages()}))
"""


@pytest.mark.parametrize("driver", FEW)
def test_a_device_that_hangs(driver, tmp_path):
    """Work that never ends: bounded waits, an error each time, and neither close() nor exit waits for ever."""
    shim = compiled(tmp_path, "libhang.so", ["tests/canary/hang.cpp"], "-shared", "-fPIC")
    got = json.loads(child(driver, HANG, driver, FOVEATE_VULKAN_LIBRARY=str(shim)).splitlines()[-1])
    assert len(got["texts"]) == got["swallowed"] == 3
    assert {text.split(".")[0] for text in got["texts"]} == {
        "vulkan: wait for the device: got VK_TIMEOUT, expected VK_SUCCESS"}
    assert got["again"] and got["fresh"] and got["files"]
    assert got["longest_ns"] == WAIT_NS
    assert got["took"] < 20


def test_no_wait_is_unbounded():
    sources = [f for f in sorted((TREE / "engine").rglob("*")) if f.suffix in (".h", ".cpp")]
    assert len(sources) > 20
    endless = re.compile(r"UINT64_MAX|WaitIdle|WaitForFences")
    waits = re.compile(r"\bvk\.Wait\w+\(")
    bounded = re.compile(r"limits::WAIT_NS")
    seen = 0
    for file in sources:
        text = file.read_text()
        assert not endless.search(text), f"{file.name}: {endless.search(text).group()}"
        for line in text.splitlines():
            seen += waits.search(line) is not None
            assert not waits.search(line) or bounded.search(line), f"{file.name}: {line.strip()}"
    assert seen > 0
    text = (TREE / "engine/limits.h").read_text()
    seconds = re.search(r"WAIT_NS = (\d+)ull \* 1000000000ull", text)
    assert seconds and int(seconds[1]) * 10**9 == WAIT_NS
