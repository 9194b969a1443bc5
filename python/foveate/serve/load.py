# SPDX-License-Identifier: Apache-2.0
"""Load for a service, in a process of its own: so many requests a second whatever comes back, or as fast as answered.

`python load.py WIRE ADDRESS BODY HEADER_LENGTH SECONDS RATE CONNECTIONS [MODEL]` prints a line of JSON. WIRE is http or
grpc; BODY is a file with HTTP's request, JSON of so many bytes and tensors behind it, which says what to ask over gRPC
too. A rate of 0 is the closed loop. A request that finds nobody free goes by another connection, or over gRPC as
another call, up to so many; beyond them it is `unsent`.
"""

import asyncio
import json
import sys
import time

CALLS = 32      # of gRPC that share a connection


class Http(asyncio.Protocol):
    """One connection; `ask` resolves to (status, code of the error)."""

    good = "200"

    def __init__(self, message):
        self.found, self.waiting, self.left, self.status, self.message = b"", None, None, 0, message

    def connection_made(self, transport):
        self.transport = transport

    def ask(self):
        self.found, self.left = b"", None
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(self.message)
        return self.waiting

    def data_received(self, data):
        if self.left is None:
            self.found += data
            head, mark, body = self.found.partition(b"\r\n\r\n")
            if not mark:
                return
            self.status = int(head[9:12])
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            self.left, self.found = int(length.split(b":")[1]), body if self.status != 200 else b""
            data = body
        elif self.status != 200:
            self.found += data
        self.left -= len(data)
        if self.left <= 0 and self.waiting and not self.waiting.done():
            self.waiting.set_result((str(self.status), json.loads(self.found)["code"] if self.found else ""))

    def connection_lost(self, exc):
        if self.waiting and not self.waiting.done():
            self.waiting.set_result(("-1", "reset"))

    @property
    def lost(self):
        return self.transport.is_closing()


class Rpc:
    """One place on a connection of tritonclient's; `ask` returns (status, words of the error)."""

    good, lost = "OK", False

    def __init__(self, client, model, inputs, outputs, parameters):
        self._client, self._asked = client, (model, inputs)
        self._options = {"outputs": outputs, "parameters": parameters}

    async def ask(self):
        from tritonclient.utils import InferenceServerException

        try:
            await self._client.infer(*self._asked, **self._options)
            return self.good, ""
        except InferenceServerException as error:
            return (error.status() or "").removeprefix("StatusCode."), error.message()


def over_http(address, content, length, model):
    """(what opens another connection, what ends all)."""
    host, port = address.rsplit(":", 1)
    message = (f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(content)}\r\n"
               f"Inference-Header-Content-Length: {length}\r\n\r\n").encode() + content

    async def opened():
        return (await asyncio.get_running_loop().create_connection(lambda: Http(message), host, int(port)))[1]

    async def end():
        return

    return opened, end


def over_grpc(address, content, length, model):
    """The same."""
    import numpy as np
    import tritonclient.grpc.aio as triton
    from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

    asked, at, inputs, clients, places = json.loads(content[:length]), length, [], [], 0
    for one in asked["inputs"]:
        raw = content[at:at + one["parameters"]["binary_data_size"]]
        at += len(raw)
        array = deserialize_bytes_tensor(raw) if one["datatype"] == "BYTES" else \
            np.frombuffer(raw, triton_to_np_dtype(one["datatype"]))
        inputs.append(triton.InferInput(one["name"], one["shape"], one["datatype"]))
        inputs[-1].set_data_from_numpy(array.reshape(one["shape"]))
    outputs = [triton.InferRequestedOutput(one["name"]) for one in asked.get("outputs", ())] or None
    parameters = {name: value for name, value in asked.get("parameters", {}).items() if name != "binary_data_output"}
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]

    async def opened():
        nonlocal places
        if places % CALLS == 0:
            clients.append(triton.InferenceServerClient(address, channel_args=options))
        places += 1
        return Rpc(clients[-1], model, inputs, outputs, parameters)

    async def end():
        await asyncio.gather(*(one.close() for one in clients))

    return opened, end


async def main(wire, address, body, length, seconds, rate, connections, model):
    with open(body, "rb") as file:
        opened, end = {"http": over_http, "grpc": over_grpc}[wire](address, file.read(), length, model)
    loop, free, made = asyncio.get_running_loop(), [], 0
    counts, times, late, before, begin = {}, [], [], time.process_time(), time.monotonic()

    async def one():
        nonlocal made
        start = time.monotonic()
        while free and free[-1].lost:   # the service has closed it meanwhile
            free.pop()
            made -= 1
        if free:
            client = free.pop()
        elif made < connections:
            made += 1
            client = await opened()
        else:
            counts["unsent"] = counts.get("unsent", 0) + 1
            return
        status, words = await client.ask()
        key = status + (f" {words}" if words else "")
        counts[key] = counts.get(key, 0) + 1
        (times if status == client.good else late).append(time.monotonic() - start)
        if client.lost or status == "-1":
            made -= 1
        else:
            free.append(client)

    async def closed():
        while time.monotonic() - begin < seconds:
            await one()

    if rate:
        tasks, number = [], 0
        while (now := time.monotonic() - begin) < seconds:
            while number < now * rate:
                tasks.append(loop.create_task(one()))
                number += 1
            await asyncio.sleep(0.002)
        await asyncio.gather(*tasks)
    else:
        await asyncio.gather(*(closed() for _ in range(connections)))
    await end()

    def part(values, share):
        return round(sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1e3, 1) if values else None

    print(json.dumps({"counts": counts, "good": round(len(times) / seconds, 1), "p50": part(times, 0.5),
                      "p99": part(times, 0.99), "refused_p99": part(late, 0.99),
                      "cpu_ms": round((time.process_time() - before) * 1e3 / max(1, sum(counts.values())), 2)}))


if __name__ == "__main__":
    how, where, file, header, last, many, most, *named = sys.argv[1:]
    asyncio.run(main(how, where, file, int(header), float(last), float(many), int(most), *(named or ["foveate"])))
