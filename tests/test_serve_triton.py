# SPDX-License-Identifier: Apache-2.0
"""The service against a real Triton: what it was recorded to answer, and, if there is time, what it answers now.

`pytest --update-golden` records again, with the tests that are marked long.
"""

import http.client
import json
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import real_triton
import tritonclient.http as triton
from foveate.serve import http as routes
from serving import call, jpeg, running, served
from triton_otherwise import OTHERWISE
from triton_requests import REQUESTS, facts

RECORD = Path(__file__).parent / "golden/triton.json"
OURS = {key: said for group in OTHERWISE.values() for key, said in group.items()}
# Of a model's configuration: what Triton says beside what we do, and what its model had no need to say.
NOT_OURS = {"batch_input", "batch_output", "optimization", "runtime"}
NOT_THERE = {"dynamic_batching", "model_transaction_policy"}


def asked(address, method, path, headers, body):
    """The facts of an answer to a request by a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return facts(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def metrics(address):
    """Of Triton's metrics that count requests: names of samples, and their labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        found = re.findall(r"^(nv_inference_\w+){(.+?)} ", answer.read().decode(), re.M)
    return {name: sorted(re.findall(r'(\w+)="', labels)) for name, labels in found}


def expected(record):
    """What we say: what Triton does, but for what we say otherwise."""
    return {key: OURS.get(key, said) for key, said in record.items()}


# ---- what Triton was recorded to answer --------------------------------------------------------------------


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


@pytest.fixture(scope="module")
def said():
    """The facts of what the service answers."""
    async def main(service):
        app, found = routes.app(service), {}
        for key, (method, path, headers, body) in REQUESTS.items():
            found[key] = facts(*await call(app, method, path, body, headers))
        return found

    return served(main)


def test_every_difference_is_one(record):
    assert record.keys() == REQUESTS.keys() and OURS.keys() < REQUESTS.keys()
    assert len(OURS) == sum(map(len, OTHERWISE.values()))       # none has two reasons
    assert [key for key, other in OURS.items() if other == record[key]] == []


@pytest.mark.parametrize("key", [key for key in REQUESTS if key != "config"])
def test_says_what_triton_says(said, record, key):
    assert said[key] == expected(record)[key]


def test_the_configuration_has_its_keys(said, record):
    (status, ours), (_, theirs) = said["config"], record["config"]
    assert status == 200 and set(theirs) - set(ours) == NOT_OURS and set(ours) - set(theirs) == NOT_THERE
    for key in ("input", "output", "version_policy", "instance_group"):
        mine, known = (one[key][0] if isinstance(one[key], list) else one[key] for one in (ours, theirs))
        assert mine and mine.items() <= known.items(), key


# ---- what it answers now -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """(HTTP, metrics) addresses of a real Triton."""
    with real_triton.running() as addresses:
        yield addresses


@pytest.mark.long
def test_the_record_is_what_triton_says(real, request):
    found = {key: asked(real[0], *one) for key, one in REQUESTS.items()}
    if request.config.getoption("--update-golden"):
        RECORD.write_text("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(one)}" for key, one in found.items())
                          + "\n}\n")
    assert found == json.loads(RECORD.read_text())


@pytest.mark.long
def test_over_a_socket_we_say_the_same(record):
    with running() as (address, *_):
        found = {key: asked(address, *one) for key, one in REQUESTS.items() if key != "config"}
    assert found == {key: one for key, one in expected(record).items() if key != "config"}


@pytest.mark.long
def test_metrics_have_the_same_names(real):
    with running("--triton-metrics") as (_, address, _):
        ours = metrics(address)
    assert len(ours) == 10 and ours.items() <= metrics(real[1]).items()


@pytest.mark.long
def test_our_engine_in_triton_gives_the_services_tokens(real):
    files = [jpeg(size=(240, 320), seed=seed) for seed in range(3)]
    gaze = np.array([[0.2, 0.3], [0.5, 0.5], [0.9, 0.1]], np.float32)
    with running() as (address, *_):
        ours = tokens(address, "foveate", files, gaze, (3,), budget=273, model="qwen2.5-vl", dtype="float16")
    theirs = tokens(real[0], "tokens", files, gaze, (3, 1))
    assert theirs["patches"].shape == (3, 4 * 273, 1176)
    for name, array in theirs.items():
        assert array.tobytes() == ours[name].tobytes(), name


def tokens(address, name, files, gaze, shape, **parameters):
    """Outputs by name, through tritonclient."""
    inputs = [triton.InferInput("image", shape, "BYTES"), triton.InferInput("gaze", gaze.shape, "FP32")]
    inputs[0].set_data_from_numpy(np.array(files, object).reshape(shape))
    inputs[1].set_data_from_numpy(gaze)
    with triton.InferenceServerClient(address) as client:
        found = client.infer(name, inputs, parameters=parameters)
    return {name: found.as_numpy(name) for name in ("patches", "center_px", "size_px")}
