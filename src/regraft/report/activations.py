"""What a network says at some depths, place by place, of a few pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.backbones.cuts import Cut, TensorSpec
from regraft.frozen.devices import Device
from regraft.frozen.engine import Engine
from regraft.strategy import Precision, Tap

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """One tensor of a cut, of one picture.

    Parameters
    ----------
    spec : TensorSpec
        What it is.
    values : ndarray of shape (places, channels), float32
        Row by row from the upper left corner; one row for what stands for no place.
    """

    spec: TensorSpec
    values: Array

    @property
    def grid(self) -> tuple[int, int] | None:
        """Height and width of the map; None where there is none."""
        return self.spec.grid if self.spec.places > 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Looker:
    """Runs a network and hands out its maps.

    Parameters
    ----------
    cuts : tuple of Cut
        Depths, from input to head, each once.
    engine : Engine
        Gives all of them side by side, as `looker` makes it.
    """

    cuts: tuple[Cut, ...]
    engine: Engine

    def look(
        self, pixels: Pixels, tell: Callable[[int, dict[str, tuple[Places, ...]]], None]
    ) -> None:
        """Run pictures; one batch of maps is held at a time.

        Parameters
        ----------
        pixels : ndarray of shape (n, H, W, 3), uint8
            Prepared pictures.
        tell : callable
            Takes the number of a picture and its tensors by the names of the cuts.
        """
        for start in range(0, len(pixels), self.engine.batch):

            def collect(rows: Array, start: int = start) -> None:
                for number, row in enumerate(rows):
                    tell(start + number, self._tensors(row))

            self.engine.start(pixels[start : start + self.engine.batch], collect)
            self.engine.wait()

    def all(self, pixels: Pixels) -> list[dict[str, tuple[Places, ...]]]:
        """Run a few pictures and return the maps of all of them, in order."""
        found: dict[int, dict[str, tuple[Places, ...]]] = {}
        self.look(pixels, found.__setitem__)
        return [found[number] for number in range(len(pixels))]

    def _tensors(self, row: Array) -> dict[str, tuple[Places, ...]]:
        found, start = {}, 0
        for cut in self.cuts:
            tensors = []
            for spec in cut.tensors:
                size = int(np.prod(spec.shape))
                values = row[start : start + size].reshape(-1, spec.channels)
                tensors.append(Places(spec, values[spec.prefix :]))
                start += size
            found[cut.name] = tuple(tensors)
        return found


def looker(
    backbone: Backbone, device: Device, precision: Precision, names: Sequence[str]
) -> Looker:
    """Compile a network up to the deepest of some cuts.

    Parameters
    ----------
    backbone : Backbone
        The network.
    device : Device
        What it runs on.
    precision : {"bf16", "f32"}
        Arithmetic.
    names : sequence of str
        The cuts.
    """
    cuts = tuple(cut for cut in backbone.cuts if cut.name in set(names))
    taps = [Tap(cut.name, "map") for cut in cuts]
    return Looker(cuts, device.engine(backbone, taps, precision))
