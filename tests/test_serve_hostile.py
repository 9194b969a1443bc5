# SPDX-License-Identifier: Apache-2.0
"""The service over HTTP and hostile bytes: every limit, every way to be refused, nothing said that should not be."""

import asyncio
import json
import socket
import time

import pytest
import serving
from foveate.serve import http as serve_http
from foveate.serve.limits import Limits
from serving import ask, call, infer_body, raw, running, served

LIMITS = {"body": 300_000, "json": 50_000, "header_json": 4000, "chunks": 50, "headers": 20, "header_bytes": 2000,
          "header_s": 0.6, "body_s": 0.6}


@pytest.fixture(scope="module")
def server():
    with running(*(f"--limit={name}={value}" for name, value in LIMITS.items())) as found:
        yield found


# ---- limits over HTTP: one below, at, one above ------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_limit_of_a_body(server, chunked):
    head, _ = infer_body(b"")
    for size, status in ((299_999, 400), (300_000, 400), (300_001, 413)):
        body = head + b"\0" * (size - len(head))        # more than its JSON says
        pieces = [body[at:at + 65536] for at in range(0, size, 65536)]
        found, _, said = ask(server[0], "POST", "/v2/models/foveate/infer", iter(pieces) if chunked else body,
                             {"inference-header-content-length": str(len(head) - 4)})
        assert found == status and json.loads(said)["code"] == ("body" if status == 413 else "additional")


def test_limit_of_json(server):
    for size, status in ((49_999, 400), (50_000, 400), (50_001, 413)):
        body = b"{" + b" " * (size - 2) + b"}"
        assert ask(server[0], "POST", "/v2/models/foveate/infer", body)[0] == status


def test_limit_of_chunks(server):
    for count, status in ((49, b"404"), (50, b"404"), (51, b"400")):
        data = b"POST /v2/models/nope/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        found = raw(server[0], data + b"1\r\nx\r\n" * count + b"0\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
                    b"Connection: close\r\n\r\n")
        if status == b"404":
            assert found.startswith(b"HTTP/1.1 404") and b"200 OK" in found, found
        else:
            assert b"200 OK" not in found


def test_many_chunks_of_a_body_that_is_read(server):
    head = (b"POST /v2/models/foveate/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    begin = time.monotonic()
    found = raw(server[0], head + b"1\r\n{\r\n" * 100_000)
    assert found.startswith(b"HTTP/1.1 400") and time.monotonic() - begin < 3
    serving.scan(400, found.partition(b"\r\n\r\n")[2])


def test_limits_of_headers(server):
    def many(count):    # beside Host and Accept-Encoding
        return {f"x-{n}": "1" for n in range(count - 2)}

    assert [ask(server[0], "GET", "/v2", headers=many(count))[0] for count in (19, 20, 21)] == [200, 200, 431]
    own = sum(len(name) + len(value) + 4 for name, value in
              {"host": server[0], "accept-encoding": "identity"}.items())

    def long(size):
        return {"x-a": "1" * (size - own - 3 - 4)}

    assert [ask(server[0], "GET", "/v2", headers=long(size))[0] for size in (1999, 2000, 2001)] == [200, 200, 431]
    assert raw(server[0], b"GET /v2 HTTP/1.1\r\nHost: a\r\nx: " + b"1" * 500_000).startswith(b"HTTP/1.1 400")


def test_times(server):
    begin = time.monotonic()
    assert raw(server[0], b"") == b"" and time.monotonic() - begin < 2
    begin = time.monotonic()
    assert raw(server[0], b"GET /v2 HTTP/1.1\r\nHo") == b"" and time.monotonic() - begin < 2
    found = raw(server[0], POST + b"Content-Length: 100\r\n\r\n{", wait=1.2)
    assert found.startswith(b"HTTP/1.1 408")
    two = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\nGET /v2/hea"
    begin = time.monotonic()
    assert raw(server[0], two).count(b"200 OK") == 1 and time.monotonic() - begin < 2


def test_a_connection_stays_behind_a_body_that_was_refused(server):
    host, port = server[0].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(POST.replace(b"foveate", b"nothing") + b"Content-Length: 100000\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 404"), "before its body is there"
        connection.sendall(bytes(100_000))
        time.sleep(1.5)     # more than a request's headers may take
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /v2/hea")
        begin = time.monotonic()
        assert connection.recv(1 << 16) == b"" and time.monotonic() - begin < 2


def test_limit_of_bodies_held():
    async def test(service):
        body, headers = infer_body()
        service.bodies.held = service.limits.bodies - len(body)
        app = serve_http.app(service)
        assert (await call(app, "POST", "/v2/models/foveate/infer", body, headers))[0] == 200
        service.bodies.held += 1
        status, headers, said = await call(app, "POST", "/v2/models/foveate/infer", body, headers)
        assert (status, json.loads(said)["code"], headers["retry-after"]) == (429, "bodies", "1")
        assert service.bodies.held == service.limits.bodies - len(body) + 1

    served(test, limits=Limits(bodies=1 << 20))


# ---- what is refused ---------------------------------------------------------------------------------------

POST = b"POST /v2/models/foveate/infer HTTP/1.1\r\nHost: a\r\n"
HOSTILE = [
    POST + b"Content-Length: -1\r\n\r\n", POST + b"Content-Length: 5x\r\n\r\n", POST + b"Content-Length: 1e3\r\n\r\n",
    POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", b"GET /v2\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0",
    b"GET http://other/v2 HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /v2/models/%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/models/..%2f..%2fetc HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /" + b"a" * 600 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + b"\x81\x80\0\0\0\0",
    POST + b"Inference-Header-Content-Length: 99\r\nContent-Length: 2\r\n\r\n{}",
    POST + b"Inference-Header-Content-Length: -1\r\nContent-Length: 2\r\n\r\n{}",
    POST + b"Inference-Header-Content-Length: 2, 2\r\nContent-Length: 2\r\n\r\n{}",
    POST + b"Inference-Header-Content-Length: 2\r\nInference-Header-Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    POST + b"Inference-Header-Content-Length: 0x2\r\nContent-Length: 2\r\n\r\n{}",
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bytes(server, data):
    found = raw(server[0], data, wait=0.4)
    head, _, body = found.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    assert status in (0, 200, 400, 404, 405, 408, 413, 415, 431), found
    if status == 200:
        assert b"Upgrade" in data       # answered as if nothing had been asked of the connection
    elif status:
        serving.scan(status, body[:body.index(b"}") + 1])
    assert ask(server[0], "GET", "/v2/health/live")[0] == 200


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_a_body_that_turns_out_to_be_none(server, method):
    """It is answered once, to HEAD without a body, and whoever had begun to read it has no say any more."""
    begin = POST.replace(b"POST", method.encode()) + b"Transfer-Encoding: chunked\r\n\r\n"
    nowhere = begin.replace(b"foveate", b"nope")
    for data in (begin + b"2\r\n{}\r\nzz\r\n", begin + b"5\r\nhelloXX\r\n0\r\n\r\n", nowhere + b"-1\r\n"):
        found = raw(server[0], data)
        head, _, body = found.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400") and found.count(b"HTTP/1.1") == 1, found
        assert body == b"" if method == "HEAD" else json.loads(body)["code"] == "malformed"
    assert ask(server[0], "GET", "/v2/health/live")[0] == 200
    assert b'"level": "error"' not in serving.said_by(server[2])


def test_a_length_that_is_too_short_is_no_second_request(server):
    found = raw(server[0], POST + b"Content-Length: 2\r\n\r\n{}GARBAGE\r\n\r\n")
    assert found.count(b"HTTP/1.1 400") == 2 and b"200 OK" not in found


def test_who_hangs_up_is_dropped():
    """Before the engine has it a request is dropped, and holds nothing any more."""
    async def test(service):
        body, headers = infer_body()
        app, run, entered = serve_http.app(service), service._batcher._execute, []

        def slow(works):
            entered.append(len(works))
            time.sleep(0.2)
            return run(works)

        service._batcher._execute = slow
        first = asyncio.create_task(call(app, "POST", "/v2/models/foveate/infer", body, headers))
        await asyncio.sleep(0.05)
        status, _, said = await call(app, "POST", "/v2/models/foveate/infer", body, headers, leaves=0.02)
        assert (status, json.loads(said)["code"]) == (499, "cancelled")
        assert (await first)[0] == 200 and entered == [1]
        assert service.gate.active == 0 and service.gate.pixels == 0 and service.bodies.held == 0

    served(test)


def test_an_upload_that_breaks_off():
    async def test(service):
        app = serve_http.app(service)
        status, _, body = await call(app, "POST", "/v2/models/foveate/infer", pieces=[b"{"], gone=True)
        assert (status, json.loads(body)["code"]) == (400, "cut") and service.bodies.held == 0

    served(test)


def test_a_mistake_of_ours_says_nothing():
    async def test(service):
        def broken(_):
            raise RuntimeError("secret of 0xdeadbeef in /opt/somewhere")

        body, headers = infer_body()
        service._batcher._execute = broken
        status, _, said = await call(serve_http.app(service), "POST", "/v2/models/foveate/infer", body, headers)
        assert (status, json.loads(said)["error"]) == (500, "internal error")
        service.model_config = broken
        assert (await call(serve_http.app(service), "GET", "/v2/models/foveate/config"))[0] == 500

    served(test)


def test_errors_were_scanned():
    """The scanner itself finds what it is for."""
    for leak in (b"at 0x7f3a2b1c", b"/opt/x", b"Traceback (most", b"<object at>"):
        with pytest.raises(AssertionError):
            serving.scan(500, b'{"error":"' + leak + b'","code":"a","id":"b"}')
