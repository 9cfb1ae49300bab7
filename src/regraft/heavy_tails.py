"""Means that few large values decide: the losses of a good model, which is seldom wrong.

A sample of a hundred pictures may hold none of its mistakes, and then looks as if nothing varied:
the usual interval of such a mean log loss held the truth as seldom as 1 time in 2. Three things
mend that. The variance is at least what the model itself expects, whose probabilities say how
often it will be wrong. Of a variance that rests on a few values Student's quantile is taken, at as
many degrees of freedom as their kurtosis leaves. And the interval is a score interval: the
variance belongs to the supposed mean, not to the one that was seen.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from regraft.clusters import mean_error, unit_sums

Array = NDArray[np.float64]

_LEAST_FREEDOM = 2.0
_SHARPER = 2.0  # chosen by simulation: a kurtosis that few values decide is itself too large


def freedom(values: Array, units: NDArray[np.intp]) -> float:
    """Give the degrees of freedom that the variance of a mean has.

    A variance of m values with kurtosis k is as uncertain as one of a normal sample with
    2 m / (k - 1) degrees of freedom (H. Cramér, *Mathematical Methods of Statistics*, 1946, 27.4,
    for its variance; F. Satterthwaite, Biometrics Bulletin 2, 1946, for matching it). Twice as many
    are taken, 2 at least and m - 1 at most.

    Parameters
    ----------
    values : ndarray of shape (n,), float64
        What the mean is of.
    units : ndarray of shape (n,), int
        Values of the same unit may depend on each other; m counts units.
    """
    sums = unit_sums(values - values.mean(), units)
    away = sums - sums.mean()
    variance = float(np.mean(away**2))
    if variance <= 0 or len(sums) < 2:
        return max(_LEAST_FREEDOM, len(sums) - 1.0)
    excess = max(float(np.mean(away**4)) / variance**2 - 1, 1e-9)
    return max(_LEAST_FREEDOM, min(len(sums) - 1.0, _SHARPER * 2 * len(sums) / excess))


def student(degrees: float) -> float:
    """Give the 97.5 % point of Student's t, to 1 % from 2 degrees of freedom on.

    The expansion of M. Abramowitz and I. Stegun, *Handbook of Mathematical Functions*, 1964,
    26.7.5: SciPy's takes longer to import than all figures to work out.

    Parameters
    ----------
    degrees : float
        Degrees of freedom, 2 or more.

    Examples
    --------
    >>> round(student(10), 2), round(student(1000), 2)
    (2.23, 1.96)
    """
    z = 1.959963984540054
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))


def repeated(values: Array, units: NDArray[np.intp]) -> float:
    """Say by how much more the mean varies than of values that are all independent, at least 1."""
    plain = mean_error(values, None)
    return (mean_error(values, units) / plain) ** 2 if plain > 0 else 1.0


def score_interval(value: float, per: float, quantile: float) -> tuple[float, float]:
    """Give the interval of a mean of values above 0 whose variance is in proportion to it.

    The ends are the means from which `value` is as far as `quantile` standard errors, with the
    variance that each of them has: for counts this is the score interval of a Poisson mean.

    Parameters
    ----------
    value : float
        The mean, 0 or more.
    per : float
        Variance of the mean divided by it.
    quantile : float
        Standard errors.
    """
    middle = quantile**2 * per / 2
    half = math.sqrt(2 * middle * value + middle**2)
    return max(0.0, value + middle - half), value + middle + half
