# SPDX-License-Identifier: Apache-2.0
"""Foveating inside another library's loop: `datasets.map`, Ray's `map_batches`, WebDataset's `compose`.

Each makes its engine when it is first called, so that it can be sent to other processes.
"""

import io

import numpy as np

from .. import Engine
from ..decode import decode
from ..error import require
from .gazing import points_of
from .options import Options
from .rows import Maker, Picture

SUFFIXES = ("jpg", "jpeg", "png", "webp")


class Mapper:
    """Columns in, columns out: `{"image": [...], ...}` to the same with patches and positions, arrays of an image each.

    Args:
        image: the column of images: bytes of files, {"bytes": ...} as Hugging Face has them, PIL images or arrays.
        gaze: None, (x, y), or the column that has a point or points of each image.
        keep: whether the column of images stays.
        dtype, tokens: see `foveate.batch.run`.

    >>> import numpy as np
    >>> from foveate.batch.mappers import Mapper
    >>> mapper = Mapper(budget=12, model="qwen2.5-vl", backend="cpu")
    >>> found = mapper({"image": [np.zeros((64, 96, 3), np.uint8)], "label": [7]})
    >>> sorted(found), found["patches"][0].shape
    (['center_px', 'fixation', 'label', 'level', 'patches', 'rate', 'size_px', 'valid'], (48, 1176))
    """

    def __init__(self, image="image", *, gaze=None, keep=False, dtype="float16", backend="auto", device=None, **tokens):
        self._image, self._gaze, self._keep = image, gaze, keep
        self._engine_options = {"backend": backend, "device": device}
        self._options = Options(tokens, dtype, scale=False)
        self._maker = self._keys = None

    def __getstate__(self):     # an engine belongs to one process
        return self.__dict__ | {"_maker": None, "_keys": None}

    def tokens(self, images, points):
        """One dict of arrays an image."""
        if self._maker is None:
            self._keys = {}
            self._maker = Maker(Engine(**self._engine_options), self._options, self._keys, strict=True)
        pictures = []
        for index, (image, gaze) in enumerate(zip(images, points, strict=True)):
            self._keys[index] = str(index)
            pixels = pixels_of(image)
            pictures.append(Picture(index, pixels, pixels.shape[:2], points_of(gaze, index), 1))
        return [{name: np.array(array) for name, (_, array) in row.tensors.items()} for row in self._maker(pictures)]

    def __call__(self, columns):
        images = columns[self._image]
        named = isinstance(self._gaze, str)
        require(not named or self._gaze in columns, "batch: gaze column", repr(self._gaze),
                "one of " + ", ".join(map(repr, columns)))
        made = self.tokens(images, columns[self._gaze] if named else [self._gaze] * len(images))
        found = {name: column for name, column in columns.items() if self._keep or name != self._image}
        names = list(made[0]) if made else []
        return found | {name: _column([entry[name] for entry in made]) for name in names}


def webdataset(image=None, *, gaze=None, handler=None, **options):
    """A stage for `wds.WebDataset(...).compose(...)`: samples with an image become samples with tokens.

    Args:
        image: the field with the image; None: the first of jpg, jpeg, png and webp that is there.
        gaze: None, (x, y), or a function from the sample to points.
        handler: what WebDataset calls a handler: given an exception, whether to go on with the next sample.
        options: as for `Mapper`.

    >>> import numpy as np
    >>> from foveate.batch.mappers import webdataset
    >>> stage = webdataset(budget=12, backend="cpu")
    >>> [sample["valid"].shape for sample in stage([{"__key__": "a", "png": np.zeros((64, 96, 3), np.uint8)}])]
    [(12,)]
    """
    mapper = Mapper("image", **options)

    def stage(samples):
        for sample in samples:
            try:
                name = image or next((suffix for suffix in SUFFIXES if suffix in sample), None)
                require(name in sample, "batch: sample", ", ".join(sample), image or "one of " + ", ".join(SUFFIXES))
                tokens, = mapper.tokens([sample[name]], [gaze(sample) if callable(gaze) else gaze])
            except Exception as error:
                if handler is not None and handler(error):
                    continue
                raise
            yield {field: value for field, value in sample.items() if field != name} | tokens

    return stage


def pixels_of(image):
    """(H, W, 3) uint8 of whatever a data set calls an image."""
    if isinstance(image, dict):
        image = image["bytes"]
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode(image)
    if isinstance(image, io.IOBase):
        return decode(image.read())
    if hasattr(image, "convert"):
        image = image.convert("RGB")
    array = np.asarray(image)
    require(array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3, "batch: image array",
            f"{array.dtype} {array.shape}", "uint8 (H, W, 3), or the bytes of a file")
    return array


def _column(arrays):
    """One array where all are alike, as Ray wants it; a list else."""
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays
