# SPDX-License-Identifier: Apache-2.0
"""The client of the shared-memory socket: arrays that both sides see, not copied, nor overwritten while one is seen."""

import gc
import signal
import threading

import numpy as np
import pytest
from foveate import Engine
from foveate.client import memory
from foveate.client.memory import ServiceError, connect
from foveate.error import InputError, WaitTimeoutError
from foveate.serve import shared as server_side
from foveate.serve.protocol import Response
from images import random_image
from memory_service import Echo, descriptors, serving, steady, tensors
from serving import running


@pytest.fixture
def service(tmp_path):
    with serving(tmp_path / "memory", Echo()) as server:
        yield server


@pytest.fixture
def shared(service):
    with connect(service.path) as client:
        yield client


# Literals

def test_answer(shared, service):
    pixels = shared.empty((2, 2, 3))
    pixels[...] = 7
    answer = shared.infer("foveate", pixels, gaze=(0.25, 0.5), budget=273, layout="rate", outputs=["total", "echo"])
    assert answer.total.tolist() == [84.0] and answer.total.dtype == np.float32
    assert answer.echo.tolist() == [[[7, 7, 7]] * 2] * 2
    request = service.infer.seen[0]
    assert request.model == "foveate" and request.parameters == {"budget": 273, "layout": "rate"}
    assert [wanted.name for wanted in request.outputs] == ["total", "echo"]
    gaze = request.inputs["gaze"]
    assert (gaze.datatype, gaze.shape, gaze.data.tolist()) == ("FP32", (1, 1, 2), [[[0.25, 0.5]]])


@pytest.mark.parametrize("gaze,images,shape", [
    ((0.5, 0.5), 1, (1, 1, 2)), ((0.5, 0.5), 2, (2, 1, 2)), ([(0.1, 0.2), (0.3, 0.4)], 1, (1, 2, 2)),
    ([[(0.1, 0.2)], [(0.3, 0.4)]], 2, (2, 1, 2)), (np.zeros((2, 3, 2)), 2, (2, 3, 2))])
def test_gaze(shared, service, gaze, images, shape):
    pixels = shared.empty((images, 4, 5, 3))
    shared.infer("foveate", pixels, gaze=gaze)
    assert service.infer.seen[0].inputs["gaze"].shape == shape


# Facts

def test_pixels_and_answers_are_not_copied(shared, service):
    """Both sides look at the same memory: what one writes, the other sees."""
    pixels = shared.empty((40, 60, 3))
    pixels[...] = image = random_image(1, 40, 60)
    answer = shared.infer("foveate", pixels)
    np.testing.assert_array_equal(answer.echo, image)
    seen = service.infer.seen[0].inputs["image"].data
    pixels[3, 5] = (1, 2, 3)
    assert seen[3, 5].tolist() == [1, 2, 3] and not seen.flags.owndata
    assert answer.echo.base is not None and answer.echo.__array_interface__["data"][0] % 64 == 0


def test_parts_of_an_array(shared):
    frames = shared.empty((3, 10, 12, 3))
    for index in range(3):
        frames[index] = index + 1
    assert shared.infer("foveate", frames).total.tolist() == [360.0, 720.0, 1080.0]
    assert shared.infer("foveate", frames[1]).total.tolist() == [720.0]
    assert shared.infer("foveate", frames[2, 4:6]).total.tolist() == [3 * 2 * 12 * 3.0]


def test_an_answer_stays_while_it_is_seen(shared):
    pixels, answers = shared.empty((8, 8, 3)), []
    for value in range(5):
        pixels[...] = value
        answers.append(shared.infer("foveate", pixels).echo[2:])
    assert [int(answer.max()) for answer in answers] == [0, 1, 2, 3, 4]
    places = {answer.__array_interface__["data"][0] for answer in answers}
    del answers
    gc.collect()
    answer = shared.infer("foveate", pixels).echo[2:]
    assert answer.__array_interface__["data"][0] in places       # memory is used again


def test_a_larger_answer_than_was_thought(shared, monkeypatch):
    shared._window = 100
    for side in (200, 300, 100):
        pixels = shared.empty((side, side, 3))
        pixels[...] = 5
        assert (shared.infer("foveate", pixels).echo == 5).all()


def test_many_frames_hold_nothing(shared, service):
    def frame(seed):
        pixels = shared.empty((20 + seed % 50, 30, 3))
        pixels[...] = seed
        assert int(shared.infer("foveate", pixels).echo.min()) == seed
        service.infer.seen.clear()

    frame(1)
    steady(lambda: True)
    before = descriptors()
    for seed in range(200):
        frame(seed)
    assert descriptors() <= before + 4 * memory.FREE


def test_threads(service):
    with connect(service.path) as shared:
        wrong = []

        def work(value):
            for _ in range(20):
                pixels = shared.empty((9, 9, 3))
                pixels[...] = value
                if (shared.infer("foveate", pixels).echo != value).any():
                    wrong.append(value)

        threads = [threading.Thread(target=work, args=(value,)) for value in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_the_engines_own_tokens(tmp_path):
    """Through `foveate serve`, with pixels and tokens in shared memory: the bytes that an Engine here gives."""
    image = random_image(7, 200, 300)
    with running("--memory", tmp_path / "memory") as (_, _, child), Engine(backend="cpu") as engine:
        with connect(tmp_path / "memory") as shared:
            pixels = shared.empty((2, 200, 300, 3))
            pixels[...] = image, image[::-1]
            for gaze in (None, [[(0.4, 0.6)], [(0.1, 0.2)]]):
                answer = shared.infer("foveate", pixels, gaze=gaze, budget=60, model="vit16", dtype="float32")
                tokens = engine.tokens([image, np.ascontiguousarray(image[::-1])], gaze=gaze, budget=60,
                                       model="vit16", dtype="float32")
                np.testing.assert_array_equal(answer.patches, tokens.numpy().reshape(120, -1))
                np.testing.assert_array_equal(answer.center_px, np.asarray(tokens.center_px))
            with pytest.raises(ServiceError, match="unexpected inference parameter 'speed'") as caught:
                shared.infer("foveate", pixels, speed=3)
            assert caught.value.code == "unknown_parameter"
            with pytest.raises(ServiceError, match="unknown model: 'clip'"):
                shared.infer("clip", pixels)
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0 and not (tmp_path / "memory").exists()


def test_types(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.arange(4, dtype=np.int32)}

    async def infer(request):
        return Response("m", "1", "", tensors(**arrays))

    with serving(tmp_path / "memory", infer) as server, connect(server.path) as shared:
        answer = shared.infer("m", shared.empty((1, 1, 3)))
        for name, array in arrays.items():
            assert getattr(answer, name).dtype == array.dtype
            np.testing.assert_array_equal(getattr(answer, name), array)


# Errors

def test_errors(service, shared, tmp_path, monkeypatch):
    pixels = shared.empty((4, 4, 3))
    for wrong in (np.zeros((4, 4, 3), np.uint8), pixels[:, :2], pixels.astype(np.float32), [[[1, 2, 3]]]):
        with pytest.raises(InputError, match="client: pixels: got an array elsewhere"):
            shared.infer("foveate", wrong)
    with pytest.raises(InputError, match=r"client: gaze: got numbers of shape \(2, 2\) for 3 images"):
        shared.infer("foveate", shared.empty((3, 2, 2, 3)), gaze=[(0, 0), (1, 1)])
    with pytest.raises(ServiceError, match='client: infer: got "malformed request') as caught:
        shared.infer("foveate", pixels, budget=[1])
    assert caught.value.code == "field"
    with pytest.raises(InputError, match=r"client: request: got .* bytes, expected at most 65536"):
        shared.infer("foveate", pixels, word="x" * 70000)
    with pytest.raises(ServiceError, match=r"client: register: got .serve: memory bytes") as caught:
        shared.empty((1 << 31,))
    assert caught.value.code == "limit"
    assert shared.infer("foveate", pixels).total.size == 1      # none of them did harm
    with pytest.raises(ServiceError, match="client: memory: got no answer there") as caught:
        connect(tmp_path / "nobody")
    assert caught.value.code == "absent"
    with monkeypatch.context() as patch:
        patch.setattr(server_side, "PROTOCOL", 2)
        with pytest.raises(InputError, match="client: memory: got another protocol, expected 1"):
            connect(service.path)
        patch.setattr(server_side.os, "geteuid", lambda: -1)
        with pytest.raises(ServiceError, match="got another user") as caught:
            connect(service.path)
        assert caught.value.code == "refused"


def test_a_service_that_hangs_or_ends(tmp_path):
    echo = Echo()
    with serving(tmp_path / "memory", echo) as server:
        with connect(server.path, timeout_s=0.3) as shared:
            pixels = shared.empty((4, 4, 3))
            echo.hold = server_side.asyncio.Event()
            with pytest.raises(WaitTimeoutError, match=r"client: memory: got no answer in 0\.3 s"):
                shared.infer("foveate", pixels)
            with pytest.raises(ServiceError, match="client: memory: got the end of the connection") as caught:
                shared.infer("foveate", pixels)
            assert caught.value.code == "gone"
        echo.hold = None
        shared = connect(server.path)
        pixels = shared.empty((4, 4, 3))
        pixels[...] = 3
    with pytest.raises(ServiceError, match="the end of the connection"):
        shared.infer("foveate", pixels)
    shared.close()
    assert pixels.max() == 3
