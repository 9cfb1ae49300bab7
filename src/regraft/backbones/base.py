"""What a source network is to the rest of regraft.

A backbone is a name, where it came from, how its pictures are prepared, and the ordered cuts
between its input and its head. Nothing here imports a deep-learning framework: a backbone is
*described* by plain values, and only `Backbone.build` (once per machine, then cached) opens the
framework it comes from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from regraft.data.images import Interpolation, decode_crop, resize_crop

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Preprocess:
    """The way a network's pictures were prepared when it was trained; travels with the weights.

    Parameters
    ----------
    size : tuple of int
        Height and width in pixels of what the network sees.
    crop_pct : float
        Part of the shortest side that the central crop keeps, in (0, 1].
    interpolation : {"bicubic", "bilinear"}
        Resampling filter, antialiased.
    mean, std : tuple of float
        Per channel (RGB), for pixel values scaled to 0..1. The frozen graph applies them itself,
        so that only uint8 leaves Python.
    """

    size: tuple[int, int]
    crop_pct: float
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

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
        interpolation = values["interpolation"]
        if interpolation not in ("bicubic", "bilinear"):
            raise ValueError(f"interpolation must be bicubic or bilinear, got {interpolation!r}")
        crop_pct = float(values["crop_pct"])
        if (
            not 0 < crop_pct <= 1
            or min(height, width) < 1
            or min(std_red, std_green, std_blue) <= 0
        ):
            raise ValueError("size and std must be positive and crop_pct in (0, 1]")
        return cls(
            size=(height, width),
            crop_pct=crop_pct,
            interpolation=interpolation,
            mean=(red, green, blue),
            std=(std_red, std_green, std_blue),
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """A place where the network can be cut: the output of one named module.

    Parameters
    ----------
    name : str
        The module, in the source network's own names.
    channels : int
        Size of the pooled vector, and of the channel axis of the map.
    """

    name: str
    channels: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a network comes from.

    Parameters
    ----------
    zoo, architecture : str
        For example ``"embedded"`` and timm's ``"tf_efficientnet_lite0"``.
    weights_sha256 : str
        Hash of the file that the weights were read from.
    licence : str
        SPDX identifier of the licence of the weights.
    trained_on : str
        The source task.
    timm_classifier : str or None
        Where `architecture` is one of timm's: the module that is its head.
    """

    zoo: str
    architecture: str
    weights_sha256: str
    licence: str
    trained_on: str
    timm_classifier: str | None = None


class Backbone(Protocol):
    """A pre-trained network that regraft can cut, freeze and build on."""

    @property
    def name(self) -> str:
        """How the user spells it, zoo first: ``"embedded:efficientnet_lite0"``."""

    @property
    def origin(self) -> Origin:
        """Zoo, architecture, weights and licence."""

    @property
    def preprocess(self) -> Preprocess:
        """The matching preprocessing."""

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Every cut, from input to head."""

    def build(self, folder: Path) -> None:
        """Write the network without its head into an empty folder.

        ``frozen.xml`` and ``frozen.bin`` hold an OpenVINO graph from one NCHW float32 input
        (already normalised) to one output a cut, named after it, in the order of `cuts`;
        ``backbone.safetensors`` holds the weights in the names of the source.
        """


class TrainableBackbone(Backbone, Protocol):
    """A backbone that also exists as a PyTorch network."""

    def trunk(self) -> torch.nn.Module:
        """Build the network without its head, in evaluation mode and with every weight frozen.

        It maps normalised float32 (N, 3, H, W) to a tuple with the map of every cut.
        """


def backbone_key(backbone: Backbone) -> str:
    """Name everything that decides what a backbone computes, as a hex SHA-256."""
    parts = {
        "origin": asdict(backbone.origin),
        "preprocess": backbone.preprocess.to_dict(),
        "cuts": [asdict(cut) for cut in backbone.cuts],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
