# SPDX-License-Identifier: Apache-2.0
"""`transformers serve` with a small random Qwen2-VL: a server with OpenAI's protocol, in a process of its own."""

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

from child import TESTS, ended
from vision import DECLARED

# A token for each byte, and one for each mark.
MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<pad>"]
TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
            "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}"
            "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")

SERVER = DECLARED + """
import io, sys, time
import numpy, PIL.Image, transformers
from llm_server import MARKS, TEMPLATE
from tiny_models import TEXT, seeded
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.cli.serve import Serve

def decoded(data, mode, **_):
    picture = PIL.Image.open(io.BytesIO(data.numpy().tobytes())).convert("RGB")
    return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)

torchvision.io.decode_image = decoded      # torchvision's own is another of the operators that it misses
folder = sys.argv[1]
words = {word: index for index, word in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), *MARKS])}
base = Tokenizer(models.BPE(vocab=words, merges=[]))
base.pre_tokenizer, base.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=base, eos_token=MARKS[1], pad_token=MARKS[6],
                                                 additional_special_tokens=MARKS[:6])
processor = transformers.Qwen2VLProcessor(transformers.Qwen2VLImageProcessor(), tokenizer,
                                          transformers.Qwen2VLVideoProcessor(), chat_template=TEMPLATE)
processor.save_pretrained(folder)
ids = {"vision_start_token_id": 2, "vision_end_token_id": 3, "image_token_id": 4, "video_token_id": 5}
rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
special = {"bos_token_id": None, "eos_token_id": words[MARKS[1]], "pad_token_id": words[MARKS[6]]}
config = transformers.Qwen2VLConfig(
    text_config={**TEXT, **special, "vocab_size": len(words), "rope_parameters": rope},
    vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 4, "mlp_ratio": 2},
    **{name: words[MARKS[index]] for name, index in ids.items()})
seeded(transformers.Qwen2VLForConditionalGeneration, config).save_pretrained(folder)

served = Serve(force_model=folder, device="cpu", host="127.0.0.1", port=0, non_blocking=True)
while not served.server.started:
    time.sleep(0.02)
print("port", served.server.servers[0].sockets[0].getsockname()[1], flush=True)
sys.stdin.read()        # until whoever asked is done, or gone
served.kill_server()
"""


@contextmanager
def llm_server(folder):
    """ask(messages, **more) -> the answer of /v1/chat/completions, as long as the server runs. folder: an empty one."""
    vision = os.environ.get("FOVEATE_VISION")
    assert vision, "FOVEATE_VISION: no folder with torchvision. Run `make setup`, and . .cache/env.sh"
    path = os.pathsep.join([str(TESTS), vision, *filter(None, [os.environ.get("PYTHONPATH")])])
    log = open(folder / "log", "w+")
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(folder / "model")], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=log, text=True,
                               env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"})
    try:
        line = next((line for line in process.stdout if line.startswith("port ")), None)
        assert line, (folder / "log").read_text()[-3000:]

        def ask(messages, **more):
            body = json.dumps({"model": str(folder / "model"), "messages": messages, **more}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{line.split()[1]}/v1/chat/completions", body,
                                             {"Content-Type": "application/json"})
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return json.load(answer)

        yield ask
    finally:
        process.stdin.close()
        ended(process)
        process.stdout.close()
        log.close()
