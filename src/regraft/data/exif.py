"""The way up of a picture: reading the EXIF orientation and undoing it."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_ORIENTATION_TAG = 0x0112


def mirrored_axes(orientation: int) -> tuple[bool, bool]:
    """Whether the rows, and the columns, of the upright picture run backwards in the file."""
    return orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)


def upright(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation (1 to 8, as in the EXIF standard)."""
    if orientation >= 5:
        rgb = rgb.transpose(1, 0, 2)
    rows, columns = mirrored_axes(orientation)
    if rows:
        rgb = rgb[::-1]
    if columns:
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(rgb)


def jpeg_exif(data: bytes) -> bytes:
    """Find the EXIF block among the segments before the first scan; empty when there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 4 : at + 2 + length]
        at += 2 + length
    return b""


def orientation_of(exif: bytes) -> int:
    """Read the orientation out of an EXIF block; 1 (upright) when it says nothing sensible."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == _ORIENTATION_TAG and kind == 3:
                (value,) = struct.unpack_from(order + "H", tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
