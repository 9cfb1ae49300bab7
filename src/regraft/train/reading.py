"""What a head reads of a network that trains, and in which units its weights are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.heads.linear import LinearHead
from regraft.heads.scaling import Scaling
from regraft.strategy import Tap


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a head reads, how that is scaled, and how its weights are penalised.

    Taps differ in size by orders of magnitude, and an optimiser such as Adam moves every weight by
    about its rate: on raw features the first steps would tear apart what the head knows. Scaled,
    a picture's vector has a mean squared length of one (`regraft.heads.scaling`). With the penalty
    that the head was trained with it begins at the minimum of the loss.

    Parameters
    ----------
    taps : tuple of Tap
        What is read, side by side.
    scaling : Scaling
        From raw features to those that the weights are for.
    penalty : float
        Weight of half the squared length of the weights, against the mean loss of a picture.
    """

    taps: tuple[Tap, ...]
    scaling: Scaling
    penalty: float

    def scaled(self, head: LinearHead) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Turn a head on raw features into weights and bias on scaled ones."""
        factor = self.scaling.factor
        raw = head.weight.astype(np.float64)
        weight = np.divide(raw, factor, out=np.zeros_like(raw), where=factor != 0)
        bias = head.bias + raw @ self.scaling.centre
        return weight.astype(np.float32), bias.astype(np.float32)

    def unscaled(
        self, weight: NDArray[np.floating], bias: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Turn weights and bias on scaled features into those on raw ones."""
        return self.scaling.unfold(weight.astype(np.float64), bias.astype(np.float64))


def plain_reading(taps: tuple[Tap, ...], width: int) -> Reading:
    """Read so many features as they are, without a penalty: for a head that knows nothing yet."""
    return Reading(taps, Scaling(np.zeros(width), np.ones(width)), 0.0)
