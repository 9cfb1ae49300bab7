"""How a network's pictures were prepared when it was trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.data.images import INTERPOLATIONS, Interpolation, decode_crop, resize_crop
from regraft.options import ChannelOrder, Overrides


@dataclass(frozen=True, slots=True)
class Preprocess:
    """The way a network's pictures were prepared when it was trained; travels with the weights.

    Parameters
    ----------
    size : tuple of int
        Height and width in pixels of what the network sees.
    crop_pct : float or None
        Part of the shortest side that the central crop keeps, in (0, 1]. None: the whole picture
        is squeezed to `size`, whatever its shape.
    interpolation : {"bicubic", "bilinear", "lanczos", "nearest"}
        Resampling filter, antialiased.
    mean, std : tuple of float
        Per channel (red, green, blue), for pixel values scaled to 0..1. The frozen graph applies
        them itself, so that only uint8 leaves Python.
    channels : {"RGB", "BGR"}
        Order in which the network takes the channels.
    """

    size: tuple[int, int]
    crop_pct: float | None
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: ChannelOrder = "RGB"

    def __post_init__(self) -> None:
        values = (*self.mean, *self.std, 1.0 if self.crop_pct is None else self.crop_pct)
        if (
            not all(map(math.isfinite, values))
            or min(self.size) < 1
            or min(self.std) <= 0
            or not 0 < values[-1] <= 1
        ):
            raise ValueError(f"size and std must be positive and crop_pct in (0, 1]: {self}")

    def overridden(self, over: Overrides) -> Preprocess:
        """Return it with what the user says of the input in the place of what is known."""
        crop = self.crop_pct if over.crop is None else over.crop
        return replace(
            self,
            size=over.size or self.size,
            crop_pct=None if crop == "squash" else crop,
            mean=over.mean or self.mean,
            std=over.std or self.std,
            channels=over.channels or self.channels,
        )

    def rgb(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and crop RGB pixels of shape (H, W, 3) to ``(*size, 3)``."""
        return resize_crop(
            pixels, size=self.size, crop_pct=self.crop_pct, interpolation=self.interpolation
        )

    def encoded(self, data: bytes) -> NDArray[np.uint8]:
        """Decode the bytes of a picture file, then resize and crop to ``(*size, 3)``.

        Raises
        ------
        regraft.data.images.PictureError
            If the bytes are no picture that can be read whole.
        """
        return decode_crop(
            data, size=self.size, crop_pct=self.crop_pct, interpolation=self.interpolation
        )

    def normalised(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn prepared pixels, (N, H, W, 3) in RGB, into the network's input (N, 3, H, W).

        The frozen graph does this itself; training and tests do it here.
        """
        mean, std = (np.array(values, dtype=np.float32) for values in (self.mean, self.std))
        scaled = (pixels / np.float32(255) - mean) / std
        ordered = scaled if self.channels == "RGB" else scaled[..., ::-1]
        return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Read back what `to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing or of another type; the caller says which file it was.
        """
        height, width = (int(v) for v in values["size"])
        red, green, blue = (float(v) for v in values["mean"])
        std_red, std_green, std_blue = (float(v) for v in values["std"])
        interpolation, channels = values["interpolation"], values.get("channels", "RGB")
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}"
            )
        if channels not in ("RGB", "BGR"):
            raise ValueError(f"channels must be RGB or BGR, got {channels!r}")
        crop_pct = None if values["crop_pct"] is None else float(values["crop_pct"])
        return cls(
            size=(height, width),
            crop_pct=crop_pct,
            interpolation=interpolation,
            mean=(red, green, blue),
            std=(std_red, std_green, std_blue),
            channels=channels,
        )
