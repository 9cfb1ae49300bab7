"""Pictures as the frozen pass takes them: from a file, or already in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.preprocess import Preprocess
from regraft.data.images import PictureError, array_digest, digest, read_picture, to_rgb
from regraft.data.views import View, encoded_view, rgb_view
from regraft.errors import UserError

Pixels = NDArray[np.uint8]


class Preparation(Protocol):
    """How pictures become the network's input: a `Preprocess`, or a view of each."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""

    def encoded(self, data: bytes) -> Pixels:
        """Decode the bytes of a picture file and make (H, W, 3) of it."""

    def rgb(self, pixels: Pixels) -> Pixels:
        """Make (H, W, 3) of RGB pixels of any size."""


@dataclass(frozen=True, slots=True)
class Viewed:
    """One view of each picture, in the size and filter of a preprocessing; see `Preparation`."""

    preprocess: Preprocess
    view: View

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.preprocess.size

    def encoded(self, data: bytes) -> Pixels:
        """Decode the bytes of a picture file and make the view of it."""
        if self.view.number == 0:
            return self.preprocess.encoded(data)
        return encoded_view(data, self.view, self.size, self.preprocess.interpolation)

    def rgb(self, pixels: Pixels) -> Pixels:
        """Make the view of RGB pixels of any size."""
        if self.view.number == 0:
            return self.preprocess.rgb(pixels)
        return rgb_view(pixels, self.view, self.size, self.preprocess.interpolation)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A picture whose content is known by its digest and may still have to be decoded.

    Parameters
    ----------
    digest : bytes
        SHA-256 of the content.
    prepare : callable
        Makes the network's input of it, uint8 (H, W, 3).
    """

    digest: bytes
    prepare: Callable[[Preparation], Pixels]


class Source(Protocol):
    """Where one picture comes from."""

    @property
    def name(self) -> str:
        """What the user is shown."""

    def load(self) -> Loaded:
        """Read the content.

        Raises
        ------
        regraft.data.images.PictureError
            If there is none.
        """


@dataclass(frozen=True, slots=True)
class FileSource:
    """A picture file."""

    path: Path
    name: str

    def load(self) -> Loaded:
        """Read and hash the file; see `Source.load`."""
        data = read_picture(self.path)
        return Loaded(digest(data), lambda preprocess: preprocess.encoded(data))


@dataclass(frozen=True, slots=True)
class MemorySource:
    """A picture in memory: a PIL image, or an array as `regraft.data.images.to_rgb` takes it."""

    picture: Any
    name: str

    def load(self) -> Loaded:
        """Convert to RGB and hash the pixels; see `Source.load`."""
        try:
            pixels = to_rgb(self.picture)
        except UserError as error:  # named among the others that cannot be used
            raise PictureError(error.message) from error
        return Loaded(array_digest(pixels), lambda preprocess: preprocess.rgb(pixels))
