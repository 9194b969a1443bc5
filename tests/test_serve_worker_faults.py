# SPDX-License-Identifier: Apache-2.0
"""Decode workers that are killed, hang, run out of memory or lie: each costs one request, and nothing is left of it."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from decode_workers import FILE, HEAVY, SMALL, busy, children, code_of, process_of, run, until
from foveate.serve import worker
from foveate.serve.worker import WorkerError
from images import LONG

# What may happen to a worker

def test_killed_in_flight():
    async def test(pool):
        task = await busy(pool)
        following = asyncio.create_task(pool.decode(FILE))
        begin = time.monotonic()
        process_of(pool).kill()
        assert await code_of(task) == "died"
        assert time.monotonic() - begin < 1
        np.testing.assert_array_equal(await following, SMALL)
        assert pool.ended == 1 and pool.healthy

    run(test)


def test_killed_while_idle_costs_nothing():
    async def test(pool):
        process_of(pool).kill()
        await until(lambda: not pool.ready)
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)       # waits for the next
        process_of(pool).kill()
        await until(lambda: pool.ended == 2 and pool.ready)
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)

    run(test)


def test_hung():
    async def test(pool):
        stopped = process_of(pool)
        os.kill(stopped.pid, signal.SIGSTOP)
        begin = time.monotonic()
        assert await code_of(pool.decode(FILE)) == "time"
        assert time.monotonic() - begin < 2.5
        assert not os.path.exists(f"/proc/{stopped.pid}")
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)
        assert pool.ended == 0      # this side ended it

    run(test, timeout_s=1.0)


def test_too_much_processor_time():
    """The kernel's signal for it is an end by time; the limit moves with each file."""
    async def test(pool):
        for _ in range(2):
            await pool.decode(FILE)
            with open(f"/proc/{process_of(pool).pid}/limits") as text:
                soft, hard = next(line.split()[3:5] for line in text if line.startswith("Max cpu time"))
            assert 3 < int(soft) <= 9 and hard == "unlimited"
        task = await busy(pool)
        os.kill(process_of(pool).pid, signal.SIGXCPU)
        assert await code_of(task) == "time"
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)
        assert pool.ended == 0

    run(test, cpu_s=3)


def test_out_of_memory():
    async def test(pool):
        assert await code_of(pool.decode(HEAVY)) == "memory"
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)
        assert pool.ended == 0 and pool.healthy

    run(test, memory_mib=40)


def test_a_file_in_which_workers_end_is_refused():
    async def test(pool):
        for _ in range(2):
            task = await busy(pool)
            process_of(pool).kill()
            assert await code_of(task) == "died"
            await until(lambda: pool.ready)
        before = pool.ended
        assert await code_of(pool.decode(HEAVY)) == "quarantine"
        assert pool.ended == before
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)

    run(test)


def test_crash_loop_shows(monkeypatch):
    async def test(pool):
        for count in range(5):
            assert pool.healthy
            process_of(pool).kill()
            await until(lambda count=count: pool.ended == count + 1 and pool.ready)
        assert not pool.healthy
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)       # who asks is served all the same
        monkeypatch.setattr(worker, "DEATHS_S", 0.0)        # as if that time were over
        assert pool.healthy

    run(test)


def test_kills_leave_nothing():
    times = []

    async def test(pool):
        await pool.decode(FILE)
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for count in range(200 if LONG else 12):
            task = asyncio.create_task(pool.decode(FILE)) if count % 2 else None
            await asyncio.sleep(0)
            process_of(pool).kill()
            await until(lambda count=count: pool.ended == count + 1)
            times.append(await until(lambda: pool.ready))
            if task is not None:
                with contextlib.suppress(WorkerError):
                    await task
            pool._suspects.clear()
            np.testing.assert_array_equal(await pool.decode(FILE), SMALL)
        process_of(pool).kill()     # and the memory that it may have had for two files at once
        await until(lambda: not pool.ready)
        await until(lambda: pool.ready)
        await pool.decode(FILE)
        task = None
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before
        assert children("Z") == [] and len(children()) == 1
        await pool.decode(FILE)

    run(test)
    print(f"a worker is back in {np.median(times):.2f} s, {max(times):.2f} s at most")


def test_nothing_a_worker_says_is_believed():
    async def test(pool):
        for nonsense in (b"no", b"[]", b'{"height": 0, "width": 4}', b'{"height": 16385, "width": 1}',
                         b'{"height": 16384, "width": 16384}', b'{"height": "1", "width": 1}', b"[" * 4000,
                         b'{"error": ["shell", "a", "b"]}', b'{"error": ["size", "/etc/passwd", "b"]}', b"\xff"):
            assert pool._understood(nonsense) is None, nonsense

    run(test)


def test_what_a_worker_has():
    """Its limits, no environment of ours, no descriptor but its socket, no way to more."""
    os.environ["FOVEATE_TEST_SECRET"] = "hush"

    async def test(pool):
        pid = process_of(pool).pid
        with open(f"/proc/{pid}/environ") as text:
            assert "hush" not in text.read()
        with open(f"/proc/{pid}/status") as text:
            status = dict(line.split(":\t", 1) for line in text.read().splitlines() if ":\t" in line)
        assert next(iter(pool.ready)).confined and status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
        assert status["Threads"].strip() == "1"
        fds = {int(name): os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
        assert fds.pop(0).startswith("socket:") and fds == {1: "/dev/null", 2: "/dev/null"}
        with open(f"/proc/{pid}/limits") as text:
            limits = {line[:26].strip(): line[26:].split()[1] for line in text.read().splitlines()[1:]}
        assert (limits["Max open files"], limits["Max core file size"], limits["Max processes"]) == ("16", "0", "0")
        for name, held, more in (("Max data size", "VmData", 64 << 20), ("Max address space", "VmSize", 1 << 30)):
            assert 0 < int(limits[name]) - (int(status[held].split()[0]) << 10) <= more + (1 << 20)
        assert os.getsid(pid) != os.getsid(0)       # a Ctrl-C in the terminal is the service's alone
        for _ in range(9):
            await pool.decode(FILE)
        assert len(os.listdir(f"/proc/{pid}/fd")) == 4      # and its memory

    try:
        run(test, memory_mib=64)
    finally:
        del os.environ["FOVEATE_TEST_SECRET"]


FORBIDDEN = {
    "open": "open('/etc/hostname')", "socket": "socket.socket()", "pair": "socket.socketpair()",
    "fork": "os.fork()", "exec": "os.execv('/bin/true', ['true'])", "signal": "os.kill(os.getppid(), 0)",
    "memory of others": "libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0) and fail()",
    "trace": "libc.ptrace(16, os.getppid(), 0, 0) and fail()", "list": "os.listdir('/')", "remove": "os.unlink('/x')",
    "memfd": "os.memfd_create('x')", "limits of others": "resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
    "more memory": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",     # which root may
    "thread": "_thread.start_new_thread(print, ())",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_a_worker_cannot_do(name):
    """Each works before `confine`, and is refused after it."""
    script = f"""if True:
        import _thread, ctypes, os, resource, socket
        from foveate.serve.confine import confine
        libc = ctypes.CDLL(None, use_errno=True)
        def fail():
            raise OSError(ctypes.get_errno(), "")
        if {name == "more memory"} and os.geteuid() == 0:
            os.setuid(65534)
        assert confine(1 << 28, 1 << 20)
        try:
            {FORBIDDEN[name]}
        except (OSError, ValueError, RuntimeError) as error:
            assert getattr(error, "errno", 1) in (1, None), error
        else:
            os._exit(3)
        os._exit(7)"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr


def test_interrupts_are_the_services():
    async def test(pool):
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(process_of(pool).pid, number)
        np.testing.assert_array_equal(await pool.decode(FILE), SMALL)
        assert pool.ended == 0

    run(test)


def test_ends_with_the_service():
    script = """if True:
        import asyncio, os, signal
        from foveate.serve.worker import DecodePool
        async def main():
            async with DecodePool() as pool:
                print(next(iter(pool.ready)).process.pid, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL and done.stderr == ""
    begin = time.monotonic()
    while os.path.exists(f"/proc/{int(done.stdout)}"):
        with contextlib.suppress(OSError), open(f"/proc/{int(done.stdout)}/stat") as text:
            if text.read().rpartition(")")[2].split()[0] == "Z":        # ended; nobody here may reap it
                break
        assert time.monotonic() - begin < 10
        time.sleep(0.01)
