# SPDX-License-Identifier: Apache-2.0
"""What the first bytes of a JPEG, PNG or WebP file say of it, before anything is decoded or allocated.

ITU-T T.81 B.2 (JPEG), the PNG specification 3rd edition 5.3 and 11.2, RFC 9649 section 2 (WebP), TIFF 6.0 section 2
(the orientation, which Exif keeps in a TIFF).
"""

import struct
from typing import NamedTuple

import numpy as np

SOF = {0xC0, 0xC1, 0xC2}            # what libjpeg-turbo decodes: baseline, extended, progressive
OTHER_SOF = {0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
PNG = b"\x89PNG\r\n\x1a\n"
SCAN = b"\xff\xda"                  # cannot occur inside entropy-coded data, where 0xff is followed by 0


class Header(NamedTuple):
    """`frames` is 2 for any animation, `scans` how often a JPEG passes over its pixels, `orientation` Exif's, 1..8."""

    format: str
    width: int
    height: int
    channels: int = 3
    bits: int = 8
    frames: int = 1
    scans: int = 1
    orientation: int = 1


def read_header(data) -> Header | None:
    """The header, None where the bytes are of no format that is read. Raises ValueError where they are broken."""
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg(data)
        if data[:8] == PNG:
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise ValueError("the header ends early") from error
    return None


def _jpeg(data):
    at, orientation = 2, 1
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker where one has to be")
        kind = data[at + 1]
        if kind == 0xFF:            # fill
            at += 1
            continue
        if kind in ALONE:
            at += 2
            continue
        if kind in OTHER_SOF or kind in (0xD8, 0xD9, 0xDA):
            raise ValueError("no frame before the scan")
        length, = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            raise ValueError("a segment shorter than its length")
        if kind == 0xE1 and data[at + 4:at + 10] == b"Exif\0\0":
            orientation = _orientation(data[at + 10:at + 2 + length])
        if kind in SOF:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            if 0 in (height, width) or channels not in (1, 3, 4) or bits != 8:
                raise ValueError("a frame of no size, or of another depth")
            many = kind == 0xC2 or _components(data, at + 2 + length) != channels
            return Header("jpeg", width, height, channels, bits, 1, _scans(data) if many else 1, orientation)
        at += 2 + length


def _components(data, at):
    """Of the first scan. A sequential one that has them all is the only one: decoders refuse a second."""
    while data[at:at + 2] != SCAN:
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] in ALONE:
            return 0                # counted then
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2:at + 4], "big")
    return data[at + 4] if at + 4 < len(data) else 0


def _scans(data):
    """How often SCAN is in it: as 16-bit numbers of either alignment, in a tenth of the time that a search takes."""
    word = int.from_bytes(SCAN, "little")
    return sum(int(np.count_nonzero(np.frombuffer(data, "<u2", (len(data) - at) // 2, at) == word)) for at in (0, 1))


def _png(data):
    length, name, width, height, bits, color = struct.unpack_from(">I4sIIBB", data, 8)
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(color)
    if (length, name) != (13, b"IHDR") or 0 in (width, height) or not channels or bits not in (1, 2, 4, 8, 16):
        raise ValueError("no image header")
    at, frames, orientation = 33, 1, 1
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"acTL":
            frames = 2
        elif name == b"eXIf":
            orientation = _orientation(data[at + 8:at + 8 + length])
        elif name in (b"IDAT", b"IEND"):
            break
        at += 12 + length
    return Header("png", width, height, channels, bits, frames, 1, orientation)


def _webp(data):
    name, = struct.unpack_from("4s", data, 12)
    if name == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise ValueError("no key frame")
        width, height = struct.unpack_from("<HH", data, 26)
        width, height = width & 0x3FFF, height & 0x3FFF
    elif name == b"VP8L":
        bits, = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif name == b"VP8X":
        flags = data[20]
        width, height = (int.from_bytes(data[i:i + 3], "little") + 1 for i in (24, 27))
        if len(data) < 30:
            raise ValueError("the header ends early")
        orientation = _webp_orientation(data) if flags & 0x08 else 1
        return Header("webp", width, height, 4 if flags & 0x10 else 3, 8, 2 if flags & 0x02 else 1, 1, orientation)
    else:
        raise ValueError("no image chunk")
    if 0 in (width, height):
        raise ValueError("an image of no size")
    return Header("webp", width, height)


def _webp_orientation(data):
    """Of the chunk EXIF, which comes last: chunks are stepped over, a hundred at most."""
    at = 12
    for _ in range(100):
        if at + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            body = data[at + 8:at + 8 + length]
            return _orientation(body[6:] if body[:6] == b"Exif\0\0" else body)
        at += 8 + length + (length & 1)
    return 1


def _orientation(tiff):
    """Tag 0x0112 of the first directory; 1 where there is none or the metadata is broken: it is never fatal."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    try:
        magic, at = struct.unpack_from(f"{order}HI", tiff, 2)
        count, = struct.unpack_from(f"{order}H", tiff, at)
        if magic != 42:
            return 1
        for entry in range(at + 2, at + 2 + 12 * min(count, 512), 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
