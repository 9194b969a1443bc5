# SPDX-License-Identifier: Apache-2.0
"""Load for a service, in a process of its own: so many requests a second whatever comes back, or as fast as answered.

`python load.py ADDRESS BODY HEADER_LENGTH SECONDS RATE CONNECTIONS [MODEL]` prints a line of JSON. A rate of 0 is the
closed loop. A request that finds no free connection goes by a new one, up to so many; beyond them it is `unsent`.
"""

import asyncio
import json
import sys
import time


class Client(asyncio.Protocol):
    """One connection; `ask` resolves to (status, code of the error)."""

    def __init__(self):
        self.found, self.waiting, self.left, self.status = b"", None, None, 0

    def connection_made(self, transport):
        self.transport = transport

    def ask(self, message):
        self.found, self.left = b"", None
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(message)
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
            self.waiting.set_result((self.status, json.loads(self.found)["code"] if self.found else ""))

    def connection_lost(self, exc):
        if self.waiting and not self.waiting.done():
            self.waiting.set_result((-1, "reset"))


async def main(address, body, length, seconds, rate, connections, model):
    host, port = address.rsplit(":", 1)
    with open(body, "rb") as file:
        content = file.read()
    message = (f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(content)}\r\n"
               f"Inference-Header-Content-Length: {length}\r\n\r\n").encode() + content
    loop, free, made = asyncio.get_running_loop(), [], 0
    counts, times, late, before, begin = {}, [], [], time.process_time(), time.monotonic()

    async def one():
        nonlocal made
        start = time.monotonic()
        if free:
            client = free.pop()
        elif made < connections:
            made += 1
            _, client = await loop.create_connection(Client, host, int(port))
        else:
            counts["unsent"] = counts.get("unsent", 0) + 1
            return
        status, code = await client.ask(message)
        key = str(status) + (f" {code}" if code else "")
        counts[key] = counts.get(key, 0) + 1
        (times if status == 200 else late).append(time.monotonic() - start)
        if status == -1 or client.transport.is_closing():
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

    def part(values, share):
        return round(sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1e3, 1) if values else None

    print(json.dumps({"counts": counts, "good": round(len(times) / seconds, 1), "p50": part(times, 0.5),
                      "p99": part(times, 0.99), "refused_p99": part(late, 0.99),
                      "cpu_ms": round((time.process_time() - before) * 1e3 / max(1, sum(counts.values())), 2)}))


if __name__ == "__main__":
    where, file, header, last, many, most, *named = sys.argv[1:]
    asyncio.run(main(where, file, int(header), float(last), float(many), int(most), *(named or ["foveate"])))
