# SPDX-License-Identifier: Apache-2.0
"""`foveate batch`: its options, its progress, and what its exit status says."""

import json
import sys
import time
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .batch import StoppedError
from .batch import run as run_batch
from .batch.options import DTYPES, FORMATS
from .layout import KINDS
from .relevance import SALIENCIES

err = Console(stderr=True, highlight=False)
FormatName = StrEnum("FormatName", {name: name for name in FORMATS})
PatchName = StrEnum("PatchName", {name: name for name in DTYPES})
LayoutName = StrEnum("LayoutName", {kind: kind for kind in KINDS})
SaliencyName = StrEnum("SaliencyName", {name: name for name in SALIENCIES if name})
OnError = StrEnum("OnError", {"skip": "skip", "fail": "fail"})
ProgressName = StrEnum("ProgressName", {"auto": "auto", "bar": "bar", "json": "json", "none": "none"})
Distributor = StrEnum("Distributor", {"local": "local", "ray": "ray"})
BackendName = StrEnum("BackendName", {name: name for name in ("auto", "cpu", "vulkan", "opengl", "cuda")})


def batch(
    source: Annotated[list[str], typer.Argument(help="A folder, a glob, .tar, .parquet, .arrow, .txt, or files.",
                                                show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the shards: new or empty.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Preset: vit16, siglip2, qwen2.5-vl, ...")] = None,
    budget: Annotated[int | None, typer.Option(help="Tokens an image.")] = None,
    gaze: Annotated[str | None, typer.Option(
        help="x,y for all, sidecar, column:NAME, column:X,Y or a .parquet file.")] = None,
    layout: Annotated[LayoutName | None, typer.Option(help="Default: rate.")] = None,
    information: Annotated[bool, typer.Option("--information", help="Text and texture matter.")] = False,
    saliency: Annotated[SaliencyName | None, typer.Option(help="What stands out matters.")] = None,
    max_rate: Annotated[int | None, typer.Option(help="Cells of the coarsest token's edge: 1, 2, 4, 8 or 16.")] = None,
    dtype: Annotated[PatchName, typer.Option(help="Of the patches; uint8 is not normalised.")] = PatchName.float16,
    form: Annotated[FormatName, typer.Option("--format", help="Of the shards.")] = FormatName.webdataset,
    shard_size: Annotated[int, typer.Option(help="Images a shard.")] = 256,
    image: Annotated[str, typer.Option(help="Column of a table that has the images.")] = "image",
    key: Annotated[str | None, typer.Option(help="Column of a table that names them.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Decode JPEGs whole where part would do.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in this folder.")] = False,
    on_error: Annotated[OnError, typer.Option(help="An image fails: record it, or end.")] = OnError.skip,
    max_failures: Annotated[int | None, typer.Option(help="More end the run with status 1.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that decode. Default: one a processor.")] = None,
    backend: Annotated[BackendName, typer.Option(help="Where it runs.")] = BackendName.auto,
    device: Annotated[str | None, typer.Option(help="Vulkan device: UUID, index or part of its name.")] = None,
    distributor: Annotated[Distributor, typer.Option(help="ray: on a cluster of as many workers.")] = Distributor.local,
    progress: Annotated[ProgressName, typer.Option(help="json: a line a second on stdout.")] = ProgressName.auto,
):
    """Turn many pictures into shards of tokens. Killed or interrupted, it goes on with --resume.

    Exit status: 0 done; 1 ended by failures or by the disk; 2 a wrong option; 130 interrupted.
    """
    # only what was given: the record of the run is the same as one begun in code
    given = {"information": information or None, "saliency": saliency and saliency.value}
    relevance = {name: value for name, value in given.items() if value}
    given = {"model": model, "budget": budget, "layout": layout and layout.value, "max_rate": max_rate,
             "relevance": relevance or None}
    tokens = {name: value for name, value in given.items() if value is not None}
    try:
        with shown(progress.value) as said:
            result = run_batch(source[0] if len(source) == 1 else source, out, gaze=gaze, dtype=dtype.value,
                               format=form.value, shard_size=shard_size, image=image, key=key, scale=not full,
                               resume=resume, on_error=on_error.value, max_failures=max_failures, workers=workers,
                               backend=backend.value, device=device, distributor=distributor.value, said=said,
                               **tokens)
            said(result=result)
    except StoppedError as error:
        stop(1, f"{error} What is in {out} is whole; --resume goes on.")
    except OSError as error:
        stop(1, f"{error.filename or out}: {error.strerror}. What is in {out} is whole; --resume goes on.")
    except KeyboardInterrupt:
        stop(130, f"interrupted. What is in {out} is whole; --resume goes on.")
    if result.interrupted:
        stop(130, f"interrupted after {result.shards} shards, {result.missing} are missing; --resume makes them.")


def stop(status, text):
    err.print(Text("".join(c if c.isprintable() else "?" for c in f"batch: {text.removeprefix('batch: ')}"), "red"),
              soft_wrap=True)
    raise typer.Exit(status)


class Counts:
    """What has happened since the run began, for a bar, a line of JSON, and the end."""

    def __init__(self):
        self.total, self.images, self.tokens, self.failed, self.earlier = None, 0, 0, 0, (0, 0)
        self.began, self.stages = time.monotonic(), {}

    def add(self, *, total=None, images=0, tokens=0, failures=(), stages=None, earlier=False):
        self.total = self.total if total is None else total
        self.images, self.tokens = self.images + images, self.tokens + tokens
        self.failed += len(failures)
        self.stages = stages or self.stages
        self.earlier = (self.images, self.tokens) if earlier else self.earlier

    def described(self):
        seconds = max(time.monotonic() - self.began, 1e-9)
        whole = sum(self.stages.values()) or 1
        return {"images": self.images, "failed": self.failed, "total": self.total, "tokens": self.tokens,
                "seconds": round(seconds, 3), "images_s": round((self.images - self.earlier[0]) / seconds, 1),
                "tokens_s": round((self.tokens - self.earlier[1]) / seconds), "stages": {name: round(value / whole, 3)
                                                                     for name, value in self.stages.items()}}


@contextmanager
def shown(kind):
    """A function that hears what happens, and shows it as it was asked to."""
    if kind == "auto":
        kind = "bar" if err.is_terminal else "none"
    counts, last = Counts(), [0.0]
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[about]}"), console=err, disable=kind != "bar", transient=True)
    task = bar.add_task("images", total=None, about="")

    def said(*, result=None, **news):
        counts.add(**news)
        now = time.monotonic()
        told = counts.described()
        bar.update(task, total=counts.total, completed=counts.images + counts.failed,
                   about=f"{told['images_s']:.0f}/s, {told['tokens_s']} tokens/s"
                         + (f", {counts.failed} failed" if counts.failed else "") + busiest(told["stages"]))
        if kind == "json" and result is None and now - last[0] >= 1:
            last[0] = now
            print(json.dumps(told), flush=True)
        if result is None:
            return
        if kind == "json":
            print(json.dumps(told | {"done": not result.interrupted, "shards": result.shards,
                                     "resumed": result.resumed}), flush=True)
            return
        bar.stop()
        again = f" ({result.resumed} of {result.shards} shards were there)" if result.resumed else ""
        err.print(f"{result.images} images, {result.tokens} tokens, {len(result.failed)} failed{again}; "
                  f"{told['images_s']:.1f} images/s, {told['tokens_s']} tokens/s{busiest(told['stages'])}",
                  soft_wrap=True)
        reasons = {}
        for entry in result.failed:
            reasons[entry["code"]] = reasons.get(entry["code"], 0) + 1
        if reasons:
            err.print("failed: " + ", ".join(f"{count} {code}" for code, count in sorted(reasons.items()))
                      + "; each with its reason in failures.jsonl", soft_wrap=True)

    with bar:
        yield said
    sys.stdout.flush()


def busiest(stages):
    """The share of each stage in the time that all were busy."""
    return "; " + ", ".join(f"{name} {value:.0%}" for name, value in stages.items()) if stages else ""
