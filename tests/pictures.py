"""Makes the pictures of the tests: small textures that differ by class and by number."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def texture(label: str, number: int, size: int = 48, noise: float = 25.0) -> Pixels:
    """Coloured stripes: the class decides direction, width and colours, the number the rest."""
    look = np.random.default_rng(zlib.crc32(os.fsencode(label)))
    angle, width = look.uniform(0, np.pi), look.uniform(4, 14)
    dark, light = look.uniform(0, 255, (2, 3))
    rng = np.random.default_rng([zlib.crc32(os.fsencode(label)), number])
    rows, columns = np.mgrid[:size, :size]
    phase = (rows * np.sin(angle) + columns * np.cos(angle)) / width + rng.uniform(0, 6)
    share = (0.5 + 0.5 * np.sin(2 * np.pi * phase))[..., None]
    pixels = dark + (light - dark) * share + rng.normal(0, noise, (size, size, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def write_texture(path: Path, label: str, number: int, *, noise: float = 25.0) -> Path:
    """Write one texture as the file type that the name ends in, PNG if none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(texture(label, number, noise=noise))
    with path.open("wb") as file:
        image.save(file, "JPEG" if path.suffix == ".jpg" else "PNG", quality=92)
    return path


def write_classes(
    root: Path, counts: Mapping[str, int], *, first: int = 0, noise: float = 25.0
) -> Path:
    """Write a folder per class with so many textures, numbered from `first`."""
    for label, count in counts.items():
        for number in range(first, first + count):
            write_texture(root / label / f"{number:03d}.jpg", label, number, noise=noise)
    return root


def scene(number: int, height: int = 240, width: int = 320) -> Pixels:
    """A picture with much in it: overlapping discs and bars with a grain, unlike any other."""
    rng = np.random.default_rng([7, number])
    rows, columns = np.mgrid[:height, :width]
    pixels = np.empty((height, width, 3))
    pixels[:] = rng.uniform(0, 255, 3)
    for _ in range(25):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        if rng.random() < 0.5:
            inside = np.hypot(rows - row, columns - column) < rng.uniform(8, 50)
        else:
            angle, half = rng.uniform(0, np.pi), rng.uniform(3, 14)
            across = (rows - row) * np.sin(angle) + (columns - column) * np.cos(angle)
            inside = np.abs(across) < half
        pixels[inside] = rng.uniform(0, 255, 3)
    return (pixels + rng.normal(0, 8, pixels.shape)).clip(0, 255).astype(np.uint8)
