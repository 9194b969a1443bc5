# SPDX-License-Identifier: Apache-2.0
"""The small model in NumPy: what net.py learns, to be asked where there is no torch."""

import json
import math

import numpy as np

from .shape import FREQUENCIES, WAVES, Shape

ROWS = 512          # of attention at a time: what 4096 tokens see of each other is not held at once


class Weights(dict):
    """{name: float32 array}, and the Shape they belong to."""

    def __init__(self, named, shape: Shape):
        super().__init__(named)
        self.shape = shape

    def linear(self, name, x):
        return x @ self[f"{name}.weight"].T + self[f"{name}.bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5) * self[f"{name}.weight"] + self[f"{name}.bias"]


def load(path):
    """{name: float32 array} of a safetensors file: the length of its header, the header in JSON, the bytes."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    kinds = {"F16": np.float16, "F32": np.float32}
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            flat = np.frombuffer(data[start + first:start + last], kinds[entry["dtype"]])
            found[name] = flat.reshape(entry["shape"]).astype(np.float32)
    return found


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def logsumexp(x):
    most = x.max(-1)
    return most + np.log(np.exp(x - most[..., None]).sum(-1))


def waves(center_px, count):
    """Cosine and sine, (N, 2 * count): of x, then of y, each in `count` wavelengths."""
    wavelengths = WAVES[0] * (WAVES[1] / WAVES[0])**(np.arange(count, dtype=np.float32) / max(count - 1, 1))
    angles = (2 * math.pi * center_px[..., None] / wavelengths).reshape(len(center_px), -1)
    return np.cos(angles), np.sin(angles)


def turn(values, turns):
    a, b = np.split(values, 2, -1)
    cos, sin = turns
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def attend(weights, name, x, source, mask, turns=None):
    """(N, width), and the share of each of M sources, (N, M), the mean of the heads'. mask: (M,) or (N, M)."""
    def split(values):
        return values.reshape(len(values), weights.shape.heads, -1).swapaxes(0, 1)

    query = split(weights.linear(f"{name}.ask", x))
    key, value = (split(part) for part in np.split(weights.linear(f"{name}.have", source), 2, -1))
    if turns is not None:
        query, key = turn(query, turns), turn(key, turns)
    key = key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
    mask = np.broadcast_to(mask, (len(x), len(source)))
    made, shares = np.empty(query.shape, np.float32), np.empty(mask.shape, np.float32)
    for low in range(0, len(x), ROWS):
        part = slice(low, low + ROWS)
        share = softmax(np.where(mask[part], query[:, part] @ key, -np.inf))
        made[:, part], shares[part] = share @ value, share.mean(0)
    return weights.linear(f"{name}.out", made.swapaxes(0, 1).reshape(len(x), -1)), shares


def layer(weights, name, x, mask, turns=None, source=None, source_mask=None):
    """What net.Layer makes, and where it looked in the source."""
    y = weights.norm(f"{name}.norms.0", x)
    x = x + attend(weights, f"{name}.own", y, y, mask, turns)[0]
    looked, last = None, 1
    if source is not None:
        made, looked = attend(weights, f"{name}.other", weights.norm(f"{name}.norms.1", x), source, source_mask)
        x, last = x + made, 2
    wide = gelu(weights.linear(f"{name}.wide", weights.norm(f"{name}.norms.{last}", x)))
    return x + weights.linear(f"{name}.narrow", wide), looked


def stem(weights, patches):
    """(N, width) of (N, 3 * patch^2)."""
    light = patches.mean(-1, keepdims=True)
    contrast = np.sqrt(np.square(patches - light).mean(-1, keepdims=True))
    x = ((patches - light) / (contrast + 0.05)).reshape(len(patches), 3, weights.shape.patch, -1)
    for step in range(3):
        kernel = weights[f"patch.steps.{step}.weight"]
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::2, ::2]
        made = np.tensordot(windows, kernel, ((1, 4, 5), (1, 2, 3))) + weights[f"patch.steps.{step}.bias"]
        x = gelu(made).transpose(0, 3, 1, 2)
    return weights.linear("patch.out", np.concatenate([x.reshape(len(x), -1), light, contrast], -1))


def encode(weights: Weights, patches, center_px, size_px, valid) -> np.ndarray:
    """(N, width) of one image's tokens: what there is to look at."""
    shape = weights.shape
    places = np.concatenate([*waves(center_px, FREQUENCIES), np.log2(np.maximum(size_px, 1)) - 5], -1)
    x = stem(weights, patches) + weights.linear("place", places)
    turns = waves(center_px, shape.width // shape.heads // 4)
    for index in range(shape.encoder):
        x, _ = layer(weights, f"encoder.{index}", x, valid, turns)
    return weights.norm("seen", x) + weights.linear("where", places)


def decode(weights: Weights, text, seen, valid):
    """(T, vocabulary) scores of what follows each word, and (T, N), where the last layer looked for it."""
    x = weights["words.weight"][text] + weights["order"][:len(text)]
    causal, looked = np.tri(len(text), dtype=bool), None
    for index in range(weights.shape.decoder):
        x, looked = layer(weights, f"decoder.{index}", x, causal, None, seen, valid)
    return weights.norm("said", x) @ weights["words.weight"].T, looked
