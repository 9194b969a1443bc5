# SPDX-License-Identifier: Apache-2.0
"""Engine("cuda", cuda=True) on a driver over the host's memory: results leave where they were made,
and memory is used again when nobody works with it.
"""

import ctypes
import gc
from concurrent.futures import ThreadPoolExecutor

import foveate
import numpy as np
import pytest
from conftest import STUB
from cuda_side import IMAGE, OPTIONS, bytes_read, seen, write
from foveate import _core
from foveate.error import Error, InputError, MemoryBudgetError, UnsupportedError

KINDS = ("contexts", "streams", "events", "memories", "mappings", "semaphores", "allocations", "modules")


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


# Out

def test_tokens_leave_where_they_were_made(engine, stub, expected):
    engine.tokens(IMAGE, **OPTIONS)
    stub.log()
    tokens = engine.tokens(IMAGE, **OPTIONS)
    patches = tokens.patches
    log = stub.log()
    assert expected.numpy().nbytes not in bytes_read(log) and sum(bytes_read(log)) < 8192     # rows of the table alone
    assert not {"cuImportExternalMemory", "cuMemcpyDtoDAsync"} & {line.split()[0] for line in log.splitlines()}
    assert patches.device == "cuda:0" and patches.__dlpack_device__() == (2, 0)
    assert np.array_equal(seen(patches), expected.numpy())
    assert np.array_equal(tokens.numpy(), expected.numpy()) and np.array_equal(tokens.center_px, expected.center_px)
    table = patches.__cuda_array_interface__
    assert table["data"] == (patches.pointer, False) and table["stream"] == 1


def test_every_stage(engine, cpu):
    pyramid, truth = engine.pyramid(IMAGE), cpu.pyramid(IMAGE)
    for level in range(1, 4):
        array = pyramid.level(level)
        assert array.device == "cuda:0" and array.read_only
        assert np.array_equal(array.numpy(), truth.level(level).numpy())
    patches = engine.sample(pyramid, engine.layout(IMAGE, budget=30), patch=16)
    assert np.array_equal(seen(patches.data), cpu.sample(truth, cpu.layout(IMAGE, budget=30), patch=16).data.numpy())
    for image in (IMAGE, pyramid):
        warped = engine.warp(image, size=(32, 48))
        assert np.array_equal(warped.numpy(), cpu.warp(IMAGE, size=(32, 48)).numpy())
    relevance = engine.relevance(IMAGE, gaze=(0.5, 0.5), cell=16)
    assert np.array_equal(relevance.cells, cpu.relevance(IMAGE, gaze=(0.5, 0.5), cell=16).cells)


def test_without_cuda_results_are_the_hosts(stub, expected):
    with foveate.Engine("cuda") as engine:
        tokens = engine.tokens(IMAGE, **OPTIONS)
        assert tokens.device == "cpu" and np.array_equal(tokens.numpy(), expected.numpy())
        with pytest.raises(UnsupportedError, match="image: device: got DLPack device"):
            engine.image(foveate.Engine("cuda", cuda=True).empty((8, 8)))


def test_the_protocol(engine, stub):
    patches = engine.tokens(IMAGE, **OPTIONS).patches
    with pytest.raises(InputError, match=r"tensor: __dlpack__ stream: got 0, expected None"):
        patches.__dlpack__(stream=0)
    with pytest.raises(BufferError, match=r"dl_device: got \(2, 1\), expected \(2, 0\)"):
        patches.__dlpack__(dl_device=(2, 1))
    stub.log()
    capsules = [patches.__dlpack__(stream=stream) for stream in (None, 1, 2, -1)]
    assert "Wait" not in stub.log()     # the call that made it has waited
    del capsules
    with pytest.raises(UnsupportedError, match="Engine: share: got memory of the cuda backend, expected of vulkan"):
        engine.share(patches)


def test_one_backend_for_all(stub):
    with pytest.raises(UnsupportedError, match="cuda: stage sample: got on the cpu, expected vulkan or cuda, "):
        foveate.Engine({"sample": "cpu", "*": "cuda"}, cuda=True)


# Who may use memory again

@pytest.mark.parametrize("how", ["tensor", "named", "released"])
@pytest.mark.parametrize("lie", [False, True])
def test_memory_waits_for_its_stream(engine, stub, how, lie):
    """And on a driver whose events lie it is used again: this test would see it."""

    def pointers(count):
        held = [engine.tokens(IMAGE, **OPTIONS).patches for _ in range(count)]
        return {array.pointer for array in held}

    array = engine.tokens(IMAGE, **OPTIONS).patches
    pointer = array.pointer
    capsule = array.__dlpack__(stream=1) if how == "tensor" else None
    stub.hold(1, True)
    if how == "named":
        array.record_stream(1)
    if how == "released":
        array.release(1)
    del array, capsule
    gc.collect()
    stub.lie(int(lie))
    try:
        assert (pointer in pointers(4)) == lie
    finally:
        stub.lie(0)
        stub.hold(1, False)
    assert pointer in pointers(8)


def test_the_budget_waits_for_streams(stub):
    size = 1 << 20
    with foveate.Engine("cuda", cuda=True, memory_budget=3 * size) as engine:
        array = engine.empty((1024, 2048))
        capsule = array.__dlpack__(stream=1)
        stub.hold(1, True)
        _core.testing.cuda_wait_limit(20_000_000)
        try:
            del array, capsule
            with pytest.raises(MemoryBudgetError, match=r"memory: budget: got .* bytes, expected at most"):
                engine.empty((1536, 1024))
        finally:
            _core.testing.cuda_wait_limit(30 * 10**9)
            stub.hold(1, False)
        assert engine.empty((1536, 1024)).device == "cuda:0"


def test_a_tensor_outlives_its_engine(stub, expected):
    before = stub.alive(*KINDS)
    engine = foveate.Engine("cuda", cuda=True)
    patches = engine.tokens(IMAGE, **OPTIONS).patches
    capsule = patches.__dlpack__(stream=1)
    engine.close()
    del engine
    gc.collect()
    assert stub.alive("allocations") != before[6:7]
    assert np.array_equal(seen(patches), expected.numpy())
    assert np.array_equal(patches.numpy(), expected.numpy())
    del patches
    _core.testing.release_on_thread(capsule, True)
    assert stub.alive(*KINDS) == before


def test_memory_in_use_is_lost_and_not_pulled_away(stub):
    before = stub.alive("allocations")[0]
    engine = foveate.Engine("cuda", cuda=True)
    array = engine.empty((64, 64))
    pointer, capsule = array.pointer, array.__dlpack__(stream=1)
    stub.hold(1, True)
    _core.testing.cuda_wait_limit(20_000_000)
    stub.log()
    try:
        engine.close()
        del engine, array, capsule
        gc.collect()
        assert f"cuMemFree address={pointer}\n" not in stub.log()
        assert stub.alive("allocations") == [before + 1]
    finally:
        _core.testing.cuda_wait_limit(30 * 10**9)
        stub.hold(1, False)
        assert stub._core.cuMemFree_v2(ctypes.c_uint64(pointer)) == 0


def test_nothing_is_left(stub):
    before = stub.alive(*KINDS)
    with foveate.Engine("cuda", cuda=True) as engine:
        image = IMAGE[:40, :40]

        def cycle():
            engine.tokens(image, layout="grid", budget=4).patches.__dlpack__(stream=1)

        for _ in range(10):
            cycle()
        stub.log()
        alive, used = stub.alive(*KINDS), engine.stats["memory_used"]
        for _ in range(300):
            cycle()
        assert engine.stats["memory_used"] == used and stub.alive(*KINDS) == alive
        assert "cuMemAlloc" not in stub.log()
    gc.collect()
    assert stub.alive(*KINDS) == before


def test_many_threads(engine, expected):
    def work(_):
        frame = engine.empty(IMAGE.shape)
        write(frame, IMAGE)
        for _ in range(6):
            patches = engine.tokens(frame, **OPTIONS).patches
            capsule = patches.__dlpack__(stream=1)
            assert np.array_equal(seen(patches), expected.numpy())
            del patches, capsule
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert engine.stats["image_copies"] == 0


def test_every_call_fails_in_turn(stub, cpu):
    foveate.Engine("cuda", cuda=True).close()
    before, at, failed = stub.alive(*KINDS), 0, 0
    options = {"layout": "grid", "budget": 40}
    expected = cpu.tokens(IMAGE, **options).numpy()
    while True:
        at += 1
        engine = given = patches = None
        stub.fail(0, 0)
        stub.log()
        stub.fail(at, 2)       # out of memory
        try:
            engine = foveate.Engine("cuda", cuda=True)
            given = engine.empty(IMAGE.shape)
            write(given, IMAGE)
            patches = engine.tokens(given, **options).patches
            patches.__dlpack__(stream=1)
            assert np.array_equal(seen(patches), expected)
        except Error:
            failed += 1
        finally:
            made = stub.fail(0, 0)
            del given, patches
            if engine:
                engine.close()
            del engine
        gc.collect()
        call = next((line for line in stub.log().splitlines() if line.endswith(" fails")), "")
        if call.startswith("cuEventDestroy"):   # that event stays, and is all that does
            before[KINDS.index("events")] += 1
        assert stub.alive(*KINDS) == before, f"call {at}: {call}"
        if made < at:
            break
    assert failed > 40


def test_after_fork():
    from child import child

    said = child(None, """
import foveate, os, numpy as np
engine = foveate.Engine("cuda", cuda=True)
arrays = [engine.empty((100, 100)) for _ in range(2)]
capsule = arrays[0].__dlpack__()
if os.fork() == 0:
    del arrays, capsule, engine
    print("child", flush=True)
    os._exit(0)
assert os.wait()[1] == 0
""", **STUB)
    assert said == "child"
