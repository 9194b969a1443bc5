# SPDX-License-Identifier: Apache-2.0
"""client: pictures in a chat message: which parts they show, how they are sent, and what they cost."""

import base64
import doctest
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import without
from child import TESTS
from foveate.client import PRESERVES, arrange, chat, count, encoded, vllm
from foveate.client.chat import crops
from foveate.client.count import FAMILIES, tokens_of
from foveate.client.regions import best_boxes, box_around
from foveate.error import InputError, UnsupportedError
from images import random_image
from PIL import Image

GRAY = np.full((1080, 1920, 3), 128, np.uint8)


def pixels_of(part):
    kind, _, data = part["image_url"]["url"].partition(";base64,")
    return kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


# Literals

def test_a_message(cpu):
    made = crops(GRAY, gaze=(0.5, 0.5), form="png", engine=cpu)
    message = json.loads(json.dumps(made.message("What is this?")))
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["text", "image_url", "text", "image_url", "text"]
    assert [part["text"] for part in message["content"] if part["type"] == "text"] == [
        "The whole image, 1920 x 1080 px:", "A part of it, x 736..1184, y 316..764 px:", "What is this?"]
    assert [tuple(shown) for shown in made.shown] == [("overview", (0, 0, 1920, 1080), (252, 448), 1),
                                                      ("gaze", (736, 316, 1184, 764), (448, 448), 3)]
    assert made.preserves == "crops" and made.preserves in PRESERVES
    for shown in made.shown:
        kind, pixels = pixels_of(made.parts[shown.part])
        assert kind == "data:image/png" and pixels.shape == (*shown.size, 3) and (pixels == 128).all()
    assert made.shown[1].px_from_uv(0, 1) == (736, 764) and made.shown[0].px_from_uv(0.5, 0.5) == (960, 540)


@pytest.mark.parametrize("point, box", [((0, 0), (0, 0, 40, 20)), ((100, 60), (60, 40, 100, 60)),
                                        ((50, 30), (30, 20, 70, 40)), ((21, 11), (1, 1, 41, 21))])
def test_a_box_stays_in_the_image(point, box):
    assert box_around(point, (20, 40), (60, 100)) == box


def test_boxes_by_heat():
    heat = np.zeros((6, 10))
    heat[1, 7], heat[4, 1:3] = 5, 2
    assert best_boxes(heat, 10, (20, 20), (60, 100), 5) == [(65, 5, 85, 25), (10, 35, 30, 55)]
    assert best_boxes(heat, 10, (20, 20), (60, 100), 5, [(60, 0, 80, 20)]) == [(10, 35, 30, 55)]
    assert best_boxes(np.ones((2, 2)), 10, (20, 20), (20, 20), 3) == [(0, 0, 20, 20)]


@pytest.mark.parametrize("size, family, tokens", [
    ((448, 448), "qwen2-vl", 256), ((448, 448), "qwen3-vl", 196), ((28, 28), "qwen2.5-vl", 4),
    ((1080, 1920), "qwen2.5-vl", 39 * 69), ((480, 640), "llava-1.5", 576), ((480, 640), "gemma-3", 256),
    ((1024, 1024), "gpt-4o", 765), ((4096, 2048), "gpt-4o", 1105), ((512, 512), "gpt-4o", 255)])
def test_tokens(size, family, tokens):
    assert tokens_of(size, family) == tokens
    assert tokens_of((4096, 8192), "gpt-4o", "low") == 85


# Facts

def test_crops_are_the_images_own_pixels(cpu):
    image = random_image(3, 300, 500)
    made = crops(image, gaze=[(0.2, 0.3), (1, 1)], side=64, overview=0, form="png", labels=False, engine=cpu)
    assert [part["type"] for part in made.parts] == ["image_url"] * 2
    for shown, part in zip(made.shown, made.parts, strict=True):
        x0, y0, x1, y1 = shown.box_px
        assert np.array_equal(pixels_of(part)[1], image[y0:y1, x0:x1])
    assert made.shown[1].box_px == (436, 236, 500, 300)


@pytest.mark.parametrize("image", [np.full((40, 50), 0.5, np.float32), np.full((40, 50), 128 * 257, np.uint16),
                                   np.full((3, 40, 50), 128, np.uint8), Image.new("L", (50, 40), 128)])
def test_any_image_is_sent_as_rgb(cpu, image):
    made = crops(image, count=1, side=16, form="png", engine=cpu)
    assert all((pixels_of(made.parts[shown.part])[1] == 128).all() for shown in made.shown)
    assert pixels_of(made.parts[1])[1].shape == (40, 50, 3)


def shown_of(patch, shown):
    """The share of a patch (x, y) of 200 x 200 px that a picture shows."""
    x0, y0, x1, y1 = shown.box_px
    wide, high = (min(high, at + 200) - max(low, at) for low, high, at in ((x0, x1, patch[0]), (y0, y1, patch[1])))
    return max(wide, 0) * max(high, 0) / 200**2


def test_a_file_is_decoded(cpu):
    image, file = random_image(1, 60, 80), io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    made = crops(file.getvalue(), gaze=(0.5, 0.5), overview=0, form="png", engine=cpu)
    assert np.array_equal(pixels_of(made.parts[1])[1], image)
    with pytest.raises(InputError, match="decode: format: got bytes of another format"):
        crops(b"GIF89a", engine=cpu)


@pytest.mark.parametrize("by", ["rate", "relevance"])
def test_what_is_found(cpu, by):
    """Two patches of detail in a plain image: each has a picture, and gaze takes the place of the one it is on."""
    image, patches = GRAY.copy(), [(200, 100), (1500, 700)]
    for seed, (x, y) in enumerate(patches):
        image[y:y + 200, x:x + 200] = random_image(seed, 200, 200)
    made = crops(image, count=2, by=by, side=256, engine=cpu)
    assert [shown.kind for shown in made.shown] == ["overview", "found", "found"]
    assert all(max(shown_of(patch, shown) for shown in made.shown[1:]) > 0.9 for patch in patches)
    looked = crops(image, gaze=(300, 200), unit="px", count=2, by=by, side=256, engine=cpu)
    assert [shown.kind for shown in looked.shown] == ["overview", "gaze", "found"]
    assert shown_of(patches[1], looked.shown[2]) > 0.9


def test_options_of_what_is_found(cpu):
    made = crops(random_image(1, 400, 600), count=1, by="relevance", side=64, engine=cpu,
                 options={"roi": [(0.8, 0.7, 0.9, 0.8)]})
    x0, y0, x1, y1 = made.shown[1].box_px
    assert x0 <= 510 <= x1 and y0 <= 300 <= y1
    made = crops(random_image(1, 400, 600), count=1, side=64, engine=cpu,
                 options={"budget": 200, "relevance": {"gaze": (0.1, 0.1)}})
    assert made.shown[1].box_px[0] < 200 and made.shown[1].box_px[1] < 200


@pytest.mark.parametrize("model, cell", [("qwen2.5-vl", 28), ("qwen3-vl", 32), ("gemma4", 48)])
def test_with_a_model_sides_are_whole_tokens(cpu, model, cell):
    for size, side in (((1080, 1920), 400), ((300, 170), 448), ((20, 20), 448), ((777, 33), 100)):
        made = crops(random_image(1, *size), gaze=(0.4, 0.4), model=model, side=side, max_side=1000, engine=cpu)
        assert all(edge % cell == 0 and edge <= 1000 for shown in made.shown for edge in shown.size)
        x0, y0, x1, y1 = made.shown[1].box_px
        if min(size) >= cell:
            assert (y1 - y0, x1 - x0) == made.shown[1].size     # nothing is resampled
        if model in FAMILIES and min(size) > 500:
            assert made.tokens(model)[1] == np.prod(made.shown[1].size) // cell**2


def test_large_pictures_are_made_smaller(cpu):
    made = crops(GRAY, gaze=(0.5, 0.5), side=1000, overview=5000, max_side=500, engine=cpu)
    assert [shown.size for shown in made.shown] == [(281, 500), (500, 500)]
    small = crops(GRAY[:90, :160], gaze=(0.5, 0.5), engine=cpu)
    assert [shown.size for shown in small.shown] == [(90, 160), (90, 160)]


def test_jpeg(cpu, monkeypatch):
    """By simplejpeg, and by Pillow where it is not there: colour at full resolution, near the image."""
    image = np.asarray(Image.fromarray(random_image(1, 8, 8)).resize((64, 64), Image.Resampling.BICUBIC))
    sizes = []
    for hidden in (False, True):
        if hidden:
            monkeypatch.setitem(sys.modules, "simplejpeg", None)
        for quality in (60, 95):
            made = crops(image, gaze=(0.5, 0.5), overview=0, quality=quality, engine=cpu)
            kind, pixels = pixels_of(made.parts[1])
            assert kind == "data:image/jpeg"
            assert np.abs(pixels.astype(int) - image).mean() < (6 if quality == 60 else 2)
            sizes.append(len(made.parts[1]["image_url"]["url"]))
            data = base64.b64decode(made.parts[1]["image_url"]["url"].partition(",")[2])
            assert [layer[1:3] for layer in Image.open(io.BytesIO(data)).layer] == [(1, 1)] * 3
    assert sizes[0] < sizes[1] and sizes[2] < sizes[3]


def test_detail(cpu):
    made = crops(GRAY, count=0, detail="low", engine=cpu)
    assert made.parts[1]["image_url"]["detail"] == "low" and made.tokens("gpt-4o") == [85]
    assert "detail" not in crops(GRAY, count=0, engine=cpu).parts[1]["image_url"]


@pytest.mark.parametrize("family", ["qwen2-vl", "qwen3-vl"])
def test_tokens_are_the_stock_processors(family):
    from foveate.model.processor import FoveatedQwen2VLImageProcessor, FoveatedQwen3VLImageProcessor

    cls = FoveatedQwen3VLImageProcessor if family == "qwen3-vl" else FoveatedQwen2VLImageProcessor
    options = {} if family == "qwen3-vl" else {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16384}
    stock = cls(**options)
    rng = np.random.default_rng(0)
    for height, width in np.exp(rng.uniform(np.log(30), np.log(9000), (300, 2))).astype(int).tolist():
        if max(height, width) <= 200 * min(height, width):
            assert tokens_of((height, width), family) == stock.get_number_of_image_patches(height, width) // 4


def test_tokens_are_those_of_configurations():
    from transformers import Gemma3Config, LlavaConfig

    assert tokens_of((336, 336), "llava-1.5") == LlavaConfig().image_seq_length
    assert tokens_of((896, 896), "gemma-3") == Gemma3Config().mm_tokens_per_image


def test_importing_it_imports_nothing_heavy():
    code = ("import sys\nfrom foveate.client import arrange, chat, count, embeds, sglang, vllm\n"
            "print(sorted({'torch', 'transformers', 'PIL', 'simplejpeg'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_page_says_what_each_way_preserves():
    page = (TESTS.parent / "docs/guide/send.md").read_text()
    for word, meaning in PRESERVES.items():
        assert f"| `{word}` | {meaning} |" in page


@pytest.mark.parametrize("module", [arrange, chat, count, vllm])
def test_examples(module):
    found = doctest.testmod(module)
    assert found.attempted > 0 and found.failed == 0


# Errors

@pytest.mark.parametrize("options, text", [
    ({"side": 15}, "client: side: got 15, expected 16..16384."),
    ({"side": "wide"}, "client: side: got 'wide', expected 16..16384."),
    ({"max_side": 20000}, "client: max_side: got 20000, expected 16..16384."),
    ({"overview": 16385}, "client: overview: got 16385, expected 0..16384."),
    ({"count": 65}, "client: count: got 65, expected 0..64."),
    ({"count": 1, "gaze": [(0, 0), (1, 1)]},
     "client: count: got 1 for 2 gaze points, expected one for each, or more."),
    ({"count": 0, "overview": 0},
     "client: crops: got neither an overview nor a close picture, expected one of them."),
    ({"quality": 0}, "client: quality: got 0, expected 1..100."),
    ({"form": "gif"}, "client: form: got 'gif', expected one of 'jpeg', 'png'."),
    ({"by": "luck"}, "client: by: got 'luck', expected one of 'rate', 'relevance'."),
    ({"detail": "much"}, "client: detail: got 'much', expected one of None, 'auto', 'low', 'high'."),
    ({"gaze": (0.5, 1.5)},
     "client: gaze: got (0.5, 1.5), expected a point in the image, up to (1.0, 1.0). Or clamp=True."),
    ({"gaze": (1921, 0), "unit": "px"},
     "client: gaze: got (1921.0, 0.0), expected a point in the image, up to (1920.0, 1080.0). Or clamp=True."),
    ({"gaze": (float("nan"), 0)}, "client: gaze: got NaN or infinity, expected finite numbers."),
    ({"gaze": 3}, "client: gaze: got 3, expected (x, y), or a list of them."),
    ({"gaze": "left"}, "client: gaze: got 'left', expected (x, y), or a list of them."),
    ({"gaze": (0, 0), "unit": "deg"}, "client: unit: got 'deg', expected one of 'uv', 'px'."),
])
def test_options_outside_their_range(cpu, options, text):
    with pytest.raises(InputError) as error:
        crops(GRAY, engine=cpu, **options)
    assert str(error.value) == text


def test_other_errors(cpu):
    with pytest.raises(InputError, match=r"client: crops: got 2 images, expected one; call it for each\."):
        crops([GRAY, GRAY], engine=cpu)
    with pytest.raises(InputError, match=r"client: family: got 'x', expected one of 'qwen2-vl', "):
        tokens_of((40, 40), "x")
    with pytest.raises(InputError, match=r"client: size: got 0, expected 1\.\.65536\."):
        tokens_of((0, 40), "gpt-4o")
    with pytest.raises(InputError, match=r"client: size: got 1 x 201, expected sides of 1:200 at most\."):
        tokens_of((1, 201), "qwen2-vl")
    assert crops(GRAY, gaze=(2, -1), clamp=True, engine=cpu).shown[1].box_px == (1472, 0, 1920, 448)


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnsupportedError, match=r"client: Pillow: got none, expected it installed\. "
                                               r"Run: pip install 'foveate\[serve\]'"):
        encoded.pillow()


def test_without_anything(tmp_path):
    """A client needs NumPy, and a library that writes pictures; no torch."""
    out = without.run(tmp_path, ("torch", "transformers", "simplejpeg"),
                      "import numpy as np\nfrom foveate.client.chat import crops\nfrom foveate.client import vllm\n"
                      "print(len(crops(np.zeros((40, 40, 3), np.uint8)).parts), vllm.snapped((0.1, 0.1), 2))")
    assert out.splitlines()[-1] == "4 (0.25, 0.25)"
