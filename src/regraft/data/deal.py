"""Dealing units of pictures into bins so that every class is spread as the bins' weights ask.

The rules, in this order: a unit is never cut; classes are spread in proportion; bins as a whole
are in proportion. Units of several pictures go first, the weightiest first, each to the bin where
it does least harm (as scikit-learn's ``StratifiedGroupKFold`` does); single pictures then fill
each class up exactly, which for data without groups leaves every bin within one picture of even.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_TIE = 1e-6
"""Weight of the bins' totals against the spread of classes."""


def deal(
    y: NDArray[np.intp], units: NDArray[np.intp], weights: NDArray[np.float64], seed: int
) -> NDArray[np.intp]:
    """Give each picture a bin.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Class of each picture, from 0.
    units : ndarray of shape (n,), int
        Unit of each picture.
    weights : ndarray of shape (n_bins,), float
        Part of the pictures that each bin is to get; they sum to 1.
    seed : int
        Seed of the shuffling.

    Returns
    -------
    ndarray of shape (n,), int
        Bin of each picture, from 0.
    """
    rng = np.random.default_rng([seed, len(weights)])  # the folds are not the test part's twins
    units, sizes = np.unique(units, return_inverse=True, return_counts=True)[1:]
    counts = np.zeros((len(weights), int(y.max()) + 1))
    result = np.empty(len(y), np.intp)
    single = sizes[units] == 1
    _deal_units(y, units, ~single, weights, counts, result, rng)
    _deal_singles(y, single, weights, counts, result, rng)
    return result


def incidence(
    y: NDArray[np.intp], units: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which unit holds which class: pairs (class, unit), each once, ascending."""
    width = int(units.max(initial=0)) + 1
    classes, members = np.divmod(np.unique(y * width + units), width)
    return classes, members


def fill_both_sides(y: NDArray[np.intp], units: NDArray[np.intp], side: NDArray[np.intp]) -> None:
    """Move units so that no class is missing on side 0 and, where possible, on side 1.

    Every class must have at least two units, numbered from 0. `side` is changed in place.
    """
    classes, members = incidence(y, units)
    at = np.searchsorted(classes, np.arange(classes[-1] + 2))
    sizes = np.bincount(units)
    unit_side = np.zeros(len(sizes), np.intp)
    unit_side[units] = side
    n_first = np.bincount(classes[unit_side[members] == 0], minlength=len(at) - 1)
    by_unit = np.argsort(members, kind="stable")
    starts = np.searchsorted(members[by_unit], np.arange(len(sizes) + 1))

    def move(unit: int, to: int) -> None:
        unit_side[unit] = to
        n_first[classes[by_unit[starts[unit] : starts[unit + 1]]]] += 1 if to == 0 else -1

    for wanted in (0, 1):
        for label in range(len(at) - 1):
            own = members[at[label] : at[label + 1]]
            if (unit_side[own] == wanted).any():
                continue
            for unit in own[np.argsort(sizes[own], kind="stable")]:
                held = classes[by_unit[starts[unit] : starts[unit + 1]]]
                if wanted == 0 or (n_first[held] > 1).all():
                    move(unit, wanted)
                    break
    side[:] = unit_side[units]


def free_trapped_classes(
    y: NDArray[np.intp], units: NDArray[np.intp], fold: NDArray[np.intp]
) -> None:
    """Set a unit to -1 (never held out) for each class that lies in one fold only, in place."""
    n_classes = int(y.max()) + 1
    low, high = np.full(n_classes, len(y), np.intp), np.full(n_classes, -1, np.intp)
    np.minimum.at(low, y, fold)
    np.maximum.at(high, y, fold)
    sizes = np.bincount(units)
    for label in np.flatnonzero((low == high) & (high >= 0)):
        own = np.unique(units[y == label])
        fold[units == own[np.argmin(sizes[own])]] = -1


def _deal_units(
    y: NDArray[np.intp],
    units: NDArray[np.intp],
    chosen: NDArray[np.bool_],
    weights: NDArray[np.float64],
    counts: NDArray[np.float64],
    result: NDArray[np.intp],
    rng: np.random.Generator,
) -> None:
    """Deal whole units, greedily: the sum of squared class shares, relative to the weights."""
    if not chosen.any():
        return
    n_classes = counts.shape[1]
    keys, amounts = np.unique(units[chosen] * n_classes + y[chosen], return_counts=True)
    holders, classes = np.divmod(keys, n_classes)
    shares = amounts / np.bincount(y)[classes]
    starts = np.flatnonzero(np.r_[True, holders[1:] != holders[:-1]])
    ends = np.r_[starts[1:], len(holders)]
    importance = np.add.reduceat(shares**2, starts)
    shuffled = rng.permutation(len(starts))
    order = shuffled[np.argsort(-importance[shuffled], kind="stable")]
    spread = np.zeros_like(counts)
    totals = np.zeros(len(weights))
    bins = np.empty(units.max() + 1, np.intp)
    for unit in order:
        part = slice(starts[unit], ends[unit])
        own, share, size = classes[part], shares[part], amounts[part].sum() / len(y)
        harm = (2 * spread[:, own] + share) @ share + _TIE * (2 * totals + size) * size
        best = int(np.argmin(harm / weights))
        spread[best, own] += share
        totals[best] += size
        counts[best, own] += amounts[part]
        bins[holders[starts[unit]]] = best
    result[chosen] = bins[units[chosen]]


def _deal_singles(
    y: NDArray[np.intp],
    chosen: NDArray[np.bool_],
    weights: NDArray[np.float64],
    counts: NDArray[np.float64],
    result: NDArray[np.intp],
    rng: np.random.Generator,
) -> None:
    """Deal units of one picture: fill every class up to an even level."""
    totals = counts.sum(axis=1)
    shuffled = rng.permutation(np.flatnonzero(chosen))
    for label, members in _by_class(y, shuffled):
        extra = _level(counts[:, label], weights, len(members), totals)
        result[members] = np.repeat(np.arange(len(weights)), extra)
        totals += extra


def _by_class(
    y: NDArray[np.intp], indices: NDArray[np.intp]
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    ordered = indices[np.argsort(y[indices], kind="stable")]
    for members in np.split(ordered, np.flatnonzero(np.diff(y[ordered])) + 1):
        if len(members):
            yield int(y[members[0]]), members


def _level(
    have: NDArray[np.float64],
    weights: NDArray[np.float64],
    amount: int,
    totals: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Fill bins that hold `have` with `amount` more, lowest first, as water fills basins."""
    order = np.argsort(have / weights, kind="stable")
    levels = (amount + np.cumsum(have[order])) / np.cumsum(weights[order])
    under = int(np.flatnonzero(levels >= (have / weights)[order]).max())
    ideal = np.maximum(levels[under] * weights - have, 0)
    extra: NDArray[np.intp] = np.floor(ideal + 1e-9).astype(np.intp)
    missing = amount - int(extra.sum())
    rest = np.round(ideal - extra, 9)
    neediest = np.lexsort((totals / weights, -rest))
    extra[neediest[:missing]] += 1
    return extra
