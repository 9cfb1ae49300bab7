"""Whether a mirrored picture still shows its class, measured: an arrow to the left does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.backbones.preprocess import Preprocess
from regraft.clusters import mean_error
from regraft.frozen.activations import spread
from regraft.frozen.devices import Device
from regraft.frozen.pipeline import Batcher, Known, Prepared, Reader
from regraft.frozen.sources import Pixels, Preparation, Source
from regraft.heads.linear import LinearHead
from regraft.strategy import Precision, Tap

_MOST = 256  # pictures that are looked at
# Mirrored pictures are taken for other ones where their loss is so many times that of the plain
# ones, and the difference so many standard errors.
_WORSE = 1.5
_SURE = 2.0


@dataclass(frozen=True, slots=True)
class Mirrored:
    """The picture as it is evaluated, mirrored left to right; see `Preparation`."""

    preprocess: Preprocess

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.preprocess.size

    def encoded(self, data: bytes) -> Pixels:
        """Decode the bytes of a picture file and prepare it."""
        return np.ascontiguousarray(self.preprocess.encoded(data)[:, ::-1])

    def rgb(self, pixels: Pixels) -> Pixels:
        """Prepare RGB pixels of any size."""
        return np.ascontiguousarray(self.preprocess.rgb(pixels)[:, ::-1])


def keeps_class(
    backbone: Backbone,
    device: Device,
    precision: Precision,
    head: LinearHead,
    taps: Sequence[Tap],
    sources: Sequence[Source],
    y: NDArray[np.intp],
    units: NDArray[np.intp],
    rows: NDArray[np.intp],
) -> bool:
    """Return whether mirrored pictures may be trained on under the labels of the plain ones.

    A head that has seen plain pictures only is asked about pictures that it has not seen, plain and
    mirrored. Where the classes do not depend on left and right, both are equally hard for it.

    Parameters
    ----------
    backbone : Backbone
        The frozen network.
    device : Device
        What it runs on.
    precision : {"bf16", "f32"}
        Its arithmetic.
    head : LinearHead
        A head on the frozen network.
    taps : sequence of Tap
        What it reads.
    sources : sequence of Source
        All pictures.
    y : ndarray of shape (number of all pictures,), int
        Columns of the classes.
    units : ndarray of the same shape, int
        Pictures with the same number depend on each other.
    rows : ndarray of int
        Pictures that the head was not trained on; some of them are looked at.

    Returns
    -------
    bool
        False where the mean log loss of mirrored pictures is one and a half times that of plain
        ones or more, and the paired difference is more than two standard errors.
    """
    engine = device.engine(backbone, tuple(taps), precision)
    losses: list[dict[int, float]] = []
    for preparation in (backbone.preprocess, Mirrored(backbone.preprocess)):
        found: dict[int, float] = {}

        def collect(
            pictures: Sequence[Known], features: NDArray[Any], found: dict[int, float] = found
        ) -> None:
            chances = head.predict_proba(features)
            for picture, chance in zip(pictures, chances, strict=True):
                found[picture.index] = -float(np.log(max(chance[y[picture.index]], 1e-12)))

        _run(engine, preparation, sources, spread(rows, _MOST), collect)
        losses.append(found)
    both = sorted(losses[0].keys() & losses[1].keys())
    plain, mirrored = (np.array([found[row] for row in both]) for found in losses)
    return not _differ(plain, mirrored, units[both])


def _run(
    engine: Any,
    preparation: Preparation,
    sources: Sequence[Source],
    rows: NDArray[np.intp],
    collect: Any,
) -> None:
    reader = Reader(sources, rows.tolist(), preparation, lambda _: False)
    with reader, Batcher(engine, collect) as batcher:
        for outcome in reader:
            if isinstance(outcome, Prepared):
                batcher.add(outcome)
        batcher.finish()


def _differ(
    plain: NDArray[np.float64], mirrored: NDArray[np.float64], units: NDArray[np.intp]
) -> bool:
    """Whether losses of the same pictures rise clearly."""
    if len(plain) < 2:
        return False
    differences = mirrored - plain
    clear = float(differences.mean()) > _SURE * mean_error(differences, units)
    return clear and float(mirrored.mean()) > _WORSE * float(plain.mean())
