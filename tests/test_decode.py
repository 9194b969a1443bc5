# SPDX-License-Identifier: Apache-2.0
"""Files as pixels: what is let in, what is not, and that nothing but our own errors comes out."""

import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from foveate.decode import SCANS, DecodeError, decode, header, scaled
from foveate.error import UnsupportedError
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP")


def pixels(height=48, width=64, seed=0):
    """Smooth in places and noisy in others."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    return np.clip(np.stack([x * 3, y * 4, x + y], -1) + noise * (x > width // 2)[..., None], 0, 255).astype(np.uint8)


def file_of(array, kind="PNG", mode=None, **options):
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    file = io.BytesIO()
    (picture if mode is None else picture.convert(mode)).save(file, kind, **options)
    return file.getvalue()


def code_of(data, **options):
    with pytest.raises(DecodeError) as caught:
        decode(data, **options)
    return caught.value.code


def png(width, height, bits=8, color=2, body=b""):
    """The first chunks of a PNG of any size, made by hand."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_into_memory_that_there_is():
    image = pixels()
    data, room = file_of(image, "JPEG"), np.full(image.nbytes, 7, np.uint8)
    expected = decode(data)
    found = decode(data, into=room)
    np.testing.assert_array_equal(found, expected)
    assert np.shares_memory(found, room)
    part = decode(data, scale=2, into=room)
    np.testing.assert_array_equal(part, decode(data, scale=2))
    assert np.shares_memory(part, room)
    small = decode(data, into=room[1:])      # a byte too few
    np.testing.assert_array_equal(small, expected)
    assert not np.shares_memory(small, room)
    other = decode(file_of(image), into=room)
    np.testing.assert_array_equal(other, image)
    assert not np.shares_memory(other, room)


def test_literal():
    data = file_of(np.array([[[255, 0, 0], [0, 128, 255]]], np.uint8))
    assert decode(data).tolist() == [[[255, 0, 0], [0, 128, 255]]]
    assert header(data) == ("png", 2, 1, 3, 8, 1, 1, 1)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_as_pillow(kind):
    data = file_of(pixels(), kind)
    theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data), theirs)
    assert header(memoryview(data))[:3] == (kind.lower(), 64, 48)


@pytest.mark.parametrize(("mode", "kinds"), [("L", FORMATS), ("1", ("PNG",)), ("LA", ("PNG",)), ("P", ("PNG",)),
                                             ("RGBA", ("PNG", "WEBP")), ("CMYK", ("JPEG",))])
def test_modes(mode, kinds):
    for kind in kinds:
        data = file_of(pixels(), kind, mode)
        assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))), kind


def test_sixteen_bits_to_the_nearest():
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    assert decode(file_of(values))[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_alpha_is_dropped_or_laid_over():
    data = file_of(np.array([[[200, 100, 50, 0], [200, 100, 50, 255]]], np.uint8))
    assert decode(data)[0, 0].tolist() == [200, 100, 50]
    assert decode(data, background=(1, 2, 3)).tolist() == [[[1, 2, 3], [200, 100, 50]]]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation(kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    data = file_of(pixels(24, 40), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert header(data).orientation == turn
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode(data), np.asarray(wanted))
    assert decode(data, orient=False).shape == (24, 40, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (15, 16), (17, 31), (48, 64)])
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_scale_rounds_sides_up(size, scale):
    found = decode(file_of(pixels(*size), "JPEG"), scale=scale)
    assert found.shape == (scaled(size[0], scale), scaled(size[1], scale), 3)
    assert decode(file_of(pixels(*size), "PNG"), scale=scale).shape == (*size, 3)


def test_scale_is_an_average():
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert np.ptp(decode(file_of(flat, "JPEG"), scale=4).astype(int) - 90) <= 1
    smooth = np.repeat(np.arange(0, 256, 2, dtype=np.uint8)[None], 64, 0)
    found = decode(file_of(smooth, "JPEG", quality=95), scale=2)[..., 0].astype(float)
    assert np.abs(found - smooth.reshape(32, 2, 64, 2).mean((1, 3))).max() < 3


# ---- what is not let in

def test_what_is_no_image():
    assert code_of(b"") == "empty"
    for data in (b"x", b"GIF89a" + bytes(40), b"%PDF-1.7", b"%!PS-Adobe", b"II*\0" + bytes(60), b"<svg/>",
                 b"\0\0\0\x0cjP  \r\n\x87\n", b"BM" + bytes(60), b"SIMPLE  =", b"RIFF\0\0\0\0WAVE"):
        assert code_of(data) == "format"
    for data in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"\xff\xd8\xff\xd9",
                 b"RIFF\0\0\0\0WEBPVP9 abcd",
                 png(0, 4), png(4, 4, bits=3), png(4, 4, color=5), b"\xff\xd8\xff\xe0\0\1", b"\xff\xd8\xffa"):
        assert code_of(data) == "header"


def test_sizes_at_the_limits():
    assert header(png(16384, 4096)).width == 16384
    assert code_of(png(16385, 1)) == "size"
    assert code_of(png(8192, 8193)) == "pixels"
    data = file_of(pixels(10, 20))
    assert decode(data, pixels=200, side=20).shape == (10, 20, 3)
    assert (code_of(data, pixels=199), code_of(data, side=19)) == ("pixels", "size")


def test_animations_are_refused():
    frames = [Image.fromarray(pixels(seed=seed)) for seed in range(3)]
    for kind in ("PNG", "WEBP"):
        assert code_of(file_of(frames[0], kind, save_all=True, append_images=frames[1:])) == "frames"


def test_a_jpeg_of_too_many_scans():
    data = file_of(pixels(), "JPEG", progressive=True)
    assert 1 < header(data).scans < 20
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0\0"
    at = data.index(b"\xff\xda")
    spare = SCANS - header(data).scans
    assert header(data[:at] + scan * spare + data[at:]).scans == SCANS
    assert code_of(data[:at] + scan * (spare + 1) + data[at:]) == "scans"


def test_a_sequential_jpeg_has_one_scan_or_is_counted():
    data = file_of(pixels(), "JPEG")
    at = data.index(b"\xff\xda")
    second = data[:-2] + data[at:]
    assert header(second).scans == 1 and code_of(second) == "corrupt", "a second scan of all is no way to waste time"
    single = b"\xff\xda\0\x08\1\1\0\0\x3f\0\0"
    assert code_of(data[:at] + single * SCANS + data[at:]) == "scans", "scans of one component may be many"
    jump = b"\xff\xd0\xff\xfe" + bytes(0xFFFE - 2) + data[at:at + 14]
    assert code_of(data[:at] + jump + single * SCANS + data[at:]) == "scans", "a marker without a length hides none"
    assert header(data[:at]).scans == 0


def test_a_bomb_is_refused_before_it_is_unpacked():
    code = ("import resource, sys; from foveate.decode import *; import PIL.Image, simplejpeg\n"
            "data = sys.stdin.buffer.read()\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try: decode(data)\nexcept DecodeError as error: print(error.code)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)")
    rows = zlib.compress(bytes(20_000 * 3 + 1) * 2000, 9) * 10
    found = subprocess.run([sys.executable, "-c", code], input=png(20_000, 20_000, body=rows), capture_output=True,
                           check=True).stdout.split()
    assert found[0] == b"size" and int(found[1]) < 16 << 10, "KiB"


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_anywhere(kind):
    data, codes = file_of(pixels(24, 32), kind), set()
    for length in range(len(data) - 1):
        try:
            assert decode(data[:length]).shape == (24, 32, 3)     # a cut behind the last pixel
        except DecodeError as error:
            codes.add(error.code)
    assert codes <= {"empty", "format", "header", "truncated", "corrupt"} and {"truncated", "corrupt"} & codes


@pytest.mark.parametrize("kind", FORMATS)
def test_bits_flipped_anywhere(kind):
    data, chance = file_of(pixels(24, 32), kind), random.Random(5)
    for _ in range(600):
        hurt = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 8))):
            hurt[chance.randrange(len(hurt))] ^= 1 << chance.randrange(8)
        try:
            assert decode(bytes(hurt), pixels=1 << 20).dtype == np.uint8
        except DecodeError as error:
            text = str(error)
            assert "0x" not in text and "/" not in text and "PIL" not in text


def test_broken_metadata_is_not_fatal():
    plain = file_of(pixels(8, 8), "JPEG")
    chance = np.random.default_rng(2)
    for length in (0, 6, 7, 14, 30):
        body = b"Exif\0\0II*\0" + chance.bytes(length)
        data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]
        assert decode(data, orient=False).shape == (8, 8, 3)
        assert 1 <= header(data).orientation <= 8


def test_the_text_of_an_error():
    with pytest.raises(DecodeError, match=r"decode: frames: got an animation, expected 1 frame\."):
        decode(file_of(pixels(), "WEBP", save_all=True, append_images=[Image.fromarray(pixels(seed=1))]))


def test_an_error_survives_a_process_boundary():
    import pickle

    error = pickle.loads(pickle.dumps(DecodeError("size", "1 x 2", "less")))
    assert (error.code, str(error)) == ("size", "decode: size: got 1 x 2, expected less.")


def test_without_pillow(monkeypatch):
    data = file_of(pixels(), "JPEG")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert decode(data).shape == (48, 64, 3)
    with pytest.raises(UnsupportedError, match="got no PIL, expected it installed"):
        decode(png(1, 1))
