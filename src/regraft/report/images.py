"""Arrays as pictures inside a page: ``data:`` addresses, coloured maps, mosaics."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Array = NDArray[np.floating]

_QUALITY = 68
_FOR, _AGAINST = np.array([230, 97, 1]), np.array([94, 60, 153])
"""Orange and violet: apart for every kind of colour vision, on dark pictures and on bright ones."""
_STRONG = 0.75
_TOP = 99.5


def data_uri(pixels: Pixels, side: int | None = None) -> str:
    """Encode a picture as WebP in a ``data:`` address.

    Parameters
    ----------
    pixels : ndarray of shape (H, W, 3), uint8
        The picture.
    side : int, optional
        Its longer side, where that is to be smaller.
    """
    image = Image.fromarray(pixels)
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def heat(pixels: Pixels, evidence: Array) -> Pixels:
    """Lay evidence over a picture: orange where it speaks for, violet where it speaks against.

    Parameters
    ----------
    pixels : ndarray of shape (H, W, 3), uint8
        The picture.
    evidence : ndarray of shape (H, W), float
        Signed.
    """
    most = float(np.percentile(np.abs(evidence), _TOP)) or 1.0
    strength = np.clip(np.abs(evidence) / most, 0, 1)[..., np.newaxis] * _STRONG
    colour = np.where(evidence[..., np.newaxis] >= 0, _FOR, _AGAINST)
    grey = pixels.mean(axis=2, keepdims=True).repeat(3, axis=2)
    mixed = (1 - strength) * (0.4 * pixels + 0.6 * grey) + strength * colour
    shown: Pixels = mixed.clip(0, 255).astype(np.uint8)
    return shown


def enlarged(found: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """Stretch a map to a height and width."""
    image = Image.fromarray(np.asarray(found, dtype=np.float32))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.float32)


def mosaic(maps: Array, side: int, columns: int) -> Pixels:
    """Lay grey maps, each from its darkest to its brightest place, side by side.

    Parameters
    ----------
    maps : ndarray of shape (n, h, w), float
        The maps.
    side : int
        Width of each in pixels.
    columns : int
        How many in a row.
    """
    tiles = [np.repeat(_stretched(one)[..., np.newaxis], 3, axis=2) for one in maps]
    return _tiled(tiles, side, columns, Image.Resampling.BICUBIC)


def filter_mosaic(filters: Array, side: int, columns: int) -> Pixels:
    """Lay filters on three colours side by side, each around grey; see `mosaic`."""
    largest = np.maximum(np.abs(filters).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    shown = 127.5 + 127.5 * filters / largest
    tiles = list(shown.clip(0, 255).astype(np.uint8))
    return _tiled(tiles, side, columns, Image.Resampling.NEAREST)


def _stretched(values: Array) -> Pixels:
    low, high = np.percentile(values, [100 - _TOP, _TOP])
    shown: Pixels = (255 * ((values - low) / max(high - low, 1e-12)).clip(0, 1)).astype(np.uint8)
    return shown


def _tiled(tiles: list[Pixels], side: int, columns: int, resampling: Image.Resampling) -> Pixels:
    gap, columns = 3, min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    canvas = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, 3), 128, np.uint8)
    for number, tile in enumerate(tiles):
        image = Image.fromarray(tile).resize((side, side), resampling)
        top, left = (place * (side + gap) for place in divmod(number, columns))
        canvas[top : top + side, left : left + side] = np.asarray(image)
    return canvas
