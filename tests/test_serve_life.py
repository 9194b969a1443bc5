# SPDX-License-Identifier: Apache-2.0
"""Starting, stopping, too much work, logs and metrics, with a server in a process of its own."""

import asyncio
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
import serving
import tritonclient.http.aio as triton_aio
from commands import run
from foveate.serve import server
from serving import ask, certificates, infer_body, jpeg, running, said_by
from tritonclient.utils import InferenceServerException

TOKEN = "correct-horse-battery-staple"


async def load(address, seconds, workers, body, headers, stop=None):
    """{status: how many} of workers that ask as fast as they are answered; -1: a connection broke."""
    import aiohttp

    counts, end = {}, time.monotonic() + seconds
    connector, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(10)
    async with aiohttp.ClientSession(connector=connector, timeout=patience) as session:
        async def one():
            while time.monotonic() < end:
                try:
                    async with session.post(f"http://{address}/v2/models/foveate/infer", data=body,
                                            headers=headers) as answer:
                        said = await answer.read()
                        counts[answer.status] = counts.get(answer.status, 0) + 1
                        if answer.status != 200:
                            serving.scan(answer.status, said)
                            assert int(answer.headers["Retry-After"]) >= 1
                            if json.loads(said)["code"] == "draining":
                                return
                            await asyncio.sleep(0.02)
                except aiohttp.ClientConnectorError:
                    return      # no longer there: it was never accepted
                except aiohttp.ClientError:
                    counts[-1] = counts.get(-1, 0) + 1
                    return

        await asyncio.gather(*(one() for _ in range(workers)), *([stop] if stop is not None else []))
    return counts


# ---- starting ----------------------------------------------------------------------------------------------


def test_refuses_to_start(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FOVEATE_SERVE_TOKEN", raising=False)
    empty, short = tmp_path / "empty", tmp_path / "short"
    empty.write_text("\n")
    short.write_text("ann hunter2\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, text in (
            (["--host", "0.0.0.0"], "serve: host: got 0.0.0.0 without a token or client certificates, expected "
                                    "127.0.0.1, or either of them. Set FOVEATE_SERVE_TOKEN, or give --token-file or "
                                    "--tls-client-ca."),
            (["--metrics-host", "::", "--metrics-port", "0"], "serve: host: got :: without a token"),
            (["--token-file", str(empty)], "serve: token of file: got none, expected one a line."),
            (["--token-file", str(short)], "serve: token of file: got 7 characters, expected 16 or more"),
            (["--token-file", str(tmp_path / "none")], "No such file"),
            (["--http-port", port], f"serve: http port: got 127.0.0.1 {port} (Address already in use), expected an "
                                    "address that is free. Choose another with --http-port."),
            (["--http-port", "0", "--grpc-port", port],
             f"serve: grpc port: got 127.0.0.1 {port} (in use, or not this machine's), expected an address that is "
             "free. Choose another with --grpc-port."),
            (["--http-port", "0", "--limit", "tokens=x"], "serve: limit tokens: got 'x', expected a number."),
            (["--model", "gpt"], "serve: model: got gpt, expected some of foveate, patchify, shading_rate, warp."),
            (["--encoder", str(tmp_path)], "expected a folder with config.json and safetensors."),
            (["--log-level", "loud"], "serve: log_level: got loud, expected debug, info, warning or error."),
            (["--tls-cert", str(short), "--tls-key", str(short)],
             "serve: tls: got files that do not fit, expected PEM: a certificate, its key without a password, and "
             "certificates."),
            (["--tls-cert", "a"], "serve: tls: got one file without the other"),
            (["--max-batch-size", "0"], "serve: max_batch_size: got 0, expected 1..4096."),
        ):
            status, _, said = run(capsys, "serve", "--metrics-port", "-1", "--backend", "cpu", *words)
            assert status == 2 and text in said, (words, said)


def test_a_name_twice(tmp_path, capsys):
    file = tmp_path / "tokens"
    file.write_text(f"ann {TOKEN}\nann {TOKEN}2\n")
    assert run(capsys, "serve", "--token-file", file)[0] == 2
    assert run(capsys, "serve", "--token-file", file)[2].startswith(
        "serve: token of file: got a name twice, or of no letters, expected a name for each.")


def test_without_its_packages(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "foveate.serve.server", None)
    monkeypatch.setitem(sys.modules, "foveate.serve", None)
    status, _, said = run(capsys, "serve")
    assert status == 2 and 'expected it installed. pip install "foveate[serve]"' in said.replace("\n", " ")


# ---- who asks, logs, metrics -------------------------------------------------------------------------------


def test_answers_are_sent_at_once():
    """What asyncio accepts from the server's socket does not wait for a client's acknowledgement."""
    async def nodelay():
        accepted = asyncio.Queue()
        one = server._sockets(server.Settings(http_port=0, metrics_port=None))["http"]
        async with await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), sock=one) as listening:
            _, client = await asyncio.open_connection(*one.getsockname())
            writer = await accepted.get()
            found = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            client.close()
            writer.close()
            listening.close()
        return found

    assert asyncio.run(nodelay()) == 1


def test_a_token_logs_and_metrics():
    with running("--triton-metrics", token=TOKEN) as (address, metrics, child):
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        body, headers = infer_body(budget=20)
        assert ask(address, "GET", "/v2/health/ready")[0] == 200
        assert ask(address, "POST", "/v2/models/foveate/infer", body, headers)[0] == 401
        assert ask(metrics, "GET", "/metrics")[0] == 401
        assert ask(address, "POST", "/v2/models/foveate/infer", body, headers | bearer)[0] == 200
        assert ask(address, "GET", "/v2/models/a%0d%0aevil%1b[31m", headers=bearer)[0] == 404
        assert ask(address, "GET", "/v2/models/nope", headers=bearer | {"X-Evil": "\x1b]0;x"})[0] == 404
        assert ask(metrics, "GET", "/nope", headers=bearer)[0] == 404
        text = ask(metrics, "GET", "/metrics", headers=bearer)[2].decode()
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
        said = said_by(child)
    for line in ('foveate_requests_total{code="ok",model="foveate"} 1.0', "foveate_ready 1.0",
                 'foveate_stage_seconds_count{stage="engine"} 1.0', 'foveate_images_total{model="foveate"} 1.0',
                 'nv_inference_request_success{model="foveate",version="1"} 1.0',
                 'nv_inference_pending_request_count{model="foveate",version="1"} 0.0'):
        assert line in text, line
    assert TOKEN.encode() not in said and b"\x1b" not in said and said.isascii()
    lines = [json.loads(line) for line in said.splitlines()]
    done = next(line for line in lines if line.get("model") == "foveate" and line["status"] == 200)
    assert (done["event"], done["principal"], done["images"], done["pixels"]) == ("request", "token-1", 1, 96 * 128)
    assert done["ms"] > 0 and re.fullmatch("[0-9a-f]{16}", done["id"])
    assert any(line.get("code") == "unauthenticated" and line["principal"] is None for line in lines)
    assert any("\r\n" in line.get("path", "") for line in lines)    # escaped, in one line
    assert lines[-1]["event"] == "ended"


def test_a_log_that_nobody_reads():
    """The pipe is full after a few hundred lines; the service goes on."""
    reading, writing = os.pipe()
    try:
        command = [sys.executable, "-m", "foveate", "serve", "--http-port", "0", "--grpc-port", "-1", "--metrics-port",
                   "-1", "--backend", "cpu", "--decode-workers", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing) as child:
            os.close(writing)
            found = json.loads(child.stdout.readline())["http"]
            address = f"{found['host']}:{found['port']}"
            for _ in range(600):
                assert ask(address, "GET", "/v2")[0] == 200
            child.send_signal(signal.SIGTERM)
            assert child.wait(10) == 0
    finally:
        os.close(reading)


def test_client_certificates(tmp_path):
    import ssl

    certificates(tmp_path)
    words = ["--tls-cert", tmp_path / "server.pem", "--tls-key", tmp_path / "server.key", "--tls-client-ca",
             tmp_path / "ca.pem", "--host", "0.0.0.0"]
    with running(*words) as (address, _, child):
        port = int(address.rpartition(":")[2])
        for name, good in (("client", True), ("stranger", False), (None, False)):
            context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
            if name:
                context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
            found = b""
            try:
                with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5),
                                         server_hostname="127.0.0.1") as connection:
                    connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    found = connection.recv(1 << 16)
            except OSError:
                pass
            assert found.startswith(b"HTTP/1.1 200") == good, name
        assert b'"principal": "client"' in said_by(child) and b"anyone" not in said_by(child)


# ---- stopping, and too much work ---------------------------------------------------------------------------


def test_a_stop_is_seen_at_once_and_waits_for_what_is_begun():
    body, headers = infer_body(jpeg(size=(64, 64)), budget=64)
    words = ("--max-queue-delay-microseconds", 800_000)     # a request that takes its time
    with running(*words) as (address, _, child):
        async def main():
            asking = asyncio.create_task(load(address, 0.01, 4, body, headers))
            await asyncio.sleep(0.3)
            child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            ready = await asyncio.to_thread(ask, address, "GET", "/v2/health/ready")
            late = await asyncio.to_thread(ask, address, "POST", "/v2/models/foveate/infer", body, headers)
            return ready, late, await asking

        ready, late, counts = asyncio.run(main())
        assert ready[0] == 503 and json.loads(ready[2])["code"] == "not_ready"
        assert late[0] == 503 and json.loads(late[2])["code"] == "draining" and late[1]["retry-after"] == "5"
        assert counts == {200: 4} and child.wait(20) == 0


def test_the_second_signal_ends_it():
    body, headers = infer_body(jpeg(size=(64, 64)), budget=64)
    with running("--max-queue-delay-microseconds", 1_000_000) as (address, _, child):
        async def main():
            asking = asyncio.create_task(load(address, 0.01, 1, body, headers))
            await asyncio.sleep(0.3)
            child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert child.poll() is None
            begin = time.monotonic()
            child.send_signal(signal.SIGTERM)
            status = await asyncio.to_thread(child.wait, 5)
            await asking
            return status, time.monotonic() - begin

        status, seconds = asyncio.run(main())
        assert status == 1 and seconds < 0.5


def test_too_much_work_is_refused_not_dropped():
    body, headers = infer_body(jpeg(size=(480, 640)), budget=64)
    with running("--limit", "in_flight=4", "--limit", "queue=4", "--limit", "queue_s=0.2") as (address, _, child):
        def used():
            return len(os.listdir(f"/proc/{child.pid}/fd"))

        ask(address, "POST", "/v2/models/foveate/infer", body, headers)
        assert asyncio.run(load(address, 0.5, 2, body, headers)).keys() == {200}
        before = None
        for _ in range(2):
            counts = asyncio.run(load(address, 1.0, 48, body, headers))
            assert set(counts) <= {200, 429, 503} and counts[200] > 0 and counts.get(503, 0) > 0, counts
            assert asyncio.run(load(address, 0.3, 2, body, headers)).keys() == {200}
            time.sleep(0.2)
            before = before or used()       # decoders keep their memory, as much as they needed at once
        assert used() <= before + 1


def test_who_takes_no_answer_is_not_in_the_log():
    body, headers = infer_body([jpeg(size=(480, 640))] * 32, budget=64)
    with running() as (address, _, child):
        for _ in range(3):
            host, port = address.split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(b"POST /v2/models/foveate/infer HTTP/1.1\r\nHost: a\r\n" + b"".join(
                    b"%s: %s\r\n" % (name.encode(), str(value).encode())
                    for name, value in {**headers, "content-length": len(body)}.items()) + b"\r\n" + body)
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))    # a reset
        assert ask(address, "GET", "/v2/health/ready")[0] == 200
        lines = [json.loads(line) for line in said_by(child).splitlines()]
    assert len(lines) >= 2 and not [line for line in lines if line["level"] != "info"], lines


def test_what_was_asked_for_without_a_server():
    async def main():
        async with triton_aio.InferenceServerClient("127.0.0.1:1") as client:
            await client.is_server_live()

    with pytest.raises((OSError, InferenceServerException)):
        asyncio.run(main())
