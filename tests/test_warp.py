# SPDX-License-Identifier: Apache-2.0
"""warp: log-polar and dense grids, both ways, against the oracle, OpenCV, scikit-image and a supersampled truth."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import foveate
import numpy as np
import pytest
from conftest import isas
from images import picture, random_image
from oracle import warp as truth
from oracle.image import image as planes_of
from skimage.metrics import structural_similarity
from skimage.transform import warp_polar
from tolerance import assert_same

IMAGE, WARPED = (37, 50), (24, 16)      # (height, width); the angles can be halved three times


def oracle(image, inverse=False, kind="logpolar", gaze=(0.5, 0.5), taps=2, lod_bias=-0.5, dtype=None,
           color="encoded", **options):
    planes = planes_of(image, channels="last" if image.ndim == 3 else None)
    g = truth.geometry(kind, IMAGE, WARPED, gaze, **options)
    return truth.warp(planes, g, inverse, taps, lod_bias, dtype, color)


# Literals

def test_a_flat_magnification_is_the_image_itself(engine):
    image = random_image(1, 16, 16)
    same = engine.warp(image, kind="cartesian", size=(16, 16), alpha=1e6, taps=1, lod_bias=-4)
    assert_same(same.numpy()[0], image)


def test_angles_turn_from_x_towards_y(engine):
    image = np.zeros((40, 40), np.uint8)
    image[:20, 20:], image[20:, 20:], image[20:, :20], image[:20, :20] = 40, 10, 20, 30
    rows = engine.warp(image, size=(8, 4)).numpy()[0, :, 2, 0]
    assert rows.tolist() == [10, 10, 20, 20, 30, 30, 40, 40]


def test_radii_are_columns(cpu):
    polar = cpu.warp(np.zeros((100, 100), np.uint8), size=(4, 3), alpha=1, radius=7, unit="px", gaze=(50, 50))
    middle = polar.px_from_texel([(0, 0), (1, 0), (2, 1), (3, 2)])      # 8 ** (k / 3) - 1 px along each axis
    assert middle.round(9).tolist() == [[50, 50], [51, 50], [50, 53], [43, 50]]


# Facts

@pytest.mark.parametrize("kind,inverse", list(itertools.product(["logpolar", "cartesian"], [False, True])))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_constant_stays_constant(engine, kind, inverse, dtype):
    value = {"uint8": 77, "uint16": 12345, "float32": np.float32(0.3)}[dtype]
    image = np.full((48, 64, 3), value, dtype)
    for taps in (1, 2, 3):
        got = engine.warp(image, kind=kind, size=(31, 33), inverse=inverse, taps=taps, gaze=(0.3, 0.9)).numpy()
        assert np.unique(got).tolist() == [value]
    if dtype == "uint8":
        got = engine.warp(image, kind=kind, size=(31, 33), inverse=inverse, color="linear").numpy()
        assert np.unique(got).tolist() == [value]


@pytest.mark.parametrize("kind,norm", [("logpolar", "square"), ("cartesian", "square"), ("cartesian", "round")])
def test_the_pair_is_exact(cpu, kind, norm):
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.random((500, 2)) * (1920, 1080), [(700.5, 300.25), (0, 0), (1919.5, 1079.5)]])
    image = np.zeros((1080, 1920), np.uint8)
    for options in ({}, {"alpha": 0.01}, {"fov_deg": 90, "alpha": 0.5}, {"radius": 200}):
        polar = cpu.warp(image, kind=kind, norm=norm, size=(48, 64), gaze=(700, 300), unit="px", **options)
        assert np.abs(polar.px_from_texel(polar.texel_from_px(points)) - points).max() < 1e-9
        inside = (0.01 + 0.98 * rng.random((500, 2))) * (64, 48)
        assert np.abs(polar.texel_from_px(polar.px_from_texel(inside)) - inside).max() < 1e-9


def test_bins_are_shared_as_acuity_is(cpu):
    # C(e) = ln(1 + 0.35 e): 32.7 % of the bins to 5 degrees, 34.5 % to 20, 32.7 % to 60
    polar = cpu.warp(np.zeros((1000, 1200), np.uint8), size=(8, 1000), fov_deg=120, radius=600)
    degrees = (polar.px_from_texel(np.stack([np.arange(1000) + 0.5, np.zeros(1000)], -1))[:, 0] - 600) / 10
    shares = [np.mean((low < degrees) & (degrees <= high)) for low, high in ((0, 5), (5, 20), (20, 60))]
    assert np.abs(np.array(shares) - (0.327, 0.345, 0.327)).max() < 2e-3     # a bin is 1e-3


def spiral(scale, turn=0.0, side=256):
    """A wave in log r and in the angle, scaled and turned about the middle."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5 - side / 2) / scale
    return (0.5 + 0.4 * np.cos(3 * np.log(np.hypot(x, y)) + 2 * (np.arctan2(y, x) - turn))).astype(np.float32)


def test_scale_is_a_shift_in_rho(cpu):
    # With r >> alpha, rho = ln r + const: what is left is alpha / r of a bin, and the change of the footprints.
    options = {"size": (64, 96), "alpha": 0.05, "radius": 128}
    step = math.log1p(128 / 0.05) / 96
    one = cpu.warp(spiral(1.0), **options).numpy()[0]
    larger = cpu.warp(spiral(math.exp(8 * step)), **options).numpy()[0]
    first = 80     # r > 24 px
    assert np.abs(larger[:, first:] - one[:, first - 8:-8]).max() < 0.02
    assert np.abs(larger[:, first:] - one[:, first:]).max() > 0.3


def test_rotation_is_a_roll_in_theta(cpu):
    image = random_image(5, 64, 64)
    polar, turned = (cpu.warp(i, size=(32, 24)).numpy()[0].astype(int) for i in (image, np.rot90(image)))
    assert np.abs(np.roll(turned, 8, 0) - polar).max() <= 1     # halves of 1/256 texel are rounded upwards
    options = {"size": (64, 48), "alpha": 2.0}
    one, other = (cpu.warp(spiral(1.0, turn), **options).numpy()[0] for turn in (0, 2 * math.pi * 5 / 64))
    # Nearer the middle a texel sees whole waves; farther out it sees the border.
    assert np.abs(np.roll(one, 5, 0) - other)[:, 14:40].max() < 0.01


def test_the_seam_does_not_show(cpu):
    angle = (np.arange(64) + 0.5) / 64 * 2 * math.pi
    polar = np.repeat(((np.cos(angle) + 1) * 120).astype(np.uint8)[:, None], 8, 1)
    back = cpu.warp(polar, inverse=True, size=(80, 80)).numpy()[0, :, :, 0].astype(int)
    assert np.abs(back - back[::-1]).max() <= 1
    assert np.abs(back[39:41, 45:] - polar[0, 0]).max() <= 1


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("kind", ["logpolar", "cartesian"])
def test_there_and_back_in_the_fovea(cpu, name, kind):
    image = picture(name, 512)
    size = (512, 256) if kind == "logpolar" else (384, 384)
    warped = cpu.warp(image, kind=kind, size=size, alpha=8.0)
    back = cpu.warp(warped.numpy()[0], kind=kind, inverse=True, size=(512, 512), alpha=8.0).numpy()[0]
    fovea = np.s_[236:276, 236:276]
    assert structural_similarity(image[fovea], back[fovea], channel_axis=2) > 0.98
    assert structural_similarity(image, back, channel_axis=2) > 0.5


def ramps(side):
    """x and y of each pixel's centre, as images."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) + np.float32(0.5)
    return x, y


def test_geometry_is_opencvs(cpu):
    # OpenCV: r = exp(k ln(R) / width) - 1 from bin edges on, which is alpha = 1; its centres lie on whole numbers
    height, width, radius = 36, 40, 90.0
    got = [cv2.warpPolar(ramp, (width, height), (99.5, 99.5), radius, cv2.WARP_POLAR_LOG | cv2.INTER_LINEAR)
           for ramp in ramps(200)]
    polar = cpu.warp(np.zeros((200, 200), np.uint8), size=(height, width), alpha=1, radius=radius - 1)
    j, k = np.mgrid[0:height, 0:width]
    ours = polar.px_from_texel(np.stack([k, j], -1).reshape(-1, 2)).reshape(height, width, 2)
    assert np.abs(ours - np.stack(got, -1)).max() < 1e-3


def test_geometry_is_scikit_images(cpu):
    # scikit-image: r = exp(k ln(R) / width) from 1 px on; with r >> alpha our columns are as even, and start earlier
    height, width, radius, alpha = 36, 40, 90, 1e-4
    got = np.stack([warp_polar(ramp, (99.5, 99.5), radius=radius, output_shape=(height, width), scaling="log")
                    for ramp in ramps(200)], -1).reshape(-1, 2)
    polar = cpu.warp(np.zeros((200, 200), np.uint8), size=(height, width), alpha=alpha, radius=radius)
    texel = polar.texel_from_px(got).reshape(height, width, 2)
    j, k = np.mgrid[0:height, 0:width]
    length = math.log1p(radius / alpha)
    # skimage's columns in ours, within alpha / r and float32 positions
    assert np.abs(texel[..., 0] - (k * math.log(radius) / width - math.log(alpha)) * width / length).max() < 1e-3
    away = np.abs(texel[..., 1] - j)
    assert np.minimum(away, height - away).max() < 1e-3


# Parity

CASES = [(kind, norm, inverse, dtype, channels, taps, color, output)
         for (kind, norm), inverse, (dtype, color, output), (channels, taps) in itertools.product(
             [("logpolar", "square"), ("cartesian", "square"), ("cartesian", "round")], [False, True],
             [("uint8", "encoded", None), ("uint8", "encoded", "float32"), ("uint8", "linear", None),
              ("uint8", "linear", "float32"), ("uint16", "encoded", None), ("uint16", "encoded", "float32"),
              ("float32", "encoded", None)], [(3, 2), (0, 1), (4, 3)])
         if taps == 2 or norm == "square"]


@pytest.mark.parametrize("kind,norm,inverse,dtype,channels,taps,color,output", CASES)
def test_oracle(engine, kind, norm, inverse, dtype, channels, taps, color, output):
    image = random_image(taps, *(WARPED if inverse else IMAGE), channels, np.dtype(dtype).type)
    options = {"kind": kind, "norm": norm, "inverse": inverse, "gaze": (0.3, 0.9), "taps": taps, "color": color,
               "dtype": output}
    source = engine.image(image, channels="last" if channels else None)
    got = engine.warp(source, size=IMAGE if inverse else WARPED, **options).numpy()[0]
    assert_same(got, oracle(image, **options))


@pytest.mark.parametrize("options", [
    {"alpha": 0.7}, {"radius": 12.5}, {"fov_deg": 40}, {"fov_deg": 40, "alpha": 3.0}, {"lod_bias": 2.0},
    {"lod_bias": -4.0}, {"taps": 4}, {"gaze": (0, 1)}])
@pytest.mark.parametrize("inverse", [False, True])
def test_oracle_options(engine, options, inverse):
    image = random_image(7, *(WARPED if inverse else IMAGE))
    got = engine.warp(image, size=IMAGE if inverse else WARPED, inverse=inverse, **options).numpy()[0]
    assert_same(got, oracle(image, inverse, **options))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (3, 300), (257, 5)])
def test_oracle_awkward_sizes(engine, size):
    image = random_image(size[0], *size)
    for kind, inverse in itertools.product(["logpolar", "cartesian"], [False, True]):
        g = truth.geometry(kind, (5, 7) if inverse else size, size if inverse else (5, 7))
        source = engine.image(image, channels="last")
        got = engine.warp(source, kind=kind, inverse=inverse, size=(5, 7)).numpy()[0]
        assert_same(got, truth.warp(planes_of(image, channels="last"), g, inverse), f"{kind} {inverse}")


def test_every_memory_order(engine):
    image = random_image(3, *IMAGE, 4)
    expected = oracle(image)
    wide = np.zeros((IMAGE[0], 2 * IMAGE[1], 3), np.uint8)
    wide[:, :IMAGE[1]] = image[..., :3]
    for same in (image, image[..., :3].copy(), np.ascontiguousarray(image[..., :3].transpose(2, 0, 1)),
                 wide[:, :IMAGE[1]], image[:, ::-1][:, ::-1]):
        assert_same(engine.warp(same, size=WARPED).numpy()[0], expected)


@pytest.mark.parametrize("isa", isas())
def test_every_instruction_set(make_engine, monkeypatch, isa):
    monkeypatch.setenv("FOVEATE_ISA", isa)
    engine = make_engine("cpu")
    for dtype, channels in itertools.product((np.uint8, np.uint16), (0, 3, 4)):
        image = random_image(9, *IMAGE, channels, dtype)
        assert_same(engine.warp(image, size=WARPED).numpy()[0], oracle(image), isa)


def test_batch(engine):
    images = [random_image(i, 20 + i, 30 - i) for i in range(3)]
    gazes = [(0.2, 0.3), (0.5, 0.5), (0.9, 0.1)]
    got = engine.warp(images, size=(7, 5), gaze=gazes).numpy()
    for one, image, gaze in zip(got, images, gazes, strict=True):
        assert_same(one, engine.warp(image, size=(7, 5), gaze=gaze).numpy()[0])


def test_parts_of_a_large_result(engine):
    image = random_image(4, 60, 80)
    whole = engine.warp(image, size=(90, 70)).numpy()[0]    # more than one part of the table, the last not full
    g = truth.geometry("logpolar", (60, 80), (90, 70))
    assert_same(whole, truth.warp(planes_of(image), g))


def test_a_pyramid_serves_many_gazes(engine):
    image = random_image(6, *IMAGE)
    pyramid = engine.pyramid(image)
    for gaze in ((0.1, 0.2), (0.8, 0.5)):
        assert_same(engine.warp(pyramid, size=WARPED, gaze=gaze).numpy(),
                    engine.warp(image, size=WARPED, gaze=gaze).numpy())


def test_stages_may_have_different_backends(backend, make_engine):
    other = make_engine(backend, backend={"pyramid": "cpu", "*": make_engine(backend).backend["warp"]})
    image = random_image(6, *IMAGE)
    assert_same(other.warp(image, size=WARPED).numpy()[0], oracle(image))


def test_threads_share_the_tables(cpu):
    image = random_image(8, *IMAGE)
    gazes = [(x / 10, y / 10) for x in range(1, 5) for y in range(1, 5)] * 3
    expected = [cpu.warp(image, size=WARPED, gaze=gaze).numpy() for gaze in gazes]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda gaze: cpu.warp(image, size=WARPED, gaze=gaze).numpy().copy(), gazes))
    for a, b in zip(got, expected, strict=True):
        assert_same(a, b)


# Errors

SMALL = random_image(1, 12, 16)


@pytest.mark.parametrize("options,text", [
    ({"size": 5}, "warp: size: got 5, expected (height, width)."),
    ({"size": (0, 4)}, "warp: height: got 0, expected 1..16384."),
    ({"size": (4, 16385)}, "warp: width: got 16385, expected 1..16384 px."),
    ({"size": (4096, 4096)}, "warp: size: got 4096 x 4096, expected at most 8388608 px. Warp to a smaller size."),
    ({"kind": "spiral"}, "warp: kind: got 'spiral', expected one of 'logpolar', 'cartesian'."),
    ({"norm": "cube"}, "warp: norm: got 'cube', expected one of 'square', 'round'."),
    ({"norm": "round"}, "warp: norm: got \"round\" with kind=\"logpolar\", expected \"square\"."),
    ({"alpha": 0}, "warp: alpha: got 0, expected a number above 0."),
    ({"alpha": "a"}, "warp: alpha: got 'a', expected a number."),
    ({"alpha": 1e-6}, "warp: alpha: got 1e-06, expected 0.0001..1000000."),
    ({"alpha": float("nan")}, "warp: alpha: got nan, expected a number above 0."),
    ({"radius": -1}, "warp: radius: got -1, expected a number above 0."),
    ({"radius": 0.5}, "warp: radius: got 0.5, expected 1..1000000 px."),
    ({"fov_deg": 361}, "warp: fov_deg: got 361, expected above 0, up to 360."),
    ({"fov_deg": -3}, "warp: fov_deg: got -3, expected a number above 0."),
    ({"taps": 5}, "warp: taps: got 5, expected 1..4."),
    ({"taps": 0}, "warp: taps: got 0, expected 1..4."),
    ({"lod_bias": 5}, "warp: lod_bias: got 5, expected -4..4."),
    ({"lod_bias": float("nan")}, "warp: lod_bias: got nan, expected -4..4."),
    ({"dtype": "int4"}, "warp: dtype: got 'int4', expected one of None, 'float32'."),
    ({"color": "srgb"}, "warp: color: got 'srgb', expected one of 'encoded', 'linear'."),
    ({"unit": "cm"}, "warp: unit: got 'cm', expected one of 'uv', 'px'."),
    ({"gaze": (2, 2)}, "warp: gaze: got (2, 2), expected (0..1, 0..1). Use clamp=True to move it to the border."),
    ({"gaze": (float("nan"), 0)}, "warp: gaze: got (nan, 0), expected finite numbers."),
    ({"gaze": 3}, "warp: gaze: got 3, expected (x, y), or one for each image."),
    ({"gaze": [(0, 0), (1, 1)]}, "warp: gaze: got 2 points for 1 images, expected one for all images, or one"),
    ({"gaze": (0, None)}, "warp: gaze: got None, expected a number."),
])
def test_errors(cpu, options, text):
    with pytest.raises(foveate.Error) as error:
        cpu.warp(SMALL, **{"size": (8, 8), **options})
    assert str(error.value).startswith(text), str(error.value)


def test_errors_of_pyramids(cpu):
    for pyramid, text in [
        (cpu.pyramid(SMALL, edge="exact"), "warp: pyramid edge: got \"exact\", expected \"aligned\"."),
        (cpu.pyramid(SMALL, color="linear"), "warp: pyramid color: got another one than asked for, expected the"),
        (cpu.pyramid(SMALL, levels=1), "warp: pyramid levels: got 1, expected at least 4."),
    ]:
        with pytest.raises(foveate.error.InputError) as error:
            cpu.warp(pyramid, size=(2, 2))
        assert str(error.value).startswith(text), str(error.value)
    with foveate.Engine(backend="cpu") as other, pytest.raises(foveate.error.InputError) as error:
        other.warp(cpu.pyramid(SMALL), size=(2, 2))
    assert str(error.value).startswith("warp: pyramid: got one made by another Engine, expected one made by this")


def test_errors_of_points(cpu):
    polar = cpu.warp(SMALL, size=(8, 8))
    for call, text in ((lambda: polar.px_from_texel("x"), "warp: points: got 'x', expected (N, 2) numbers."),
                       (lambda: polar.texel_from_px([(1, 2)], image=1), "warp: image: got 1, expected 0..0.")):
        with pytest.raises(foveate.error.InputError) as error:
            call()
        assert str(error.value).startswith(text), str(error.value)
