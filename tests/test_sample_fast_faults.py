# SPDX-License-Identifier: Apache-2.0
"""sample, FAST class: what it holds, what it gives back, and every call failing in turn."""

import conftest
import foveate
import numpy as np
import pytest
from child import child, descriptors
from foveate._core import testing
from foveate.error import MemoryBudgetError
from images import random_image
from test_sample_fast import FILTERS

DRIVERS = [name for name in FILTERS if name in conftest.DEVICES]


@pytest.fixture(params=FILTERS)
def name(request):
    return request.param


def test_memory_is_used_again(name, make_engine):
    with make_engine(name, exact=False) as engine:
        images = [random_image(13, 200, 300), random_image(14, 100, 50)]
        for _ in range(3):
            tokens = engine.tokens(images, layout="grid", budget=20, patch=8)
        stats, files = engine.stats, descriptors()
        for _ in range(20):
            tokens = engine.tokens(images, layout="grid", budget=20, patch=8)
        assert engine.stats["memory_used"] == stats["memory_used"] and descriptors() == files
        assert engine.stats["pipelines_created"] == stats["pipelines_created"]
        assert engine.stats["fast_samples"] == stats["fast_samples"] + 20
        del tokens


def test_over_the_budget(name, make_engine):
    """Images that nobody uses make way, and one that is too large is an error that leaves the engine whole."""
    with make_engine(name, exact=False, memory_budget=12 << 20) as engine:
        for side in (300, 310, 320, 330, 340, 350, 360, 370):
            engine.tokens(random_image(15, side, side), layout="grid", budget=20, patch=8)
        with pytest.raises(MemoryBudgetError):
            engine.tokens(random_image(16, 1500, 1500), layout="grid", budget=20, patch=8)
        assert engine.tokens(random_image(15, 300, 300), layout="grid", budget=20, patch=8).patches.shape[1] == 20
        lists = name not in DRIVERS     # which count the host's memory apart from the device's
        assert engine.stats["memory_peak"] <= (24 if lists else 12) << 20


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in FILTERS if name != "swiftshader"])    # 30 s are not enough for it
def test_rows_come_in_parts(make_engine, name):
    """Images whose rows do not fit one window together."""
    images = [np.full((4200, 4200), value, np.uint8) for value in (40, 90)]
    with make_engine(name, exact=False) as engine:
        tokens = engine.tokens(images, layout="grid", budget=16, patch=8, mean=(0,), std=(1,))
        assert [np.unique((255 * one).round(3)).tolist() for one in tokens.patches.numpy()] == [[40], [90]]
        assert engine.stats["fast_samples"] == 1


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("more", [{"share": True}, {"ahead": True}, {"trace": True}], ids=str)
def test_other_options(driver, more, cpu):
    images = [random_image(k, 60 + k, 90) for k in range(4)]
    with foveate.Engine(**conftest.options(driver), exact=False, **more) as engine:
        made = [engine.tokens(image, layout="grid", budget=24, patch=8) for image in images]
        want = [cpu.tokens(image, layout="grid", budget=24, patch=8) for image in images]
        for got, exact in zip(made, want, strict=True):
            assert np.abs(got.numpy() - exact.numpy()).mean() < 0.01
        assert engine.stats["messages"] == 0
        if "trace" in more:
            assert {"pyramid_texture", "sample_fast"} <= {span.name for span in engine.spans()}


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_failing_call(driver):
    """In an engine that lives on: a typed error or the same bytes, and then the same bytes again."""
    image = random_image(17, 24, 40)
    engine = foveate.Engine(**conftest.options(driver), exact=False)

    def use(side):
        return engine.tokens(image[:side], budget=6, patch=4, layout="grid").numpy().tobytes()

    want = {side: use(side) for side in range(8, 24)}
    files, raised, side = len(descriptors()), 0, 8
    for code in (-1, -3):           # out of host memory, initialization failed
        k = 0
        while True:
            k, side = k + 1, 8 + (side - 7) % 16
            testing.fault_arm(k, code)
            try:
                assert use(side) == want[side]
            except foveate.Error:
                raised += 1
            finally:
                calls = testing.fault_calls()
                testing.fault_disarm()
            assert use(side) == want[side]
            if calls < k:
                break
    assert raised > 10
    used = engine.stats["memory_used"]
    assert use(8) == want[8] and engine.stats["memory_used"] == used
    engine.close()
    assert len(descriptors()) <= files


@pytest.mark.parametrize("driver", DRIVERS)
def test_nothing_is_left_behind(driver):
    grown = child(driver, f"""
import foveate, numpy as np
from child import descriptors
from conftest import options
def turn(keep=[]):
    with foveate.Engine(**options({driver!r}), exact=False) as engine:
        keep[:] = [engine.tokens(np.zeros((64, 64, 3), np.uint8), layout="grid", budget=8)]
for _ in range(2):
    turn()
before = len(descriptors())
for _ in range(3):
    turn()
print(len(descriptors()) - before, foveate._core.testing.messages())
""")
    assert grown == "0 0"
