# SPDX-License-Identifier: Apache-2.0
"""client: pictures in a chat message, read by a server that is not ours."""

import pytest
from foveate.client.chat import crops
from images import random_image
from llm_server import llm_server


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with llm_server(tmp_path_factory.mktemp("server")) as ask:
        yield ask


def words_of(message):
    """Tokens of a prompt that are not of pictures: its bytes, and the marks around messages and pictures."""
    text = "".join(part["text"] for part in message["content"] if part["type"] == "text")
    pictures = sum(part["type"] == "image_url" for part in message["content"])
    return len(f"user\n{text}\nassistant\n".encode()) + 3 + 2 * pictures


@pytest.mark.parametrize("options", [{"gaze": (0.4, 0.6)}, {"count": 3, "form": "png", "model": "qwen2-vl"},
                                     {"gaze": [(0, 0), (1, 1)], "count": 3, "by": "relevance", "side": 200},
                                     {"count": 0, "labels": False}, {"overview": 0, "gaze": (0.5, 0.5), "side": 16}])
def test_the_server_reads_every_picture(cpu, ask, options):
    """Its count of the prompt is ours to the token: no picture is lost, and none is resized but as we say."""
    made = crops(random_image(1, 540, 960), engine=cpu, **options)
    message = made.message("What is it?")
    answer = ask([message], max_tokens=4)
    assert answer["object"] == "chat.completion" and answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["prompt_tokens"] == sum(made.tokens("qwen2-vl")) + words_of(message)


def test_the_server_sees_what_is_in_them(cpu, ask):
    """Another picture, another answer; the same picture, the same."""
    said = []
    for seed, gaze in ((1, (0.1, 0.1)), (1, (0.1, 0.1)), (1, (0.9, 0.9)), (2, (0.1, 0.1))):
        made = crops(random_image(seed, 540, 960), gaze=gaze, labels=False, side=112, overview=112, engine=cpu)
        answer = ask([made.message("?")], max_tokens=24, temperature=0)
        said.append(answer["choices"][0]["message"]["content"])
    assert said[0] == said[1] and len(set(said)) == 3
