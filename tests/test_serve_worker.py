# SPDX-License-Identifier: Apache-2.0
"""Decode workers: the same pixels as without them, in memory that is used again, within limits."""

import asyncio
import contextlib
import gc
import io
import os

import numpy as np
import pytest
from decode_workers import FILE, SMALL, busy, code_of, file_of, run
from foveate.decode import DecodeError, decode
from foveate.error import InputError, LimitError
from foveate.serve import worker, worker_process
from foveate.serve.worker import DecodePool, WorkerError
from images import random_image
from PIL import Image

# Literals

def test_pixels_are_those_of_the_file():
    async def test(pool):
        pixels = await pool.decode(FILE)
        assert pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8 and not pixels.flags.writeable
        np.testing.assert_array_equal(pixels, SMALL)

    run(test)


# Facts

@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_same_as_without_a_worker(kind):
    data = file_of(random_image(3, 61, 83), kind)

    async def test(pool):
        for options in ({}, {"scale": 4}):
            for form in (data, bytearray(data), memoryview(data)):
                np.testing.assert_array_equal(await pool.decode(form, **options), decode(data, **options))

    run(test)


def every_form():
    """Files of all that the codecs write, and each cut in half."""
    image, exif = Image.fromarray(random_image(4, 20, 30)), Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "WEBP"):
        for mode in ("1", "L", "LA", "P", "PA", "I;16", "CMYK", "YCbCr", "RGB", "RGBA"):
            for extra in ({}, {"exif": exif}, {"icc_profile": bytes(200)}, {"transparency": 0}):
                file = io.BytesIO()
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                    (image.convert("L") if mode == "I;16" else image).convert(mode).save(file, kind, **extra)
                    yield file.getvalue()
                    yield file.getvalue()[:file.tell() // 2]


def test_every_form_as_without_a_worker():
    """What a codec would import or open on first use is there: a worker can open nothing."""
    def without(data, background):
        try:
            return decode(data, background=background)
        except DecodeError as error:
            return error

    async def test(pool):
        forms = list(every_form())
        assert len(forms) > 100
        for index, data in enumerate(forms):
            background = (None, (1, 200, 3))[index % 2]
            expected = without(data, background)
            if isinstance(expected, DecodeError):
                with pytest.raises(DecodeError) as caught:
                    await pool.decode(data, background=background)
                assert str(caught.value) == str(expected)
            else:
                np.testing.assert_array_equal(await pool.decode(data, background=background), expected)
        assert pool.ended == 0

    run(test)


def test_options_arrive():
    image = np.dstack([SMALL, np.full(SMALL.shape[:2], 128, np.uint8)])

    async def test(pool):
        for background in (None, (1, 200, 30)):
            expected = decode(file_of(image), background=background)
            np.testing.assert_array_equal(await pool.decode(file_of(image), background=background), expected)

    run(test)


def test_errors_are_those_of_the_file():
    async def test(pool):
        for data, code in ((b"", "empty"), (b"GIF89a and so on", "format"), (FILE[:-40], "truncated"),
                           (b"\xff\xd8\xff\xe0", "header")):
            with pytest.raises(DecodeError) as caught:
                await pool.decode(data)
            with pytest.raises(DecodeError) as same:
                decode(data)
            assert caught.value.code == code and str(caught.value) == str(same.value)
        assert pool.ended == 0 and pool.healthy
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)

    run(test)


@pytest.mark.parametrize("name,size", [("pixels", 48 * 64), ("side", 64)])
def test_limits_of_an_image(name, size):
    async def fits(pool):
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)

    async def over(pool):
        with pytest.raises(DecodeError) as caught:
            await pool.decode(FILE)
        assert caught.value.code == {"side": "size"}.get(name, name)

    run(fits, **{name: size})
    run(over, **{name: size - 1})


def test_limit_of_a_file():
    async def test(pool):
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)
        with pytest.raises(LimitError, match=r"serve: decode file: got .* expected at most"):
            await pool.decode(FILE + b"\0")

    run(test, file_bytes=len(FILE))


def test_memory_is_used_again_when_no_view_is_left():
    async def test(pool):
        first = await pool.decode(FILE)
        place = first.__array_interface__["data"][0]
        part = first[10:20, ::2]
        del first
        gc.collect()
        other = await pool.decode(file_of(random_image(5, 48, 64)))
        assert other.__array_interface__["data"][0] != place        # the part is still there
        np.testing.assert_array_equal(part, SMALL[10:20, ::2])
        del part
        gc.collect()
        assert (await pool.decode(FILE)).__array_interface__["data"][0] == place

    run(test)


def test_pixels_outlive_the_pool():
    kept = run(lambda pool: pool.decode(FILE))
    gc.collect()
    np.testing.assert_array_equal(kept, SMALL)


def test_memory_of_a_large_image_is_given_back(monkeypatch):
    monkeypatch.setattr(worker_process, "KEEP", SMALL.nbytes - 1)

    async def test(pool):
        before = len(os.listdir("/proc/self/fd"))
        for data in (FILE, FILE, FILE[:-40]):
            with contextlib.suppress(DecodeError):
                await pool.decode(data)
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before

    run(test)


def test_a_worker_holds_little():
    """Of what it decoded into: nothing that was large, nothing that failed."""
    image = np.tile(random_image(6, 100, 100), (40, 40, 1))     # 48 MB
    good = file_of(image, "JPEG")
    bad = good[:len(good) // 2]

    async def test(pool):
        for data in (good, bad, good, bad):
            with contextlib.suppress(DecodeError):
                await pool.decode(data)
        with open(f"/proc/{next(iter(pool.ready)).process.pid}/status") as text:
            shared = next(int(line.split()[1]) for line in text if line.startswith("RssShmem"))
        assert shared < 1024        # KiB
        gc.collect()
        assert len(pool.ready) == 1 and not next(iter(pool.ready)).slabs

    run(test)


def test_many_at_once_and_who_left_is_skipped():
    images = [random_image(seed, 40 + seed, 50) for seed in range(12)]

    async def test(pool):
        tasks = [asyncio.create_task(pool.decode(file_of(image))) for image in images]
        await asyncio.sleep(0)
        tasks[7].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[7], asyncio.CancelledError)
        for index, image in enumerate(images):
            if index != 7:
                np.testing.assert_array_equal(found[index], image)

    run(test, workers=2)


# Errors

def test_errors(monkeypatch):
    for options in ({"workers": 0}, {"workers": 257}, {"memory_mib": 0}, {"cpu_s": 0.5}, {"pixels": (64 << 20) + 1},
                    {"side": 16385}, {"file_bytes": 0}, {"timeout_s": 0}, {"wait_s": 3601}):
        with pytest.raises(InputError, match=f"serve: decode {next(iter(options))}: got "):
            DecodePool(**options)

    async def closed():
        pool = DecodePool()
        with pytest.raises(InputError, match="serve: decode pool: got a closed one"):
            await pool.decode(FILE)
        await pool.close()

    asyncio.run(closed())

    async def test(pool):
        with pytest.raises(InputError, match="serve: decode scale: got 3, expected 1, 2, 4 or 8"):
            await pool.decode(FILE, scale=3)
        first = await busy(pool)
        assert await code_of(pool.decode(FILE)) == "busy"
        first.cancel()

    run(test, wait_s=0.2)
    monkeypatch.setattr(worker, "START_S", 0.3)
    monkeypatch.setattr(worker_process.sys, "executable", "/bin/false")
    with pytest.raises(WorkerError, match=r"serve: decode worker: got none ready in 0\.3 s"):
        asyncio.run(DecodePool().open())
