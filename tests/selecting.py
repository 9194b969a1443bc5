# SPDX-License-Identifier: Apache-2.0
"""What the tests of model.select share: every method on one made-up encoder's output."""

from functools import partial

import torch
from foveate.model import select

GRID = (4, 6)
TOTAL, WIDTH = 24, 8
MERGING = ("tome", "visionzip", "vrs")


def encoded(batch=2, grid=GRID, width=WIDTH, seed=0, dtype=torch.float32):
    """Features and what methods need beside them, of grid tokens an image."""
    random = torch.Generator().manual_seed(seed)
    total = grid[0] * grid[1]
    return {"features": torch.randn(batch, total, width, generator=random).to(dtype),
            "keys": torch.randn(batch, total, width, generator=random).to(dtype),
            "scores": torch.rand(batch, total, generator=random).to(dtype),
            "similarity": torch.rand(batch, total, generator=random).to(dtype),
            "positions": select.grid_positions(*grid).to(dtype), "grid": grid}


def runs(overview=2):
    """Method -> function of what `encoded` returns and k."""
    needs = {"topk": ("scores",), "logpolar": ("scores", "positions"), "hybrid": ("scores", "positions"),
             "vrs": ("scores", "grid"), "uniform": ("grid",), "random": (), "saint": ("keys",), "topv": ("positions",),
             "tome": ("keys",), "visionzip": ("keys",)}

    def run(name, given, k, **more):
        own = {need: given[need] for need in needs.get(name, ())} | more
        if name == "visionzip":
            own["attention"] = given["scores"]
        if name == "shirg":
            first = min(overview, k - 1)
            if not first:       # an overview alone is no SHIRG
                return select.topk(given["features"], k=k, scores=given["scores"])
            own |= {"attention": given["scores"], "similarity": given["similarity"], "overview": first}
        return select.METHODS[name](given["features"], k=k, **own)

    return {name: partial(run, name) for name in select.METHODS}


def row_of(given, row):
    """One image of a batch alone."""
    return {name: value[row:row + 1] if isinstance(value, torch.Tensor) and value.ndim > 1 and name != "positions"
            else value for name, value in given.items()}


def same(a, b):
    assert torch.equal(a.indices, b.indices) and torch.equal(a.features, b.features)
    for one, other in ((a.sizes, b.sizes), (a.members, b.members), (a.occupied, b.occupied)):
        assert (one is None and other is None) or torch.equal(one, other)
