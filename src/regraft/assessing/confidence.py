"""What a model gains by not answering where it is unsure: accuracy against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.metrics import Estimate, share

LEVELS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Confidences below which the table abstains."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What is left where a model abstains below some confidence.

    Parameters
    ----------
    min_confidence : float
        The probability that the class which is called has at least.
    n : int
        Pictures that are answered.
    coverage : float
        Their share.
    accuracy : Estimate or None
        Share of them that was called right; None where none is answered.
    """

    min_confidence: float
    n: int
    coverage: float
    accuracy: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values; fractions are 0-1."""
        return {
            "min_confidence": self.min_confidence,
            "n": self.n,
            "coverage": self.coverage,
            "accuracy": self.accuracy.value if self.accuracy else None,
            "accuracy_ci95": self.accuracy.ci95 if self.accuracy else None,
        }


def answered(
    sure: NDArray[np.float64],
    right: NDArray[np.float64],
    units: NDArray[np.intp],
    levels: Sequence[float] = LEVELS,
) -> tuple[Answered, ...]:
    """Say how often a model is right where it is sure.

    Parameters
    ----------
    sure : ndarray of shape (n,), float64
        Probability of the class that was called.
    right : ndarray of shape (n,), float64
        1 where it was the right one, else 0.
    units : ndarray of shape (n,), int
        Pictures with the same number may depend on each other.
    levels : sequence of float
        Least confidences.
    """
    found = []
    for level in levels:
        rows = np.flatnonzero(sure >= level)
        accuracy = share(right[rows], units[rows]) if len(rows) else None
        found.append(Answered(float(level), len(rows), len(rows) / len(sure), accuracy))
    return tuple(found)
