# SPDX-License-Identifier: Apache-2.0
"""The command line, one word per task. Results go to stdout, messages to stderr; --json for machines."""

import json
import os
import statistics
import sys
import time
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import Engine, Error, __version__
from . import cli_encode as encoding
from .cli_batch import batch
from .cli_encode import Failure
from .cli_serve import serve
from .doctor import doctor as run_doctor
from .doctor import info as find_info
from .layout import KINDS
from .overlay import details
from .rate import SETS
from .relevance import SALIENCIES

app = typer.Typer(name="foveate", invoke_without_command=True, add_completion=False, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]},
                  help="Foveated patch tensors for vision transformers.")
# a file or a pipe has no width: nothing is folded there to fit one
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)


UsageError = typer.BadParameter.__base__  # typer gives it no public name
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


LayoutName = StrEnum("LayoutName", {kind: kind for kind in KINDS})
RatesName = StrEnum("RatesName", {name: name for name in SETS})
SaliencyName = StrEnum("SaliencyName", {name: name for name in SALIENCIES if name})
ShowName = StrEnum("ShowName", {name: name for name in encoding.SHOWS})


class BackendName(StrEnum):
    auto = "auto"
    cpu = "cpu"
    vulkan = "vulkan"
    opengl = "opengl"
    cuda = "cuda"


class DtypeName(StrEnum):
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def print_json(value):
    print(json.dumps(value, indent=2))


def plain_table(*columns):
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        numeric = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if numeric else "left", no_wrap=numeric)
    return table


def _shading(rate):
    if not rate["usable"]:
        return ", ".join(rate["reasons"])
    return f"{' '.join(f'{w}x{h}' for w, h in rate['rates'])}, tiles of {'..'.join(map(str, rate['tile']))} px"


@app.command()
def info(as_json: Json = False):
    """Version, machine, and every backend candidate with every reason against it."""
    found = find_info()
    if as_json:
        return print_json(found)
    out.print(f"[bold]foveate {found['version']}[/bold]   Python {found['python']}, NumPy {found['numpy']}, "
              f"{found['machine']}, {found['cores']} cores, {found['isa']}")
    out.print()
    table = plain_table("backend", "device", "usable", "memory", "profiling", "why not")
    for candidate in found["candidates"]:
        usable = Text("yes", "green") if candidate["usable"] else Text("no", "yellow")
        memory = "arrays in place" if candidate["in_place"] else "copied"
        memory += f", shared by descriptors, sync by {candidate['sync']}" if candidate["shares"] else ""
        table.add_row(candidate["backend"], Text(candidate["device"]), usable, memory,
                      ", ".join(candidate.get("profiling", ())),
                      Text("\n".join(candidate["reasons"]), "dim"))
    out.print(table)
    out.print()
    cuda = found["cuda"]
    out.print(Text(f"CUDA {cuda['version']}" if cuda["driver"] else f"no CUDA: {cuda['reason']}"))
    for device in cuda["devices"]:
        same = device["vulkan"] or "no"
        out.print(Text(f"  {device['ordinal']} {device['name']} {device['uuid']}, in Vulkan: {same}"))
    for candidate in found["candidates"]:
        if candidate["backend"] == "vulkan":
            out.print(Text(f"shading rates of {candidate['device']}: {_shading(candidate['shading_rate'])}"))
    for candidate in found["candidates"]:
        if candidate["filter_side"]:
            out.print(Text(f"filters of {candidate['backend']}: {candidate['device']}: images up to "
                           f"{candidate['filter_side']} px a side, with exact=False"))


@app.command()
def doctor(need: Annotated[list[str], typer.Option(help="vulkan, opengl, cuda, torch or pillow must work.")] = (),
           as_json: Json = False):
    """Check the installation; each finding says what would mend it. Exit status 1 if something is broken."""
    unknown = ", ".join(sorted(set(need) - {"vulkan", "opengl", "cuda", "torch", "pillow"}))
    if unknown:
        raise Failure(f"doctor: need: got {unknown}, expected vulkan, opengl, cuda, torch or pillow.")
    checks = run_doctor(need=tuple(need))
    if as_json:
        print_json(checks)
    else:
        marks = {"ok": Text("ok", "green"), "note": Text("note", "yellow"), "fail": Text("FAIL", "bold red")}
        table = plain_table("", "check", "found", "to mend it")
        for check in checks:
            table.add_row(marks[check["state"]], Text(check["check"]), Text(check["found"]),
                          Text(check["fix"], "dim"))
        out.print(table)
    raise typer.Exit(int(any(check["state"] == "fail" for check in checks)))


@app.command()
def encode(
    images: Annotated[list[Path], typer.Argument(help="Picture files.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Preset: vit16, siglip2, qwen2.5-vl, ...")] = None,
    budget: Annotated[int | None, typer.Option(help="Tokens an image.")] = None,
    gaze: Annotated[list[str], typer.Option(help="x,y in 0..1. May be repeated.")] = (),
    layout: Annotated[LayoutName | None, typer.Option(help="Default: rate.")] = None,
    rates: Annotated[RatesName | None, typer.Option(help="Shapes of tokens. Default: vrs.")] = None,
    max_rate: Annotated[int | None, typer.Option(help="Cells of the coarsest token's edge: 1, 2, 4, 8 or 16.")] = None,
    information: Annotated[bool, typer.Option("--information", help="Text and texture matter.")] = False,
    saliency: Annotated[SaliencyName | None, typer.Option(help="What stands out matters.")] = None,
    roi: Annotated[list[str], typer.Option(help="x0,y0,x1,y1 in 0..1: it matters. May be repeated.")] = (),
    query: Annotated[Path | None, typer.Option(help="A gray picture of what matters: white does.")] = None,
    falloff: Annotated[str | None, typer.Option(
        help="Of gaze: cortical, geisler, exponential,3 or polynomial,5,2 or bands,0.25,1,0.5,0.3.")] = None,
    fov: Annotated[float | None, typer.Option(help="Degrees that the image is wide, for the falloff.")] = None,
    backend: Annotated[BackendName, typer.Option(help="Where it runs.")] = BackendName.auto,
    device: Annotated[str | None, typer.Option(help="Vulkan device: UUID, index or part of its name.")] = None,
    dtype: Annotated[DtypeName, typer.Option(help="Of the patches.")] = DtypeName.float32,
    overlay: Annotated[Path | None, typer.Option(help="Write the tokens drawn over the image, PNG.")] = None,
    show: Annotated[list[ShowName], typer.Option(help="In the overlay; several are side by side.")] = (),
    report: Annotated[Path | None, typer.Option(help="Write a report of all images, one HTML file.")] = None,
    save: Annotated[Path | None, typer.Option("--out", help="Write patches and positions, safetensors.")] = None,
    as_json: Json = False,
):
    """Turn pictures into tokens; draw them, report on them, save them."""
    options, said = encoding.options_of({
        "model": model, "budget": budget, "gaze": gaze, "layout": layout and layout.value,
        "rates": rates and rates.value, "max_rate": max_rate, "information": information,
        "saliency": saliency and saliency.value, "roi": roi, "query": query, "falloff": falloff, "fov": fov,
        "dtype": dtype.value})
    encoding.check_shows(overlay, show, said["layout"])
    pictures = [encoding.read_image(path) for path in images]
    engine = Engine(backend=backend.value, device=device)
    rows, entries, last, drawings = [], [], None, encoding.names_for(images, overlay) if overlay else []
    for number, (path, picture) in enumerate(zip(images, pictures, strict=True)):
        start = time.perf_counter_ns()
        tokens = engine.tokens(picture, **options)
        ms = (time.perf_counter_ns() - start) / 1e6
        used = encoding.used_by(engine, tokens, said)
        valid = np.asarray(tokens.valid[0], bool)
        rows.append({"image": str(path), "width": picture.width, "height": picture.height,
                     "tokens": int(valid.size), "valid": int(valid.sum()), "shape": list(tokens.shape),
                     "detail": [{"px_per_texel": round(step, 3), "tokens": count}
                                for _, step, count in details(tokens)],
                     "ms": round(ms, 3), "used": used})
        if overlay or report:
            pixels = np.asarray(picture.convert("RGB"))
            if overlay:
                encoding.draw(engine, pixels, tokens, show, options["gaze"] or ()).save(drawings[number])
            if report:
                entries.append(encoding.report_entry(engine, path.name, pixels, tokens, options, used, ms))
        last = tokens
    if save:
        if len(images) > 1:
            last = engine.tokens(pictures, **options)
        encoding.save_tokens(save, last, [str(path) for path in images], encoding.used_by(engine, last, said))
    caps = engine.caps
    if report:
        from .report import write_report

        write_report(report, entries, facts=[f"foveate {__version__}", caps["backend"], caps["device"]])
    if as_json:
        return print_json({"version": __version__, "backend": caps["backend"], "device": caps["device"],
                           "images": rows})
    table = plain_table("image", ">size", ">tokens", ">valid", "px a texel", ">ms")
    for row in rows:
        detail = ", ".join(f"{part['px_per_texel']:.3g}: {part['tokens']}" for part in row["detail"])
        table.add_row(Text(row["image"]), f"{row['width']} x {row['height']}", str(row["tokens"]),
                      str(row["valid"]), detail, f"{row['ms']:.2f}")
    out.print(table)
    if len(rows) > 1:
        out.print(f"[dim]median {statistics.median(row['ms'] for row in rows):.2f} ms an image on "
                  f"{caps['backend']}, {caps['device']}[/dim]")
    for path in filter(None, (*drawings, report, save)):
        err.print(Text(f"wrote {path}", "dim"))


app.command()(batch)


@app.command()
def profile(
    image: Annotated[Path, typer.Argument(help="A picture file.", show_default=False)],
    model: Annotated[str, typer.Option(help="Preset: vit16, siglip2, qwen2.5-vl, ...")] = "qwen2.5-vl",
    budget: Annotated[int, typer.Option(help="Tokens.")] = 273,
    gaze: Annotated[str, typer.Option(help="x,y in 0..1.")] = "0.5,0.5",
    backend: Annotated[BackendName, typer.Option(help="Where it runs.")] = BackendName.auto,
    device: Annotated[str | None, typer.Option(help="Vulkan device: UUID, index or part of its name.")] = None,
    rounds: Annotated[int, typer.Option(help="That are measured, 1..1000.")] = 20,
    trace: Annotated[Path | None, typer.Option(help="Write the last round for Chrome or Perfetto, JSON.")] = None,
    as_json: Json = False,
):
    """Time each stage on host and device, against the bytes it must move; write a trace."""
    from . import profile as profiling

    try:
        point = tuple(float(part) for part in gaze.split(","))
    except ValueError:
        point = ()
    if len(point) != 2:
        raise Failure(f"profile: gaze: got {gaze!r}, expected two numbers, x,y.")
    pixels = np.asarray(encoding.read_image(image).convert("RGB"))
    result = profiling.profile(pixels, backend=backend.value, device=device, model=model, budget=budget, gaze=point,
                               rounds=rounds)
    if trace:
        trace.write_text(json.dumps(profiling.trace_events(result)))
    if as_json:
        return print_json({name: value for name, value in result.items() if name != "events"}
                          | {"submits": profiling.submits(result)})
    table = plain_table("stage", ">host ms", ">device ms", ">dispatches", ">MB", ">GB/s", ">of copy")
    for row in result["rows"]:
        cells = [(row["device_ms"], "{:.3f}"), (row["dispatches"] or None, "{}"), (row.get("bytes"), "{:.1f}"),
                 (row.get("gb_s"), "{:.2f}"), (row.get("of_copy"), "{:.0%}")]
        table.add_row(row["stage"], f"{row['host_ms']:.3f}",
                      *("" if value is None else form.format(value / 1e6 if name == 2 else value)
                        for name, (value, form) in enumerate(cells)))
    out.print(table)
    out.print(f"[dim]medians of {rounds} rounds on {result['backend']}, {result['device']}; MB: what a stage must read "
              f"and write; the host copies {result['copy_gb_s']:.1f} GB/s"
              + (f", the device {result['device_copy_gb_s']:.1f}" if result["device_copy_gb_s"] else "") + "[/dim]")
    if result["kernels"]:
        table = plain_table("kernel", ">windows", ">subgroup", "statistics")
        for kernel in result["kernels"]:
            table.add_row(kernel["kernel"], str(kernel["windows"]), str(kernel["subgroup_size"]),
                          Text(profiling.told(kernel)))
        out.print(table)
    elif result["shaders"]:
        out.print("[dim]statistics of kernels: not offered by this driver[/dim]")
    if os.environ.get("FOVEATE_SUBMIT_PER_PASS") == "1":
        for number, names in profiling.submits(result):
            out.print(f"[dim]submit {number}: {names}[/dim]")
    if trace:
        err.print(Text(f"wrote {trace}", "dim"))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(context: typer.Context):
    """Measure against what a user would use, or `bench quality | scaling | select | model | batch | serve`; see their
    --help.
    """
    arguments, word = list(context.args), context.args[0] if context.args else ""
    modules = {"quality": "quality_report", "scaling": "bench_scaling", "select": "bench_select",
               "model": "bench_model", "batch": "bench_batch", "serve": "bench_serve"}
    try:
        run_bench = import_module(f"foveate.{modules.get(word, 'bench')}").main
        arguments = arguments[1:] if word in modules else arguments
    except ModuleNotFoundError as error:
        raise Failure(f"bench: got no {error.name}, expected it installed. pip install \"foveate[dev]\"") from None
    raise typer.Exit(run_bench(arguments) or 0)


app.command()(serve)


def version(asked: bool):
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(context: typer.Context,
            show: Annotated[bool, typer.Option("--version", callback=version, is_eager=True,
                                               help="Print the version.")] = False):
    if context.invoked_subcommand is None:
        print(context.get_help())


def run(arguments=None):
    """Runs a command line and returns its exit status. What the user can mend is one line, never a traceback."""
    try:
        return app(args=arguments, standalone_mode=False) or 0
    except (Error, Failure) as error:
        message = str(error)
    except typer.Abort:
        message = "interrupted"
    except UsageError as error:
        message = error.format_message()
    except BrokenPipeError:  # `foveate info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        message = f"{error.filename or 'file'}: {error.strerror}"
    # one line, and nothing of a file's name that a terminal would obey
    err.print(Text("".join(c if c.isprintable() else "?" for c in message), "red"), soft_wrap=True)
    return 2
