# SPDX-License-Identifier: Apache-2.0
"""Engine("cuda", cuda=True) on a driver over the host's memory: images on the device are read where they lie, or copied
there once.
"""

import foveate
import numpy as np
import pytest
from cuda_side import IMAGE, OPTIONS, Interface, Tensor, bytes_read, write
from foveate import _core
from foveate.error import InputError, WaitTimeoutError


@pytest.fixture
def stub(kernel_stub):
    return kernel_stub


@pytest.fixture
def engine(stub):
    with foveate.Engine("cuda", cuda=True) as engine:
        yield engine


@pytest.fixture(scope="module")
def expected(cpu):
    return cpu.tokens(IMAGE, **OPTIONS)


def test_memory_of_the_engine(engine, stub, expected):
    frame = engine.empty(IMAGE.shape)
    assert frame.device == "cuda:0"
    write(frame, IMAGE)
    engine.tokens(frame, **OPTIONS)
    stub.log()
    for given in (frame, Tensor(frame), Interface(np.empty(0), data=(frame.pointer, False), shape=frame.shape,
                                                  typestr="|u1", strides=None)):
        assert np.array_equal(engine.tokens(given, **OPTIONS).numpy(), expected.numpy())
    log = stub.log()
    assert engine.stats["image_copies"] == 0 and "cuMemcpyDtoD" not in log
    assert f"cuMemcpyHtoDAsync size={IMAGE.nbytes} " not in log and IMAGE.nbytes not in bytes_read(log)


def test_memory_of_others(engine, stub, cpu, expected):
    with foveate.Engine("cuda", cuda=True) as other:
        frame = other.empty(IMAGE.shape)
        write(frame, IMAGE)
        engine.tokens(frame, **OPTIONS)
        for number, given in enumerate((frame, Tensor(frame), Interface(IMAGE, stream=1), Interface(IMAGE)), 2):
            stub.log()
            assert np.array_equal(engine.tokens(given, **OPTIONS).numpy(), expected.numpy())
            log = stub.log()
            assert log.count("cuMemcpyDtoDAsync size=61200 ") == 1 and engine.stats["image_copies"] == number
            assert f"cuMemcpyHtoDAsync size={IMAGE.nbytes} " not in log and IMAGE.nbytes not in bytes_read(log)
    for image in (np.stack([IMAGE] * 3), IMAGE.astype(np.float32) / 255, IMAGE[::-1, ::-1], IMAGE[:, 3:99, :2],
                  IMAGE.astype(np.float16) / 255, IMAGE.astype(np.uint16), np.moveaxis(IMAGE, 2, 0)):
        given = engine.tokens(Interface(image), **OPTIONS)
        assert np.array_equal(given.numpy(), cpu.tokens(image, **OPTIONS).numpy())


def test_lists(engine, stub, cpu):
    """Images in memory of their own are gathered on the device; those of the host go with them."""
    small = np.ascontiguousarray(IMAGE[:77, 5:90])
    frames = [engine.empty(image.shape) for image in (IMAGE, small)]
    for frame, image in zip(frames, (IMAGE, small), strict=True):
        write(frame, image)
    truth = cpu.tokens([IMAGE, small, small], **OPTIONS).numpy()
    stub.log()
    for count, given in ((2, [*frames, frames[1]]), (5, [*frames, small]), (8, [IMAGE, Interface(small), frames[1]])):
        assert np.array_equal(engine.tokens(given, **OPTIONS).numpy(), truth), count
    assert stub.log().count("cuMemcpyDtoDAsync") == 3 + 2 + 3
    assert engine.stats["image_copies"] == 3 + 3 + 1 + 3
    views = engine.image(frames)
    assert np.array_equal(views.plane_view(1), np.moveaxis(small, 2, 0))


def test_floats_are_looked_at(engine, cpu):
    image = IMAGE.astype(np.float32) / 255
    frame = engine.empty(image.shape, "float32")
    write(frame, image)
    assert np.array_equal(engine.tokens(frame, **OPTIONS).numpy(), cpu.tokens(image, **OPTIONS).numpy())
    assert engine.stats["image_copies"] == 0
    image[7, 9, 1] = np.nan
    write(frame, image)
    for call in (engine.image, lambda given: engine.tokens(given, **OPTIONS)):
        with pytest.raises(InputError, match="image: pixels: got nan in image 0 at row 7, column 9, expected finite"):
            call(frame)


def test_alpha(engine, cpu):
    image = np.dstack([IMAGE, IMAGE[..., :1]])
    frame = engine.empty(image.shape)
    write(frame, image)
    for background in (None, 0.5):
        truth = cpu.tokens(image, **OPTIONS, background=background).numpy()
        assert np.array_equal(engine.tokens(frame, **OPTIONS, background=background).numpy(), truth)


def test_results_are_images(engine, cpu):
    level = engine.pyramid(IMAGE).level(1)
    truth = cpu.tokens(np.array(cpu.pyramid(IMAGE).level(1).numpy()), **OPTIONS).numpy()
    assert np.array_equal(engine.tokens(level, **OPTIONS).numpy(), truth)
    assert engine.stats["image_copies"] == 1    # of IMAGE


def test_the_producers_stream(engine, stub, expected):
    frame = engine.empty(IMAGE.shape)
    tensor = Tensor(frame)
    engine.tokens(tensor, **OPTIONS)
    assert tensor.asked[0] > 2      # ours: the producer makes it wait
    capsule = frame.__dlpack__(stream=1)
    stub.hold(1, True)
    _core.testing.cuda_wait_limit(20_000_000)
    try:
        with pytest.raises(WaitTimeoutError, match=r"cuda: wait for the streams .*: got no end within 20 ms"):
            engine.tokens(frame, **OPTIONS)
    finally:
        _core.testing.cuda_wait_limit(30 * 10**9)
        stub.hold(1, False)
    write(frame, IMAGE)
    assert np.array_equal(engine.tokens(frame, **OPTIONS).numpy(), expected.numpy())
    del capsule
