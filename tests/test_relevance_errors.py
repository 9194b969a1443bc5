# SPDX-License-Identifier: Apache-2.0
"""relevance: every option outside its contract is refused, in one shape of text, with a row in docs/errors.md."""

import foveate
import numpy as np
import pytest
from images import random_image
from test_docs_errors import fits, rows

IMAGE = random_image(1, 24, 36)
NAN, INF = float("nan"), float("inf")
TWO = [IMAGE, IMAGE]
HALVES = np.full((2, 2), 0.5, np.float32)

OPTIONS = [
    ({"cell": 0}, "cell: got 0, expected 1..512."),
    ({"cell": 513}, "cell: got 513, expected 1..512 px."),
    ({"cell": 1.5}, "cell: got 1.5, expected 1..512."),
    ({"unit": "deg"}, "unit: got 'deg', expected one of 'uv', 'px'."),
    ({"gaze": (0.5, 1.5)}, "gaze: got (0.5, 1.5), expected (0..1, 0..1). Use clamp=True to move it to the border."),
    ({"gaze": (37, 0), "unit": "px"}, "gaze: got (37, 0), expected (0..width, 0..height) px."),
    ({"gaze": (NAN, 0)}, "gaze: got (nan, 0), expected finite numbers."),
    ({"gaze": (NAN, 0), "clamp": True}, "gaze: got (nan, 0), expected finite numbers."),
    ({"gaze": (0.1, 0.2, 0.3)}, "gaze: got (0.1, 0.2, 0.3), expected (x, y)."),
    ({"gaze": "centre"}, "gaze: got 'centre', expected (x, y), a list of them, or a list for each image."),
    ({"gaze": ("a", 0)}, "gaze: got 'a', expected a number."),
    ({"gaze": [[(0.5, 0.5)], 0.5]}, "gaze: got 0.5, expected a list of numbers."),
    ({"gaze": []}, "gaze: got [], expected (x, y)."),
    ({"gaze": [(0.5, 0.5)] * 65}, "gaze: got 65 points, expected 1..64 points an image."),
    ({"gaze": [[(0.5, 0.5)]] * 3}, "gaze: got 3 sets for 1 images, expected one set for all images"),
    ({"falloff": "linear"}, "falloff: got 'linear', expected one of 'cortical', 'polynomial'"),
    ({"falloff": 3}, "falloff: got 3, expected a list of numbers."),
    ({"falloff": ("cortical", "x")}, "falloff: got 'x', expected a number."),
    ({"gaze": (0, 0), "falloff": ("cortical", 0)}, "falloff cortical: got 0, expected e0 above 0."),
    ({"gaze": (0, 0), "falloff": ("cortical", 1, 2)}, "falloff cortical: got 1, 2, expected e0 above 0."),
    ({"gaze": (0, 0), "falloff": ("cortical", NAN)}, "falloff cortical: got nan, expected e0 above 0."),
    ({"gaze": (0, 0), "falloff": ("polynomial", 1, INF)}, "falloff polynomial: got 1, inf, expected k and p above 0."),
    ({"gaze": (0, 0), "falloff": ("exponential", -1)}, "falloff exponential: got -1, expected lambda above 0."),
    ({"gaze": (0, 0), "falloff": ("bands", (0.5, 1), (0.25, 0))}, "falloff bands: got 0.5, 1, 0.25, 0, expected pairs"),
    ({"gaze": (0, 0), "falloff": ("bands", (0.5, 1.5))}, "falloff bands: got 0.5, 1.5, expected pairs"),
    ({"gaze": (0, 0), "falloff": ("bands", (0.5,))}, "falloff bands: got 0.5, expected pairs"),
    ({"gaze": (0, 0), "falloff": "geisler"}, "falloff geisler: got no field of view, expected fov_deg or viewing_px."),
    ({"gaze": (0, 0), "falloff": ("geisler", 1, 1, 1), "fov_deg": 60}, "falloff geisler: got 1, 1, 1, expected alpha"),
    ({"fov_deg": "wide"}, "fov_deg: got 'wide', expected a number."),
    ({"fov_deg": 0}, "fov_deg: got 0, expected above 0."),
    ({"gaze": (0, 0), "fov_deg": 180}, "fov_deg: got 180, expected above 0 and below 180."),
    ({"gaze": (0, 0), "fov_deg": 60, "viewing_px": 9}, "fov_deg: got viewing_px as well, expected one of the two."),
    ({"viewing_px": -1}, "viewing_px: got -1, expected above 0."),
    ({"viewing_px": NAN}, "viewing_px: got nan, expected above 0."),
    ({"viewing_px": []}, "viewing_px: got [], expected a number."),
    ({"gaze": (0, 0), "viewing_px": 2e6}, "viewing_px: got 2e+06, expected above 0, at most 1000000."),
    ({"saliency": "deep"}, "saliency: got 'deep', expected one of None, 'gradient'"),
    ({"query": np.full((2, 2), NAN)}, "query: got nan, expected values of 0..1."),
    ({"query": np.full((2, 2), 1.5)}, "query: got 1.5, expected values of 0..1."),
    ({"query": [HALVES] * 3}, "query: got 3 for 1 images, expected one for all images, or one for each."),
    ({"query": np.zeros((0, 3))}, "query: got 0 x 3, expected sides of 1..16384."),
    ({"query": np.zeros((1, 16385))}, "query: got 1 x 16385, expected sides of 1..16384."),
    ({"query": np.zeros(3)}, "query: got shape (3,), expected (h, w)."),
    ({"query": "dog"}, "query: got str, expected an array of numbers."),
    ({"query": (np.zeros((2, 2, 3)), np.zeros(4))}, "query: got features (2, 2, 3) and a vector (4,), expected"),
    ({"query": (np.full((2, 2, 3), INF), np.zeros(3))}, "query: got features with NaN or infinity, expected finite"),
    ({"query": ([HALVES, IMAGE], np.zeros(3))}, "query: got features of several sizes, expected (h, w, d)"),
    ({"roi": (0.5, 0, 0.5, 1)}, "roi: got (0.5, 0, 0.5, 1), expected finite numbers, x0 below x1 and y0 below y1."),
    ({"roi": (0, 0, NAN, 1)}, "roi: got (0, 0, nan, 1), expected finite numbers"),
    ({"roi": (0, 0, INF, 1)}, "roi: got (0, 0, inf, 1), expected finite numbers"),
    ({"roi": (0, 0, 1)}, "roi: got (0, 0, 1), expected (x0, y0, x1, y1)."),
    ({"roi": (0, 0, 1, "b")}, "roi: got 'b', expected a number."),
    ({"roi": 7}, "roi: got 7, expected (x0, y0, x1, y1), a list of them, or a list for each image."),
    ({"roi": [[(0, 0, 1, 1)], 3]}, "roi: got 3, expected a list of numbers."),
    ({"roi": [[(0, 0, 1, 1)]] * 2}, "roi: got 2 for 1 images, expected one for all images, or one for each."),
    ({"roi": np.full((2, 2), 255, np.uint8)}, "roi: got 255, expected values of 0..1."),
    ({"roi": np.zeros((0, 2))}, "roi: got 0 x 2, expected sides of 1..16384."),
    ({"roi": np.zeros((1, 2, 2, 2))}, "roi: got shape (1, 2, 2, 2), expected (h, w)."),
    ({"roi": np.full((2, 2), "a")}, "roi: got ndarray, expected an array of numbers."),
    ({"trace": (0.5,)}, "trace: got (0.5,), expected (x, y) or (x, y, weight)."),
    ({"trace": 1}, "trace: got 1, expected (x, y) or (x, y, weight), a list of them, or a list for each image."),
    ({"trace": (0.5, None)}, "trace: got None, expected a number."),
    ({"trace": [[(0.5, 0.5)], 3]}, "trace: got 3, expected a list of numbers."),
    ({"trace": (0.5, NAN)}, "trace: got (0.5, nan), expected finite numbers."),
    ({"trace": (0.5, -1)}, "trace: got (0.5, -1), expected (0..1, 0..1). Use clamp=True to move it to the border."),
    ({"trace": (50, 1), "unit": "px"}, "trace: got (50, 1), expected (0..width, 0..height) px."),
    ({"trace": [[(0.5, 0.5)]] * 2}, "trace: got 2 for 1 images, expected one for all images, or one for each."),
    ({"trace": (0.5, 0.5, -1)}, "trace weight: got -1, expected 0..1000000000."),
    ({"trace": (0.5, 0.5, 0)}, "trace: got no points with weight, expected one or more."),
    ({"sigma": 0}, "sigma: got 0, expected above 0, at most 1."),
    ({"sigma": NAN}, "sigma: got nan, expected above 0, at most 1."),
    ({"sigma": "x"}, "sigma: got 'x', expected a number."),
    ({"combine": "sum"}, "combine: got 'sum', expected one of None, 'opponent', 'max', 'mean', 'product'."),
    ({"combine": {"colour": 1}}, "weights: got 'colour', expected one of 'gaze', 'information'"),
    ({"combine": {"gaze": "a"}}, "weights: got 'a', expected a number."),
    ({"combine": {"gaze": -1}, "gaze": (0, 0)}, "weights: got -1, expected 0..1000000."),
    ({"combine": {"gaze": NAN}, "gaze": (0, 0)}, "weights: got nan, expected 0..1000000."),
    ({"combine": {"gaze": 1}}, "weights: got gaze, expected a term that is on."),
    ({"combine": {"gaze": 0}, "gaze": (0, 0)}, "weights: got 0, expected one above 0."),
    ({"combine": {}}, "weights: got 0, expected one above 0."),
    ({"knobs": (0.5, 0.5)}, "knobs: got 2 values, expected 3."),
    ({"knobs": 0.5}, "knobs: got 0.5, expected a list of numbers."),
    ({"knobs": (0, 0, "a")}, "knobs: got 'a', expected a number."),
    ({"knobs": (0, 0, 1.5)}, "knobs: got 1.5, expected 0..1."),
    ({"beta": "much"}, "beta: got 'much', expected a number."),
    ({"beta": -1}, "beta: got -1, expected 0..1000."),
    ({"beta": NAN}, "beta: got nan, expected 0..1000."),
    ({"beta": 2, "gaze": (0, 0)}, "beta: got 2, expected 0 without both gaze and saliency. Turn both terms on."),
    ({"floor": "a"}, "floor: got 'a', expected a number."),
    ({"floor": 1.1}, "floor: got 1.1, expected 0..1."),
    ({"floor": NAN}, "floor: got nan, expected 0..1."),
    ({"smooth": "a"}, "smooth: got 'a', expected a number."),
    ({"smooth": -0.1}, "smooth: got -0.1, expected 0..1."),
    ({"band": "a"}, "band: got 'a', expected a number."),
    ({"band": 2}, "band: got 2, expected 0..1."),
    ({"previous": 1}, "previous: got int, expected a Relevance."),
]
FRAMES = [
    ({"gaze": [(0.5, 0.5)] * 2}, "gaze: got 2 entries for 2 images, expected one reading."),
    ({"roi": [(0, 0, 1, 1)] * 2}, "roi: got 2 entries for 2 images, expected one reading."),
    ({"trace": [(0.5, 0.5)] * 2}, "trace: got 2 entries for 2 images, expected one reading."),
]


def refused(call, text, kind=foveate.error.InputError):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value).startswith("relevance: " + text)
    assert any(fits(pattern, str(error.value)) for pattern, _ in rows()), str(error.value)


@pytest.mark.parametrize("options,text", OPTIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_options(cpu, options, text):
    refused(lambda: cpu.relevance(IMAGE, **options), text)


@pytest.mark.parametrize("options,text", FRAMES, ids=lambda value: value if isinstance(value, str) else "")
def test_two_readings(cpu, options, text):
    refused(lambda: cpu.relevance(TWO, **options), text)


def test_previous(engine, make_engine):
    plain = engine.relevance(IMAGE, gaze=(0, 0), cell=8)
    refused(lambda: engine.relevance(IMAGE, previous=plain), "previous: got 8 px cells, expected 16 px cells.")
    refused(lambda: engine.relevance(TWO, previous=plain, cell=8), "previous: got other image sizes, expected those")
    refused(lambda: engine.relevance(IMAGE[:-1], previous=plain, cell=8), "previous: got other image sizes, expected")
    refused(lambda: engine.relevance(IMAGE, previous=plain, cell=8, motion=True), "previous: got one without luma")
    with make_engine("cpu") as other:
        foreign = other.relevance(IMAGE, cell=8)
        refused(lambda: engine.relevance(IMAGE, previous=foreign, cell=8), "previous: got one of another Engine")
    assert engine.relevance(IMAGE, previous=plain, cell=8).values.shape == (1, 3, 5)


def test_pyramid(engine):
    exact, short = engine.pyramid(IMAGE, edge="exact"), engine.pyramid(IMAGE, levels=1)
    refused(lambda: engine.relevance(exact, information=True), 'pyramid edge: got "exact", expected "aligned".')
    refused(lambda: engine.relevance(short, information=True, cell=32),
            "pyramid levels: got 1, expected 2 or more for cells of 32 px.")
    assert engine.relevance(exact, gaze=(0, 0)).values.shape == (1, 2, 3)
    assert engine.relevance(short, information=True, cell=16).values.shape == (1, 2, 3)


def test_cells(cpu):
    image = np.zeros((4097, 4097), np.uint8)
    refused(lambda: cpu.relevance(image, cell=1), "cells: got 16785409, expected at most 16777216 a call.",
            foveate.error.LimitError)
