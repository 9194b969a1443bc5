# SPDX-License-Identifier: Apache-2.0
"""`foveate bench serve`: what lies between the engine and a client, and what happens when more is asked than there is.

A service in a process of its own, a client in another (serve/load.py), and the same work in this one: a JPEG of
1920 x 1080 px to 273 tokens in float16. All share the machine's cores: what the client takes is in the figures.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .bench import machine, write
from .bench_batch import folder_of
from .decode import decode
from .engine import Engine
from .error import require
from .serve import load

ASKED = {"model": "qwen2.5-vl", "budget": 273, "dtype": "float16"}
GAZE = (0.4, 0.6)
OUTPUTS = ("patches", "center_px", "size_px")
CONNECTIONS, TURNS = 256, 9
AT_ONCE = 32        # requests that are worked on at once, and images that run together
WIRES = {"http": ("HTTP", "200", ("429", "503")), "grpc": ("gRPC", "OK", ("RESOURCE_EXHAUSTED", "UNAVAILABLE"))}
STAYS_MB = 48
HEAD = "Inference-Header-Content-Length"


def request_of(data, count=1):
    """(body, length of its JSON) of a request that a model of Triton's takes too; count: images."""
    gaze = np.array([GAZE] * count, "<f4").tobytes()
    files = (struct.pack("<I", len(data)) + data) * count
    head = json.dumps({
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [count, 1],
                    "parameters": {"binary_data_size": len(files)}},
                   {"name": "gaze", "datatype": "FP32", "shape": [count, 2],
                    "parameters": {"binary_data_size": len(gaze)}}],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS],
        "parameters": ASKED}).encode()
    return head + files + gaze, len(head)


@contextlib.contextmanager
def service():
    """({wire: address}, process) of one that listens."""
    words = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "-1", "--backend", "cpu", "--json",
             "--log-level", "warning"]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen([sys.executable, "-m", "foveate", "serve", *words], stdout=subprocess.PIPE, stderr=log)
        try:
            line = child.stdout.readline()
            log.seek(0)
            require(line, "bench: service", log.read()[-400:].decode(errors="replace") or "nothing", "one that listens")
            yield {wire: f"{found['host']}:{found['port']}" for wire, found in json.loads(line).items()}, child
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait()
            child.stdout.close()


class Client:
    """The load of serve/load.py on one address."""

    def __init__(self, folder, address, body, length, model="foveate", wire="http"):
        (folder / "body").write_bytes(body)
        self._before = [sys.executable, load.__file__, wire, address, str(folder / "body"), str(length)]
        self._model = model

    def __call__(self, seconds, rate=0, connections=CONNECTIONS):
        command = [*self._before, *map(str, (seconds, rate, connections)), self._model]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def here(engine, data):
    """What a request is without a service."""
    tokens = engine.tokens([decode(data)], channels="last", gaze=[[GAZE]], **ASKED)
    return [tokens.patches.numpy(), *(np.ascontiguousarray(tokens.table[name]) for name in OUTPUTS[1:])]


def alone(engine, address, data, body, length, rounds):
    """ms of one request after another, in turn: here, and over one connection that stays."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port))
    times = {"here": [], "service": []}

    def asked():
        connection.request("POST", "/v2/models/foveate/infer", body, {HEAD: str(length)})
        answer = connection.getresponse()
        require(answer.status == 200, "bench: service", answer.status, "200")
        answer.read()

    for number in range(rounds + 5):
        for name, run in (("service", asked), ("here", lambda: here(engine, data))):
            start = time.perf_counter()
            run()
            if number >= 5:
                times[name].append((time.perf_counter() - start) * 1e3)
    connection.close()
    return {name: statistics.median(own) for name, own in times.items()}


def saturated(data, seconds):
    """Images a second here, each core with an engine of its own, and ms of CPU an image."""
    cores = len(os.sched_getaffinity(0))
    engines = [Engine(backend="cpu", threads=1) for _ in range(cores)]
    for engine in engines:
        here(engine, data)
    begin, cpu = time.perf_counter(), time.process_time()

    def loop(engine):
        count = 0
        while time.perf_counter() - begin < seconds:
            here(engine, data)
            count += 1
        return count

    with ThreadPoolExecutor(cores) as pool:
        count = sum(pool.map(loop, engines))
    return {"rate": count / (time.perf_counter() - begin), "cpu_ms": (time.process_time() - cpu) * 1e3 / count}


def in_turn(client, child, data, seconds):
    """What an image takes here and what a request takes the service, one after the other: its share, round by round,
    and the median, since a machine that others use is fast one moment and slow the next.
    """
    rounds, shares = [], []
    client(min(1, seconds), connections=8)
    for _ in range(TURNS):
        rounds.append(saturated(data, seconds))
        shares.append(rounds[-1]["cpu_ms"] / kept_busy(client, child, seconds)[1])
    return {"rate": statistics.median(one["rate"] for one in rounds),
            "cpu_ms": statistics.median(one["cpu_ms"] for one in rounds),
            "shares": shares, "share": statistics.median(shares)}


def kept_busy(client, child, seconds):
    """(what the client found, ms of the service's CPU a request) of a load that always has some more."""
    before = cpu_ms(child)
    found = client(seconds, connections=8)
    return found, (cpu_ms(child) - before) / sum(found["counts"].values())


def family(child):
    """Folders in /proc of a process and its children that are alive."""
    found = [Path(f"/proc/{child.pid}")]
    for folder in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [Path("/proc", one) for task in (folder / "task").iterdir()
                      for one in (task / "children").read_text().split()]
    return found


def cpu_ms(child):
    """CPU that a process and its children have taken."""
    total, tick = 0, 1e3 / os.sysconf("SC_CLK_TCK")
    for folder in family(child):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:15]))
    return total * tick


def holds(child):
    """[MB of memory, descriptors] of a process and its children, when they have been left alone for a while."""
    time.sleep(4)
    pages = sum(int((folder / "statm").read_text().split()[1]) for folder in family(child))
    return [pages * os.sysconf("SC_PAGE_SIZE") / 1e6, sum(len(os.listdir(folder / "fd")) for folder in family(child))]


def answered(result, seconds, wire="http"):
    """Of a load: answers a second, by status; what the client could not send is none."""
    kinds = {}
    for key, count in result["counts"].items():
        kinds[key.split()[0]] = kinds.get(key.split()[0], 0) + count
    return {"good": result["counts"].get(WIRES[wire][1], 0) / seconds, "statuses": kinds,
            **{name: result[name] for name in ("p50", "p99", "refused_p99")}}


def measure(seconds=20.0, rounds=40, triton=None):
    require(seconds > 0, "bench: seconds", seconds, "more than 0")
    require(rounds > 0, "bench: rounds", rounds, "1 or more")
    with tempfile.TemporaryDirectory() as name, service() as (addresses, child):
        folder = Path(name)
        data = folder_of(folder, 1)[0].read_bytes()
        body, length = request_of(data)
        clients = {wire: Client(folder, addresses[wire], body, length, wire=wire) for wire in WIRES}
        clients["http"](1, connections=2)
        found = {"machine": machine(), "file_bytes": len(data), "seconds": seconds,
                 "alone_ms": alone(Engine(backend="cpu"), addresses["http"], data, body, length, rounds)}
        ask(addresses["http"], *request_of(data, AT_ONCE))      # the engine has memory for all of them from now on
        found["here"] = in_turn(clients["http"], child, data, seconds / 10)
        found |= {wire: loaded(client, wire, child, seconds) for wire, client in clients.items()}
        if triton:
            theirs = Client(folder, triton, body, length, "tokens")
            found["triton"] = side_by_side(clients["http"], theirs, seconds / 4)
    return found


def ask(address, body, length):
    connection = http.client.HTTPConnection(address)
    connection.request("POST", "/v2/models/foveate/infer", body, {HEAD: str(length)})
    status = connection.getresponse().status
    connection.close()
    require(status == 200, "bench: service", status, "200")


def loaded(client, wire, child, seconds):
    """One wire at its capacity, at half and at three times of it; what the service has before the last and after."""
    client(min(1, seconds), connections=AT_ONCE)    # by now it has all that it needs at once
    most, spent = kept_busy(client, child, seconds / 2)
    found = {"capacity": {**answered(most, seconds / 2, wire), "cpu_ms": spent, "client_cpu_ms": most["cpu_ms"]}}
    rate = found["capacity"]["good"]
    found["half"] = answered(client(seconds * 1.5, rate / 2), seconds * 1.5, wire)
    found["before"] = holds(child)
    found["three"] = answered(client(seconds, rate * 3), seconds, wire)
    found["after"] = holds(child)
    return found


def side_by_side(ours, theirs, seconds):
    """Answers a second and ms, by how many ask at once, in turn."""
    theirs(1, connections=2)
    found = {}
    for count in (1, 4, 16):
        for name, client in (("service", ours), ("triton", theirs)):
            result = answered(client(seconds, connections=count), seconds)
            require(set(result["statuses"]) == {"200"}, "bench: statuses", result["statuses"], "200 alone")
            found.setdefault(name, {})[str(count)] = result
    return found


def goals(result):
    """(what, value, goal, met)."""
    alone = result["alone_ms"]
    limit = 1.5 * alone["here"] + 2
    yield ("one request after another, ms", f"{alone['service']:.2f}; here {alone['here']:.2f}",
           f"{limit:.2f} or less (1.5 times here, and 2 ms)", alone["service"] <= limit)
    share, shares = result["here"]["share"], result["here"]["shares"]
    yield ("share of the work in the service's CPU time", f"{share:.1%}, rounds {min(shares):.0%} to {max(shares):.0%}",
           "70% or more", share >= 0.7)
    for wire, (name, good, refused) in WIRES.items():
        found = result[wire]
        half, three, (memory, files), after = (found[what] for what in ("half", "three", "before", "after"))
        yield (f"{name}, half of its capacity for {result['seconds'] * 1.5:g} s: statuses", _counts(half["statuses"]),
               f"{good} alone", set(half["statuses"]) == {good})
        yield (f"{name}, three times for {result['seconds']:g} s: statuses", _counts(three["statuses"]),
               ", ".join((good, *refused)), set(three["statuses"]) <= {good, *refused, "unsent"})
        ratio = three["good"] / found["capacity"]["good"]
        yield f"{name}, three times: good answers, of its capacity", f"{ratio:.2f}", "0.8 or more", ratio >= 0.8
        yield (f"{name}, after it: memory and descriptors", f"{after[0]:.0f} MB, {after[1]}; before {memory:.0f} MB, "
               f"{files}", f"{STAYS_MB} MB more at most, as many", after[0] <= memory + STAYS_MB and after[1] == files)


def _counts(statuses):
    return ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))


def markdown(result):
    lines = [f"Machine: {result['machine']}, client included. A JPEG of 1920 x 1080 px, "
             f"{result['file_bytes'] // 1000} kB, to 273 Qwen2.5-VL tokens in float16, binary.", "",
             "| what | measured | goal | |", "|---|---|---|---|"]
    lines += [f"| {what} | {value} | {goal} | {'met' if met else 'not met'} |"
              for what, value, goal, met in goals(result)]
    lines += ["", "| | answers a second, 8 at once | ms: half of 100, 99 of 100 | at half of that | at three times | "
              "99 of 100 refusals | CPU of a request: service, client |", "|---|---:|---:|---:|---:|---:|---:|"]
    for wire, (name, *_) in WIRES.items():
        most, half, three = (result[wire][what] for what in ("capacity", "half", "three"))
        times = " | ".join(f"{one['p50'] or 0:.0f}, {one['p99'] or 0:.0f}" for one in (most, half, three))
        lines.append(f"| {name} | {most['good']:.1f} | {times} | {three['refused_p99'] or 0:.0f} | "
                     f"{most['cpu_ms']:.1f}, {most['client_cpu_ms']:.1f} |")
    lines += ["", f"Here, an engine a core, {result['here']['rate']:.1f} images a second with "
              f"{result['here']['cpu_ms']:.1f} ms of CPU each. `unsent`: the client had no connection left."]
    if both := result.get("triton"):
        lines += ["", "The same engine in a Triton 2.51 ([how](../guide/serve_triton.md)), answers a second and ms:",
                  "",
                  "| at once | service | Triton |", "|---:|---:|---:|"]
        lines += [f"| {count} | " + " | ".join(f"{both[name][count]['good']:.1f}, {both[name][count]['p50']:.0f} ms"
                                               for name in ("service", "triton")) + " |" for count in both["service"]]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench serve", description="The service beside the same work without "
                                     "one, at its capacity, at half and at three times of it.")
    parser.add_argument("--seconds", type=float, default=20, help="at three times its capacity; default: 20")
    parser.add_argument("--rounds", type=int, default=40, help="of one request after another; default: 40")
    parser.add_argument("--triton", metavar="ADDRESS", help="of a Triton with the model of docs/guide/serve_triton.md")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="folder for serve.json and serve.md")
    options = parser.parse_args(arguments)
    result = measure(options.seconds, options.rounds, options.triton)
    text = markdown(result)
    write(options.out, "serve", result, "# Measured: the service\n\nWritten by `foveate bench serve`.\n\n" + text)
    print(json.dumps(result, indent=1) if options.json else text)
    return 0
