"""Is a model as sure as it is right? Reliability, expected calibration error, Brier score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.clusters import mean_error
from regraft.heavy_tails import freedom, repeated, student
from regraft.metrics import Estimate, log_loss, share, wilson

Array = NDArray[np.float64]

BINS = 10
_PER_BIN = 10
_DRAWS, _FEWEST, _VALUES = 400, 50, 2e7
_WRONG = 0.5


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about the same confidence.

    Parameters
    ----------
    n : int
        Pictures.
    confidence : float
        Their mean probability of the class that was called.
    accuracy : Estimate
        Share of them that was called right.
    """

    n: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far confidence and accuracy agree.

    Parameters
    ----------
    bins : tuple of Bin
        Equal numbers of pictures, from the least sure to the surest.
    ece : float
        Expected calibration error: mean of the distances between confidence and accuracy of the
        bins (M. Naeini et al., AAAI 2015). Never 0 by chance: see `ece_by_chance`.
    ece_by_chance : float
        What a model that is exactly as sure as it is right exceeds 1 time in 20 on so many
        pictures (J. Bröcker and L. Smith, Weather and Forecasting 22, 2007).
    brier : Estimate
        Mean squared distance between probabilities and truth, summed over the classes: 0 to 2.
    log_loss : Estimate
        See `regraft.metrics.log_loss`.
    """

    bins: tuple[Bin, ...]
    ece: float
    ece_by_chance: float
    brier: Estimate
    log_loss: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values; fractions are 0-1."""
        return {
            "ece": self.ece,
            "ece_by_chance": self.ece_by_chance,
            "brier": self.brier.value,
            "brier_ci95": self.brier.ci95,
            "log_loss": self.log_loss.value,
            "bins": [
                {
                    "n": b.n,
                    "confidence": b.confidence,
                    "accuracy": b.accuracy.value,
                    "accuracy_ci95": b.accuracy.ci95,
                }
                for b in self.bins
            ],
        }


def calibration(
    y: NDArray[np.intp], proba: Array, units: NDArray[np.intp], seed: int = 0
) -> Calibration:
    """Compare how sure predictions are with how often they are right.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        True columns; not empty.
    proba : ndarray of shape (n, n_classes), float64
        Probabilities.
    units : ndarray of shape (n,), int
        Pictures with the same number may depend on each other.
    seed : int
        Decides the draws of `ece_by_chance`.
    """
    sure = proba.max(axis=1)
    right = (proba.argmax(axis=1) == y).astype(np.float64)
    order = np.argsort(sure, kind="stable")
    groups = np.array_split(order, min(BINS, max(1, len(y) // _PER_BIN)))
    return Calibration(
        bins=tuple(_bin(rows, sure, right, units) for rows in groups),
        ece=_distance(right, sure, groups),
        ece_by_chance=_by_chance(sure, units, groups, seed),
        brier=brier_score(y, proba, units),
        log_loss=log_loss(y, proba, units),
    )


def brier_score(y: NDArray[np.intp], proba: Array, units: NDArray[np.intp]) -> Estimate:
    """Mean of values of 0 to 2 with Wilson's interval at the number that their spread is worth.

    To them belongs a made picture that is called wrong: most of a good model's score comes from
    few mistakes, and a sample may hold none. See `regraft.heavy_tails` for the rest.

    Parameters
    ----------
    y, proba, units
        See `calibration`.
    """
    given = np.take_along_axis(proba, y[:, None], axis=1)[:, 0]
    squares = np.einsum("nk,nk->n", proba, proba)
    halves = (squares - 2 * given + 1) / 2
    made = np.append(halves, _WRONG)
    centre = float(made.mean())
    of_unit = np.append(units, units.max() + 1)
    seen = max(mean_error(made, of_unit), mean_error(halves, units)) ** 2
    each = (squares[:, None] - 2 * proba + 1) / 2
    expected = np.einsum("nk,nk->n", proba, each)
    each *= each
    varies = np.einsum("nk,nk->n", proba, each) - expected**2
    claimed = float(varies.mean() + expected.var()) / len(y) * repeated(halves, units)
    effective = centre * (1 - centre) / max(seen, claimed)
    value = float(halves.mean())
    low, high = wilson(value * effective, effective, student(freedom(halves, units)))
    return Estimate(2 * value, 2 * low, 2 * high)


def _bin(rows: NDArray[np.intp], sure: Array, right: Array, units: NDArray[np.intp]) -> Bin:
    return Bin(len(rows), float(sure[rows].mean()), share(right[rows], units[rows]))


def _by_chance(
    sure: Array, units: NDArray[np.intp], groups: list[NDArray[np.intp]], seed: int
) -> float:
    """Draw answers that are right as often as the model is sure, those of a unit together."""
    _, number = np.unique(units, return_inverse=True)
    generator, count = np.random.default_rng(seed), int(number.max()) + 1
    draws = int(np.clip(_VALUES / len(sure), _FEWEST, _DRAWS))
    found = [
        _distance((generator.random(count)[number] < sure).astype(np.float64), sure, groups)
        for _ in range(draws)
    ]
    return float(np.quantile(found, 0.95))


def _distance(right: Array, sure: Array, groups: list[NDArray[np.intp]]) -> float:
    """Give the expected calibration error of some answers."""
    away = sum(len(rows) * abs(right[rows].mean() - sure[rows].mean()) for rows in groups)
    return float(away / len(sure))
