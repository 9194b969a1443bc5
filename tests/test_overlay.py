# SPDX-License-Identifier: Apache-2.0
"""Pictures: what is drawn, what the patches give back, and files that other programs read."""

import io
from types import SimpleNamespace

import foveate
import numpy as np
import pytest
from foveate import Engine, policies
from foveate import overlay as drawing
from foveate.lettering import draw_text, text_width
from foveate.picture import Picture, heat, png, ramp, resize, strokes, tiled
from foveate.quality_bench import random_codes, seen_at
from foveate.reconstruct import owners, reconstruct
from images import random_image
from PIL import Image


def made(boxes, values, valid=None, cell=2):
    """Tokens by hand: boxes (x0, y0, x1, y1) with texels of one value each, or an array a token."""
    boxes = np.asarray(boxes, float)
    patches = np.stack([np.broadcast_to(np.asarray(value, np.float32), (1, cell, cell)) for value in values])
    preset = foveate.Preset(patch=cell, mean=(0.0,), std=(1.0,))
    return SimpleNamespace(center_px=(boxes[None, :, :2] + boxes[None, :, 2:]) / 2,
                           size_px=(boxes[None, :, 2:] - boxes[None, :, :2])[..., ::-1], preset=preset,
                           valid=np.ones((1, len(boxes)), bool) if valid is None else np.array([valid]),
                           patches=patches[None])


# ---- literals ----------------------------------------------------------------------------------------------


def test_rate_size():
    assert [drawing.rate_size(code) for code in (0, 1, 4, 5, 6, 9, 10)] == [
        (1, 1), (1, 2), (2, 1), (2, 2), (2, 4), (4, 2), (4, 4)]
    assert [drawing.rate_size(code) for code in (0b1111, 0b110000, 0b101100 ^ 0b001100)] == [(8, 8), (16, 16), (16, 1)]


def test_the_finest_is_seen():
    tokens = made([(0, 0, 8, 8), (2, 2, 4, 4), (0, 0, 4, 4), (0, 0, 2, 2)], [0.1, 0.9, 0.5, 0.7],
                  [True, True, True, False])
    seen = reconstruct((8, 8), tokens)[..., 0]
    assert seen[7, 7] == seen[0, 7] == np.float32(0.1) and seen[0, 0] == 0.5
    assert (seen[2:4, 2:4] == np.float32(0.9)).all()
    assert owners((8, 8), tokens)[1, 1] == 2


def test_where_no_token_lies():
    tokens = made([(0, 0, 4, 4), (4, 0, 8, 4)], [0.2, 0.6])
    below = reconstruct((8, 8), tokens)[4, :, 0]
    assert (np.diff(below) >= 0).all() and 0.2 <= below[0] < 0.4 < below[7] <= 0.6
    assert np.allclose(reconstruct((9, 13), made([(3, 2, 5, 4)], [0.3])), 0.3)
    assert reconstruct((8, 8), tokens, fill=1)[7, 7, 0] == 1
    assert reconstruct((4, 4), made([(9, 9, 12, 12)], [1]))[0, 0, 0] == 0.5


def test_details():
    """Every texel of a 4 x 4 grid of 16-texel cells over 256 px covers 4 px; a fovea's covers one."""
    engine, image = Engine(backend="cpu"), np.zeros((256, 256, 3), np.uint8)
    assert drawing.details(engine.tokens(image, grid=(4, 4))) == [(2, 4.0, 16)]
    found = drawing.details(engine.tokens(image, layout="views", gaze=(0.5, 0.5), budget=32))
    assert found[0][:2] == (0, 1.0) and found[-1][0] > 0


def test_overlay_draws_every_token():
    image = np.full((64, 64, 3), 100, np.uint8)
    engine = Engine(backend="cpu")
    tokens = engine.tokens(image, grid=(4, 4), patch=16)
    drawn = np.asarray(drawing.overlay(image, tokens, side=128, legend=False))
    assert drawn.shape == (128, 128, 3)
    line, inside = drawn[0, 0].astype(int), drawn[16, 16].astype(int)
    assert abs(line - drawing.color(0)).max() < 40 and abs(inside - 90).max() < 12
    assert np.array_equal(drawn[0, 0], drawn[32, 32]) and np.array_equal(drawn[0, 0], drawn[127, 127])
    same = drawing.overlay(image, engine.layout((64, 64), grid=(4, 4)), side=128, legend=False)
    assert np.array_equal(drawn, same.pixels)


def test_overlay_dims_what_no_token_covers():
    image = np.full((200, 200, 3), 200, np.uint8)
    tokens = Engine(backend="cpu").tokens(image, layout="views", views=[((0, 0, 0.5, 0.5), (2, 2))])
    drawn = np.asarray(drawing.overlay(image, tokens, side=200, legend=False)).astype(int)
    assert drawn[150, 150].max() < 70 < drawn[25, 25].min()


def test_rates_and_relevance_have_their_colours():
    image = np.full((40, 64), 255, np.uint8)
    codes = np.zeros((3, 4), int)
    codes[:2, :2] = 5
    drawn = drawing.rates_overlay(image, codes, 16, side=640, legend=False, opacity=1).pixels
    assert drawn.shape == (400, 640, 3)
    assert np.array_equal(drawn[80, 80], drawing.rate_color(5)) and np.array_equal(drawn[380, 600], drawing.color(0))
    values = np.linspace(0, 1, 12).reshape(3, 4)
    drawn = drawing.relevance_overlay(image, values, 16, side=640, legend=False).pixels.astype(int)
    light = drawn.sum(axis=2)[[80, 80, 240, 390], [80, 600, 600, 600]]
    assert (np.diff(light) > 0).all()
    for picture in (drawing.rates_overlay(image, [codes], 16, gaze_uv=[(0.5, 0.5)]),
                    drawing.relevance_overlay(image, values, 16)):
        assert picture.width == 1280 and picture.height > 800


# ---- analytic facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model,grid", [("vit16", (4, 6)), ("siglip2", (4, 6)), ("qwen2.5-vl", (2, 3)),
                                        ("qwen3-vl", (2, 3))])
def test_reconstruct_is_the_image_when_tokens_are_pixels(model, grid):
    cell = foveate.presets[model].cell
    image = random_image(2, grid[0] * cell, grid[1] * cell)
    tokens = Engine(backend="cpu").tokens(image, grid=grid, model=model)
    for method in ("nearest", "bilinear"):
        assert np.array_equal(np.round(reconstruct(image.shape[:2], tokens, method) * 255), image)


def test_reconstruct_of_a_batch_gray_and_bfloat16():
    engine, images = Engine(backend="cpu"), [random_image(s, 32, 48, 1) for s in (3, 4)]
    tokens = engine.tokens(images, grid=(2, 3), mean=0.5, std=0.5)
    for index, image in enumerate(images):
        assert np.array_equal(np.round(reconstruct((32, 48), tokens, index=index) * 255)[..., :1], image)
    tokens = engine.tokens(images[0], grid=(2, 3), dtype="bfloat16")
    assert np.abs(reconstruct((32, 48), tokens)[..., 0] * 255 - images[0][..., 0]).max() <= 0.5


def test_bilinear_is_a_ramp_across_tokens():
    """A linear ramp sampled by a uniform grid comes back as a ramp: texels of neighbours are joined."""
    ramp = np.broadcast_to(np.linspace(0, 240, 64).astype(np.uint8)[None, :, None], (64, 64, 3))
    tokens = Engine(backend="cpu").tokens(np.ascontiguousarray(ramp), grid=(2, 2), patch=8)
    seen = reconstruct((64, 64), tokens, "bilinear")[32, 4:-4, 0] * 255
    assert np.abs(seen - ramp[32, 4:-4, 0]).max() < 2.1
    assert np.abs(reconstruct((64, 64), tokens)[32, 4:-4, 0] * 255 - ramp[32, 4:-4, 0]).max() > 4


def test_bilinear_agrees_with_pillow():
    image = random_image(6, 96, 96)
    tokens = Engine(backend="cpu").tokens(image, grid=(3, 3), patch=8)
    small = Image.fromarray(image.reshape(24, 4, 24, 4, 3).mean(axis=(1, 3)).round().astype(np.uint8))
    large = np.asarray(small.resize((96, 96), Image.Resampling.BILINEAR), float)
    assert np.abs(reconstruct((96, 96), tokens, "bilinear") * 255 - large).max() <= 1.5


def test_constant_stays_constant():
    image = np.full((150, 210, 3), 77, np.uint8)
    engine = Engine(backend="cpu")
    for name in policies.POLICIES:
        shown = policies.encode(engine, image, name, budget=60, gaze=[(0.3, 0.6)])
        for method in ("nearest", "bilinear") if shown else ():
            assert np.abs(reconstruct((150, 210), shown.tokens, method) * 255 - 77).max() < 1e-3


def test_rates_of_tokens():
    image = np.zeros((64, 96, 3), np.uint8)
    tokens = Engine(backend="cpu").tokens(image, layout="views", patch=16, unit="px",
                                          views=[((0, 0, 64, 64), (2, 2)), ((64, 0, 96, 64), (4, 1))])
    assert policies.rates_of(tokens, (64, 96)).tolist() == [[5, 5, 5, 5, 4, 4]] * 4


def test_random_cover_has_its_count():
    for budget in (12, 30, 77):
        codes, count = random_codes((9, 13), budget)
        width, height = drawing.rate_size(codes)
        y, x = np.mgrid[0:9, 0:13]
        starts = int(((x % width == 0) & (y % height == 0)).sum())
        assert count == starts == max(budget, 12)
    image = random_image(3, 70, 50)
    assert np.allclose(seen_at(image, np.zeros((5, 4), int)), image / 255)
    for edge in (4, 8):
        codes, _ = random_codes((5, 4), 9, max_rate=edge)
        assert np.allclose(seen_at(np.full((70, 50, 3), 9, np.uint8), codes), 9 / 255)


@pytest.mark.parametrize("size,budget", [((400, 600), 238), ((1080, 1920), 273), ((100, 900), 30), ((16, 16), 1)])
def test_grid_shape(size, budget):
    rows, columns = policies.grid_shape(size, budget)
    assert 0.9 * budget <= rows * columns <= budget
    assert 0.6 < columns * size[0] / (rows * size[1]) < 1.6


def test_rings_fit():
    for budget in (120, 172, 273, 1024):
        options = policies.rings((400, 600), budget, 16, [(0.2, 0.9)])
        layout = Engine(backend="cpu").layout((400, 600), kind="rings", gaze=(0.2, 0.9), **options)
        assert layout.rows == policies.ring_tokens(options["grids"]) <= budget
        tokens = SimpleNamespace(**{n: getattr(layout, n) for n in ("center_px", "size_px", "valid")})
        assert (owners((400, 600), tokens) >= 0).all()
    assert policies.rings((400, 600), 20, 16, []) is None


# ---- files, colours, letters -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 3), (64, 48, 4)])
def test_png_is_read_by_others(shape):
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256 >> seed, shape, np.uint8)
        with Image.open(io.BytesIO(png(pixels))) as picture:
            assert np.array_equal(np.asarray(picture), pixels)


def test_png_filters_make_it_small():
    y, x = np.mgrid[0:256, 0:256]
    smooth = np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(smooth).save(out, "PNG", optimize=True)
    assert len(png(smooth)) < 1.4 * len(out.getvalue())


def test_picture(tmp_path):
    picture = Picture(np.full((4, 6), 300.0))
    picture.save(tmp_path / "deep" / "p.png")
    assert Image.open(tmp_path / "deep" / "p.png").size == (6, 4) == (picture.width, picture.height)
    assert picture._repr_png_() == picture.png() and np.asarray(picture).max() == 255


def test_resize_agrees_with_pillow():
    image = random_image(9, 40, 60)
    for height, width in ((100, 150), (17, 23), (40, 60)):
        planes = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(3)]
        other = np.stack([plane.resize((width, height), Image.Resampling.BICUBIC) for plane in planes], -1)
        assert np.abs(resize(image, height, width) - other).max() < 1e-3


def test_ramp_rises_evenly():
    """CIE lightness of the colour map rises at a nearly constant pace: order survives in gray."""
    linear = ((ramp() / 255 + 0.055) / 1.055) ** 2.4
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    pace = np.diff(lightness[::15])
    assert (pace > 0).all() and pace.max() < 2.5 * pace.min()
    assert np.array_equal(heat([0, 1, -3, 9]), ramp()[[0, 255, 0, 255]])


def test_letters_are_drawn():
    wide = [text_width(text, 15) for text in ("1 px a texel: 273", "1 px")]
    assert wide[0] > 2 * wide[1]
    for character in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-+/()%=<>×·°é":
        canvas = np.zeros((24, 24, 3), np.float32)
        end = draw_text(canvas, 4, 4, character, 15, (255, 255, 255))
        assert 1.5 < canvas[..., 0].sum() / 255 < 60 and 4 <= end < 20, character


def test_strokes_stay_inside():
    canvas = np.zeros((8, 8, 3), np.float32)
    strokes(canvas, [[-50, -50, -20, -20], [100, 3, 120, 4]], 2, (255, 255, 255))
    assert canvas.max() == 0
    strokes(canvas, [[-5, 4, 20, 4]], 2, (255, 255, 255))
    assert (canvas[3:5] == 255).all() and canvas[0].max() == 0


def test_what_is_left_is_drawn():
    image = np.full((40, 60), 80, np.uint8)
    tokens = Engine(backend="cpu").tokens(image, budget=4, dtype="bfloat16")
    picture = drawing.seen_overlay(image, tokens, side=120, legend=False)
    assert (picture.width, picture.height) == (120, 80) and np.abs(picture.pixels.astype(int) - 80).max() <= 1
    assert drawing.seen_overlay(image, tokens, side=480).height > 320


@pytest.mark.parametrize("count,shape", [(2, (10, 18)), (3, (10, 28)), (4, (22, 18)), (5, (34, 18))])
def test_tiled(count, shape):
    """In the order they are read; a lower one leaves ground below it."""
    pixels = tiled([Picture(np.full((10 - n % 2, 8), 40 + n)) for n in range(count)], gap=2).pixels
    assert pixels.shape == (*shape, 3)
    columns = 3 if count == 3 else 2
    for n in range(count):
        top, left = 12 * (n // columns), 10 * (n % columns)
        assert (pixels[top:top + 10 - n % 2, left:left + 8] == 40 + n).all()
    assert (pixels[9, 10:18] == (20, 23, 28)).all()


# ---- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call,message", [
    (lambda t: reconstruct((8, 8), t, "cubic"), "overlay: method: got 'cubic', expected one of 'nearest', 'bilinear'."),
    (lambda t: reconstruct((0, 8), t), "overlay: image_size: got (0, 8), expected (height, width) above 0."),
    (lambda t: drawing.rates_overlay(np.zeros((40, 40), np.uint8), np.zeros((2, 3), int), 16),
     "overlay: codes: got shape (2, 3), expected (3, 3), a value for every 16 x 16 px of the image."),
    (lambda t: drawing.relevance_overlay(np.zeros((40, 40), np.uint8), np.zeros((2, 3)), 16),
     "overlay: values: got shape (2, 3), expected (3, 3), a value for every 16 x 16 px of the image."),
])
def test_errors(call, message):
    with pytest.raises(foveate.error.InputError) as error:
        call(made([(0, 0, 4, 4)], [0.5]))
    assert str(error.value) == message
