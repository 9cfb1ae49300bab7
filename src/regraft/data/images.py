"""Pictures from bytes: decode to RGB, turn upright, resize and crop, and fingerprint.

The content of a file decides what it is, never its extension; `regraft.data.pixels` says what
becomes of other pixel formats.
"""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from regraft.data.exif import jpeg_exif, mirrored_axes, orientation_of, upright
from regraft.data.pixels import PictureError, on_white, rgb_of
from regraft.errors import UserError

__all__ = [
    "DECODER",
    "FORMATS",
    "INTERPOLATIONS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Interpolation",
    "PictureError",
    "array_digest",
    "decode",
    "decode_crop",
    "digest",
    "read_picture",
    "resize_crop",
    "to_rgb",
]

DECODER = f"1+simplejpeg-{simplejpeg.__version__}+pillow-{PIL.__version__}"
"""Names everything that decides the pixels `decode` and `resize_crop` return; a cache key."""

MAX_PIXELS = 178_956_970
"""Larger pictures are refused from their header: twice Pillow's own warning threshold."""

MAX_BYTES = 1 << 30
"""Larger files are refused unread."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "SGI")
"""Formats given to Pillow. Those that it cannot tell by their first bytes are left out (any file
might pass for one), and so are those that run other programs or hold drawings."""

Interpolation = Literal["bicubic", "bilinear", "lanczos", "nearest"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)

_RESAMPLING = {name: Image.Resampling[name.upper()] for name in INTERPOLATIONS}

_DAMAGE = re.compile(
    "premature end|bad huffman code|bad arithmetic code|instead of rst"
    # Left-over data at the end of a scan: some cameras pad with a byte or two, more means that
    # the scan was read wrongly. Before other markers it is harmless.
    r"|([4-9]|\d\d+) extraneous bytes before marker 0xd\d",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Pixels as they were stored: not upright yet, and perhaps at n/8 of the size."""

    pixels: NDArray[np.uint8]
    orientation: int
    full: tuple[int, int]

    @property
    def scale(self) -> float:
        """Pixels decoded per pixel of the file; libjpeg rounds their number up."""
        for n in range(8, 0, -1):
            if tuple(-(-side * n // 8) for side in self.full) == self.pixels.shape[:2]:
                return n / 8
        raise PictureError(f"declares {self.full} pixels and decodes to {self.pixels.shape[:2]}")


def read_picture(path: Path) -> bytes:
    """Read a regular file whole.

    Raises
    ------
    PictureError
        When the file is missing, empty, not a regular file, not readable or absurdly large.
    """
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PictureError("is not a regular file")
            if status.st_size > MAX_BYTES:
                raise PictureError(f"has {status.st_size} bytes, more than {MAX_BYTES}")
            data = file.read()
    except OSError as error:
        raise PictureError(_os_reason(error)) from error
    if not data:
        raise PictureError("is empty (0 bytes)")
    return data


def decode(data: bytes, at_least: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file to upright RGB.

    Parameters
    ----------
    data : bytes
        The whole file.
    at_least : (int, int), optional
        Height and width that are enough: a large JPEG is then decoded at n/8 of its size.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        `regraft.data.pixels` says what becomes of other pixel formats.

    Raises
    ------
    PictureError
        When the bytes are no picture of a known format, are truncated or damaged, or declare
        more than `MAX_PIXELS`.
    """
    found = _decode(data, at_least)
    return upright(found.pixels, found.orientation)


def decode_crop(
    data: bytes, *, size: tuple[int, int], crop_pct: float | None, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Decode a picture file and `resize_crop` it, at the least cost.

    Large JPEGs are decoded at n/8 of their size. That rounds their sides up, which would move the
    crop by up to half a pixel (on photos, a mean difference of 5 of 255 levels from the crop of
    the full size) if the original size did not decide where it lies, as it does here (1 level).

    Parameters
    ----------
    data : bytes
        The whole file.
    size, crop_pct, interpolation
        As for `resize_crop`.

    Returns
    -------
    ndarray of shape (size[0], size[1], 3), uint8

    Raises
    ------
    PictureError
        As `decode` does.
    """
    least = _before_crop(size, crop_pct)
    return _crop(_decode(data, least), size, crop_pct, interpolation)


def to_rgb(image: object) -> NDArray[np.uint8]:
    """Convert a picture in memory to RGB.

    Parameters
    ----------
    image : PIL.Image.Image or ndarray
        Arrays are uint8, of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) with alpha last.
        PIL images are converted as files are, EXIF orientation included.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8

    Raises
    ------
    UserError
        When the type, dtype or shape is another one.
    PictureError
        When a PIL image cannot be loaded or converted.
    """
    if isinstance(image, Image.Image):
        found = _load(image)
        return upright(found.pixels, found.orientation)
    if not isinstance(image, np.ndarray):
        raise UserError(
            "a picture must be a path, a PIL image or a uint8 array of shape (H, W, 3), "
            f"got {type(image).__name__}"
        )
    if image.dtype != np.uint8 or not _is_picture_shape(image.shape):
        raise UserError(
            "a picture array must be uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) "
            f"without empty sides, got {image.dtype} of shape {image.shape}; "
            "scale its values to 0..255, cast it, and put the channels last"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 4:
        return on_white(Image.fromarray(np.ascontiguousarray(image)))
    return np.ascontiguousarray(image)


def resize_crop(
    rgb: NDArray[np.uint8],
    *,
    size: tuple[int, int],
    crop_pct: float | None,
    interpolation: Interpolation,
) -> NDArray[np.uint8]:
    """Scale the shortest side to ``size / crop_pct`` and cut the centre out, in one resampling.

    The same geometry as timm's evaluation transform (``Resize`` and ``CenterCrop``), but only
    the pixels that stay are computed.

    Parameters
    ----------
    rgb : ndarray of shape (H, W, 3), uint8
    size : (int, int)
        Height and width of the result in pixels.
    crop_pct : float or None
        Part of the scaled picture's side that the crop keeps, in (0, 1]. None squeezes the whole
        picture to `size`, whatever its shape.
    interpolation : {"bicubic", "bilinear", "lanczos", "nearest"}
        Filter, antialiased when shrinking.

    Returns
    -------
    ndarray of shape (size[0], size[1], 3), uint8
    """
    return _crop(_Decoded(rgb, 1, (rgb.shape[0], rgb.shape[1])), size, crop_pct, interpolation)


def digest(data: bytes) -> bytes:
    """SHA-256 of a picture file, 32 bytes."""
    return hashlib.sha256(data).digest()


def array_digest(rgb: NDArray[np.uint8]) -> bytes:
    """SHA-256 of a picture in memory, shape included, 32 bytes.

    Never equal to the `digest` of a file: the two are decoded by different means.
    """
    shape = "x".join(map(str, rgb.shape))
    state = hashlib.sha256(f"regraft array {shape}\0".encode())
    state.update(np.ascontiguousarray(rgb).data)
    return state.digest()


def _os_reason(error: OSError) -> str:
    gone = error.errno == errno.ENOENT
    return "does not exist (any more)" if gone else f"cannot be read: {error.strerror or error}"


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"declares {width} x {height} pixels, more than {MAX_PIXELS}")
    if width * height == 0:
        raise PictureError(f"declares {width} x {height} pixels")


def _decode(data: bytes, min_size: tuple[int, int] | None) -> _Decoded:
    found = _decode_jpeg(data, min_size) if data[:3] == b"\xff\xd8\xff" else None
    return found or _decode_other(data)


def _decode_jpeg(data: bytes, min_size: tuple[int, int] | None) -> _Decoded | None:
    """Decode by libjpeg-turbo; None for kinds of JPEG that are better left to Pillow."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # KeyError: a colour space or subsampling it has no name for
        return None
    _check_pixels(width, height)
    if colorspace in ("CMYK", "YCCK"):
        return None
    orientation = orientation_of(jpeg_exif(data))
    min_height, min_width = (min_size or (0, 0))[:: -1 if orientation >= 5 else 1]
    try:
        # Factors between 1 and 2 cost fidelity and save no time: libjpeg-turbo has no SIMD code
        # for them.
        pixels = simplejpeg.decode_jpeg(
            data, min_height=min_height, min_width=min_width, min_factor=2 if min_size else 1
        )
    except ValueError as error:
        if _DAMAGE.search(str(error)):
            raise PictureError(f"is a truncated or damaged JPEG ({error})") from error
        return None
    return _Decoded(pixels, orientation, (height, width))


def _decode_other(data: bytes) -> _Decoded:
    try:
        image = _open(data)
    except Exception as error:  # a decoder that is handed hostile bytes may raise anything
        raise PictureError(_decoder_reason(error)) from error
    if image is None:
        if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
            raise PictureError("is a HEIC picture, which is not supported: save it as JPEG")
        raise PictureError(f"is not a picture of a known format (begins with {data[:12]!r})")
    _check_pixels(*image.size)
    return _load(image)


def _open(data: bytes) -> Image.Image | None:
    """Do what `PIL.Image.open` does, for our formats and without its warnings about size.

    Warnings cannot be silenced around a call here: `warnings.catch_warnings` is not
    thread-safe. The size is checked by the caller instead.
    """
    Image.preinit()
    for name in FORMATS:
        if name not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is None or (accept and accept(data[:16]) is not True):
            continue
        try:
            return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    return None


def _load(image: Image.Image) -> _Decoded:
    try:
        image.load()
        exif = image.info.get("exif")
        pixels = rgb_of(image)
    except PictureError:
        raise
    except Exception as error:  # as above
        raise PictureError(_decoder_reason(error)) from error
    orientation = orientation_of(exif) if isinstance(exif, bytes) else 1
    return _Decoded(pixels, orientation, (pixels.shape[0], pixels.shape[1]))


def _decoder_reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"is truncated or damaged ({text[:200]})"


def _is_picture_shape(shape: tuple[int, ...]) -> bool:
    return 0 not in shape and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)))


def _crop(
    found: _Decoded, size: tuple[int, int], crop_pct: float | None, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Cut and scale the pixels as they were decoded, then turn the small result upright."""
    turned = found.orientation >= 5
    full = found.full[::-1] if turned else found.full
    scaled = _scaled_shape(full, size, crop_pct)
    spans = []
    for axis, mirrored in enumerate(mirrored_axes(found.orientation)):
        start = round((scaled[axis] - size[axis]) / 2)
        if mirrored:
            start = scaled[axis] - size[axis] - start
        factor = full[axis] / scaled[axis] * found.scale
        spans.append((start * factor, (start + size[axis]) * factor))
    rows, columns = spans[::-1] if turned else spans
    height, width = found.pixels.shape[:2]
    # Rounding may carry the far corner past the edge by a fraction of a pixel.
    box = (columns[0], rows[0], min(columns[1], width), min(rows[1], height))
    image = Image.fromarray(np.ascontiguousarray(found.pixels))
    resized = image.resize(
        size if turned else (size[1], size[0]), _RESAMPLING[interpolation], box=box
    )
    return upright(np.array(resized), found.orientation)


def _before_crop(size: tuple[int, int], crop_pct: float | None) -> tuple[int, int]:
    """Least height and width of the picture of which `size` is cut out."""
    part = 1.0 if crop_pct is None else crop_pct
    return math.floor(size[0] / part), math.floor(size[1] / part)


def _scaled_shape(
    full: tuple[int, int], size: tuple[int, int], crop_pct: float | None
) -> tuple[int, int]:
    """Height and width before the crop, rounded as torchvision and timm round them."""
    if crop_pct is None:
        return size
    height, width = full
    target_height, target_width = _before_crop(size, crop_pct)
    if target_height == target_width:
        scaled = int(target_height * max(full) / min(full))
        return (target_height, scaled) if height <= width else (scaled, target_height)
    ratio = min(height / target_height, width / target_width)
    return round(height / ratio), round(width / ratio)
