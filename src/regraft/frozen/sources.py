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
from regraft.errors import UserError

Pixels = NDArray[np.uint8]


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
    prepare: Callable[[Preprocess], Pixels]


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
