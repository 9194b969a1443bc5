# SPDX-License-Identifier: Apache-2.0
"""What every method of selection returns, and what all of them check and share."""

import math
import operator
from typing import Any, NamedTuple

from ...error import require
from ..framework import need

torch = need("torch")
Tensor = torch.Tensor


class Selection(NamedTuple):
    """K of N tokens of each image of a batch.

    indices: (B, K) int64, ascending: which tokens are kept; of merged ones, the one whose place they keep.
    features: (B, K, D), in the input's dtype.
    total: N.
    sizes: (B, K) float32, how many of the N tokens each stands for; None where nothing is merged.
    members: (B, N) int64, the row 0..K-1 that each token went into, -1: dropped; None where nothing is merged.
    occupied: (B,) int64, log-polar bins with a kept token; None for methods without bins.
    """

    indices: Tensor
    features: Tensor
    total: int
    sizes: Tensor | None = None
    members: Tensor | None = None
    occupied: Tensor | None = None

    @property
    def bias(self) -> Tensor:
        """(B, K) float32, log of sizes: added to attention logits, a token counts as often as what it stands for."""
        if self.sizes is None:
            return torch.zeros(self.indices.shape, device=self.indices.device)
        return self.sizes.log()

    def take(self, plane: Tensor) -> Tensor:
        """The kept rows of (N, ...) or (B, N, ...): positions, other layers' features. Returns (B, K, ...)."""
        return rows_of(_plane(plane, self), self.indices)

    def pool(self, plane: Tensor) -> Tensor:
        """Means of (N, ...) or (B, N, ...) over what each kept token stands for, in float32. Returns (B, K, ...)."""
        plane = _plane(plane, self)
        if self.members is None:
            return rows_of(plane, self.indices).float()
        return torch.stack([_means(rows.float(), into, self.indices.shape[1])
                            for rows, into in zip(plane, self.members, strict=True)])


def _plane(plane, selection):
    batch, total = selection.indices.shape[0], selection.total
    if plane.shape[:2] != (batch, total) and plane.shape[:1] == (total,):
        plane = plane.expand(batch, *plane.shape)
    require(plane.shape[:2] == (batch, total), "model: plane", f"shape {tuple(plane.shape)}",
            f"({total}, ...) or ({batch}, {total}, ...)")
    return plane


def _means(rows, into, count):
    kept = into >= 0
    sums = add_rows(rows.new_zeros(count, *rows.shape[1:]), into[kept], rows[kept])
    counts = torch.bincount(into[kept], minlength=count).to(sums.dtype)
    return sums / counts.reshape(-1, *[1] * (sums.ndim - 1))


def add_rows(sums, into, rows):
    """sums with each row added to sums[into]; always in the same order, so that the last bit is the same too."""
    if sums.is_cuda:    # index_add has no order there; index_put sorts first
        return sums.index_put((into,), rows, accumulate=True)
    return sums.index_add(0, into, rows)


def rows_of(plane, indices):
    """(B, K, ...) of (B, N, ...)."""
    return plane[torch.arange(len(indices), device=indices.device)[:, None], indices]


# What is asked of arguments

def tokens_of(features, k, least=1):
    """(B, N, k) of features and a budget, checked."""
    require(isinstance(features, Tensor) and features.ndim == 3 and features.is_floating_point(), "model: features",
            told(features), "a float tensor (B, N, D)")
    batch, total, _ = features.shape
    require(batch and total, "model: features", f"shape {tuple(features.shape)}", "one image and one token or more")
    return batch, total, integer("model: k", k, least, total)


def integer(what, value, least, most):
    """A whole number of a range."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    require(least <= number <= most, what, repr(value), f"a whole number, {least}..{most}")
    return number


def numbers(what, values, count):
    """So many finite numbers, 0 or more."""
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        found = ()
    require(len(found) == count and all(0 <= number < math.inf for number in found), what, repr(values),
            f"{count} finite numbers, 0 or more")
    return found


def told(value):
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{value.dtype} {tuple(value.shape)}".removeprefix("torch.")


def plane_of(what, value, features, width=None):
    """(B, N), or (B, N, C) where width is -1 or C, finite, where the features are; (N, 2) is expanded over a batch."""
    batch, total, _ = features.shape
    shape = f"({batch}, {total}{'' if width is None else ', C' if width < 0 else f', {width}'})"
    if isinstance(value, Tensor) and width == 2 and value.shape == (total, 2):
        value = value.expand(batch, total, 2)
    require(isinstance(value, Tensor) and value.shape[:2] == (batch, total)
            and value.ndim == (2 if width is None else 3) and (width in (None, -1) or value.shape[2] == width),
            what, told(value), f"a tensor {shape}")
    require(value.device == features.device, what, f"one on {value.device}",
            f"{features.device}, where the features are")
    return finite(what, value.detach())


def finite(what, value):
    require(bool(torch.isfinite(value).all()), what, "NaN or infinity", "finite numbers")
    return value


def wide(value):
    """As float32 at least: sums in half precision lose what they should compare."""
    return value if value.dtype == torch.float64 else value.float()


def grid_of(grid, total):
    """(rows, columns) of tokens in raster order."""
    try:
        rows, columns = map(int, grid)
    except (TypeError, ValueError):
        rows = columns = 0
    require(rows > 0 and columns > 0 and rows * columns == total, "model: grid", repr(grid),
            f"(rows, columns) of {total} tokens")
    return rows, columns


def grid_positions(rows: int, columns: int, device: Any = None) -> Tensor:
    """(rows * columns, 2) float32: x, y of the centres of a grid's cells, in cells, raster order.

    >>> from foveate.model.select import grid_positions
    >>> grid_positions(1, 2).tolist()
    [[0.5, 0.5], [1.5, 0.5]]
    """
    y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2) + 0.5


def share_of(what, share, k):
    """The whole number of k tokens that a share is: 0.7 of 90 is 63, though 0.7 * 90 < 63."""
    require(isinstance(share, (int, float)) and 0 <= share <= 1, what, repr(share), "0..1")
    return min(k, math.floor(share * k + 1e-9))


# What methods are made of

def ranked(scores):
    """(B, N) indices, best first: the higher score, then the lower index."""
    return torch.sort(scores, dim=1, descending=True, stable=True).indices


def kept(features, indices, **more):
    """The Selection of these tokens as they are."""
    indices = torch.sort(indices, dim=1).values
    return Selection(indices, rows_of(features, indices), features.shape[1], **more)


def unit_range(scores):
    """(B, N) moved to 0..1 in each row; a flat row is 0."""
    scores = wide(scores)
    low, high = scores.aminmax(dim=1, keepdim=True)
    span = high - low
    return (scores - low) / torch.where(span > 0, span, 1)


def unit_rows(rows):
    """Rows of length 1; a row of zeros stays one."""
    return torch.nn.functional.normalize(wide(rows), dim=-1)


def metric_of(keys, features):
    """What tokens are compared by: keys (B, N, C) or, without them, features. NaN shows in the length of a row."""
    if keys is not None:
        return wide(plane_of("model: keys", keys, features, -1))
    rows = wide(features.detach())
    finite("model: features", rows.norm(dim=-1))
    return rows
