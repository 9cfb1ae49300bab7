"""Places where a network can be cut, and what flows through them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from regraft.strategy import Pooling

Layout = Literal["NCHW", "NHWC", "NLC", "NC"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_QUARTERS = 4


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One of the tensors that cross a cut.

    Parameters
    ----------
    layout : {"NCHW", "NHWC", "NLC", "NC"}
        Meaning of the axes: N pictures, C channels, H x W or L places.
    shape : tuple of int
        Sizes of all axes but the first, for a picture of the usual size.
    prefix : int
        How many of the L tokens come first and stand for no place: class and register tokens.
        They are not pooled.
    """

    layout: Layout
    shape: tuple[int, ...]
    prefix: int = 0

    @property
    def channels(self) -> int:
        """Size of the pooled vector."""
        return self.shape[0] if self.layout in ("NCHW", "NC") else self.shape[-1]

    @property
    def places(self) -> int:
        """How many places are pooled to one."""
        if self.layout == "NC":
            return 1
        return math.prod(self.shape) // self.channels - self.prefix

    @property
    def grid(self) -> tuple[int, int] | None:
        """Height and width of the map; None where the places lie in no square."""
        if self.layout == "NCHW":
            return self.shape[1], self.shape[2]
        if self.layout == "NHWC":
            return self.shape[0], self.shape[1]
        if self.layout == "NLC":
            side = math.isqrt(max(self.places, 0))
            return (side, side) if side and side * side == self.places else None
        return None


@dataclass(frozen=True, slots=True)
class Cut:
    """A place where the network can be cut: the output of one named module.

    Parameters
    ----------
    name : str
        The module, in the source network's own names.
    tensors : tuple of TensorSpec
        What flows on from here, the module's own output first: most often one tensor, two where
        the next block also reads the output of the one before.
    """

    name: str
    tensors: tuple[TensorSpec, ...]

    @property
    def channels(self) -> int:
        """Size of the pooled vector: the channels of all tensors together."""
        return sum(tensor.channels for tensor in self.tensors)

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """The ways in which this cut can be pooled.

        What has one place is taken as it is, which is called ``"avg"``; a grid needs places in a
        square.
        """
        if all(tensor.places == 1 for tensor in self.tensors):
            return ("avg",)
        grids = [tensor.grid for tensor in self.tensors if tensor.layout != "NC"]
        wide = all(grid is not None and min(grid) > 1 for grid in grids)
        return ("avg", "max", "std", "grid") if wide else ("avg", "max", "std")

    def width(self, pooling: Pooling) -> int:
        """Size of the vector that a pooling makes of this cut."""
        if pooling == "map":
            return sum(math.prod(tensor.shape) for tensor in self.tensors)
        return sum(
            tensor.channels * (_QUARTERS if pooling == "grid" and tensor.layout != "NC" else 1)
            for tensor in self.tensors
        )

    def output_names(self) -> list[str]:
        """Name of each tensor as an output of the frozen graph."""
        return [self.name, *(f"{self.name}:{n}" for n in range(1, len(self.tensors)))]


def cuts_to_json(cuts: Sequence[Cut]) -> list[dict[str, Any]]:
    """Plain values, for JSON."""
    return [asdict(cut) for cut in cuts]


def cuts_from_json(values: Sequence[Mapping[str, Any]]) -> tuple[Cut, ...]:
    """Read back what `cuts_to_json` gave.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a field is missing or of another type.
    """
    return tuple(
        Cut(
            str(value["name"]),
            tuple(
                TensorSpec(tensor["layout"], tuple(map(int, tensor["shape"])), tensor["prefix"])
                for tensor in value["tensors"]
            ),
        )
        for value in values
    )
