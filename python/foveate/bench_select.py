# SPDX-License-Identifier: Apache-2.0
"""`foveate bench select`: what it costs to choose K of N tokens, every method against top-k, in one run.

Features, keys and scores are made up; methods whose time depends on what they see (SAINT's rounds, TopV's steps)
take as many as for real ones. What scores cost is a row of its own: attention is not for free where the encoder
does not hand it out.
"""

import argparse
import json
import math
from pathlib import Path

from .bench import machine, race, write
from .error import choice, require
from .model.framework import need

TOKENS, KEEP, DIM, HEADS = 4096, 273, 1152, 16
ROUNDS, SECONDS = 20, 20.0
FIRST, ATTENTION = "topk", "(received attention)"


def grid_of(total):
    """(rows, columns) of the squarest grid."""
    rows = next(rows for rows in range(math.isqrt(total), 0, -1) if total % rows == 0)
    return rows, total // rows


def runs(names, tokens, keep, dim, batch, device="cpu"):
    """Method -> function without arguments; top-k first, whatever else is asked."""
    torch = need("torch")
    from .model import select

    table = {name: name for name in (*select.METHODS, ATTENTION)}
    names = list(dict.fromkeys([FIRST, *(choice("bench: method", name, table) for name in names or table)]))
    random = torch.Generator().manual_seed(0)
    features, keys = (torch.randn(batch, tokens, dim, generator=random).to(device) for _ in range(2))
    scores = torch.rand(batch, tokens, generator=random).to(device)
    grid = grid_of(tokens)
    places = select.grid_positions(*grid, device=device)
    # the overview's share of SHIRG's own 980
    overview = max(1, keep * 256 // 980)
    needs = {"topk": {"scores": scores}, "logpolar": {"scores": scores, "positions": places},
             "hybrid": {"scores": scores, "positions": places}, "vrs": {"scores": scores, "grid": grid},
             "shirg": {"attention": scores, "similarity": scores, "overview": overview}, "uniform": {"grid": grid},
             "random": {}, "saint": {"keys": keys}, "topv": {"positions": places}, "tome": {"keys": keys},
             "visionzip": {"attention": scores, "keys": keys}}

    def of(name):
        if name == ATTENTION:
            parts = [select.split_heads(plane, HEADS) for plane in (features, keys)]
            return lambda: select.received_attention(*parts)
        return lambda: select.METHODS[name](features, k=keep, **needs[name])

    return {name: of(name) for name in names}


def measure(names=(), tokens=TOKENS, keep=KEEP, dim=DIM, batch=1, rounds=ROUNDS):
    """Everything, as --json prints it."""
    for name, value, least, most in (("tokens", tokens, 2, 65536), ("keep", keep, 2, tokens), ("batch", batch, 1, 4096),
                                     ("rounds", rounds, 1, 10**6)):
        require(least <= value <= most, f"bench: {name}", value, f"{least}..{most}")
    require(dim > 0 and dim % HEADS == 0, "bench: dim", dim, f"a multiple of {HEADS}")
    torch = need("torch")
    rows = race(runs(names, tokens, keep, dim, batch), rounds, SECONDS)
    return {"machine": machine(), "torch": torch.__version__, "threads": torch.get_num_threads(), "tokens": tokens,
            "keep": keep, "dim": dim, "batch": batch, "rows": rows}


def markdown(result):
    lines = [f"Machine: {result['machine']}; torch {result['torch']}, {result['threads']} threads. {result['keep']} of "
             f"{result['tokens']} tokens of {result['dim']} float32, {result['batch']} image"
             f"{'s' if result['batch'] > 1 else ''} a call. Medians; ratios are of the same rounds.", "",
             "| method | ms | of topk |", "|---|---:|---:|"]
    lines += [f"| {name} | {row['ms']:.3f} | {row['ratio']:.2f} |" for name, row in result["rows"].items()]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench select", description="Time of choosing K of N tokens after an "
                                     "encoder, by method, against top-k.")
    parser.add_argument("--method", action="append", default=[], help="only this one, may be repeated; topk is always "
                        "there")
    for name, default in (("tokens", TOKENS), ("keep", KEEP), ("dim", DIM), ("batch", 1), ("rounds", ROUNDS)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="folder for select.json and select.md")
    options = parser.parse_args(arguments)
    result = measure(options.method, options.tokens, options.keep, options.dim, options.batch, options.rounds)
    text = markdown(result)
    write(options.out, "select", result, "# Measured: choosing tokens after an encoder\n\nWritten by `foveate bench "
          "select`.\n\n" + text)
    print(json.dumps(result, indent=1) if options.json else text)
    return 0
