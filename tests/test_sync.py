# SPDX-License-Identifier: Apache-2.0
"""Work ordered without the host: engines that run ahead, points between two of them, and every wrong point."""

import json
import os

import conftest
import foveate
import numpy as np
import pytest
from child import child, compiled
from foveate.error import ForkedEngineError, InputError, UnsupportedError
from foveate.share import POINT_FIELDS, Point, Shared
from images import random_image

OPTIONS = {"gaze": (0.3, 0.6), "budget": 40, "model": "vit16"}
TIERS = ("host", "binary", "timeline")
BEST = {"lavapipe": "host", "swiftshader": "binary"}


# Two engines on devices whose timelines can be shared, which tests/canary/timeline.cpp makes of any.
TIMELINES = """
import json, sys
import conftest, foveate
import numpy as np
from images import random_image
options = conftest.options(sys.argv[1])
one, other = (foveate.Engine(**options, share=True, ahead=True) for _ in range(2))
waits = lambda: one.stats["host_waits"] + other.stats["host_waits"]
picture = random_image(3, 120, 170)
frame = one.empty(picture.shape)
frame.numpy()[:] = picture
before, pyramids, values = waits(), [], []
for _ in range(4):
    with one.share(one.warp(frame, size=(64, 64)).data) as shared:
        pyramids.append(other.pyramid(other.attach(shared)))
        values.append(shared.point.value)
waited = waits() - before
given = [other.expect(), other.expect()]
cpu = foveate.Engine("cpu")
expected = cpu.pyramid(cpu.warp(picture, size=(64, 64)).data).level(1).numpy()
print(json.dumps({"sync": [one.caps["sync"], shared.point.kind], "waits": waited, "values": values,
                  "given": [point.value for point in given],
                  "right": all(np.array_equal(pyramid.level(1).numpy(), expected) for pyramid in pyramids)}))
"""


@pytest.fixture(params=[name for name in conftest.BACKENDS if name in conftest.DEVICES])
def driver(request):
    return request.param


@pytest.fixture
def running(driver):
    """What makes engines on this driver that share and run ahead."""
    engines = []

    def make(**options):
        engines.append(foveate.Engine(**conftest.options(driver), share=True, ahead=True, **options))
        return engines[-1]

    yield make
    for engine in engines:
        assert engine.stats["messages"] == 0, "the validation layer found something"
        engine.close()


def test_the_best_way(driver, running, monkeypatch):
    assert running().caps["sync"] == BEST[driver]
    found = [entry for entry in foveate.info()["candidates"]
             if entry["backend"] == "vulkan" and conftest.DEVICES[driver] in entry["device"]]
    assert [entry["sync"] for entry in found] == [BEST[driver]]
    for allowed in TIERS:
        monkeypatch.setenv("FOVEATE_SYNC", allowed)
        assert running().caps["sync"] == min(allowed, BEST[driver], key=TIERS.index)
    monkeypatch.setenv("FOVEATE_SYNC", "best")
    with pytest.raises(InputError, match='Engine: FOVEATE_SYNC: got "best", expected host, binary or timeline'):
        running()
    monkeypatch.delenv("FOVEATE_SYNC")
    assert foveate.Engine(**conftest.options(driver)).caps["sync"] == "host"


def test_results_are_there_when_they_are_read(running, cpu):
    engine, picture = running(), random_image(3, 200, 170)
    frame = engine.empty(picture.shape)
    frame.numpy()[:] = picture
    expected = cpu.tokens(picture, **OPTIONS).numpy().tobytes()
    for read in (lambda array: array.numpy(), np.from_dlpack, np.asarray):
        made = [engine.tokens(frame, **OPTIONS) for _ in range(3)]
        assert [read(tokens.patches).tobytes() for tokens in made] == [expected] * 3
    engine.tokens(frame, **OPTIONS)
    engine.settle()
    frame.numpy()[:] = 0        # the device is done with it
    assert engine.tokens(picture, **OPTIONS).numpy().tobytes() == expected


def test_nothing_waits_until_it_is_read(running, cpu):
    engine, picture = running(), random_image(5, 100, 130)
    frame = engine.empty(picture.shape)
    frame.numpy()[:] = picture
    engine.tokens(frame, **OPTIONS)
    engine.settle()
    waits = engine.stats["host_waits"]
    tokens = engine.tokens(frame, **OPTIONS)
    pyramid = engine.pyramid(frame)
    layout = engine.layout(pyramid, budget=200, gaze=(0.3, 0.6), kind="rings", model="vit16")
    joined = engine.tensor(engine.sample(pyramid, layout, model="vit16"), layout)
    if engine.caps["sync"] != "host":
        with engine.share(tokens.patches) as shared:
            assert shared.point.value > 0
    assert engine.stats["host_waits"] == waits
    expected = cpu.tokens(picture, **OPTIONS)
    assert tokens.table.tobytes() == expected.table.tobytes()
    assert tokens.table is tokens.table
    read = engine.stats["host_waits"]
    assert read <= waits + 1
    assert tokens.numpy().tobytes() == expected.numpy().tobytes()
    assert engine.stats["host_waits"] == read       # they were made in one run
    assert joined.center_px.shape == (1, 200, 2) and joined.valid.any()


@pytest.mark.parametrize("allowed", TIERS[:2])
def test_between_engines(running, cpu, monkeypatch, allowed):
    monkeypatch.setenv("FOVEATE_SYNC", allowed)
    one, other, picture = running(), running(), random_image(3, 120, 170)
    frame = one.empty(picture.shape)
    frame.numpy()[:] = picture
    expected = cpu.pyramid(cpu.warp(picture, size=(64, 64)).data).level(1).numpy()
    for _ in range(3):
        warped = one.warp(frame, size=(64, 64)).data
        with one.share(warped) as shared:
            assert shared.point.kind == one.caps["sync"]
            same = other.attach(shared)
        level = other.pyramid(same).level(1)
        assert np.array_equal(level.numpy(), expected)


def test_timelines(driver, tmp_path):
    shim = compiled(tmp_path, "libtimeline.so", ["tests/canary/timeline.cpp"], "-shared", "-fPIC")
    got = json.loads(child(driver, TIMELINES, driver, FOVEATE_VULKAN_LIBRARY=str(shim)).splitlines()[-1])
    assert got["sync"] == ["timeline", "timeline"] and got["waits"] == 0 and got["right"]
    assert got["values"] == sorted(set(got["values"])) and got["given"] == [1, 2]


def test_points(running):
    one, other = running(), running()
    first, second = one.signal(), one.signal()
    assert repr(second).startswith("<foveate.Point ")
    if one.caps["sync"] == "host":
        assert (first.kind, first.value) == ("host", 0)
        other.wait(first)
        with pytest.raises(InputError, match="Engine: point: got a closed descriptor, expected an open one"):
            assert first.fd
        with pytest.raises(UnsupportedError, match="Engine: expect: got an Engine whose work is ordered by the host"):
            one.expect()
        return
    assert first.fd >= 0 and not os.get_inheritable(first.fd)
    sent = Point(second.detach(), json.loads(json.dumps(second.record)))
    other.wait(sent)
    other.wait(first)
    if first.kind == "binary":
        with pytest.raises(InputError, match="Engine: point: got a closed descriptor"):
            other.wait(first)
    given = [one.expect(), one.expect()]
    assert [point.value for point in given] == [1, 2]
    record = given[1].record | {"value": 7}
    with pytest.raises(InputError, match=r"Engine: wait: point: got 7, expected one of expect\(\), and each once"):
        one.wait(Point(-1, record))
    other.settle()


@pytest.mark.parametrize("field", POINT_FIELDS)
def test_wrong_points(running, field):
    one = running()
    good = {"kind": "binary", "value": 1, "expected": False, "device_uuid": one.caps["uuid"], "driver_uuid": "0" * 32}
    for value in (None, -1, 1 << 63, object(), "none"):
        if type(value) is type(good[field]):
            continue
        with pytest.raises((InputError, UnsupportedError), match=r"Engine: wait: .*: got .*, expected "):
            one.wait(Point(-1 if value else os.dup(0), good | {field: value}))
    with pytest.raises(InputError, match='Engine: wait: kind: got "none", expected host, binary or timeline'):
        one.wait(Point(os.dup(0), good | {"kind": "none"}))
    with pytest.raises(UnsupportedError, match="Engine: wait: point: got "):
        one.wait(Point(os.dup(0), good))
    with pytest.raises(InputError, match="Engine: wait: got int, expected a Point"):
        one.wait(3)


def test_who_cannot(cpu):
    assert cpu.signal().kind == "host"
    cpu.wait(cpu.signal())
    cpu.settle()
    with pytest.raises(UnsupportedError, match="Engine: expect: got the cpu backend, expected vulkan"):
        cpu.expect()
    with pytest.raises(UnsupportedError, match="Engine: wait: got the cpu backend, expected vulkan"):
        cpu.wait(Point(-1, {"kind": "binary", "value": 1, "expected": True, "device_uuid": "", "driver_uuid": ""}))
    with pytest.raises(InputError, match="Engine: ahead: got 1, expected True or False"):
        foveate.Engine(ahead=1)


# The child must not wait for a device that it does not have.
def test_read_in_a_child(driver, running):
    engine = running()
    frame = engine.empty((600, 900, 3))
    engine.tokens(frame, **OPTIONS)
    level = engine.pyramid(frame).level(1)
    process = os.fork()
    if process == 0:
        status = 1
        try:
            level.numpy()
            status = 2
        except ForkedEngineError as error:
            status = 0 if "Engine: result: got one that was not there when its process forked" in str(error) else 3
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) in (0, 2)     # 2: it was there in time


def test_a_point_is_the_shared_arrays(running):
    """It goes on with the descriptor, and ends with it; closing twice is closing once."""
    engine = running()
    frame = engine.empty((20, 20))
    frame.numpy()[:] = random_image(9, 20, 20, 0)
    shared = engine.share(frame)
    again = Shared(shared.detach(), shared.record, shared.point)
    with pytest.raises(InputError, match="Engine: shared: got a closed descriptor"):
        shared.detach()
    attached = engine.attach(again)
    engine.settle()
    assert np.array_equal(attached.numpy(), random_image(9, 20, 20, 0))
    again.close()
    again.close()
    assert again.point is shared.point
    for closed in (again, again.point):
        if closed.record.get("kind") != "host":     # there never was one
            with pytest.raises(InputError, match="got a closed descriptor, expected an open one"):
                assert closed.fd
