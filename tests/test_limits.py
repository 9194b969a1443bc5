# SPDX-License-Identifier: Apache-2.0
"""Limits: each holds at its value and refuses one past it. The values are those of engine/limits.h."""

import foveate
import numpy as np
import pytest
from images import LONG

GRAY = {"mean": (0,), "std": (1,)}


def refused(call, words):
    with pytest.raises(foveate.Error, match=rf"(?s)got .*expected .*{words}") as error:
        call()
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("shape,past", [((1, 16384), (1, 16385)), ((16384, 1), (16385, 1))])
def test_image_side(engine, shape, past):
    image = np.arange(16384, dtype=np.uint64).astype(np.uint8).reshape(shape)
    assert engine.pyramid(image).levels == 15
    refused(lambda: engine.pyramid(np.zeros(past, np.uint8)), "16384")


def test_image_pixels(cpu):
    assert cpu.pyramid(np.zeros((8192, 8192), np.uint8), levels=1).levels == 1
    refused(lambda: cpu.pyramid(np.zeros((8193, 8192), np.uint8), levels=1), "67108864")


def test_huge_views_are_refused_before_any_copy(cpu):
    refused(lambda: cpu.image(np.broadcast_to(np.uint8(0), (1 << 20, 1 << 20))), "16384")
    refused(lambda: cpu.image(np.broadcast_to(np.uint8(0), (16384, 16384))), "67108864")


def test_batch_images(engine):
    images = list(np.arange(4096, dtype=np.uint64).astype(np.uint8).reshape(4096, 1, 1))
    tokens = engine.tokens(images, budget=1, patch=1, **GRAY)
    assert (np.round(tokens.patches.numpy().ravel() * 255) == np.arange(4096) % 256).all()
    refused(lambda: engine.tokens([*images, images[0]], budget=1, patch=1, **GRAY), "4096")


def test_image_tokens(engine):
    image = np.zeros((256, 256), np.uint8)
    assert engine.tokens(image, budget=65536, patch=1, **GRAY).patches.shape[1] == 65536
    refused(lambda: engine.tokens(image, budget=65537, patch=1, **GRAY), "65536")


def test_batch_tokens(cpu):
    if LONG:
        assert cpu.layout([(256, 256)] * 256, budget=65536, cell=1).rows == 65536
    refused(lambda: cpu.layout([(256, 256)] * 257, budget=65536, cell=1), "16777216")


@pytest.mark.parametrize("name,value,other", [("patch", 64, {}), ("merge", 8, {"patch": 2}),
                                              ("frames", 2, {})])
def test_patch_merge_frames(engine, name, value, other):
    image = np.full((64, 64), 51, np.uint8)
    got = engine.tokens(image, budget=1, **{**other, name: value}, **GRAY).patches.numpy()
    assert np.allclose(got, 0.2, atol=1e-6)
    refused(lambda: engine.tokens(image, budget=1, **{**other, name: value + 1}, **GRAY), f"1..{value}")


def test_fixations(engine):
    rings = dict(kind="rings", strides=(1, 2), grids=(2, 3))
    assert engine.layout((64, 64), gaze=[(0.5, 0.5)] * 64, budget=None, **rings).rows == 64 * 12
    refused(lambda: engine.layout((64, 64), gaze=[(0.5, 0.5)] * 65, budget=None, **rings), "64")


def test_views(engine):
    view = ((0, 0, 1, 1), (1, 1))
    assert engine.layout((64, 64), kind="views", views=[view] * 64, budget=64).rows == 64
    refused(lambda: engine.layout((64, 64), kind="views", views=[view] * 65, budget=65), "64")


def pattern(count):
    """A valid ring pattern of `count` levels with strides 1, 2, 3, ..: each is one to a few tokens thick."""
    strides, grids, block = [1], [2], 2
    for stride in range(2, count + 1):
        for thickness in range(1, 64):
            grid = block // stride + 2 * thickness
            if stride == count or stride * grid % (stride + 1) == 0:
                break
        strides.append(stride)
        grids.append(grid)
        block = stride * grid
    return strides, grids


def test_rings(engine):
    strides, grids = pattern(16)
    layout = engine.layout((640, 640), kind="rings", strides=strides, grids=grids, cell=1, budget=None)
    assert layout.rows == sum(g * g for g in grids) - sum((strides[i] * grids[i] // strides[i + 1]) ** 2
                                                          for i in range(15))
    strides, grids = pattern(17)
    refused(lambda: engine.layout((640, 640), kind="rings", strides=strides, grids=grids, cell=1), r"1\.\.16")


def test_stride(engine):
    rings = dict(kind="rings", cell=1, budget=None)
    assert engine.layout((640, 640), strides=(1, 64), grids=(64, 3), **rings).rows == 64 * 64 + 8
    refused(lambda: engine.layout((640, 640), strides=(1, 65), grids=(65, 3), **rings), "64")


def test_warp(cpu):
    image = np.zeros((8, 8), np.uint8)
    assert cpu.warp(image, size=(8192, 1024), taps=1).shape == (1, 8192, 1024, 1)
    refused(lambda: cpu.warp(image, size=(8193, 1024)), "8388608")
    if LONG:    # a pixel is 8 px high: each row of taps reads rows of its own, in two levels
        large, flat = np.zeros((8192, 8192), np.uint8), {"kind": "cartesian", "alpha": 1e6}
        refused(lambda: cpu.warp(large, size=(1024, 8192), taps=4, lod_bias=1, **flat), "1073741824")
    assert cpu.warp(image, size=(4, 4), taps=4).shape == (1, 4, 4, 1)
    refused(lambda: cpu.warp(image, size=(4, 4), taps=5), "4")


def test_taps(engine):
    image = np.full((40, 40), 51, np.uint8)
    assert np.allclose(engine.tokens(image, budget=1, taps=8.0, **GRAY).patches.numpy(), 0.2, atol=1e-6)
    with pytest.raises(foveate.Error, match=r"(?s)^sample: taps.*got 8\.5.*8"):
        engine.tokens(image, budget=1, taps=8.5, **GRAY)


def test_threads(make_engine):
    many = make_engine("cpu", threads=256)
    assert many.caps["device"] == "256 threads"
    assert many.tokens(np.zeros((9, 9), np.uint8), budget=1, **GRAY).patches.shape[:2] == (1, 1)
    refused(lambda: make_engine("cpu", threads=257), "256")
