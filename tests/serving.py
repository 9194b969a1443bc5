# SPDX-License-Identifier: Apache-2.0
"""A service for tests: in this process by calls of its ASGI app, or a child that listens. Error bodies are scanned."""

import asyncio
import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile

import numpy as np
from child import ended
from foveate.serve.service import Service
from PIL import Image

LEAKS = re.compile(rb"0x[0-9a-f]{6,}|/(?:tmp|home|root|usr|work|dev|proc|opt)/|Traceback|\.py\b|numpy|PIL|orjson|h11|"
                   rb"simplejpeg|starlette|uvicorn|object at|File \"|errno|shm_", re.I)
seen = []       # (status, body) of every answer that was an error


def scan(status, body):
    """What an error says is from the catalogue and nothing else."""
    if status >= 400:
        seen.append((status, body))
        value = json.loads(body)
        assert set(value) == {"error", "code", "id"} and value["error"], value
        assert not LEAKS.search(body), body
    return status, body


def jpeg(pixels=None, size=(96, 128), seed=0, form="JPEG", **options):
    """A picture as a file."""
    if pixels is None:
        noise = np.random.default_rng(seed).integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
        pixels = noise.repeat(8, 0).repeat(8, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def served(test, **options):
    """Runs `await test(service)` with a service on the cpu backend."""
    async def main():
        service = Service({"backend": "cpu"}, **options)
        await service.start()
        try:
            return await test(service)
        finally:
            await service.close()

    return asyncio.run(main())


async def call(app, method, path, body=b"", headers=(), pieces=None, gone=False, leaves=None):
    """(status, headers, body) of one request to an ASGI app. The client stays, unless it is `gone` before its body is
    all there, or `leaves` after so many seconds.
    """
    given = {"content-length": str(len(body))} if pieces is None and method == "POST" else {}
    given |= {name.lower(): value for name, value in dict(headers).items()}
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
             "root_path": "", "http_version": "1.1", "scheme": "http", "state": {},
             "headers": [(name.encode(), str(value).encode()) for name, value in given.items()]}
    parts, found = list(pieces if pieces is not None else [body]), {"body": b""}

    async def receive():
        if parts:
            piece = parts.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(parts) or gone}
        if not gone:
            await (asyncio.sleep(leaves) if leaves else asyncio.Event().wait())
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            found["status"] = message["status"]
            found["headers"] = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            found["body"] += bytes(message.get("body", b""))

    await app(scope, receive, send)
    scan(found["status"], found["body"])
    return found["status"], found["headers"], found["body"]


@contextlib.contextmanager
def running(*words, env=None, token=None):
    """A service that listens in a child of this process: (http address, metrics address, its Popen)."""
    command = [sys.executable, "-m", "foveate", "serve", "--http-port", "0", "--grpc-port", "-1", "--metrics-port", "0",
               "--backend", "cpu", "--json", *map(str, words)]
    more = {"FOVEATE_SERVE_TOKEN": token} if token else {}
    log = tempfile.TemporaryFile()      # a pipe that nobody reads would stop it
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **more, **(env or {})})
    child.log = log
    try:
        line = child.stdout.readline()
        assert line, said_by(child)
        found = json.loads(line)
        child.addresses = {what: f"{one['host']}:{one['port']}" for what, one in found.items()}
        yield (*(f"{found[what]['host']}:{found[what]['port']}" for what in ("http", "metrics")), child)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            ended(child)
        child.stdout.close()
        log.close()


def said_by(child):
    """Its log so far."""
    child.log.seek(0)
    return child.log.read()


def certificates(folder):
    """server, client and stranger as name.pem and name.key; ca.pem knows the first two."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")
    for name, by in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-out", f"{name}.pem",
                "-days", "2", "-CAcreateserial", "-copy_extensions", "copy")


def infer_body(image=None, outputs=None, **parameters):
    """(body, length of its JSON) of a request for tokens of one image, or of a list of them."""
    images = image if isinstance(image, list) else [jpeg() if image is None else image]
    raw = b"".join(struct.pack("<I", len(one)) + one for one in images)
    head = {"inputs": [{"name": "image", "shape": [len(images)], "datatype": "BYTES",
                        "parameters": {"binary_data_size": len(raw)}}],
            "parameters": {"binary_data_output": True, **parameters}}
    if outputs:
        head["outputs"] = [{"name": name} for name in outputs]
    head = json.dumps(head).encode()
    return head + raw, {"inference-header-content-length": str(len(head))}


def ask(address, method, path, body=None, headers=None):
    """(status, headers, body) by a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        status, body = scan(answer.status, answer.read())
        return status, dict(answer.getheaders()), body
    finally:
        connection.close()


def raw(address, data, wait=3.0):
    """What comes back for bytes on a socket, until the server closes it or for so long."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        found = b""
        try:
            connection.sendall(data)
            while piece := connection.recv(1 << 16):
                found += piece
        except (TimeoutError, ConnectionError):
            pass
    return found
