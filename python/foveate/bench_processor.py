# SPDX-License-Identifier: Apache-2.0
"""What `foveate bench` measures of image processors: the stock one of transformers, and ours in its place."""

import numpy as np

from .bench_cases import GRID, Case, photograph

STOCK, EQUAL = "Hugging Face Qwen2-VL processor (PIL)", "Hugging Face Qwen2-VL processor (PIL), 264 tokens"
PATCH_BYTES = 2 * 3 * 14 * 14 * 4      # of a row of pixel_values


def _case(peers, height, width):
    """Its own settings: at most 1280 tokens, which either size is over."""
    from PIL import Image

    from .model import FoveatedQwen2VLImageProcessor, processor, resize

    image = photograph(width, height)
    picture, planes = Image.fromarray(image), np.moveaxis(image, -1, 0)
    ours, theirs = FoveatedQwen2VLImageProcessor(), processor.stock.Qwen2VLImageProcessorPil()
    small = processor.stock.smart_resize(height, width, 28, 56 * 56, 28 * 28 * 1280)
    runs = {"foveate, the same bits": lambda: ours(image, return_tensors="np"),
            "foveate, from a PIL image": lambda: ours(picture, return_tensors="np"),
            STOCK: lambda: theirs(image, return_tensors="np"),
            "the same from a PIL image": lambda: theirs(picture, return_tensors="np"),
            "foveate, resizing alone": lambda: resize.resized(planes, small),
            "PIL.Image.resize alone": lambda: picture.resize(small[::-1], Image.Resampling.BICUBIC)}
    patches = small[0] * small[1] // 14**2
    return Case(f"Qwen2-VL processor, {width} x {height} px to {small[1]} x {small[0]}", runs,
                image.nbytes + patches * PATCH_BYTES, share=4, ratios={STOCK: 5.0})


def foveated_case(engine, peers):
    from .model import FoveatedQwen2VLImageProcessor, processor

    ours, theirs = FoveatedQwen2VLImageProcessor(budget=273), processor.stock.Qwen2VLImageProcessorPil()
    runs = {"foveate, 273 tokens by rate and gaze": lambda: ours(peers.image, gaze=(0.4, 0.6), engine=engine,
                                                                 return_tensors="np"),
            STOCK: lambda: theirs(peers.image, return_tensors="np"), EQUAL: peers.hf_grid}
    return Case("foveated Qwen2-VL processor, 1920 x 1080 px", runs,
                peers.image.nbytes + GRID[0] * GRID[1] * 4 * PATCH_BYTES, share=2, ratios={STOCK: 10.0})


# by the word that --case takes
CASES = {"processor": lambda engine, peers: _case(peers, 1080, 1920),
         "processor-4k": lambda engine, peers: _case(peers, 2160, 3840), "foveated": foveated_case}
