"""What a picture looks like and what its file says, from one cheap look at it."""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from regraft.data.exif import jpeg_exif
from regraft.data.images import FORMATS, PictureError, decode, read_picture
from regraft.frozen.cpu import available_cores
from regraft.progress import Progress

SIDE = 48
"""Height and width of a thumbnail, which shows the whole picture whatever its shape."""

T = TypeVar("T")

_ANALYSED = 224  # about what a network sees
_TRIAL, _WORTH_A_TRIAL = 100, 1000
_RING = 2  # pixels of a thumbnail that are its border
_JPEG = b"\xff\xd8\xff"
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one look at a picture tells.

    Parameters
    ----------
    thumbnail : ndarray of shape (SIDE, SIDE), uint8
        The whole picture in grey.
    height, width : int
        Pixels of the upright picture.
    n_bytes : int
        Size of the file.
    format : str
        As Pillow calls it.
    colour : tuple of float
        Mean red, green and blue, 0-1.
    contrast : float
        Standard deviation of the grey values, 0-1.
    sharpness : float
        Variance of the Laplacian over the variance of the grey values, at about the size that a
        network sees (J. Pech-Pacheco et al., ICPR 2000, there without the division).
    border : tuple of float
        Mean and standard deviation of the grey values along the border, 0-1.
    camera : str
        Maker and model by EXIF; empty where nothing is said.
    taken : datetime or None
        When the picture was taken, by EXIF.
    """

    thumbnail: NDArray[np.uint8]
    height: int
    width: int
    n_bytes: int
    format: str
    colour: tuple[float, float, float]
    contrast: float
    sharpness: float
    border: tuple[float, float]
    camera: str
    taken: datetime | None

    @property
    def brightness(self) -> float:
        """Mean grey value, 0-1."""
        return float(np.dot(self.colour, _LUMA))


def look_at(paths: Sequence[Path], progress: Progress) -> list[Look | None]:
    """Look at pictures, on every core; None for what cannot be decoded.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    progress : Progress
        Hears of every picture.
    """
    progress.start("looking at pictures", len(paths))
    found = []
    with closing(on_every_core(_look, paths)) as looks:
        for look in looks:
            found.append(look)
            progress.advance(1)
    progress.finish()
    return found


def on_every_core(work: Callable[[Path], T], paths: Sequence[Path]) -> Generator[T, None, None]:
    """Give what becomes of each file, in order; closed, it drops the work that has not begun.

    Of small pictures most of the work is the interpreter's, which one thread has at a time:
    several then take longer than one (measured: twice as long). So the first pictures decide.
    """
    pool = ThreadPoolExecutor(available_cores())
    try:
        if len(paths) < _WORTH_A_TRIAL:
            yield from pool.map(work, paths)
            return
        began = time.perf_counter()
        yield from map(work, paths[:_TRIAL])
        alone = time.perf_counter()
        yield from pool.map(work, paths[_TRIAL : 2 * _TRIAL])
        faster_alone = alone - began < time.perf_counter() - alone
        rest = paths[2 * _TRIAL :]
        yield from map(work, rest) if faster_alone else pool.map(work, rest)
    finally:
        pool.shutdown(cancel_futures=True)


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a whole picture (H, W, 3) to grey (SIDE, SIDE)."""
    return _shrunk(Image.fromarray(rgb).convert("L"))


def _look(path: Path) -> Look | None:
    try:
        data = read_picture(path)
        rgb = decode(data, (_ANALYSED, _ANALYSED))
    except PictureError:
        return None
    kind, (height, width), camera, taken = _header(data, rgb)
    picture = Image.fromarray(rgb)
    grey = picture.convert("L")
    shown = _shrunk(grey)
    red, green, blue = (float(value) / 255 for value in _moments(picture)[0])
    ring = np.ones((SIDE, SIDE), bool)
    ring[_RING:-_RING, _RING:-_RING] = False
    border = shown[ring]
    seen = _as_network_sees(grey)
    variance = float(_moments(seen)[1][0])
    return Look(
        thumbnail=shown,
        height=height,
        width=width,
        n_bytes=len(data),
        format=kind,
        colour=(red, green, blue),
        contrast=math.sqrt(variance) / 255,
        sharpness=_laplacian_variance(seen) / variance if variance else 0.0,
        border=(float(border.mean()) / 255, float(border.std()) / 255),
        camera=camera,
        taken=taken,
    )


def _shrunk(grey: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def _as_network_sees(grey: Image.Image) -> Image.Image:
    """Shrink to a shorter side as long as a network's input; small ones stay as they are."""
    scale = _ANALYSED / min(grey.size)
    if scale >= 1:
        return grey
    width, height = (max(1, round(side * scale)) for side in grey.size)
    return grey.resize((width, height), Image.Resampling.BOX)


def _moments(picture: Image.Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each channel, 0-255, from its histogram."""
    counts, values = np.array(picture.histogram()).reshape(-1, 256), np.arange(256)
    n = counts[0].sum()
    mean = counts @ values / n
    return mean, counts @ np.square(values) / n - np.square(mean)


def _laplacian_variance(grey: Image.Image) -> float:
    if min(grey.size) < 3:
        return 0.0
    values = np.asarray(grey).astype(np.int16)
    found = values[:-2, 1:-1] + values[2:, 1:-1]
    found += values[1:-1, :-2]
    found += values[1:-1, 2:]
    found -= 4 * values[1:-1, 1:-1]
    flat = found.reshape(-1).astype(np.float32)
    return float(flat @ flat / len(flat) - (flat.sum() / len(flat)) ** 2)


def _header(
    data: bytes, rgb: NDArray[np.uint8]
) -> tuple[str, tuple[int, int], str, datetime | None]:
    """Format, upright size, camera and time; what is damaged is left out."""
    if data.startswith(_JPEG) and not jpeg_exif(data):
        with contextlib.suppress(ValueError, KeyError):  # kinds that are left to Pillow
            height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
            return "JPEG", (height, width), "", None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            kind, (width, height) = image.format or "", image.size
            exif = image.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # hostile headers may raise anything; the pixels are known to be good
        return "", (rgb.shape[0], rgb.shape[1]), "", None
    if exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        height, width = width, height
    names = (exif.get(tag) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    camera = " ".join(str(name).strip("\0 ") for name in names if name)
    stamp = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
    return kind, (height, width), camera, _time(stamp) if stamp else None


def _time(stamp: object) -> datetime | None:
    try:
        return datetime.strptime(str(stamp).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
