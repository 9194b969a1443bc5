# SPDX-License-Identifier: Apache-2.0
"""`foveate bench model`: what tokens cost a model, in operations and in time, by their number.

A Qwen2.5-VL with random weights: a tower of ViT-B's size, and a language model as small as the machine asks for. Times
do not depend on what weights say. Every count of tokens is a layout of one image; the largest is its whole grid.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from .bench import machine, write
from .bench_cases import photograph
from .engine import Engine
from .error import require
from .model.cost import gain, language_of, prefill_flops, tower_flops, tower_of
from .model.framework import need

SIDE = 64                               # tokens of the image's edge: 4096 in all
COUNTS = 273, 729, 1024, 2048
TEXT, SAY = 64, 16                      # tokens of a prompt beside the image's; of an answer
GOAL = 11                               # ViT at 4096 against 273 tokens


def build(depth=12, width=768, layers=8):
    """The model; ViT-B has 12 layers of 768, and an MLP of 3 x 2048 here where it has 2 x 3072."""
    torch, transformers = need("torch", "transformers")
    torch.manual_seed(0)
    text = {"vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": layers,
            "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 32768,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]}}
    vision = {"depth": depth, "hidden_size": width, "intermediate_size": 2048, "num_heads": width // 64,
              "out_hidden_size": 1024, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
              "window_size": 112, "fullatt_block_indexes": [i for i in range(depth) if i % 3 == 2], "in_channels": 3}
    ids = {"image_token_id": 31999, "video_token_id": 31998, "vision_start_token_id": 31997,
           "vision_end_token_id": 31996}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    return transformers.Qwen2_5_VLForConditionalGeneration(config).eval()


def measure(side=SIDE, counts=COUNTS, rounds=3, model=None):
    """Everything, as --json prints it. model: of `build`, or None."""
    torch = need("torch")
    from .model import qwen

    whole = side * side
    counts = sorted({*counts, whole})
    require(counts[0] > 0 and counts[-1] == whole, "bench: tokens", counts, f"1..{whole}, the image's own")
    model = build() if model is None else model
    engine, px = Engine(backend="cpu"), side * 28
    image = photograph(px, px)
    tower, language = tower_of(model.config), language_of(model.config)
    text = torch.full((1, TEXT), 7)
    rows = {}
    with torch.inference_mode():
        for count in counts:
            options = {"layout": "grid", "grid": (side, side)} if count == whole else {"budget": count}
            times = {"engine": [], "tower": [], "prefill": [], "answer": []}
            for _ in range(rounds + 1):
                tokens = _timed(times["engine"], lambda o=options: engine.tokens(image, model="qwen2.5-vl", **o))
                made = qwen.vision(tokens, model)
                seen = _timed(times["tower"], lambda m=made: model.get_image_features(**m)).pooler_output
                prompt = torch.cat([torch.cat(list(seen))[None], model.get_input_embeddings()(text)], 1)
                out = _timed(times["prefill"], lambda p=prompt: model.model.language_model(
                    inputs_embeds=p, use_cache=True))
                _timed(times["answer"], lambda o=out: _answer(model, o))
            rows[count] = {"tower_flops": tower_flops(tower, count),
                           "prefill_flops": prefill_flops(language, count + TEXT),
                           **{f"{part}_ms": statistics.median(own[1:]) * 1e3 for part, own in times.items()}}
    for row in rows.values():
        first = rows[whole]
        row["tower_ratio"] = first["tower_ms"] / row["tower_ms"]
        row["end_to_end"] = gain({part: (first[f"{part}_ms"], row[f"{part}_ms"])
                                  for part in ("engine", "tower", "prefill", "answer")})
    size = sum(p.numel() for p in model.model.visual.parameters()), sum(p.numel() for p in model.parameters())
    return {"machine": machine(), "torch": torch.__version__, "threads": torch.get_num_threads(), "px": px,
            "tower_weights": size[0], "weights": size[1], "text": TEXT, "answer": SAY, "rounds": rounds,
            "rows": {str(count): row for count, row in rows.items()}}


def _answer(model, out):
    """The tokens of an answer, one after another."""
    torch = need("torch")
    cache, last = out.past_key_values, out.last_hidden_state[:, -1:]
    for _ in range(SAY):
        word = model.lm_head(last).argmax(-1)
        out = model.model.language_model(input_ids=word, past_key_values=cache, use_cache=True)
        cache, last = out.past_key_values, out.last_hidden_state
    return torch.isfinite(last).all()


def _timed(times, run):
    start = time.perf_counter()
    made = run()
    times.append(time.perf_counter() - start)
    return made


def markdown(result):
    whole = max(map(int, result["rows"]))
    tower, weights = (result[name] / 1e6 for name in ("tower_weights", "weights"))
    lines = [f"Machine: {result['machine']}; torch {result['torch']}, {result['threads']} threads, float32. Qwen2.5-VL "
             f"with random weights: a tower of {tower:.0f} million of {weights:.0f}. One image of {result['px']} x "
             f"{result['px']} px, {result['text']} tokens of text, an answer of {result['answer']}. Medians of "
             f"{result['rounds']} rounds.", "",
             "| tokens | engine ms | tower GFLOP | tower ms | of whole | prefill GFLOP | prefill ms | answer ms | "
             "end to end |", "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for count, row in result["rows"].items():
        lines.append(f"| {count} | {row['engine_ms']:.1f} | {row['tower_flops'] / 1e9:.0f} | {row['tower_ms']:.0f} | "
                     f"{row['tower_ratio']:.1f} x | {row['prefill_flops'] / 1e9:.0f} | {row['prefill_ms']:.0f} | "
                     f"{row['answer_ms']:.0f} | {row['end_to_end']:.1f} x |")
    if "273" in result["rows"] and whole == SIDE * SIDE:
        ratio = result["rows"]["273"]["tower_ratio"]
        lines += ["", f"The tower at 273 tokens against {whole}: {ratio:.1f} times faster; goal: {GOAL} or more; "
                  f"{'met' if ratio >= GOAL else 'not met'}."]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench model", description="Operations and time of a vision tower, a "
                                     "prompt and an answer, by the number of tokens.")
    parser.add_argument("--tokens", type=int, action="append", default=[], help="a count, may be repeated; the whole "
                        f"grid is always there. Default: {', '.join(map(str, COUNTS))}")
    parser.add_argument("--side", type=int, default=SIDE, help=f"tokens of the image's edge, default {SIDE}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="folder for model.json and model.md")
    options = parser.parse_args(arguments)
    require(1 <= options.side <= 256, "bench: side", options.side, "1..256")
    require(options.rounds >= 1, "bench: rounds", options.rounds, "1 or more")
    result = measure(options.side, options.tokens or [n for n in COUNTS if n < options.side**2], options.rounds)
    text = markdown(result)
    write(options.out, "model", result,
          "# Measured: what tokens cost a model\n\nWritten by `foveate bench model`.\n\n" + text)
    print(json.dumps(result, indent=1) if options.json else text)
    return 0
