# SPDX-License-Identifier: Apache-2.0
"""Engine: choosing devices, sharing them between threads, and what it promises about memory and processes."""

import concurrent.futures
import os
import subprocess
import sys
import textwrap
import threading
import time

import foveate
import numpy as np
import pytest
from conftest import BACKENDS, DEVICES, options
from images import LONG, random_image
from tolerance import assert_same

IMAGE = random_image(1, 96, 128)
STAGES = ("image", "pyramid", "relevance", "rate", "layout", "sample", "warp", "tensor")


def run(script, timeout=60):
    """A script in a process of its own; its output."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True,
                          timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def tokens(engine, seed=1, **options):
    return engine.tokens(random_image(seed, 60 + seed, 80), budget=12, gaze=(0.3, 0.4), patch=8, **options)


# Facts

def test_caps_and_stats(engine, backend):
    caps, stats = engine.caps, engine.stats
    assert caps["backend"] == options(backend)["backend"] and caps["device"]
    assert set(stats) >= {"records", "pipelines_created", "image_copies", "host_waits", "memory_used",
                          "memory_peak", "messages"}
    assert set(engine.backend) == set(STAGES)
    assert set(engine.backend.values()) == {caps["backend"]}


def test_no_pipeline_after_warm_up(engine):
    def everything():
        for kind in ("rate", "grid", "rings", "views", "logpolar"):
            for dtype in (np.uint8, np.uint16, np.float32):
                image = random_image(2, 33, 47, 3, dtype)
                for out in ("float32", "float16", "bfloat16"):
                    gaze = {} if kind == "grid" else {"gaze": (0.2, 0.7)}
                    engine.tokens(image, layout=kind, patch=4, dtype=out, **gaze)
        for edge in ("aligned", "exact"):
            for color in ("encoded", "linear"):
                engine.pyramid(IMAGE, edge=edge, color=color)
    everything()
    made = engine.stats["pipelines_created"]
    everything()
    assert engine.stats["pipelines_created"] == made


def test_records_and_memory_are_counted(engine):
    before = engine.stats
    held = tokens(engine)
    after = engine.stats
    assert after["records"] > before["records"]
    assert after["memory_peak"] >= after["memory_used"] > 0
    del held


def test_same_bytes_every_time(engine):
    first = tokens(engine).patches.numpy()
    for _ in range(5):
        assert_same(tokens(engine).patches.numpy(), first)


def test_two_engines_live_side_by_side(make_engine, engine, backend):
    with_other = make_engine(backend)
    assert_same(tokens(with_other).patches.numpy(), tokens(engine).patches.numpy())
    with_other.close()
    tokens(engine)


def test_functions_use_an_engine_of_their_own(cpu):
    pyramid = foveate.pyramid(IMAGE, engine=cpu)
    layout = foveate.layout(pyramid, budget=6, engine=cpu)
    patches = foveate.sample(pyramid, layout, engine=cpu)
    assert_same(foveate.tensor(patches, layout, engine=cpu).patches.numpy(),
                cpu.tokens(IMAGE, layout="grid", budget=6).patches.numpy())
    output = run("""
        import foveate, numpy as np
        print(foveate.pyramid(np.zeros((4, 4), np.uint8)).levels)
    """)
    assert output == "3"


# Threads

def test_eight_threads_give_the_same_bytes(engine):
    want = {seed: tokens(engine, seed).patches.numpy().copy() for seed in range(6)}
    start = threading.Barrier(8)

    def work(name):
        start.wait()
        for round_ in range(40 if LONG else 6):
            seed = (name + round_) % len(want)
            assert_same(tokens(engine, seed).patches.numpy(), want[seed], f"thread {name}")
            pyramid = engine.pyramid(random_image(seed, 20, 30))
            assert pyramid.levels == 6
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_engines_made_in_threads(make_engine, backend):
    want = tokens(make_engine(backend)).patches.numpy()

    def work(_):
        engine = make_engine(backend)
        result = tokens(engine).patches.numpy().copy()
        engine.close()
        return result

    # Validation layers do not lock what an instance of another thread changes.
    with concurrent.futures.ThreadPoolExecutor(1 if "FOVEATE_VALIDATION" in os.environ else 2) as pool:
        for got in pool.map(work, range(2)):
            assert_same(got, want)


def test_other_threads_run_meanwhile(cpu):
    """The GIL is free while the engine works: a counting thread gets on."""
    big, count, stop = random_image(3, 1500, 1500), [0], threading.Event()

    def spin():
        while not stop.is_set():
            count[0] += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=spin)
    thread.start()
    before = count[0]
    for _ in range(10):
        cpu.pyramid(big, color="linear")
    counted = count[0] - before
    stop.set()
    thread.join()
    assert counted > 3


# Backends per stage

MIXED = [("lavapipe", stage) for stage in STAGES] + [("swiftshader", "sample")]


@pytest.mark.parametrize("driver,stage", MIXED)
def test_one_stage_elsewhere(make_engine, cpu, driver, stage):
    if driver not in BACKENDS:
        return
    want, color = tokens(cpu), tokens(cpu, color="linear")
    for here, there in (("vulkan", "cpu"), ("cpu", "vulkan")):
        mixed = make_engine(driver, backend={stage: here, "*": there})
        assert mixed.backend[stage] == here
        got = tokens(mixed)
        assert_same(got.patches.numpy(), want.patches.numpy(), f"{stage} on {here}")
        assert_same(got.center_px, want.center_px)
        assert_same(tokens(mixed, color="linear").patches.numpy(), color.patches.numpy(), "linear")
        mixed.close()


# Processes

FORK = """
    import os, sys, time
    import foveate, numpy as np
    engine = foveate.Engine({options})
    image = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    want = engine.tokens(image, budget=4).patches.numpy().tobytes()
    held = engine.tokens(image, budget=4)
    child = os.fork()
    if child == 0:
        start = time.monotonic()
        try:
            engine.tokens(image, budget=4)
        except foveate.error.ForkedEngineError as error:
            text = str(error)
            fresh = {fresh}
            held = None
            os._exit(0 if "fork" in text and time.monotonic() - start < 5 else 3)
        os._exit(4)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), engine.tokens(image, budget=4).patches.numpy().tobytes() == want)
"""


def test_fork_is_refused_in_the_child(backend):
    text = ", ".join(f"{name}={value!r}" for name, value in options(backend).items())
    fresh = 'foveate.Engine(backend="cpu").tokens(image, budget=4)' if backend == "cpu" else "None"
    assert run(FORK.format(options=text, fresh=fresh)) == "0 True"


def test_a_default_engine_survives_a_fork():
    assert run("""
        import os, foveate, numpy as np
        image = np.zeros((8, 8), np.uint8)
        foveate.pyramid(image)
        child = os.fork()
        if child == 0:
            try:
                foveate.pyramid(image)
            except foveate.error.ForkedEngineError:
                os._exit(0)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """) == "0"


def test_import_is_light():
    output = run("""
        import sys, foveate
        maps = open("/proc/self/maps").read()
        heavy = [m for m in ("torch", "PIL", "cv2", "scipy", "typer", "rich") if m in sys.modules]
        libraries = [l for l in ("libvulkan", "libcuda", "libGL.", "libEGL", "lvp") if l in maps]
        print(heavy, libraries)
    """)
    assert output == "[] []"


def test_cpu_touches_no_driver():
    output = run("""
        import foveate, numpy as np
        foveate.Engine(backend="cpu").tokens(np.zeros((8, 8), np.uint8), budget=1, mean=(0,), std=(1,))
        print("libvulkan" in open("/proc/self/maps").read())
    """)
    assert output == "False"


def test_exit_with_values_alive(backend):
    text = ", ".join(f"{name}={value!r}" for name, value in options(backend).items())
    assert run(f"""
        import foveate, numpy as np
        engine = foveate.Engine({text})
        tokens = engine.tokens(np.zeros((32, 32, 3), np.uint8), budget=4)
        array = np.from_dlpack(tokens.patches)
        print("done")
    """) == "done"


# Errors

def test_unknown_backend(cpu):
    for wrong in ("cuda13", "", {"sampel": "cpu"}, {"sample": "gpu"}):
        with pytest.raises(foveate.Error, match=r"(?s)^Engine: .*got .*expected .*cpu|sample"):
            foveate.Engine(backend=wrong)


def test_every_candidate_is_listed():
    if not set(BACKENDS) & set(DEVICES):
        return
    with pytest.raises(foveate.Error, match=r"(?s)^Engine: .*got .*expected") as error:
        foveate.Engine(backend="vulkan", device="no such device")
    for driver in set(BACKENDS) & set(DEVICES):
        assert DEVICES[driver] in str(error.value)
    assert "no such device" in str(error.value)


def test_device_by_uuid_index_and_environment(engine, backend, monkeypatch):
    if backend == "cpu":
        return
    uuid = engine.caps["uuid"]
    assert len(uuid) == 32
    api = options(backend)["backend"]
    assert foveate.Engine(backend=api, device=uuid).caps["device"] == engine.caps["device"]
    assert foveate.Engine(backend=api, device="0").caps["uuid"]
    monkeypatch.setenv("FOVEATE_DEVICE", engine.caps["device"][:6])
    assert foveate.Engine(backend=api).caps["uuid"] == uuid


def test_unknown_instruction_set(monkeypatch):
    monkeypatch.setenv("FOVEATE_ISA", "mmx")
    with pytest.raises(foveate.Error, match=r"^Engine: isa: got mmx, expected .*baseline"):
        foveate.Engine(backend="cpu")


def test_memory_budget(make_engine, backend):
    engine = make_engine(backend, memory_budget=8 << 20)
    small = tokens(engine).patches.numpy()
    with pytest.raises(foveate.error.MemoryBudgetError, match=r"(?s)got .*expected .*memory_budget") as error:
        engine.pyramid(np.zeros((4000, 4000, 3), np.float32))
    assert isinstance(error.value, MemoryError)
    assert_same(tokens(engine).patches.numpy(), small)
    assert engine.stats["memory_used"] <= 8 << 20
    engine.close()


def test_closed_engine(make_engine, backend):
    engine = make_engine(backend)
    engine.close()
    engine.close()
    with pytest.raises(foveate.Error, match=r"(?s)^Engine: .*closed"):
        engine.tokens(IMAGE, budget=4)


def test_threads_option(make_engine):
    for count in (1, 2, 5):
        assert_same(tokens(make_engine("cpu", threads=count)).patches.numpy(),
                    tokens(make_engine("cpu")).patches.numpy())
    for wrong in (-1, 257):
        with pytest.raises(foveate.Error, match=rf"(?s)^Engine: threads.*got {wrong}.*256"):
            make_engine("cpu", threads=wrong)


def test_sizes_are_the_images(engine):
    images = [np.zeros((40, 60, 3), np.uint8), np.zeros((50, 30, 3), np.uint8)]
    assert engine.tokens(images, budget=4).sizes == [(40, 60), (50, 30)]
    assert engine.tokens(engine.image(images), budget=4).sizes == [(40, 60), (50, 30)]
    assert engine.tokens(np.zeros((2, 3, 16, 24), np.float32), budget=1).sizes == [(16, 24)] * 2
    pyramid = engine.pyramid(images)
    layout = engine.layout(pyramid, budget=4)
    assert engine.tensor(engine.sample(pyramid, layout), layout).sizes == [(40, 60), (50, 30)]
