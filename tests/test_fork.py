# SPDX-License-Identifier: Apache-2.0
"""fork(): in the child an engine refuses at once, ends without touching a driver, and a new one works."""

import pytest
from child import child
from images import LONG

# Common to the scripts below: an engine with a value of it, and a child that must end well, soon.
START = """
import os, signal, sys, time
import foveate, numpy as np
from conftest import options
from images import random_image
IMAGE = random_image(1, 48, 64)
def make():
    return foveate.Engine(**options(sys.argv[1]))
def use(engine):
    return engine.tokens(IMAGE, budget=6, patch=8).patches.numpy().tobytes()
def fork(inside, leave=os._exit):
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # a hang is a death
        inside()
        leave(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"the child ended with {status}"
def refused(call):
    start = time.monotonic()
    try:
        call()
    except foveate.error.ForkedEngineError as error:
        assert "fork" in str(error)
        assert time.monotonic() - start < LATE_S, time.monotonic() - start
    else:
        raise SystemExit("not refused")
LATE_S = 0.1
engine = make()
golden = use(engine)
"""


def run(backend, script, *arguments, **more):
    assert child(backend, START + script + "\nprint('done')", backend, *arguments, **more) == "done"


def test_every_call_is_refused(backend):
    run(backend, """
pyramid, layout = engine.pyramid(IMAGE), engine.layout((48, 64), budget=6)
patches = engine.sample(pyramid, layout)
relevance = engine.relevance(IMAGE, gaze=(0.5, 0.5), cell=16)
rates = engine.rate(IMAGE, relevance=relevance, budget=6)
tiles, warped = engine.rate_tiles(IMAGE, gaze=(0.5, 0.5)), engine.warp(IMAGE, size=(8, 8))
def inside():
    for call in (lambda: engine.image(IMAGE), lambda: engine.pyramid(IMAGE), lambda: engine.layout((48, 64), budget=6),
                 lambda: engine.empty((4, 4)), lambda: engine.share(None), lambda: engine.attach(None),
                 engine.signal, engine.expect, lambda: engine.wait(None), engine.settle,
                 lambda: engine.relevance(IMAGE, saliency="both", cell=16), lambda: relevance.cells,
                 lambda: engine.rate(IMAGE, previous=rates, budget=6), lambda: rates.codes,
                 lambda: engine.rate_tiles(IMAGE, content="ffx"), lambda: engine.warp(IMAGE, size=(8, 8)),
                 lambda: engine.sample(pyramid, layout), lambda: engine.tensor(patches, layout),
                 lambda: use(engine), lambda: engine.stats, lambda: pyramid.numpy(1)):
        refused(call)
fork(inside)
assert use(engine) == golden
""")


def test_what_was_read_back_stays_readable(backend):
    """Memory of the host is the child's own copy."""
    run(backend, """
tokens = engine.tokens(IMAGE, budget=6, patch=8)
array = tokens.patches.numpy()
def inside():
    assert array.tobytes() == golden
fork(inside)
""")


def test_many_forks(backend):
    run(backend, """
for _ in range(int(sys.argv[2])):
    fork(lambda: refused(lambda: use(engine)))
assert use(engine) == golden
""", 1000 if LONG else 50, timeout=600)


def test_values_may_end_in_the_child(backend):
    """Every destructor runs there: of the engine, of its values, and those of the interpreter's end."""
    run(backend, """
held = [engine.tokens(IMAGE, budget=6), engine.pyramid(IMAGE), engine.layout((48, 64), budget=6),
        np.from_dlpack(engine.tokens(IMAGE, budget=6).patches), engine.tokens(IMAGE).patches.__dlpack__()]
def inside():
    global engine
    held.clear()
    engine.close()
    del engine
fork(inside)
child = os.fork()
if child == 0:
    signal.alarm(10)
    sys.exit(0)  # with everything alive
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert use(engine) == golden
""")


def test_a_new_cpu_engine_works_in_the_child(backend):
    run(backend, """
want = use(foveate.Engine(backend="cpu"))
def inside():
    with foveate.Engine(backend="cpu") as fresh:
        assert use(fresh) == want
    assert foveate.pyramid(IMAGE, engine=foveate.Engine(backend="cpu")).levels == 7
fork(inside)
""")


def test_the_stage_functions_get_a_new_engine():
    run("cpu", """
before = foveate.pyramid(IMAGE).numpy(2).tobytes()
def inside():
    assert foveate.pyramid(IMAGE).numpy(2).tobytes() == before
fork(inside)
fork(lambda: fork(inside))
assert foveate.pyramid(IMAGE).numpy(2).tobytes() == before
""", FOVEATE_DEVICE="")


def test_fork_while_other_threads_work(backend):
    """A lock that another thread held at that moment is held for ever in the child: nothing there may need it.
    The calls are small, so that much of their time is spent with one."""
    run(backend, """
import threading
LATE_S = 5  # the machine is busy
stop = threading.Event()
def work():
    while not stop.is_set():
        [engine.layout((8, 8), budget=1, cell=2) for _ in range(8)]
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
try:
    for _ in range(int(sys.argv[2])):
        held = [engine.layout((8, 8), budget=1, cell=2) for _ in range(2)]
        def inside():
            held.clear()
            refused(lambda: use(engine))
        fork(inside)
finally:
    stop.set()
    for thread in threads:
        thread.join()
assert use(engine) == golden
""", 6000 if LONG else 100, timeout=900)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_data_loader_finishes_an_epoch(method, tmp_path):
    """One engine in each worker, made there; the parent has one of its own meanwhile."""
    script = tmp_path / "epoch.py"
    script.write_text("""
import sys
import foveate, numpy as np, torch
class Images(torch.utils.data.Dataset):
    engine = None
    def __len__(self):
        return 12
    def __getitem__(self, i):
        if torch.utils.data.get_worker_info() is not None and self.engine is None:
            self.engine = foveate.Engine(backend="cpu", threads=1)
        engine = self.engine or parent
        return engine.tokens(np.full((20, 30, 3), i, np.uint8), budget=4, patch=4).patches.torch()[0]
if __name__ == "__main__":
    parent = foveate.Engine(backend="cpu")
    data = Images()
    want = [data[i] for i in range(len(data))]
    loader = torch.utils.data.DataLoader(data, num_workers=2, multiprocessing_context=sys.argv[1], timeout=60)
    got = [batch[0] for batch in loader]
    assert len(got) == 12 and all(torch.equal(a, b) for a, b in zip(got, want))
    print("done")
""")
    start = "import runpy, sys; sys.argv = [sys.argv[1], sys.argv[2]]; runpy.run_path(sys.argv[0], run_name='__main__')"
    assert child("cpu", start, script, method, timeout=300) == "done"
