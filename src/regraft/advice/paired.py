"""Two ways to make a classifier, compared on the same held-out pictures of a few folds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.clusters import mean_error, with_two_made


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of a paired difference with its standard error.

    Parameters
    ----------
    mean : float
        Below 0 where the first way has less loss.
    error : float
        Corrected for training sets that overlap.
    freedom : int
        Degrees of freedom of the error.
    """

    mean: float
    error: float
    freedom: int

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % interval, by Student's t."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.freedom, 0.975)) * self.error
        return self.mean - half, self.mean + half

    @property
    def share95(self) -> tuple[float, float]:
        """The interval where shares are compared, which cannot differ by more than 1."""
        low, high = self.ci95
        return max(-1.0, low), min(1.0, high)


def paired_difference(
    mine: NDArray[np.float64],
    theirs: NDArray[np.float64],
    units: NDArray[np.intp],
    *,
    n_train: float,
    folds: int,
    guess: float,
) -> Difference:
    """Compare two ways picture by picture.

    The pictures of different folds were judged by networks that were trained on mostly the same
    pictures, so their mean varies more than that of independent ones: its variance is multiplied
    by ``1 + folds * n_test / n_train`` (C. Nadeau and Y. Bengio, Machine Learning 52, 2003), where
    the variance within folds is that of single pictures, or of units.

    A handful of pictures on which both ways say the same does not show that they are the same: to
    estimate the variance two made ones are added (`regraft.clusters.with_two_made`).

    Parameters
    ----------
    mine, theirs : ndarray of shape (n,), float64
        Loss of each held-out picture, all folds together.
    units : ndarray of shape (n,), int
        Pictures with the same number depend on each other.
    n_train : float
        Training pictures of a fold.
    folds : int
        Folds that the pictures are of, 1 or more.
    guess : float
        Loss of a guess, in the unit of the losses.
    """
    difference = mine - theirs
    mean = float(difference.mean())
    n_test = len(difference) / folds
    inflation = math.sqrt(1 + folds * n_test / n_train)
    values, witnesses = with_two_made(difference - mean, guess, units)
    error = inflation * mean_error(values, witnesses)
    return Difference(mean, error, len(np.unique(witnesses)) - 1)


def right_answers(y: NDArray[np.intp], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 for each picture whose most probable class is its own, else 0.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Columns of the classes.
    probabilities : ndarray of shape (n, n_classes), float64
    """
    found: NDArray[np.float64] = (probabilities.argmax(1) == y).astype(np.float64)
    return found
