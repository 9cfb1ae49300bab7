"""What becomes of pixel formats that are not 8-bit RGB.

===================  ================================================================
in the file          becomes
===================  ================================================================
grey, bilevel        the same value in the three channels
16-bit grey          the high byte (0..65535 -> 0..255), no stretching per picture
32-bit integer grey  the same, when all values lie in 0..65535; refused otherwise
float grey           0..1 times 255, else 0..255 rounded, else 0..65535 / 257; refused
                     when a value is outside these or not finite
16-bit colour        the high byte
palette              its colours
alpha                composited on white
CMYK, YCCK           RGB without colour management; JPEGs are taken as Adobe writes them
animation, pages     the first frame
===================  ================================================================

ICC profiles are ignored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from regraft.errors import RegraftError

_WHITE = (255, 255, 255)


class PictureError(RegraftError):
    """A file or object that gives no picture.

    Parameters
    ----------
    reason : str
        One short line for the list of skipped files.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def rgb_of(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of a loaded PIL image as an array of shape (H, W, 3), uint8.

    Raises
    ------
    PictureError
        When its values have no agreed brightness.
    """
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if mode.startswith("I"):
        return _grey(_high_byte(np.asarray(image)))
    if mode == "F":
        return _grey(_from_float(np.asarray(image)))
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return on_white(_with_alpha(image))
    return np.array(image.convert("RGB"))


def _with_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    return image.convert("RGBA")


def on_white(rgba: Image.Image) -> NDArray[np.uint8]:
    """Composite an RGBA image on white; an array of shape (H, W, 3), uint8."""
    canvas = Image.new("RGB", rgba.size, _WHITE)
    canvas.paste(rgba, mask=rgba.getchannel("A"))
    return np.array(canvas)


def _grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[:, :, None], 3, axis=2)


def _high_byte(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    wide = values.astype(np.int64)
    low, high = int(wide.min()), int(wide.max())
    if low < 0 or high > 65535:
        raise PictureError(f"has grey values from {low} to {high}; only 0 to 65535 have a meaning")
    return (wide >> 8).astype(np.uint8)


def _from_float(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    wide = values.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    if not (low >= 0 and high <= 65535):  # written so that NaN is refused
        raise PictureError(
            f"has floating-point values from {low:g} to {high:g}; "
            "only 0 to 1, 0 to 255 and 0 to 65535 have a meaning"
        )
    scale = 255.0 if high <= 1 else 1.0 if high <= 255 else 1 / 257
    return np.rint(wide * scale).astype(np.uint8)
