"""Intervals of figures that are no plain share: the bootstrap's spread, Wilson's shape.

The percentiles of a bootstrap are no interval for a figure near 1: where a sample is right
throughout so is every resample, and for an average precision of 0.99 from 15 pictures of a class
they held the truth 1 time in 8 (``docs/decisions/0010-evaluation.md``). The spread of the
resamples is sound until then. It says how many pictures a plain share with that spread would
have, and Wilson's interval is taken at that number (N. Dean and M. Pagano, Journal of Survey
Statistics and Methodology 3, 2015), which has a limit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from regraft.metrics import Estimate, wilson

Array = NDArray[np.float64]

WORK = 2e9
"""Steps that all resamples of one figure may take."""
MOST_DRAWS, FEWEST_DRAWS = 200, 50


def draws_for(steps: float) -> int:
    """Say how many resamples a figure gets that takes so many steps each.

    Parameters
    ----------
    steps : float
        Say pictures times classes.
    """
    return int(np.clip(WORK / max(steps, 1), FEWEST_DRAWS, MOST_DRAWS))


def spread(
    figure: Callable[[Array, np.random.Generator], Array],
    units: NDArray[np.intp],
    draws: int,
    seed: int,
) -> Array:
    """Give the variance of a figure over resamples of units (B. Efron, 1979).

    Parameters
    ----------
    figure : callable
        Gives one or more figures, as an array of shape (k,), for a weight of each picture; the
        generator is for what it makes up itself.
    units : ndarray of shape (n,), int
        Pictures with the same number are drawn together.
    draws : int
        Resamples, 2 or more.
    seed : int
        Decides them.

    Returns
    -------
    ndarray of shape (k,), float64
        Resamples in which a figure is undefined (nan) are left out of its variance.
    """
    _, number = np.unique(units, return_inverse=True)
    count = int(number.max()) + 1
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = np.bincount(generator.integers(0, count, count), minlength=count)
        found.append(figure(drawn[number].astype(np.float64), generator))
    values = np.stack(found)
    defined = np.sum(~np.isnan(values), axis=0)
    away = values - np.nansum(values, axis=0) / np.maximum(defined, 1)
    variance: Array = np.nansum(away**2, axis=0) / np.maximum(defined - 1, 1)
    return variance


def bounded(value: float, variance: float, most: float) -> Estimate:
    """Give a figure of 0 to 1 its interval.

    Parameters
    ----------
    value : float
        The figure.
    variance : float
        Its variance; 0 where nothing varied.
    most : float
        Pictures that it may be worth: decides where nothing varied.
    """
    inside = value * (1 - value)
    effective = min(inside / variance, most) if variance > 0 and inside > 0 else most
    return Estimate(value, *wilson(value * effective, effective))
