# SPDX-License-Identifier: Apache-2.0
"""Where somebody looks, and when: a pointer, a recording, a fixed point, or a model that chooses for itself.

A source is asked for the gaze at a time and answers with a `Gaze`, or with None where nobody looks: before the first
sample, while eyes are closed, behind the end of a recording.
"""

import csv
import json
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

from .error import InputError, real, require

HOLD_S = 0.15       # a blink: so long the last sample before it counts on


@dataclass(frozen=True)
class Gaze:
    """A point that was looked at.

    Attributes:
        time_s: on the source's own clock.
        x, y: in uv, 0..1 over the image, y down; outside of it where somebody looked past it.
        confidence: 0..1, of the tracker.
    """

    time_s: float
    x: float
    y: float
    confidence: float = 1.0

    @property
    def uv(self) -> tuple[float, float]:
        """As `gaze=` takes it: on the image's border where it lies outside."""
        return min(max(self.x, 0.0), 1.0), min(max(self.y, 0.0), 1.0)


@runtime_checkable
class GazeSource(Protocol):
    """Anything with these two."""

    def at(self, time_s: float | None = None) -> Gaze | None:
        """The gaze at a time on the source's clock; None: now, or the newest there is."""

    def close(self) -> None:
        """Ends it; calling it again does nothing."""


class Constant:
    """Always the same point.

    >>> from foveate.gaze import Constant
    >>> Constant(0.4, 0.6).at().uv
    (0.4, 0.6)
    """

    def __init__(self, x: float = 0.5, y: float = 0.5):
        self._x, self._y = _share("gaze: x", x), _share("gaze: y", y)

    def at(self, time_s: float | None = None) -> Gaze:
        return Gaze(time.monotonic() if time_s is None else time_s, self._x, self._y)

    def close(self) -> None:
        pass


class Replay:
    """A recording, read between its samples by straight lines.

    Args:
        samples: a file, or an iterable of (time_s, x, y) or (time_s, x, y, confidence). Files: .csv with a header, or
            .jsonl with an object a line; columns time_s (or t), x, y and, where it is known, confidence. Samples with
            NaN, or with less than `confidence`, are blinks.
        confidence: the least that counts.
        hold_s: longest gap, in seconds, that is bridged; in a longer one nobody looks.
        loop: begin again behind the end.

    Raises:
        InputError: no sample, times that fall, or a file that is none of the above.

    >>> from foveate.gaze import Replay
    >>> replay = Replay([(0.0, 0.2, 0.2), (0.1, 0.4, 0.2)])
    >>> round(replay.at(0.05).x, 3), replay.at(0.5)
    (0.3, None)
    """

    def __init__(self, samples, *, confidence: float = 0.0, hold_s: float = HOLD_S, loop: bool = False):
        if isinstance(samples, (str, Path)):
            samples = _read(Path(samples))
        kept = [_sample(index, sample) for index, sample in enumerate(samples)]
        self._samples = [s for s in kept if math.isfinite(s.x) and math.isfinite(s.y) and s.confidence >= confidence]
        require(self._samples, "gaze: recording", f"{len(kept)} samples, of which none counts", "one or more")
        self._times = [sample.time_s for sample in self._samples]
        falls = next((b for a, b in pairwise(kept) if b.time_s < a.time_s), None)
        require(falls is None, "gaze: time_s", falls and falls.time_s, "times that do not fall")
        self._begin, self._end = kept[0].time_s, kept[-1].time_s
        self._hold, self._loop = real("gaze: hold_s", hold_s), loop
        require(0 <= self._hold < math.inf, "gaze: hold_s", hold_s, "0 or more seconds")

    @property
    def span_s(self) -> tuple[float, float]:
        """Times of its first and last sample."""
        return self._begin, self._end

    def at(self, time_s: float | None = None) -> Gaze | None:
        when = self._end if time_s is None else time_s
        if self._loop and self._end > self._begin:
            when = self._begin + (when - self._begin) % (self._end - self._begin)
        after = bisect_right(self._times, when)
        if after == 0:
            return None
        before = self._samples[after - 1]
        if after == len(self._samples) or self._samples[after].time_s - before.time_s > self._hold:
            return Gaze(when, before.x, before.y, before.confidence) if when - before.time_s <= self._hold else None
        later = self._samples[after]
        t = (when - before.time_s) / (later.time_s - before.time_s)
        return Gaze(when, before.x + (later.x - before.x) * t, before.y + (later.y - before.y) * t,
                    min(before.confidence, later.confidence))

    def close(self) -> None:
        pass


class Pointer:
    """A pointer over a picture.

    Args:
        read: gives (x, y) in px, and the picture's (width, height) there; `Pointer.of_glfw` makes one of a window.

    >>> from foveate.gaze import Pointer
    >>> Pointer(lambda: ((320, 120), (640, 480))).at().uv
    (0.5, 0.25)
    """

    def __init__(self, read: Callable[[], tuple[tuple[float, float], tuple[float, float]]]):
        self._read = read

    @classmethod
    def of_glfw(cls, window) -> "Pointer":
        """The cursor over a GLFW window that shows the picture from edge to edge."""
        import glfw

        return cls(lambda: (glfw.get_cursor_pos(window), glfw.get_window_size(window)))

    def at(self, time_s: float | None = None) -> Gaze | None:
        """Where it is now, whatever the time; None while it is outside, or the window has no size."""
        if self._read is None:
            return None
        (x, y), (width, height) = self._read()
        inside = width > 0 and height > 0 and 0 <= x <= width and 0 <= y <= height
        return Gaze(time.monotonic() if time_s is None else time_s, x / width, y / height) if inside else None

    def close(self) -> None:
        self._read = None


class Chosen:
    """What a model chooses to look at; `foveate.model.look` puts a point here after each look.

    >>> from foveate.gaze import Chosen
    >>> source = Chosen()
    >>> source.put(0.25, 0.75)
    >>> source.at().uv
    (0.25, 0.75)
    """

    def __init__(self):
        self._points: list[Gaze] = []

    def put(self, x: float, y: float, confidence: float = 1.0) -> None:
        self._points.append(Gaze(time.monotonic(), _share("gaze: x", x), _share("gaze: y", y), confidence))

    @property
    def points(self) -> list[tuple[float, float]]:
        """All of them, as `gaze=` takes them."""
        return [point.uv for point in self._points]

    def at(self, time_s: float | None = None) -> Gaze | None:
        known = [p for p in self._points if time_s is None or p.time_s <= time_s]
        return known[-1] if known else None

    def close(self) -> None:
        pass


def fixations(samples: Iterable[Gaze], *, speed: float = 0.5, least_s: float = 0.08) -> list[Gaze]:
    """Where the eye rested, by speed (I-VT: Salvucci and Goldberg, Identifying fixations and saccades, 2000).

    Args:
        samples: in the order of time.
        speed: of the image's side in a second: what is faster is a jump.
        least_s: what is shorter is none.

    Returns:
        The mean of each rest, at the time it began, with its least confidence.

    >>> from foveate.gaze import Gaze, fixations
    >>> [g.uv for g in fixations([Gaze(t / 50, 0.2 + 0.6 * (t > 9), 0.5) for t in range(20)])]
    [(0.2, 0.5), (0.8, 0.5)]
    """
    rests, rest = [], []
    for sample in samples:
        if rest:
            before = rest[-1]
            took = sample.time_s - before.time_s
            if math.hypot(sample.x - before.x, sample.y - before.y) > speed * took:
                rests.append(rest)
                rest = []
        rest.append(sample)
    rests = [r for r in [*rests, rest] if r and r[-1].time_s - r[0].time_s >= least_s]
    return [Gaze(r[0].time_s, math.fsum(s.x for s in r) / len(r), math.fsum(s.y for s in r) / len(r),
                 min(s.confidence for s in r)) for r in rests]


def _share(what, value):
    number = real(what, value)
    require(0 <= number <= 1, what, number, "0..1 of the image")
    return number


def _sample(index, sample):
    values = tuple(sample)
    require(len(values) in (3, 4), f"gaze: sample {index}", f"{len(values)} values",
            "(time_s, x, y) or (time_s, x, y, confidence)")
    found = Gaze(*(real(f"gaze: sample {index}", value) for value in values))
    require(math.isfinite(found.time_s), f"gaze: sample {index}", f"time {found.time_s}", "a time in seconds")
    return found


def _read(path):
    """(time_s, x, y[, confidence]) of each line of a file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            if path.suffix == ".jsonl":
                rows = [json.loads(line) for line in file if line.strip()]
            else:
                rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise InputError(f"gaze: recording: got {error}, expected a .csv or .jsonl file.") from None
    for index, row in enumerate(rows):
        columns = row if isinstance(row, dict) else {}
        when = columns.get("time_s", columns.get("t"))
        missing = [name for name, value in (("time_s", when), ("x", columns.get("x")), ("y", columns.get("y")))
                   if value is None]
        require(not missing, f"gaze: row {index + 1}", f"no {', '.join(missing)}", "columns time_s, x and y")
        own = columns.get("confidence")
        x, y = ("nan" if columns[name] == "" else columns[name] for name in "xy")    # an empty cell is a blink
        yield (when, x, y, *([] if own in (None, "") else [own]))
