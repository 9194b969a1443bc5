# SPDX-License-Identifier: Apache-2.0
"""A small model that reads tokens of any size from any place, and answers in letters.

An encoder over patches, each of which says where it lies and how large it is; and a decoder of text that looks at
what the encoder made. About 0.9 million numbers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .shape import FREQUENCIES, WAVES, Shape
from .words import CLASSES, VOCABULARY


def waves(center_px, count):
    """Cosine and sine, (B, N, 2 * count): of x, then of y, each in `count` wavelengths."""
    steps = torch.arange(count, device=center_px.device) / max(count - 1, 1)
    wavelengths = WAVES[0] * (WAVES[1] / WAVES[0])**steps
    angles = (2 * math.pi * center_px[..., None] / wavelengths).flatten(-2)
    return angles.cos(), angles.sin()


def turn(values, turns):
    """Rotary positions (Su and others, 2021) with real coordinates: half of a head's pairs turn by x, half by y."""
    cos, sin = turns
    a, b = values.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def gelu(x):
    return F.gelu(x, approximate="tanh")


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads = shape.heads
        self.ask = nn.Linear(shape.width, shape.width)
        self.have = nn.Linear(shape.width, 2 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def split(self, values):
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, source, mask=None, turns=None, weights=False):
        query = self.split(self.ask(x))
        key, value = (self.split(part) for part in self.have(source).chunk(2, -1))
        if turns is not None:
            query, key = turn(query, turns), turn(key, turns)
        if weights:
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            share = scores.masked_fill(~mask, -torch.inf).softmax(-1)
            return self.out((share @ value).transpose(1, 2).flatten(2)), share.mean(1)
        made = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(made.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention to itself, to something else where there is something, and a step for each place alone."""

    def __init__(self, shape, other=False):
        super().__init__()
        width = shape.width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if other else 2))
        self.own = Attention(shape)
        self.other = Attention(shape) if other else None
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x, mask, turns=None, source=None, source_mask=None, weights=False):
        y = self.norms[0](x)
        x = x + self.own(y, y, mask, turns)
        looked = None
        if self.other is not None:      # all questions about an image at once
            made = self.other(self.norms[1](x).unflatten(0, (len(source), -1)).flatten(1, 2), source, source_mask,
                              weights=weights)
            made, looked = made if weights else (made, None)
            x = x + made.reshape(x.shape)
        return x + self.narrow(gelu(self.wide(self.norms[-1](x)))), looked


class Stem(nn.Module):
    """A patch to a row: a few convolutions find strokes wherever they lie in it (Xiao and others, Early convolutions
    help transformers see better, 2021). Light and contrast are told apart from what is drawn.
    """

    def __init__(self, shape):
        super().__init__()
        self.side = shape.patch
        self.steps = nn.ModuleList([nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 64, 3, 2, 1)])
        self.out = nn.Linear(64 * (shape.patch // 8)**2 + 2, shape.width)

    def forward(self, patches):
        rows = patches.flatten(0, 1)
        light = rows.mean(-1, keepdim=True)
        contrast = (rows - light).square().mean(-1, keepdim=True).sqrt()
        x = ((rows - light) / (contrast + 0.05)).unflatten(-1, (3, self.side, self.side))
        for step in self.steps:
            x = gelu(step(x))
        return self.out(torch.cat([x.flatten(1), light, contrast], -1)).unflatten(0, patches.shape[:2])


class Net(nn.Module):
    """Tokens and a question to an answer.

    Tokens are `patches` (B, N, 3 * patch^2) normalised to -1..1, `center_px` (B, N, 2) x and y, `size_px` (B, N, 2)
    height and width, and `valid` (B, N).
    """

    def __init__(self, shape: Shape | None = None):
        super().__init__()
        self.shape = shape = shape or Shape()
        width = shape.width
        self.patch = Stem(shape)
        self.place = nn.Linear(4 * FREQUENCIES + 2, width)
        self.encoder = nn.ModuleList(Layer(shape) for _ in range(shape.encoder))
        self.seen = nn.LayerNorm(width)
        self.where = nn.Linear(4 * FREQUENCIES + 2, width)      # said again: answers ask for places
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.order = nn.Parameter(torch.randn(shape.text, width) * 0.02)
        self.decoder = nn.ModuleList(Layer(shape, other=True) for _ in range(shape.decoder))
        self.said = nn.LayerNorm(width)
        self.shows = nn.Linear(width, len(CLASSES))     # for training: what each token shows a part of
        nn.init.normal_(self.words.weight, std=0.02)

    def encode(self, patches: Tensor, center_px: Tensor, size_px: Tensor, valid: Tensor) -> Tensor:
        """(B, N, width): what there is to look at."""
        turns = [part[:, None] for part in waves(center_px, self.shape.width // self.shape.heads // 4)]
        places = torch.cat([*waves(center_px, FREQUENCIES), size_px.clamp(min=1).log2() - 5], -1)
        x = self.patch(patches) + self.place(places)
        mask = valid[:, None, None, :]
        for layer in self.encoder:
            x, _ = layer(x, mask, turns)
        return self.seen(x) + self.where(places)

    def decode(self, text: Tensor, seen: Tensor, valid: Tensor, weights: bool = False):
        """(B, Q, T, vocabulary) scores of what follows each word of Q texts about each of B images; with weights also
        (B, Q, T, N), where the last layer looked.
        """
        length = text.shape[-1]
        x = self.words(text.flatten(0, 1)) + self.order[:length]
        causal = torch.ones(length, length, dtype=torch.bool, device=text.device).tril()
        for layer in self.decoder:
            x, looked = layer(x, causal, None, seen, valid[:, None, None, :], weights)
        scores = (self.said(x) @ self.words.weight.T).unflatten(0, text.shape[:2])
        return (scores, looked.unflatten(1, text.shape[1:])) if weights else scores
