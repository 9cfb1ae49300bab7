"""Pictures that are no independent witnesses: of one patient, of one burst, copies of each other.

What is said about a mean takes them for as many witnesses as there are pictures. Here they count
by unit: whatever is common to a unit's pictures adds up instead of averaging out (L. Kish,
*Survey Sampling*, 1965, for the design effect; J. Rao and A. Scott, Biometrics 48, 1992, for
dividing the number of clustered binary answers by it).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean_error(values: Array, units: NDArray[np.intp] | None) -> float:
    """Give the standard error of a mean: not below that of independent values.

    Parameters
    ----------
    values : ndarray of shape (n,), float64
        What the mean is of.
    units : ndarray of shape (n,), int, or None
        Values of the same unit may depend on each other; None where all are independent.

    Returns
    -------
    float
        0 for fewer than two values; their standard deviation where all are of one unit.
    """
    n = len(values)
    if n < 2:
        return 0.0
    plain = float(values.std(ddof=1)) / math.sqrt(n)
    if units is None:
        return plain
    sums = unit_sums(values - values.mean(), units)
    if len(sums) < 2:
        return plain * math.sqrt(n)
    clustered = math.sqrt(len(sums) / (len(sums) - 1) * float(sums @ sums)) / n
    return max(plain, clustered)


def with_two_made(
    values: Array, guess: float, units: NDArray[np.intp]
) -> tuple[Array, NDArray[np.intp]]:
    """Add two made units to differences: one fares better and one worse, by what a guess loses.

    As A. Agresti and B. Coull (1998) add two hits and two misses to a rate, so that a handful of
    witnesses cannot pretend to know; among hundreds they change nothing.

    Parameters
    ----------
    values : ndarray of shape (n,), float64
        Differences of paired losses.
    guess : float
        Loss of a guess.
    units : ndarray of shape (n,), int
        Values of the same unit may depend on each other; a made unit is of their average size.

    Returns
    -------
    values : ndarray of shape (n + 2 * size,), float64
    units : ndarray of the same shape, int
    """
    size = round(len(units) / len(np.unique(units)))
    last = int(units.max())
    made = np.repeat([guess, -guess], size)
    names = np.repeat([last + 1, last + 2], size)
    return np.concatenate([values, made]), np.concatenate([units, names])


def design_effect(
    right: Array, expected: Array, weights: Array, units: NDArray[np.intp] | None
) -> float:
    """By how much more the weighted share of right answers varies than of independent pictures.

    Where few answers are wrong they say little about how alike a unit's pictures are. So what is
    seen is drawn towards full dependence, by as much as a right and a wrong unit would say: of
    answers that are all right each unit counts once, and with pictures that are units of their
    own the effect is 1.

    Parameters
    ----------
    right : ndarray of shape (n,), float64
        1 where the answer is right, else 0.
    expected : ndarray of shape (n,), float64
        Share of right answers that is expected of each picture, say that of its class.
    weights : ndarray of shape (n,), float64
        What each picture counts in the mean.
    units : ndarray of shape (n,), int, or None
        Pictures of the same unit may depend on each other; None where all are independent.

    Returns
    -------
    float
        At least 1; the number of pictures divided by it is the effective one.
    """
    if units is None or len(right) == 0:
        return 1.0
    squares = float(weights @ weights)
    sums = unit_sums(weights, units)
    most = float(sums @ sums) / squares
    share = float(weights @ right) / float(weights.sum())
    away = weights * (right - expected)
    together = unit_sums(away, units)
    drawn = most * squares / len(right) * (share**2 + (1 - share) ** 2)
    seen = float(together @ together) + most * drawn
    return max(1.0, seen / (float(away @ away) + drawn))


def unit_sums(values: Array, units: NDArray[np.intp]) -> Array:
    """Add up the values of each unit.

    Parameters
    ----------
    values : ndarray of shape (n,), float64
    units : ndarray of shape (n,), int

    Returns
    -------
    ndarray of shape (n_units,), float64
        In the order of the units' numbers.
    """
    _, numbers = np.unique(units, return_inverse=True)
    sums: Array = np.bincount(numbers, weights=values).astype(np.float64, copy=False)
    return sums
