# SPDX-License-Identifier: Apache-2.0
"""The backend opengl as its users meet it: devices, contexts of others, threads, failures. Its bytes are compared with
the oracle's and the cpu's in the tests of the stages.
"""

import gc
import os
import sys
import threading

import foveate
import moderngl
import numpy as np
import pytest
from child import child
from conftest import BACKENDS
from foveate import egl
from foveate.backends import opengl
from foveate.error import DeviceError, UnsupportedError, WaitTimeoutError
from images import random_image

OPTIONS = {"gaze": (0.3, 0.6), "budget": 40}


@pytest.fixture(scope="module")
def engine(make_engine):
    assert "opengl" in BACKENDS, "FOVEATE_TEST_BACKENDS leaves out opengl: leave out this file as well"
    with make_engine("opengl") as made:
        yield made


def test_candidates_name_the_driver():
    found = [each for each in foveate.info()["candidates"] if each["backend"] == "opengl"]
    assert any(each["usable"] and "llvmpipe" in each["device"] and each["software"] for each in found)
    assert found == opengl.candidates()


def test_doctor_compares_it_with_the_cpu():
    rows = [row for row in foveate.doctor(need=("opengl",)) if row["check"].startswith("opengl: ")]
    assert rows and rows[0]["found"] == "the same bytes as the cpu"


def test_no_such_device():
    with pytest.raises(UnsupportedError, match=r"^Engine: no OpenGL device: got .*llvmpipe.*device 1: .*'RTX'"):
        foveate.Engine("opengl", device="RTX")


def test_without_moderngl(monkeypatch):
    monkeypatch.setitem(sys.modules, "moderngl", None)
    monkeypatch.setattr(opengl, "_devices", {})     # one that is there already needs no import
    with pytest.raises(UnsupportedError, match=r"^Engine: opengl: got no moderngl, .*pip install 'foveate\[gl\]'"):
        foveate.Engine("opengl")
    assert [each["usable"] for each in opengl.candidates()] == [False]


def test_mixed_with_others(cpu):
    image = random_image(3, 96, 128)
    with foveate.Engine({"sample": "opengl", "pyramid": "opengl", "*": "cpu"}) as mixed:
        assert mixed.tokens(image, **OPTIONS).numpy().tobytes() == cpu.tokens(image, **OPTIONS).numpy().tobytes()


def test_a_callers_context_stays_current(engine):
    mine = moderngl.create_context(standalone=True, backend="egl", device_index=0, require=430)
    with mine:
        before = mine.buffer(b"before")
        engine.tokens(random_image(4, 64, 64), **OPTIONS)
        assert before.read() == b"before" and mine.error == "GL_NO_ERROR"
        after = mine.buffer(b"after.")
        assert after.glo != before.glo and after.read() == b"after."
    mine.release()


def test_threads_share_one_engine(engine, cpu):
    images = [random_image(seed, 80, 112) for seed in range(4)]
    expected = [cpu.tokens(image, **OPTIONS).numpy().tobytes() for image in images]
    wrong = []

    def work(first):
        for turn in range(10):
            at = (first + turn) % 4
            if engine.tokens(images[at], **OPTIONS).numpy().tobytes() != expected[at]:
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_is_used_again(engine):
    image = random_image(5, 200, 300)
    for _ in range(3):
        engine.tokens(image, **OPTIONS)
    used = engine.stats["memory_used"]
    for _ in range(20):
        engine.tokens(image, **OPTIONS)
    assert engine.stats["memory_used"] == used
    with pytest.raises(foveate.error.MemoryBudgetError):
        foveate.Engine("opengl", memory_budget=1 << 20).pyramid(random_image(1, 900, 900))


def test_a_failure_is_an_error_and_a_new_engine_works(monkeypatch, cpu):
    broken = foveate.Engine("opengl")

    def fail(*_):
        raise moderngl.Error("out of memory")

    monkeypatch.setattr(opengl.Executor, "_dispatch", fail)
    image = random_image(6, 64, 64)
    with pytest.raises(DeviceError, match=r"^Engine: opengl: got out of memory, expected a device that answers"):
        broken.tokens(image, **OPTIONS)
    monkeypatch.undo()
    for again in (broken, foveate.Engine("opengl")):
        assert again.tokens(image, **OPTIONS).numpy().tobytes() == cpu.tokens(image, **OPTIONS).numpy().tobytes()


class Hung:
    """glClientWaitSync of a device that never ends its work; it notes how long it was to wait."""

    def __init__(self):
        self.asked = []

    def __call__(self, sync, flags, wait_ns):
        self.asked.append((flags, wait_ns))
        return egl.EXPIRED


def test_a_device_that_hangs(monkeypatch, cpu):
    """Every wait ends at the engine's limit, before a call that would block. If the device comes back it works on."""
    monkeypatch.setattr(opengl, "_devices", devices := {})
    image = random_image(8, 64, 64)
    expected = cpu.tokens(image, **OPTIONS).numpy().tobytes()
    engine = foveate.Engine("opengl")
    assert engine.tokens(image, **OPTIONS).numpy().tobytes() == expected
    device, = devices.values()
    hung, before, memory = Hung(), len(opengl._lost), bytearray(b"x" * 64)
    alone = opengl.executor()
    monkeypatch.setattr(device.fence, "_client_wait", hung)
    with pytest.raises(TimeoutError, match=r"^no end within 30000 ms$"):
        alone.run([(1, 64, [])], [], [("upload", 1, memoryview(bytes(64))), ("read", 1, memoryview(memory))])
    assert memory == b"x" * 64      # not begun: it would not come back
    text = r"^Engine: opengl: got no end within 30000 ms, expected an end in time\. Make a new Engine\.$"
    for turn in range(2, 5):
        with pytest.raises(WaitTimeoutError, match=text):
            engine.tokens(image, **OPTIONS)
        assert hung.asked == [(egl.FLUSH, foveate._core.limits()["wait_ns"])] * turn
    closed = foveate.Engine("opengl")       # of another context: the hung one is left alone
    assert device not in devices.values() and not closed.close()
    monkeypatch.undo()
    with foveate.Engine("opengl") as again:
        assert again.tokens(image, **OPTIONS).numpy().tobytes() == expected
    assert engine.tokens(image, **OPTIONS).numpy().tobytes() == expected
    alone.run([], [], [("read", 1, memoryview(memory))])
    assert memory == bytes(64) and len(opengl._lost) == before


def test_an_engine_that_ends_while_it_hangs(monkeypatch):
    """Its buffers and its context are lost: nobody waits for them, and nobody pulls them away."""
    monkeypatch.setattr(opengl, "_devices", {})
    engine = foveate.Engine("opengl")
    device, = opengl._devices.values()
    monkeypatch.setattr(device.fence, "_client_wait", Hung())
    with pytest.raises(WaitTimeoutError):
        engine.tokens(random_image(8, 64, 64), **OPTIONS)
    before = len(opengl._lost)
    engine.close()
    gc.collect()                # the error's frames held it
    device.thread.run(int)      # comes behind what close() left to do
    assert opengl._lost[before:] == [device]


def test_waits_that_fail(monkeypatch):
    engine = foveate.Engine("opengl")
    device = opengl._devices[os.getpid(), ""]
    monkeypatch.setattr(device.fence, "_client_wait", lambda *_: egl.FAILED)
    with pytest.raises(DeviceError, match=r"^Engine: opengl: got GL_WAIT_FAILED, expected a device that answers\."):
        engine.tokens(random_image(8, 64, 64), **OPTIONS)
    monkeypatch.undo()
    assert not device.fence.pending


def test_libraries_of_egl(monkeypatch):
    monkeypatch.setattr(egl, "LIBRARY", "libnone.so.1")
    with pytest.raises(UnsupportedError, match=r"^gl: EGL: got libnone.so.1: .*, expected libnone.so.1\. Install"):
        egl._library.__wrapped__()
    with pytest.raises(UnsupportedError, match=r"^gl: EGL: got no eglNothing, expected a driver with it\. Inst"):
        egl.function("eglNothing", None)


def test_a_texture_that_fails_is_an_error(monkeypatch):
    image, options = random_image(6, 64, 64), {"layout": "grid", "budget": 9}
    with foveate.Engine("opengl", exact=False) as engine:
        expected = engine.tokens(image, **options).numpy().tobytes()

        def fail(*_):
            raise moderngl.Error("out of memory")

        monkeypatch.setattr(opengl.Executor, "_texture", fail)
        with pytest.raises(DeviceError, match=r"^Engine: opengl: got out of memory, expected a device that answers"):
            engine.tokens(image, **options)
        monkeypatch.undo()
        assert engine.tokens(image, **options).numpy().tobytes() == expected


def test_an_engine_ends_inside_of_anything(cpu):
    """Garbage is collected wherever Python allocates, in the middle of another engine's call too."""

    class Cycle:
        def __init__(self):
            self.engine, self.me = foveate.Engine("opengl"), self

    image = random_image(7, 64, 64)
    expected = cpu.tokens(image, **OPTIONS).numpy().tobytes()
    engine, before = foveate.Engine("opengl"), gc.get_threshold()
    try:
        for _ in range(30):
            Cycle()
            gc.set_threshold(5)
            assert engine.tokens(image, **OPTIONS).numpy().tobytes() == expected
            gc.set_threshold(*before)
    finally:
        gc.set_threshold(*before)


def test_nothing_is_left_behind():
    """Engines come and go in a process of their own: no descriptor, no context."""
    grown = child("opengl", """
import foveate, numpy as np
from child import descriptors
def turn():
    with foveate.Engine("opengl") as engine:
        engine.tokens(np.zeros((64, 64, 3), np.uint8), budget=8)
for _ in range(3):
    turn()
before = len(descriptors())
for _ in range(12):
    turn()
print(len(descriptors()) - before)
""")
    assert grown == "0"


def test_values_outlive_the_engine():
    engine = foveate.Engine("opengl")
    tokens = engine.tokens(np.full((64, 64, 3), 7, np.uint8), **OPTIONS)
    pyramid = engine.pyramid(np.full((64, 64, 3), 7, np.uint8))
    engine.close()
    assert np.unique(tokens.numpy()).size <= 3
    del pyramid
