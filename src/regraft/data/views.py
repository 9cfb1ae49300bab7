"""Views of a picture: the same picture cropped, mirrored and lit in other ways, for training.

View 0 is the picture as it is evaluated. The others are drawn from a generator that the seed, the
number of the view and the content of the picture decide, so that a view is the same whenever and
wherever it is made, and what a frozen network says of it can be stored. Crops are those of
C. Szegedy et al., "Going deeper with convolutions" (2015), with milder bounds, as the networks are
trained already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from regraft.data.images import Interpolation, array_digest, decode, digest

VIEWS = 1
"""Raise when views are drawn otherwise than before; part of every key of the store."""

_LEAST_AREA = 0.4
_MOST_ASPECT = 4 / 3
_LIGHT = 0.2
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class View:
    """Which view of each picture.

    Parameters
    ----------
    number : int
        0 for the picture as it is evaluated, else 1 and more.
    seed : int
        Decides all views but the first.
    mirror : bool
        Whether half of the views are mirrored left to right.
    """

    number: int
    seed: int = 0
    mirror: bool = True

    @property
    def name(self) -> str:
        """What the key of the store calls it."""
        if self.number == 0:
            return "whole"
        return f"view-{VIEWS}-{self.number}-{self.seed}-{'m' if self.mirror else 'n'}"


def encoded_view(
    data: bytes, view: View, size: tuple[int, int], interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Decode a picture file and make one of its views (not view 0).

    Parameters
    ----------
    data : bytes
        The whole file.
    view : View
        Which one.
    size : (int, int)
        Height and width of the result.
    interpolation : {"bicubic", "bilinear", "lanczos", "nearest"}
        Filter, antialiased when shrinking.

    Returns
    -------
    ndarray of shape (size[0], size[1], 3), uint8

    Raises
    ------
    regraft.data.images.PictureError
        If the bytes are no picture that can be read whole.
    """
    return _made(decode(data, _enough(size)), digest(data), view, size, interpolation)


def rgb_view(
    pixels: NDArray[np.uint8], view: View, size: tuple[int, int], interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Make one of the views of RGB pixels (H, W, 3); see `encoded_view`."""
    return _made(pixels, array_digest(pixels), view, size, interpolation)


def _enough(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width from which the smallest crop still has as many pixels as it needs."""
    least = math.sqrt(_LEAST_AREA / _MOST_ASPECT)
    return math.ceil(max(size) / least), math.ceil(max(size) / least)


def _made(
    rgb: NDArray[np.uint8],
    content: bytes,
    view: View,
    size: tuple[int, int],
    interpolation: Interpolation,
) -> NDArray[np.uint8]:
    if view.number < 1:
        raise ValueError(f"view 0 is the picture as it is evaluated, got {view}")
    words = np.frombuffer(content[:8], dtype=np.uint32)
    generator = np.random.default_rng([view.seed, view.number, *words.tolist()])
    mirrored = bool(generator.integers(2)) and view.mirror
    brightness, contrast = 1.0 + _LIGHT * generator.uniform(-1, 1, size=2)
    image = Image.fromarray(np.ascontiguousarray(rgb))
    resampling = Image.Resampling[interpolation.upper()]
    box = _box(generator, rgb.shape[0], rgb.shape[1])
    out = np.asarray(image.resize((size[1], size[0]), resampling, box=box))
    out = out[:, ::-1] if mirrored else out
    mean = out.astype(np.float32).mean()
    levels = np.arange(256, dtype=np.float32)
    lit = (levels - mean) * np.float32(contrast) + mean * np.float32(brightness)
    return np.ascontiguousarray(np.clip(np.rint(lit), 0, 255).astype(np.uint8)[out])


def _box(
    generator: np.random.Generator, height: int, width: int
) -> tuple[float, float, float, float]:
    """Draw a crop, as left, top, right and bottom in pixels."""
    for _ in range(_ATTEMPTS):
        area = generator.uniform(_LEAST_AREA, 1) * height * width
        aspect = _MOST_ASPECT ** generator.uniform(-1, 1)
        tall, wide = math.sqrt(area / aspect), math.sqrt(area * aspect)
        if tall <= height and wide <= width:
            break
    else:  # a strip: the longest piece of it that is not too long
        tall, wide = min(height, width * _MOST_ASPECT), min(width, height * _MOST_ASPECT)
    top, left = generator.uniform(0, height - tall), generator.uniform(0, width - wide)
    return left, top, min(left + wide, width), min(top + tall, height)
