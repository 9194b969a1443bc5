# SPDX-License-Identifier: Apache-2.0
"""Where each image of a batch is looked at: the same for all, or from what lies beside it."""

import math

from ..error import InputError, require
from .table import open_table

FORMS = 'x,y, "sidecar", "column:NAME", "column:X,Y" or a .parquet file'


def gaze_of(gaze, source):
    """A function from an image's index to its gaze points, ((x, y), ...), or None where it has none."""
    if gaze is None:
        return lambda index: None
    if not isinstance(gaze, str):
        points = points_of(gaze, "gaze")
        return lambda index: points
    if gaze == "sidecar":
        return lambda index: points_of(source.about(index).get("gaze"), source.keys[index])
    if gaze.startswith("column:"):
        names = gaze.removeprefix("column:").split(",")
        require(len(names) <= 2, "batch: gaze", gaze, FORMS)

        def of_columns(index):
            about = source.about(index)
            values = [about.get(name.strip()) for name in names]
            return points_of(values[0] if len(values) == 1 else None if None in values else values,
                             source.keys[index])

        return of_columns
    if gaze.endswith(".parquet"):
        table = open_table(gaze)
        rest = ("gaze",) if "gaze" in table.names else ("gaze_x", "gaze_y")
        for name in ("key", *rest):
            require(name in table.names, "batch: gaze table", f"columns {', '.join(table.names)}",
                    "key, and gaze or gaze_x and gaze_y")
        columns = [table.column(name) for name in rest]
        values = columns[0] if len(columns) == 1 else map(list, zip(*columns, strict=True))
        found = dict(zip(table.column("key"), values, strict=True))
        return lambda index: points_of(found.get(source.keys[index]), source.keys[index])
    try:
        points = points_of([float(part) for part in gaze.split(",")], "gaze")
    except ValueError:
        raise InputError(f"batch: gaze: got {gaze!r}, expected {FORMS}.") from None
    return lambda index: points


def points_of(value, what):
    """((x, y), ...) of a pair or of a list of pairs; None stays. Eye trackers say NaN where they saw nothing."""
    if value is None:
        return None
    try:
        pairs = [value] if isinstance(value[0], (int, float)) else value
        points = tuple((float(x), float(y)) for x, y in pairs)
    except (TypeError, ValueError, IndexError, KeyError):
        raise InputError(f"batch: gaze of {what}: got {str(value)[:60]!r}, expected x, y or pairs of them.") from None
    points = tuple(point for point in points if not math.isnan(point[0] + point[1]))
    return points or None
