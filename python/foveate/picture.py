# SPDX-License-Identifier: Apache-2.0
"""Pictures made with NumPy alone: PNG files, colours, lines, and a photograph at another size."""

import struct
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

GROUND = (20, 23, 28)
INK = (226, 230, 236)
FAINT = (138, 147, 160)


class Picture:
    """Pixels to look at, (height, width, 3) uint8. A notebook shows it, NumPy reads it, `save` writes a PNG."""

    __slots__ = ("pixels",)

    def __init__(self, pixels):
        self.pixels = as_bytes(pixels)

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.pixels, dtype=dtype, copy=copy) if copy else np.asarray(self.pixels, dtype)

    def png(self) -> bytes:
        """The bytes of a PNG file."""
        return png(self.pixels)

    def _repr_png_(self):
        return self.png()

    def save(self, path) -> None:
        """Writes a PNG file; its folder is made."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.png())

    def __repr__(self) -> str:
        return f"<foveate picture {self.width} x {self.height} px>"


def tiled(pictures, gap=8):
    """Pictures of one width in rows of two, of three where there are three: in the order they are read."""
    columns = 3 if len(pictures) == 3 else 2
    rows = [pictures[i:i + columns] for i in range(0, len(pictures), columns)]
    width = pictures[0].width
    heights = [max(picture.height for picture in row) for row in rows]
    canvas = np.empty((sum(heights) + gap * (len(rows) - 1), columns * width + gap * (columns - 1), 3), np.uint8)
    canvas[:] = GROUND
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            left = column * (width + gap)
            canvas[top:top + picture.height, left:left + width] = picture.pixels
        top += height + gap
    return Picture(canvas)


def as_bytes(values):
    """(H, W), (H, W, 1) or (H, W, 3) as (H, W, 3) uint8; floats that are not already bytes are 0..255."""
    values = np.asarray(values)
    if values.dtype != np.uint8:
        values = np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
    if values.ndim == 2:
        values = values[..., None]
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)) if values.shape[2] == 1
                                else values[..., :3])


def png(pixels, level=6):
    """The bytes of a PNG file of (H, W, 3) or (H, W, 4) uint8 (W3C Portable Network Graphics, 3rd edition).

    Each row has the filter with the smallest sum of magnitudes, as the specification advises (12.7).
    """
    pixels = np.asarray(pixels, np.uint8)
    height, width, channels = pixels.shape
    raw = pixels.reshape(height, width * channels).astype(np.int16)
    left = np.zeros_like(raw)
    left[:, channels:] = raw[:, :-channels]
    up = np.zeros_like(raw)
    up[1:] = raw[:-1]
    corner = np.zeros_like(raw)
    corner[1:, channels:] = raw[:-1, :-channels]
    to_left, to_up = np.abs(up - corner), np.abs(left - corner)
    to_corner = np.abs(left + up - 2 * corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    guesses = (np.zeros_like(raw), left, up, (left + up) >> 1, paeth)
    rows = np.stack([(raw - guess).astype(np.uint8) for guess in guesses])
    best = np.abs(rows.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64).argmin(axis=0)
    lines = np.empty((height, width * channels + 1), np.uint8)
    lines[:, 0], lines[:, 1:] = best, rows[best, np.arange(height)]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 6, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), level))
            + chunk(b"IEND", b""))


Picture._repr_png_ = Picture.png


def resize(pixels, height, width):
    """A photograph at another size, (height, width, C) float32, by Keys' cubic (a = -1/2), wider where it shrinks."""
    values = np.asarray(pixels, np.float32)
    for axis, count in ((0, height), (1, width)):
        if values.shape[axis] != count:
            values = _resize_axis(values, axis, count)
    return values


def _resize_axis(values, axis, count):
    size = values.shape[axis]
    stretch = max(size / count, 1.0)
    middle = (np.arange(count) + 0.5) * size / count
    first = np.ceil(middle - 2 * stretch - 0.5).astype(int)
    taps = first[:, None] + np.arange(int(4 * stretch) + 2)
    t = np.abs((taps + 0.5 - middle[:, None]) / stretch)
    weight = np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, np.where(t < 2, ((-0.5 * t + 2.5) * t - 4) * t + 2, 0))
    weight[(taps < 0) | (taps >= size)] = 0
    weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    taps = np.clip(taps, 0, size - 1)
    shape = [1] * values.ndim
    shape[axis] = count
    out = 0
    for k in range(taps.shape[1]):
        if weight[:, k].any():
            out = out + np.take(values, taps[:, k], axis=axis) * weight[:, k].reshape(shape)
    return out


def strokes(canvas, segments, width, ink, opacity=1.0):
    """Draws lines with round ends into (H, W, 3) float32, anti-aliased: segments (n, 4) of x0 y0 x1 y1."""
    segments = np.asarray(segments, float)
    if not len(segments):
        return
    reach = width / 2 + 1
    low = np.floor(np.minimum(segments[:, :2], segments[:, 2:]).min(axis=0) - reach).astype(int)
    high = np.ceil(np.maximum(segments[:, :2], segments[:, 2:]).max(axis=0) + reach).astype(int)
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, (canvas.shape[1], canvas.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    y, x = np.mgrid[y0:y1, x0:x1] + 0.5
    nearest = np.full(x.shape, np.inf)
    for ax, ay, bx, by in segments:
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        np.minimum(nearest, np.hypot(x - ax - along * dx, y - ay - along * dy), out=nearest)
    _blend(canvas[y0:y1, x0:x1], np.clip(width / 2 + 0.5 - nearest, 0, 1) * opacity, ink)


def swatch(canvas, x, y, width, height, radius, ink):
    """Fills a rectangle with round corners, anti-aliased."""
    x0, y0, x1, y1 = int(x) - 1, int(y) - 1, int(x + width) + 2, int(y + height) + 2
    part = canvas[max(y0, 0):y1, max(x0, 0):x1]
    rows, columns = np.mgrid[max(y0, 0):max(y0, 0) + part.shape[0], max(x0, 0):max(x0, 0) + part.shape[1]] + 0.5
    dx = np.abs(columns - x - width / 2) - width / 2 + radius
    dy = np.abs(rows - y - height / 2) - height / 2 + radius
    distance = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - radius
    _blend(part, np.clip(0.5 - distance, 0, 1), ink)


def _blend(part, cover, ink):
    part += (np.asarray(ink, np.float32) - part) * cover[..., None].astype(np.float32)


def cross(canvas, x, y, radius=15):
    """A gaze point: a white cross in a ring, readable on any ground."""
    angle = np.linspace(0, 2 * np.pi, 49)
    ring = np.stack([x + radius * 0.53 * np.cos(angle), y + radius * 0.53 * np.sin(angle)], 1)
    lines = [[x + dx * near, y + dy * near, x + dx * radius, y + dy * radius]
             for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)) for near in (radius * 0.2,)]
    shape = np.concatenate([np.concatenate([ring[:-1], ring[1:]], axis=1), np.array(lines)])
    strokes(canvas, shape, 5, (0, 0, 0), 0.62)
    strokes(canvas, shape, 2, (255, 255, 255))


# (lightness, chroma, hue in degrees) of OKLCh (Ottosson 2020): lightness rises evenly, so order is seen in gray too.
_RAMP = ((0.22, 0.075, 292), (0.37, 0.125, 276), (0.51, 0.105, 232), (0.65, 0.115, 182), (0.79, 0.150, 142),
         (0.93, 0.175, 104))


@lru_cache(maxsize=1)
def ramp():
    """256 colours from dark violet over teal to yellow, (256, 3) uint8."""
    lightness, chroma, hue = (np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(_RAMP)), column)
                              for column in np.array(_RAMP).T)
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    cone = np.stack([lightness + 0.3963377774 * a + 0.2158037573 * b, lightness - 0.1055613458 * a - 0.0638541728 * b,
                     lightness - 0.0894841775 * a - 1.2914855480 * b], 1) ** 3
    linear = cone @ np.array([[4.0767416621, -1.2684380046, -0.0041960863],
                              [-3.3077115913, 2.6097574011, -0.7034186147],
                              [0.2309699292, -0.3413193965, 1.7076147010]])
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.floor(encoded * 255 + 0.5).astype(np.uint8)


def heat(values):
    """Values 0..1 as colours of the ramp, (..., 3) uint8."""
    return ramp()[np.clip(np.asarray(values, float) * 255 + 0.5, 0, 255).astype(int)]
