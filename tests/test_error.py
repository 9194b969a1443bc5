# SPDX-License-Identifier: Apache-2.0
"""Errors: one shape of text, a class for each kind, nothing secret, and an engine that is unharmed."""

import re

import foveate
import numpy as np
import pytest
from images import random_image
from tolerance import assert_same

IMAGE = random_image(1, 24, 36)
STAGES = "Engine|image|pyramid|relevance|rate|layout|sample|warp|tensor"
SHAPE = re.compile(rf"({STAGES}): [^:\n]+: got .+, expected .+\.", re.S)


# Literals

@pytest.mark.parametrize("call,text", [
    (lambda e: e.layout((24, 36), budget=0), "layout: budget: got 0, expected 1..65536"),
    (lambda e: e.tokens(IMAGE, budget=0), "layout: budget: got 0, expected 1..65536"),
])
def test_text(cpu, call, text):
    with pytest.raises(foveate.Error) as error:
        call(cpu)
    assert str(error.value).startswith(text)


# Facts

BASES = {"InputError": ValueError, "LimitError": ValueError, "MemoryBudgetError": MemoryError,
         "DeviceError": RuntimeError, "WaitTimeoutError": TimeoutError, "ForkedEngineError": RuntimeError,
         "UnsupportedError": RuntimeError}


@pytest.mark.parametrize("name", BASES)
def test_classes(name):
    kind = getattr(foveate.error, name)
    assert issubclass(kind, foveate.Error) and issubclass(kind, BASES[name])


def test_a_lost_device_is_a_device_error():
    assert issubclass(foveate.error.DeviceLostError, foveate.error.DeviceError)


CALLS = {
    "image type": lambda e: e.image(np.zeros((4, 4, 3), np.int64)),
    "image channels": lambda e: e.image(np.zeros((3, 3, 3), np.uint8)),
    "image empty": lambda e: e.image(np.zeros((0, 4, 3), np.uint8)),
    "image side": lambda e: e.image(np.zeros((1, 16385), np.uint8)),
    "image nan": lambda e: e.tokens(np.full((4, 4), np.nan, np.float32), budget=1, mean=(0,), std=(1,)),
    "image list": lambda e: e.image([]),
    "image mixed": lambda e: e.image([IMAGE, IMAGE.astype(np.uint16)]),
    "background": lambda e: e.image(np.zeros((4, 4, 4), np.uint8), background=(1, 2)),
    "pyramid edge": lambda e: e.pyramid(IMAGE, edge="round"),
    "pyramid color": lambda e: e.pyramid(IMAGE, color="srgb"),
    "pyramid levels": lambda e: e.pyramid(IMAGE, levels=99),
    "layout kind": lambda e: e.layout((4, 4), kind="spiral"),
    "layout budget": lambda e: e.layout((4, 4), budget=65537),
    "layout gaze": lambda e: e.layout((4, 4), kind="rings", gaze=(2, 2), budget=None),
    "layout nan": lambda e: e.layout((4, 4), kind="rings", gaze=(float("nan"), 0), budget=None),
    "layout cell": lambda e: e.layout((4, 4), cell=0),
    "layout rings": lambda e: e.layout((4, 4), kind="rings", strides=(3, 1), grids=(2, 2), budget=None),
    "sample patch": lambda e: e.tokens(IMAGE, patch=0),
    "sample dtype": lambda e: e.tokens(IMAGE, dtype="int4"),
    "sample std": lambda e: e.tokens(IMAGE, std=(0, 0, 0)),
    "sample taps": lambda e: e.tokens(IMAGE, taps=-1.0),
    "relevance gaze": lambda e: e.relevance(IMAGE, gaze=(2, 2)),
    "relevance falloff": lambda e: e.relevance(IMAGE, gaze=(0, 0), falloff="none"),
    "relevance options": lambda e: e.tokens(IMAGE, relevance={"speed": 1}),
    "rate budget": lambda e: e.rate(IMAGE, budget=1, max_rate=1),
    "rate max_rate": lambda e: e.rate(IMAGE, max_rate=3),
    "rate tile": lambda e: e.rate_tiles(IMAGE, tile=7, gaze=(0, 0)),
    "layout rates": lambda e: e.layout((4, 4), kind="rate"),
    "warp size": lambda e: e.warp(IMAGE, size=(0, 4)),
    "warp alpha": lambda e: e.warp(IMAGE, size=(4, 4), alpha=-1),
    "warp gaze": lambda e: e.warp(IMAGE, size=(4, 4), gaze=(2, 2)),
    "preset": lambda e: e.tokens(IMAGE, model="clip"),
    "tokens layout": lambda e: e.tokens(IMAGE, layout="spiral"),
    "engine backend": lambda e: foveate.Engine(backend="metal"),
    "engine threads": lambda e: foveate.Engine(backend="cpu", threads=1000),
}


@pytest.mark.parametrize("name", CALLS)
def test_shape_and_recovery(cpu, name):
    before = cpu.tokens(IMAGE, budget=6).patches.numpy().copy()
    used = cpu.stats["memory_used"]
    with pytest.raises(foveate.Error) as error:
        CALLS[name](cpu)
    text = str(error.value)
    assert SHAPE.fullmatch(text), text
    assert len(text) < 2000
    assert not re.search(r"0x[0-9a-f]{6,}|\b[0-9a-f]{12,}\b|/\w+/\w+", text), f"an address or a path: {text}"
    assert cpu.stats["memory_used"] <= used
    assert_same(cpu.tokens(IMAGE, budget=6).patches.numpy(), before)


def test_errors_in_a_storm_leave_no_memory(engine):
    engine.tokens(IMAGE, budget=6)
    used = engine.stats["memory_used"]
    for _ in range(50):
        for call in (CALLS["image nan"], CALLS["sample std"], CALLS["layout gaze"], CALLS["pyramid levels"]):
            with pytest.raises(foveate.Error):
                call(engine)
    assert engine.stats["memory_used"] <= used
    engine.tokens(IMAGE, budget=6)
