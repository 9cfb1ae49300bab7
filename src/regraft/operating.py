"""What a model of two classes promises: a threshold that finds enough of one of them.

The threshold is chosen on pictures that the scores were not trained on. It is the highest of those
at which the *lower end* of the 95 % interval of the sensitivity meets the target (or, of the
specificity, the lowest), then the middle of the gap beside it: what is promised holds for new
pictures 39 times in 40, not every other time, as where the figure itself meets it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.errors import UserError
from regraft.metrics import Z95, Estimate, share
from regraft.target import Target

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a model of two classes says yes.

    Parameters
    ----------
    positive : str
        The class to find.
    target : Target
        What it was chosen for.
    threshold : float
        Probability of the class from which on it is called.
    sensitivity, specificity : Estimate
        On the pictures that chose it; the one that was aimed at is optimistic but for its lower
        end.
    n : int
        How many pictures chose it.
    """

    positive: str
    target: Target
    threshold: float
    sensitivity: Estimate
    specificity: Estimate
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values; fractions are 0-1."""
        return {
            "positive": self.positive,
            "target": str(self.target),
            "threshold": self.threshold,
            "sensitivity": self.sensitivity.value,
            "sensitivity_ci95": self.sensitivity.ci95,
            "specificity": self.specificity.value,
            "specificity_ci95": self.specificity.ci95,
            "n": self.n,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """How probabilities become classes: the most probable or, of two, by a threshold.

    Parameters
    ----------
    positive : int or None
        Column of the class to find; None for the most probable one.
    threshold : float
        Probability from which on it is called.
    """

    positive: int | None = None
    threshold: float = 0.5

    def columns(self, proba: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return the column that each row calls.

        Parameters
        ----------
        proba : ndarray of shape (n, n_classes), float
        """
        columns: NDArray[np.intp] = proba.argmax(axis=1)
        if self.positive is not None:
            found = proba[:, self.positive] >= self.threshold
            columns = np.where(found, self.positive, 1 - self.positive)
        return columns


MOST_PROBABLE = Decision()


def decision_of(point: OperatingPoint | None, classes: tuple[str, ...]) -> Decision:
    """Return how the classes of a model are called."""
    if point is None:
        return MOST_PROBABLE
    return Decision(classes.index(point.positive), point.threshold)


def positive_class(y: NDArray[np.intp], classes: tuple[str, ...], asked: str | None) -> str:
    """Say which of two classes is the one to find: what was asked for, else the rarer one.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Columns of the training pictures.
    classes : tuple of str
        Both labels.
    asked : str or None
        The one that was named, if one was.

    Raises
    ------
    UserError
        If there are not two classes, or it is none of them.
    """
    check_classes(classes, asked)
    counts = np.bincount(y, minlength=2)
    return asked or classes[0 if counts[0] < counts[1] else 1]


def check_classes(classes: tuple[str, ...], asked: str | None) -> None:
    """Complain unless there are two classes, and the one that was asked for is one of them."""
    if len(classes) != 2:
        raise UserError(
            f"target needs pictures of two classes, got {len(classes)}; leave --target out, or put "
            "the pictures into two classes"
        )
    if asked is not None and asked not in classes:
        raise UserError(f"positive must be {classes[0]!r} or {classes[1]!r}, got {asked!r}")


def operating_point(
    target: Target,
    positive: int,
    classes: tuple[str, ...],
    y: NDArray[np.intp],
    proba: Array,
    units: NDArray[np.intp],
) -> OperatingPoint:
    """Choose the threshold, in the middle of a gap where that loses nothing.

    Parameters
    ----------
    target : Target
        What it is to reach.
    positive : int
        Column of the class to find.
    classes : tuple of str
        Both labels.
    y : ndarray of shape (n,), int
        Columns of the classes.
    proba : ndarray of shape (n, 2), float64
        What a model says of pictures that it was not trained on.
    units : ndarray of shape (n,), int
        Pictures with the same number depend on each other.

    Raises
    ------
    UserError
        If no threshold can promise that: it says how many pictures would do.
    """
    check_enough(target, positive, classes, y, units)
    sought = positive if target.promise == "sensitivity" else 1 - positive
    rows = np.flatnonzero(y == sought)
    ranked = np.sort(proba[rows, sought])
    lowest, highest = 0, len(rows) - 1  # pictures that may be missed
    while lowest < highest:
        misses = (lowest + highest + 1) // 2
        found = proba[rows, sought] >= ranked[misses]
        if share(found, units[rows]).low >= target.least:
            lowest = misses
        else:
            highest = misses - 1
    threshold = float(ranked[lowest])
    if sought != positive:  # called where the other falls short of its threshold
        spared = proba[rows, positive][proba[rows, sought] >= threshold]
        threshold = float(np.nextafter(spared.max(), 2))
    threshold = _in_the_gap(threshold, proba[:, positive], y == positive, target)
    called = Decision(positive, threshold).columns(proba) == positive
    of_class = y == positive
    return OperatingPoint(
        classes[positive],
        target,
        threshold,
        share(called[of_class], units[of_class]),
        share(~called[~of_class], units[~of_class]),
        len(y),
    )


def check_enough(
    target: Target,
    positive: int,
    classes: tuple[str, ...],
    y: NDArray[np.intp],
    units: NDArray[np.intp],
) -> None:
    """Complain if even finding every picture would not prove a target; see `operating_point`."""
    sought = positive if target.promise == "sensitivity" else 1 - positive
    for column in (0, 1):
        if not np.any(y == column):
            raise UserError(
                f"target {target} needs held-out pictures of both classes, got none of "
                f"{classes[column]!r}; add pictures of it (to val/, if there is one)"
            )
    rows = np.flatnonzero(y == sought)
    if share(np.ones(len(rows)), units[rows]).low < target.least:
        raise UserError(_refusal(target, classes[sought], len(rows), len(np.unique(units[rows]))))


def _in_the_gap(
    threshold: float, chances: Array, of_class: NDArray[np.bool_], target: Target
) -> float:
    """Move a threshold to the middle of a gap, where no picture of the other class is lost by it.

    The promise only gets safer: where classes are far apart, the last threshold that keeps it lies
    among the pictures that are to be found.
    """
    if target.promise == "sensitivity":
        low = float(chances[~of_class & (chances < threshold)].max(initial=0.0))
        high = float(chances[of_class & (chances > low)].min(initial=threshold))
    else:
        high = float(chances[of_class & (chances >= threshold)].min(initial=np.inf))
        if not np.isfinite(high):
            return threshold
        low = float(chances[~of_class & (chances < high)].max(initial=0.0))
    middle = (low + high) / 2
    return middle if low < middle <= high else high


def _refusal(target: Target, label: str, n: int, n_units: int) -> str:
    needed = math.ceil(Z95**2 * target.least / (1 - target.least))
    groups = f" of {n_units} groups" if n_units < n else ""
    possible = n_units / (n_units + Z95**2) if n_units else 0.0
    return (
        f"target {target} cannot be promised from {n} held-out pictures{groups} of {label!r}: even "
        f"if every one were found, the lower end of the 95 % interval would be {possible:.3f}. "
        f"{needed} such pictures, held out and independent of each other, would do (of a training "
        "part a fifth, or of 2,000 pictures and more a tenth, is held out where layers train, all "
        "of it by folds where not); add some, or "
        f"ask for less (below {target.promise}={possible:.2f})"
    )
