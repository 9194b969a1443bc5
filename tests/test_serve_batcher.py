# SPDX-License-Identifier: Apache-2.0
"""Who runs with whom, who may begin, and that nobody sees anything of another's."""

import asyncio
import time
from types import SimpleNamespace

import numpy as np
import pytest
from foveate.error import DeviceLostError, InputError
from foveate.serve.batcher import Batcher, Batching
from foveate.serve.fault import Fault
from foveate.serve.gate import Gate
from foveate.serve.limits import Limits
from foveate.serve.protocol import Request, Tensor
from serving import jpeg, served


def work(key="a", images=1, size=(8, 8), name=""):
    return SimpleNamespace(key=key, images=[None] * images, sizes=[size] * images, name=name)


def batched(works, cancel=(), **knobs):
    """The batches that works became which came while the engine was busy with one before them."""
    async def main():
        batches = []

        def execute(batch):
            time.sleep(0.03 if batch[0].key == "first" else 0)
            batches.append([one.name for one in batch])
            return [one.name for one in batch]

        batcher = Batcher(execute, Batching(**knobs))
        first = batcher.submit(work("first"))
        await asyncio.sleep(0.01)
        futures = [batcher.submit(one) for one in works]
        for index in cancel:
            futures[index].cancel()
        await first
        done = await asyncio.gather(*futures, return_exceptions=True)
        await batcher.flush()
        assert batcher.depth() == 0
        await batcher.close()
        return batches[1:], done

    return asyncio.run(main())


# ---- batches -----------------------------------------------------------------------------------------------


def test_works_that_wait_run_together():
    batches, done = batched([work(name="1"), work(name="2"), work("b", name="3"), work(name="4")])
    assert batches == [["1", "2", "4"], ["3"]]
    assert [one.outputs for one in done] == ["1", "2", "3", "4"]
    assert [one.batch for one in done] == [3, 3, 1, 3] and [one.first for one in done] == [True, False, True, False]
    assert all(one.queue_ns > 0 and one.run_ns > 0 for one in done)


def test_a_batch_ends_at_its_size():
    five = [work(name=str(n)) for n in range(5)]
    assert batched(five, max_batch_size=2)[0] == [["0", "1"], ["2", "3"], ["4"]]
    assert batched([work(images=3, name="3"), work(images=2, name="2")], max_batch_size=4)[0] == [["3"], ["2"]]
    assert batched([work(images=9, name="9"), work(name="1")], max_batch_size=4)[0] == [["9"], ["1"]]


def test_preferred_sizes_go_first():
    five = [work(name=str(n)) for n in range(5)]
    assert batched(five, max_batch_size=8, preferred_batch_size=(4,))[0] == [["0", "1", "2", "3"], ["4"]]
    assert batched(five, max_batch_size=8, preferred_batch_size=(2, 4))[0] == [["0", "1", "2", "3"], ["4"]]


def test_sizes_do_not_wait_for_each_other():
    assert batched([work(name="1"), work(size=(800, 800), name="2"), work(name="3")])[0] == [["1", "3"], ["2"]]


def test_an_idle_engine_waits_as_long_as_it_is_told():
    async def main(delay):
        batches = []
        batcher = Batcher(lambda batch: batches.append(len(batch)) or batch,
                          Batching(max_queue_delay_microseconds=delay))
        one = batcher.submit(work())
        await asyncio.sleep(0.02)
        two = batcher.submit(work())
        await asyncio.gather(one, two)
        await batcher.close()
        return batches

    assert asyncio.run(main(0)) == [1, 1] and asyncio.run(main(200_000)) == [2]


def test_who_left_is_dropped():
    batches, done = batched([work(name="1"), work(name="2"), work(name="3")], cancel=(0, 2))
    assert batches == [["2"]] and isinstance(done[0], asyncio.CancelledError)


def test_an_exception_of_a_batch_reaches_all_of_it():
    async def main():
        def execute(batch):
            raise KeyError("x")

        batcher = Batcher(execute)
        found = await asyncio.gather(batcher.submit(work()), batcher.submit(work()), return_exceptions=True)
        await batcher.close()
        return found

    assert [type(one) for one in asyncio.run(main())] == [KeyError, KeyError]


@pytest.mark.parametrize("knobs,text", [
    ({"max_batch_size": 0}, "serve: max_batch_size: got 0, expected 1..4096."),
    ({"max_batch_size": 4097}, "serve: max_batch_size: got 4097"),
    ({"max_batch_size": 4, "preferred_batch_size": (5,)}, "serve: preferred_batch_size"),
    ({"max_queue_delay_microseconds": 1_000_001}, "serve: max_queue_delay_microseconds"),
])
def test_knobs_are_held(knobs, text):
    with pytest.raises(InputError, match=text):
        Batching(**knobs)


# ---- who may begin -----------------------------------------------------------------------------------------


def entering(limits, *prices):
    """What each of them got that came at once, each of them staying: "in", "waits" or the code of a fault."""
    async def main():
        gate = Gate(limits)
        tasks = [asyncio.create_task(gate.enter(price)) for price in prices]
        await asyncio.sleep(0.01)
        found = [("waits" if not task.done() else "in" if task.exception() is None else task.exception().code)
                 for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.waiting == 0
        return found

    return asyncio.run(main())


def test_limits_of_the_gate():
    limits = Limits(in_flight=2, queue=2, pixels_in_flight=100)
    assert entering(limits, 1) == ["in"] and entering(limits, 1, 1) == ["in", "in"]
    assert entering(limits, 1, 1, 1) == ["in", "in", "waits"]
    assert entering(limits, 1, 1, 1, 1, 1) == ["in", "in", "waits", "waits", "queue"]
    assert [entering(limits, 50, price) for price in (49, 50, 51)] == [["in", "in"], ["in", "in"], ["in", "waits"]]
    assert entering(limits, 1000) == ["in"] and entering(limits, 1, 1000) == ["in", "waits"]


def test_nobody_waits_for_long():
    async def main():
        gate = Gate(Limits(in_flight=1, queue=8, queue_s=0.05, pixels_in_flight=100))
        await gate.enter(60)
        begin = time.monotonic()
        found = await asyncio.gather(gate.enter(1), gate.enter(1), return_exceptions=True)
        assert [one.code for one in found] == ["queue_time"] * 2 and time.monotonic() - begin < 0.3
        gate = Gate(Limits(in_flight=2, queue_s=0.05, pixels_in_flight=100))
        await gate.enter(60)
        with pytest.raises(Fault) as found:
            await gate.enter(60)
        assert (found.value.code, found.value.status, found.value.retry_s) == ("busy", 429, 1)
        gate.leave(60)
        assert (gate.active, gate.pixels, gate.waiting) == (0, 0, 0)

    asyncio.run(main())


def test_who_would_wait_for_too_long_is_refused_at_once(monkeypatch):
    """Once it is known how fast a rush goes: here 32 leave in 0.1 s, half of what one may wait."""
    monkeypatch.setattr("foveate.serve.gate.LEAVES", 32)
    now = [100.0]
    monkeypatch.setattr("foveate.serve.gate.time", SimpleNamespace(monotonic=lambda: now[0]))

    async def main():
        gate = Gate(Limits(in_flight=1, queue=64, queue_s=0.2))
        await gate.enter(1)
        waiting = [asyncio.create_task(gate.enter(1)) for _ in range(64)]
        await asyncio.sleep(0)
        for _ in range(31):
            gate.leave(1)
            now[0] += 0.1 / 31
        assert gate.waiting == 33 and not gate.full     # not known yet
        gate.leave(1)
        assert gate.waiting == 32 and not gate.full
        waiting.append(asyncio.create_task(gate.enter(1)))
        await asyncio.sleep(0)
        assert gate.waiting == 33 and gate.full
        with pytest.raises(Fault) as found:
            await gate.enter(1)
        assert found.value.code == "queue"
        gate.leave(1)
        now[0] += 0.1       # it has become slower
        assert gate.waiting == 32 and gate.full
        for _ in range(33):
            gate.leave(1)
        assert gate.active == gate.waiting == 0 and not gate.full
        now[0] += 60        # the next rush is another
        first = [asyncio.create_task(gate.enter(1)) for _ in range(65)]
        await asyncio.sleep(0)
        assert gate.waiting == 64
        for task in first:
            task.cancel()
        await asyncio.gather(*waiting, *first, return_exceptions=True)

    asyncio.run(main())


def test_who_waits_is_let_in_in_order():
    async def main():
        gate, order = Gate(Limits(in_flight=1)), []

        async def one(name):
            async with gate.entered(1):
                order.append(name)
                await asyncio.sleep(0.001)

        tasks = [asyncio.create_task(one(name)) for name in range(8)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 1, 2, 4, 5, 6, 7] and (gate.active, gate.pixels) == (0, 0)

    asyncio.run(main())


# ---- the service -------------------------------------------------------------------------------------------


def request(pixels, **parameters):
    image = Tensor("image", "UINT8", pixels.shape, pixels) if isinstance(pixels, np.ndarray) else \
        Tensor("image", "BYTES", (1,), [pixels])
    return Request("foveate", parameters={"budget": 24, **parameters}, inputs={"image": image})


def test_nobody_sees_another():
    """64 clients, each with its own colour and size, in batches: the bytes of a call that is alone."""
    rng = np.random.default_rng(5)
    colours = rng.integers(0, 256, (64, 3), np.uint8)
    pictures = [np.full((rng.integers(20, 90), rng.integers(20, 90), 3), colour) for colour in colours]
    noise = [rng.integers(0, 256, (64, 80, 3), np.uint8) for _ in range(16)]

    async def test(service):
        alone = [(await service.infer(request(one))).outputs for one in noise]
        for _ in range(3):
            mixed = await asyncio.gather(*map(service.infer, map(request, [*pictures, *noise])))
            for colour, found in zip(colours, mixed, strict=False):
                patches, valid = found.outputs[0].data, found.outputs[5].data[0]
                want = np.repeat(colour / np.float32(255), 256)
                assert valid.any() and np.allclose(patches[valid], want, atol=1e-6)
                assert not patches[~valid].any() or np.allclose(patches, want, atol=1e-6)
            for first, found in zip(alone, mixed[64:], strict=True):
                for one, other in zip(first, found.outputs, strict=True):
                    assert one.data.tobytes() == other.data.tobytes()
        statistics = service.model_statistics("foveate")["model_stats"][0]
        assert statistics["inference_count"] == 16 + 3 * 80
        assert statistics["execution_count"] < 16 + 3 * 40      # they did run together

    served(test, limits=Limits(in_flight=128))


def test_one_bad_work_spoils_no_other():
    async def test(service):
        good = request(np.zeros((32, 32, 3), np.uint8), layout="grid", alpha=1.0)   # refused by the engine alone
        fine = request(np.zeros((32, 32, 3), np.uint8))
        run = service._batcher._execute
        service._batcher._execute = lambda works: (time.sleep(0.02), run(works))[1]
        found = await asyncio.gather(*map(service.infer, [fine, good, fine, good]), return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["Response", "Fault", "Response", "Fault"]
        statistics = service.model_statistics("foveate")["model_stats"][0]["inference_stats"]
        assert statistics["success"]["count"] == 2 and statistics["fail"]["count"] == 2

    served(test)


def test_deadlines():
    async def test(service):
        run = service._batcher._execute
        service._batcher._execute = lambda works: (time.sleep(0.4), run(works))[1]
        begin = time.monotonic()
        with pytest.raises(Fault) as found:
            await service.infer(request(np.zeros((32, 32, 3), np.uint8), timeout=50_000))
        assert found.value.code == "deadline" and time.monotonic() - begin < 0.3
        await service.infer(request(np.zeros((32, 32, 3), np.uint8)))       # without, it has its time
        service._batcher.busy_since = time.monotonic() - 31
        assert not service.ready
        service._batcher.busy_since = None
        assert service.ready

    served(test)


def test_a_lost_device():
    async def test(service):
        run, broken = service.models["foveate"].run, [True]

        def lost(engine, works):
            if broken:
                raise DeviceLostError("Engine: device: got lost")
            return run(engine, works)

        service.models["foveate"] = SimpleNamespace(**vars(service.models["foveate"]))
        service.models["foveate"].run = lost
        engine = service._engine
        with pytest.raises(Fault) as found:
            await service.infer(request(jpeg()))
        assert (found.value.code, found.value.status) == ("device", 503) and service._engine is not engine
        broken.clear()
        assert service.ready and (await service.infer(request(jpeg()))).outputs
        broken.append(True)
        service._options = {"backend": "nowhere"}
        with pytest.raises(Fault):
            await service.infer(request(jpeg()))
        assert service.dead and not service.ready
        with pytest.raises(Fault) as found:
            await service.infer(request(jpeg()))
        assert found.value.code == "not_ready"

    served(test)


def test_readiness_is_honest():
    async def test(service):
        assert service.ready
        service.gate.active = service.limits.in_flight
        waiting = [asyncio.create_task(service.gate.enter(1)) for _ in range(service.limits.queue)]
        await asyncio.sleep(0)
        assert not service.ready
        waiting[0].cancel()
        await asyncio.gather(*waiting[:1], return_exceptions=True)
        await asyncio.sleep(0)
        service.gate.active = 0
        service.gate._wake()
        await asyncio.gather(*waiting[1:], return_exceptions=True)
        service._decoder = SimpleNamespace(healthy=False, close=service._decoder.close)
        assert not service.ready
        service._decoder.healthy = True
        service.draining = True
        assert not service.ready
        with pytest.raises(Fault) as found:
            await service.infer(request(jpeg()))
        assert (found.value.code, found.value.status) == ("draining", 503)

    served(test)
