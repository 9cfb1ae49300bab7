"""Where in a picture a linear head saw what speaks for a class.

A score is a weighted sum of pooled channels, and each pooling is a sum over places (of a maximum:
over the one place that has it; of a standard deviation: of what each place adds to the variance),
so a score is taken apart into places without any approximation: class activation maps (B. Zhou et
al., CVPR 2016), here for heads that read several depths and poolings. What has no place, such as
the class token of a transformer, is left over; see `regraft.report.gradients`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from regraft.backbones.cuts import Cut
from regraft.report.activations import Places
from regraft.strategy import Pooling, Tap

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """A score, taken apart.

    Parameters
    ----------
    maps : tuple of ndarray of shape (h, w), float64
        What each place added, a map for each tensor that the head reads.
    elsewhere : float
        What has no place, the bias included.
    """

    maps: tuple[Array, ...]
    elsewhere: float

    @property
    def score(self) -> float:
        """All of it together."""
        return self.elsewhere + sum(float(found.sum()) for found in self.maps)

    def on(self, size: tuple[int, int]) -> Array:
        """Lay the score over a picture of that height and width: so much of it for each pixel.

        What has no place is spread evenly. So, with averages, a place has the sign of the score
        that a picture would have of which every place were like it.
        """
        pixels = size[0] * size[1]
        total = np.zeros(size)
        for found in self.maps:
            image = Image.fromarray((found * found.size / pixels).astype(np.float32))
            total += np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC), np.float64)
        total += (self.score - float(total.sum())) / pixels  # and what resizing took or added
        return total


def evidence(
    weights: NDArray[np.floating],
    bias: float,
    taps: Sequence[Tap],
    cuts: Mapping[str, Cut],
    tensors: Mapping[str, Sequence[Places]],
) -> Evidence:
    """Take a score of one picture apart.

    Parameters
    ----------
    weights : ndarray of shape (dim,), float
        Of a class, or the difference of two classes.
    bias : float
        Likewise.
    taps : sequence of Tap
        What the head reads, in the order of the weights.
    cuts : Mapping of str to Cut
        The cuts that they name.
    tensors : Mapping of str to sequence of Places
        The picture's tensors at these cuts.
    """
    maps, elsewhere, start = [], float(bias), 0
    for tap in taps:
        for places in tensors[tap.cut]:
            width = places.spec.channels * (4 if _in_quarters(places, tap.pooling) else 1)
            own = np.asarray(weights[start : start + width], dtype=np.float64)
            start += width
            found = _share(places, tap.pooling, own)
            if places.grid is None:
                elsewhere += float(found.sum())
            else:
                maps.append(found.reshape(places.grid))
    if start != len(weights):
        raise ValueError(f"taps must read {len(weights)} features, got {start}")
    return Evidence(tuple(maps), elsewhere)


def _in_quarters(places: Places, pooling: Pooling) -> bool:
    return pooling == "grid" and places.spec.layout != "NC"


def _share(places: Places, pooling: Pooling, weights: Array) -> Array:
    """Return what each place adds to the weighted sum of the pooled channels, (places,)."""
    values = places.values.astype(np.float64)
    count = len(values)
    if count == 1 or pooling == "avg":
        return _summed(values, weights) / count
    if pooling == "max":
        found = np.zeros(count)
        tops = values.argmax(axis=0)
        np.add.at(found, tops, weights * values[tops, np.arange(len(weights))])
        return found
    if pooling == "std":
        away = (values - values.mean(axis=0)) ** 2
        deviation = np.sqrt(away.mean(axis=0))
        shares = np.divide(weights, deviation, out=np.zeros_like(weights), where=deviation > 0)
        return _summed(away, shares) / count
    return _quarters(values, places.grid, weights)


def _summed(values: Array, weights: Array) -> Array:
    found: Array = values @ weights
    return found


def _quarters(values: Array, grid: tuple[int, int] | None, weights: Array) -> Array:
    """Of the averages of the four quarters, which share a row or column where it is odd."""
    if grid is None:
        raise ValueError("a grid of quarters needs places in a square")
    height, width = grid
    square = values.reshape(height, width, -1)
    found = np.zeros(grid)
    for number, own in enumerate(weights.reshape(-1, 4).T):
        rows, columns = _half(height, number // 2), _half(width, number % 2)
        part = square[rows, columns] @ own
        found[rows, columns] += part / part.size
    return found.reshape(-1)


def _half(length: int, number: int) -> slice:
    """Return the places of half of an axis, as adaptive pooling takes them."""
    return slice(number * length // 2, -(-(number + 1) * length // 2))
