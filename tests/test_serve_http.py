# SPDX-License-Identifier: Apache-2.0
"""The service over HTTP: Triton's own clients unchanged, and who may ask."""

import asyncio
import json
import re

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from foveate.serve import auth, guard, metrics
from foveate.serve import http as serve_http
from foveate.serve.auth import Keys
from foveate.serve.models import MODELS
from serving import ask, call, jpeg, running, served
from tritonclient.utils import InferenceServerException

TOKEN = "correct-horse-battery-staple"
@pytest.fixture(scope="module")
def server():
    """One child for the tests that only ask: (address, metrics address, process)."""
    with running("--triton-metrics") as found:
        yield found


# ---- Triton's clients, unchanged ---------------------------------------------------------------------------


def triton_inputs(pixels, gaze, binary=True):
    image = triton.InferInput("image", pixels.shape, "UINT8").set_data_from_numpy(pixels, binary)
    return [image, triton.InferInput("gaze", gaze.shape, "FP32").set_data_from_numpy(gaze, binary)]


GAZE = np.array([[0.25, 0.75]], np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (1, 48, 64, 3), np.uint8)


def test_triton_http(server, cpu):
    client = triton.InferenceServerClient(server[0])
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("foveate", "1")
    assert client.get_server_metadata()["name"] == "foveate"
    said = client.get_model_metadata("foveate")
    assert [port["name"] for port in said["inputs"]] == ["image", "gaze"]
    assert client.get_model_config("warp")["dynamic_batching"]
    assert {one["name"] for one in client.get_model_repository_index()} == set(MODELS)
    tokens = cpu.tokens(PIXELS, gaze=[[(0.25, 0.75)]], budget=12, model="qwen2.5-vl", layout="rate")
    for binary in (True, False):
        wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("patches", "valid", "rate")]
        for outputs in (None, wanted):
            found = client.infer("foveate", triton_inputs(PIXELS, GAZE, binary), outputs=outputs, request_id="r1",
                                 parameters={"budget": 12, "model": "qwen2.5-vl"})
            assert found.get_response()["id"] == "r1" and found.get_response()["model_version"] == "1"
            patches = found.as_numpy("patches")
            assert patches.shape == (48, 1176) and patches.dtype == np.float32
            assert found.as_numpy("valid").dtype == bool and found.as_numpy("rate").shape == (1, 12)
            assert patches.tobytes() == tokens.numpy().tobytes()
    statistics = client.get_inference_statistics("foveate")["model_stats"][0]
    assert statistics["inference_count"] >= 4 and statistics["inference_stats"]["success"]["count"] >= 4
    assert statistics["batch_stats"][0]["batch_size"] == 1
    client.close()


def test_triton_http_files_and_errors(server):
    client = triton.InferenceServerClient(server[0], concurrency=4)
    files = np.array([jpeg(), jpeg(size=(40, 72), form="PNG")], object)
    image = triton.InferInput("image", [2], "BYTES").set_data_from_numpy(files)
    found = client.infer("foveate", [image], parameters={"budget": 20})
    assert found.as_numpy("image_size").tolist() == [[96, 128], [40, 72]]
    waiting = [client.async_infer("foveate", [image], parameters={"budget": 20}) for _ in range(8)]
    assert {one.get_result().as_numpy("patches").tobytes() for one in waiting} == {
        found.as_numpy("patches").tobytes()}
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'nope' is not found") as error:
        client.infer("nope", [image])
    assert error.value.status() == "404"
    with pytest.raises(InferenceServerException, match="unexpected inference parameter 'x'"):
        client.infer("foveate", [image], parameters={"x": 1})
    for refused in (client.get_system_shared_memory_status, client.get_cuda_shared_memory_status,
                    client.get_log_settings, client.get_trace_settings,
                    lambda: client.register_system_shared_memory("a", "/a", 5), lambda: client.load_model("foveate"),
                    lambda: client.unload_model("foveate")):
        with pytest.raises(InferenceServerException, match="is not supported by this server") as error:
            refused()
        assert error.value.status() == "501"
    with pytest.raises(InferenceServerException, match="content encoding"):
        client.infer("foveate", [image], request_compression_algorithm="gzip")
    client.close()


def test_triton_http_aio(server):
    async def main():
        async with triton_aio.InferenceServerClient(server[0]) as client:
            assert await client.is_server_ready()
            found = await asyncio.gather(*(client.infer("foveate", triton_inputs(PIXELS, GAZE), parameters={
                "budget": 12}) for _ in range(16)))
            assert len({one.as_numpy("patches").tobytes() for one in found}) == 1
            with pytest.raises(InferenceServerException, match=r"missing required input\(s\) \['image'\]"):
                await client.infer("foveate", triton_inputs(PIXELS, GAZE)[1:])

    asyncio.run(main())


def test_one_image_and_nothing_else(server):
    status, headers, _ = ask(server[0], "POST", "/v2/models/foveate/infer", jpeg(),
                             {"Inference-Header-Content-Length": "0"})
    assert status == 200 and headers["content-type"] == "application/octet-stream"


# ---- who may ask -------------------------------------------------------------------------------------------

KEYS = Keys({"ann": TOKEN, "bob": "another-token-of-bobs"})


def every_route(service):
    """(method, path) of all that the running app has."""
    filled = (re.sub(r"{(\w+)}", lambda m: {"model": "foveate", "version": "1"}.get(m[1], "r"), route.path)
              for route in serve_http.routes(service))
    return [(method, path) for route, path in zip(serve_http.routes(service), filled, strict=True)
            for method in sorted(route.methods)]


def test_every_route_denies():
    async def test(service):
        app, found = serve_http.app(service, KEYS), every_route(service)
        assert len(found) > 40
        wrong = [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}, {"authorization": TOKEN},
                 {"authorization": f"Bearer {TOKEN} {TOKEN}"}, {"authorization": f"Bearer {TOKEN.upper()}"},
                 {"authorization": "Bearer "}, {"x-authorization": f"Bearer {TOKEN}"}]
        for method, path in found:
            for headers in wrong:
                status, _, body = await call(app, method, path, headers=headers)
                if path in guard.PUBLIC and method in ("GET", "HEAD"):
                    assert status == 200, path
                else:
                    assert (status, json.loads(body)["code"]) == (401, "unauthenticated"), path
            status, _, _ = await call(app, method, path, headers={"authorization": f"Bearer {TOKEN}"})
            assert status != 401, path
        for path in ("/V2", "//v2", "/v2/", "/v2/%2e%2e/v2", "/v2/health/live/", "/v2/health//live", "/v2/health/LIVE",
                     "/v2/health/%6cive", "/v2/health/live;x", "/nope", "/", "/metrics", "/v2/models/../health/live"):
            assert (await call(app, "GET", path))[0] == 401, path
            assert (await call(app, "GET", path, headers={"authorization": f"bearer {TOKEN}"}))[0] == 404, path
        for path in guard.PUBLIC:
            assert (await call(app, "POST", path))[0] == 401

    served(test)


def test_metrics_deny_too():
    async def test(service):
        app = metrics.app(metrics.Metrics(service), service.limits, KEYS)
        assert (await call(app, "GET", "/metrics"))[0] == 401
        status, _, body = await call(app, "GET", "/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert status == 200 and b"foveate_ready 1.0" in body

    served(test)


def test_routes_are_those_of_the_clients():
    """Whatever Triton's client asks for is a route here, answered or refused in words."""
    import inspect

    text = inspect.getsource(triton.InferenceServerClient)
    wanted = set(re.findall(r'"(v2[^"]*)"', text)) - {"v2/models/{}/versions/{}"}

    async def test(service):
        paths = {re.sub(r"{\w+}", "{}", route.path.lstrip("/")) for route in serve_http.routes(service)}
        assert wanted and wanted - paths == set()

    served(test)


def test_keys(tmp_path, monkeypatch):
    monkeypatch.delenv("FOVEATE_SERVE_TOKEN", raising=False)
    assert auth.load_keys() is None
    monkeypatch.setenv("FOVEATE_SERVE_TOKEN", TOKEN)
    assert auth.load_keys().principal([f"Bearer {TOKEN}".encode()]) == "token-1"
    file = tmp_path / "tokens"
    file.write_text(f"# who\nann {TOKEN}\n\n{TOKEN}2\n")
    keys = auth.load_keys(file)
    assert len(keys) == 2 and keys.principal([f"Bearer {TOKEN}2".encode()]) == "token-2"
    assert keys.principal([f"Bearer {TOKEN}".encode()] * 2) is None and keys.principal([]) is None
    assert keys.principal([b"Bearer \xff\xfe"]) is None
