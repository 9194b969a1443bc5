# SPDX-License-Identifier: Apache-2.0
"""Trains the small model: `python -m foveate.model.small.train`, as `make train-demo` does.

Scenes are made while it learns, in a process beside it, and cut into tokens in another way every time: grids, rates
with and without gaze, views, log-polar, close looks; so that one model reads them all. It learns what every token shows
a part of, and then also answers, and where to look for them.
"""

import argparse
import json
import math
import multiprocessing
import time
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F

from .lessons import IGNORE, produce
from .net import Net
from .words import INDEX, KINDS

FOLDER = Path(__file__).parent
READING = 0.35      # of the time it only learns what tokens show, and no answers
WEIGHTS = 1.0, 0.5, 1.0     # then, of the losses: answers, what tokens show, where to look
EVERY = 200         # steps a line of the log


def shown_loss(net, seen, labels):
    """Of what tokens show: which of its characters where there is one, and whether there is one."""
    shows, count = net.shows(seen), labels.sum(-1)
    which = -(labels / count.clamp(min=1)[..., None] * shows.log_softmax(-1)).sum(-1)
    return which[count > 0].mean() + F.binary_cross_entropy_with_logits(shows.logsumexp(-1), (count > 0).float())


def answer_losses(net, seen, batch):
    """(of answers, of where they were looked for), and which answers were right."""
    wanted, looks = batch["wanted"], batch["looks"]
    scores, looked = net.decode(batch["text"], seen, batch["valid"], weights=True)
    answer = F.cross_entropy(scores.flatten(0, 2), wanted.flatten(), ignore_index=IGNORE)
    some = looks.any(-1)
    look = -((looked * looks).sum(-1)[some] + 1e-6).log().mean()
    return answer, look, ((scores.argmax(-1) == wanted) | (wanted == IGNORE)).all(-1)


def read_shares(net, seen, labels):
    """Shares of tokens with one digit, and of those with one letter, whose digit or letter is the likeliest."""
    right = net.shows(seen).argmax(-1) == labels.argmax(-1)
    one, digit = labels.sum(-1) == 1, labels[..., :10].any(-1)
    return [right[one & of].float().mean().item() for of in (digit, ~digit)]


def train(minutes, seed=0, rate=2e-3, log=None, shape=None):
    """A trained Net, and its log: [{step, seconds, losses, and shares of what was right}]."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)                    # scenes are made beside it
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(6)
    process = context.Process(target=produce, args=(queue, seed), daemon=True)
    process.start()
    net = Net(shape)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    lines, recent, start, step = [], {}, None, 0
    while True:
        batch = {name: torch.from_numpy(value) for name, value in queue.get().items()}
        start = start or time.monotonic()
        done = (time.monotonic() - start) / (60 * minutes)
        if done >= 1:
            break
        step += 1
        for group in optimizer.param_groups:    # up in 200 steps, down in a half cosine of the time
            group["lr"] = rate * min(1, step / 200) * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
        labels = batch["labels"].float()
        seen = net.encode(batch["patches"].float(), batch["center_px"], batch["size_px"], batch["valid"])
        label = shown_loss(net, seen, labels)
        found = dict(zip(("digits", "letters"), read_shares(net, seen, labels), strict=True), label=label.item())
        total = label
        if done > READING:
            answer, look, right = answer_losses(net, seen, batch)
            total = WEIGHTS[0] * answer + WEIGHTS[1] * label + WEIGHTS[2] * look
            found |= {"answer": answer.item(), "look": look.item()}
            for word, kind in KINDS.items():
                found[kind] = right[batch["text"][..., 0] == INDEX[word]].float().mean().item()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for name, value in found.items():
            if not math.isnan(value):
                recent.setdefault(name, []).append(value)
        if step % EVERY == 0:
            lines.append({"step": step, "seconds": round(time.monotonic() - start),
                          **{name: round(fmean(values), 4) for name, values in recent.items()}})
            recent.clear()
            if log:
                log(lines[-1])
    process.terminate()
    return net.eval(), lines


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate.model.small.train", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=27)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    net, lines = train(options.minutes, options.seed, options.rate, lambda line: print(json.dumps(line), flush=True))
    from safetensors.torch import save_file

    options.out.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in net.state_dict().items()},
              options.out / "weights.safetensors", {"format": "pt"})
    (options.out / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
