# SPDX-License-Identifier: Apache-2.0
"""The service under Ray Serve: what it answers is what it answers without, and nothing is lost when replicas end."""

import asyncio
import collections
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tritonclient.http as triton
from foveate.error import InputError, UnsupportedError
from foveate.serve import ray
from foveate.serve.server import Settings
from serving import ask, infer_body, jpeg, running
from test_serve_life import TOKEN, load

# Lines of JSON on stdin: what to run, or null; after each it says how many replicas answer.
CHILD = """
import json
import sys
import ray
from foveate.serve.limits import Limits
from foveate.serve.ray import run
from foveate.serve.server import Settings
from ray import serve

ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
for line in sys.stdin:
    asked = json.loads(line)
    if asked:
        settings = Settings(http_port=int(sys.argv[1]), engine={"backend": "cpu", "threads": 1}, decode_workers=1,
                            limits=Limits(**asked.pop("limits", {})))
        run(settings, cpus=0.5, **asked)
    states = serve.status().applications["foveate"].deployments["foveate"].replica_states
    print("RUNS", states.get("RUNNING", 0), flush=True)
serve.shutdown()
ray.shutdown()
"""


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory):
    """(address of two replicas, a call that runs them otherwise, or not, and says how many there are)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "FOVEATE_SERVE_TOKEN": TOKEN}
    said = tmp_path_factory.mktemp("ray") / "log"
    with open(said, "wb") as log:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(port)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=log, env=env, text=True)

    def scale(**asked):
        print(json.dumps(asked), file=child.stdin, flush=True)
        for line in child.stdout:
            if line.startswith("RUNS"):
                return int(line.split()[1])
        raise AssertionError(said.read_text()[-3000:])

    try:
        assert scale(replicas=(2, 2)) == 2
        yield f"127.0.0.1:{port}", scale
        child.stdin.close()
        assert child.wait(30) == 0, said.read_text()[-3000:]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def tokens(address):
    image = triton.InferInput("image", [2], "BYTES")
    image.set_data_from_numpy(np.array([jpeg(seed=1), jpeg(seed=2)], object))
    with triton.InferenceServerClient(address) as client:
        found = client.infer("foveate", [image], parameters={"budget": 60, "model": "qwen2.5-vl"},
                             headers={"Authorization": f"Bearer {TOKEN}"})
    return [found.as_numpy(one["name"]).tobytes() for one in found.get_response()["outputs"]]


@pytest.mark.long
def test_two_replicas_answer_as_one_service_does(on_ray):
    address, _ = on_ray
    body, headers = infer_body(jpeg(size=(64, 64)), budget=64)
    headers |= {"Authorization": f"Bearer {TOKEN}"}

    def counts():
        _, _, said = ask(address, "GET", "/v2/models/foveate/stats", headers=headers)
        return json.loads(said)["model_stats"][0]["inference_count"]

    with running(token=TOKEN) as (plain, *_):
        assert tokens(address) == tokens(plain)
    for _ in range(38):
        assert ask(address, "POST", "/v2/models/foveate/infer", body, headers)[0] == 200
    found = {counts() for _ in range(40)}
    assert found == {20} or (len(found) == 2 and sum(found) == 40 and min(found) >= 5)
    # who may ask, and how much
    assert ask(address, "GET", "/v2/health/live")[0] == 200
    assert ask(address, "GET", "/v2")[0] == 401
    status, _, said = ask(address, "POST", "/v2/models/foveate/infer", b" " * (16 << 20) + b"{", headers | {
        "inference-header-content-length": "1048577"})
    assert (status, json.loads(said)["code"]) == (400, "json_header")


@pytest.mark.long
def test_replicas_come_and_go_with_what_is_asked(on_ray):
    """To one, to two and back, while they are asked; Ray's own delays, of minutes, are seconds here."""
    address, scale = on_ray
    body, headers = infer_body(jpeg(size=(64, 64)), budget=64)
    headers |= {"Authorization": f"Bearer {TOKEN}"}
    quick = {"metrics_interval_s": 0.2, "look_back_period_s": 0.5, "upscale_delay_s": 0.3, "downscale_delay_s": 0.5}

    def until(count, workers, **asked):
        """What is answered until so many replicas run."""
        async def main():
            answered, scaling = collections.Counter(), asyncio.create_task(asyncio.to_thread(scale, **asked))
            for _ in range(180):
                answered.update(await load(address, 0.5, workers, body, headers))
                if scaling.done():
                    if scaling.result() == count:
                        return answered
                    scaling = asyncio.create_task(asyncio.to_thread(scale))
            raise AssertionError(answered)

        return asyncio.run(main())

    # others take the place of those that run; two at each are what Ray is to see to
    changed = until(1, 2, replicas=(1, 2), limits={"in_flight": 8, "queue": 4}, autoscaling_config=quick)
    assert changed.keys() == {200} and changed[200] > 10, changed
    busy = until(2, 40)     # twelve are what one may have
    assert busy.keys() == {200, 503} and busy[200] > 10, busy
    assert until(1, 1).keys() == {200}


# ---- errors ------------------------------------------------------------------------------------------------


def test_refuses(monkeypatch):
    monkeypatch.delenv("FOVEATE_SERVE_TOKEN", raising=False)
    with pytest.raises(InputError, match=r"serve: host: got 0\.0\.0\.0 without a token or client certificates"):
        ray.application({})
    with pytest.raises(InputError, match="serve: argument: got hots, expected host, token_file, backend"):
        ray.application({"hots": "127.0.0.1"})
    with pytest.raises(InputError, match="serve: argument: got cpus=many, expected a number"):
        ray.application({"cpus": "many"})
    with pytest.raises(InputError, match="serve: replicas: got 2, 1, expected 1 <= at least <= at most"):
        ray.deployment(replicas=(2, 1))
    with pytest.raises(InputError, match=r"serve: TLS under Ray: got a\.pem, expected none. Ray's proxies"):
        ray.deployment(Settings(tls_cert="a.pem"))


def test_an_application(monkeypatch):
    made = ray.application({"host": "127.0.0.1", "backend": "cpu", "max_replicas": "3", "gpus": "0.25"})
    chosen = made._bound_deployment
    assert chosen.name == "foveate" and chosen.ray_actor_options == {"num_cpus": 1.0, "num_gpus": 0.25}
    assert chosen._deployment_config.autoscaling_config.max_replicas == 3
    assert chosen._deployment_config.graceful_shutdown_timeout_s == 35


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with pytest.raises(UnsupportedError, match=r'serve: Ray: got no ray, expected it installed. pip install "foveate'):
        ray.deployment()
