# SPDX-License-Identifier: Apache-2.0
"""Memory shared by descriptors: between engines, with another process, with a renderer; and every wrong record."""

import json
import os
import socket
import subprocess
import sys

import conftest
import foveate
import numpy as np
import pytest
from child import TESTS, descriptors
from foveate.error import InputError, UnsupportedError
from foveate.share import FIELDS, Shared
from images import random_image
from renderer import Renderer

OPTIONS = {"gaze": (0.3, 0.6), "budget": 40, "model": "vit16"}

# Takes a frame from a socket, gives back the sum of its tokens, and writes into it.
CHILD = """
import json, socket, sys
import numpy as np
import conftest, foveate
from foveate.share import Shared
text, (fd,), _, _ = socket.recv_fds(socket.socket(fileno=int(sys.argv[1])), 4096, 1)
engine = foveate.Engine(**conftest.options(sys.argv[2]), share=True)
with Shared(fd, json.loads(text)) as shared:
    frame = engine.attach(shared)
patches = engine.tokens(frame, gaze=(0.3, 0.6), budget=40, model="vit16").numpy()
frame.numpy()[0, 0] = (1, 2, 3)
print(json.dumps([float(patches.sum(dtype=np.float64)), engine.stats["image_copies"]]))
"""


@pytest.fixture(params=[name for name in conftest.BACKENDS if name in conftest.DEVICES])
def driver(request):
    return request.param


@pytest.fixture
def sharing(driver):
    """What makes engines on this driver that share."""
    engines = []

    def make():
        engines.append(foveate.Engine(**conftest.options(driver), share=True))
        return engines[-1]

    yield make
    for engine in engines:
        assert engine.stats["messages"] == 0, "the validation layer found something"
        engine.close()


def test_between_engines(sharing, cpu):
    one, other = sharing(), sharing()
    picture = random_image(3, 120, 170)
    frame = one.empty(picture.shape)
    with one.share(frame) as shared:
        same = other.attach(shared)
    assert (same.shape, same.dtype) == (frame.shape, "uint8")
    frame.numpy()[:] = picture
    expected = cpu.tokens(picture, **OPTIONS).numpy()
    assert other.tokens(same, **OPTIONS).numpy().tobytes() == expected.tobytes()
    assert one.tokens(frame, **OPTIONS).numpy().tobytes() == expected.tobytes()
    assert other.stats["image_copies"] == one.stats["image_copies"] == 0
    same.numpy()[5] = 77
    assert (frame.numpy()[5] == 77).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_results(sharing, dtype):
    torch = pytest.importorskip("torch")
    one, other = sharing(), sharing()
    tokens = one.tokens(random_image(3, 90, 70), **OPTIONS, dtype=dtype)
    same = other.attach(one.share(tokens.patches))
    assert same.dtype == dtype
    assert torch.equal(same.torch(), tokens.torch())
    level = one.pyramid(random_image(4, 91, 73)).level(2)
    assert np.array_equal(other.attach(one.share(level)).numpy(), level.numpy())


def test_another_process(sharing, driver, cpu):
    engine, picture = sharing(), random_image(6, 64, 96)
    frame = engine.empty(picture.shape)
    frame.numpy()[:] = picture
    ours, theirs = socket.socketpair()
    with ours, theirs, engine.share(frame) as shared:
        socket.send_fds(ours, [json.dumps(shared.record).encode()], [shared.fd])
        done = subprocess.run([sys.executable, "-c", CHILD, str(theirs.fileno()), driver], timeout=100, text=True,
                              pass_fds=[theirs.fileno()], capture_output=True,
                              env=os.environ | {"PYTHONPATH": str(TESTS)})
    assert done.returncode == 0, done.stderr
    expected = cpu.tokens(picture, **OPTIONS).numpy().sum(dtype=np.float64)
    assert json.loads(done.stdout) == [float(expected), 0]
    assert frame.numpy()[0, 0].tolist() == [1, 2, 3]


def test_with_a_renderer(sharing, cpu):
    engine, picture = sharing(), random_image(7, 60, 80)
    renderer = Renderer(engine.caps["uuid"])
    drawn, fd, record = renderer.share(picture.nbytes)
    shape = {"shape": [60, 80, 3], "strides": [240, 3, 1], "dtype": "uint8"}
    with Shared(fd, record | shape) as shared:
        frame = engine.attach(shared)
    drawn[:] = picture.ravel()
    expected = cpu.tokens(picture, **OPTIONS).numpy()
    assert engine.tokens(frame, **OPTIONS).numpy().tobytes() == expected.tobytes()

    target = engine.empty(picture.shape)
    shared = engine.share(target)
    seen = renderer.attach(shared.detach(), shared.record)
    seen[:] = picture.ravel()
    assert engine.tokens(target, **OPTIONS).numpy().tobytes() == expected.tobytes()
    del drawn, seen, frame
    renderer.close()


def test_descriptors(sharing):
    one, other = sharing(), sharing()
    frame = one.empty((100, 100))
    other.attach(one.share(frame))
    before = descriptors()
    for _ in range(20):
        shared = one.share(frame)
        assert not os.get_inheritable(shared.fd)
        other.attach(shared)
        shared.close()
        shared.close()
        other.attach(one.share(frame))      # left to the collector
        with pytest.raises(InputError):
            other.attach(Shared(one.share(frame).detach(), {}))
        taken = one.share(frame).detach()
        os.close(taken)
    assert len(descriptors()) <= len(before) + 1
    with pytest.raises(InputError, match="Engine: shared: got a closed descriptor, expected an open one"):
        other.attach(shared)


@pytest.mark.parametrize("field", FIELDS)
def test_wrong_records(sharing, field):
    one, other = sharing(), sharing()
    shared = one.share(one.empty((100, 100)))
    for value in (None, "0" * 32, -1, 1 << 63, [1.5], [-1], [1 << 62] * 3, object()):
        record = shared.record | {field: value}
        if record[field] == shared.record[field]:
            continue
        with pytest.raises((InputError, UnsupportedError), match=r"Engine: attach: .*: got .*, expected "):
            other.attach(Shared(os.dup(shared.fd), record))
    record = dict(shared.record)
    del record[field]
    with pytest.raises(InputError, match=f"Engine: attach: record: {field}: got None"):
        other.attach(Shared(os.dup(shared.fd), record))


def test_who_cannot(sharing, driver, make_engine, cpu):
    one, engine = sharing(), make_engine(driver)
    shared = one.share(one.empty((10, 10)))
    with pytest.raises(InputError, match="Engine: attach: got an Engine that keeps its memory to itself"):
        engine.attach(shared)
    with pytest.raises(InputError, match="Engine: share: got an Engine that keeps its memory to itself"):
        engine.share(engine.empty((10, 10)))
    with pytest.raises(UnsupportedError, match="Engine: share: got memory of the cpu backend, expected of vulkan"):
        cpu.share(cpu.empty((10, 10)))
    with pytest.raises(UnsupportedError, match="Engine: attach: got the cpu backend, expected vulkan"):
        cpu.attach(shared)
    with pytest.raises(InputError, match="Engine: share: got ndarray, expected an Array"):
        one.share(np.zeros(3))
    with pytest.raises(InputError, match="Engine: attach: got Array, expected Shared or SharedTexture"):
        one.attach(one.empty((10, 10)))
    with pytest.raises(InputError, match="Engine: share: array: got one in the caller's memory"):
        one.share(one.pyramid(random_image(1, 20, 20)).level(0))
    with pytest.raises(InputError, match="Engine: share: got 'yes', expected True or False"):
        foveate.Engine(share="yes")
