"""Two models on the same pictures: which is better, and whether that could be chance."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regraft.clusters import mean_error, unit_sums, with_two_made
from regraft.heavy_tails import freedom, student
from regraft.metrics import Z95, Estimate, log_losses

Array = NDArray[np.float64]
Verdict = Literal["first", "second", "cannot tell"]

_FLIPS, _AT_ONCE = 10_000, 100
_CERTAIN = 0.05
_MADE = 0.8


@dataclass(frozen=True, slots=True)
class Paired:
    """The first model minus the second, picture by picture.

    Parameters
    ----------
    n : int
        Pictures.
    only_first, only_second : int
        Pictures that only the one or only the other called right: all that can tell them apart.
    accuracy, balanced_accuracy, log_loss : Estimate
        Differences with their 95 % intervals; of the log loss, less is better.
    p : float
        Probability of so uneven a count, or a more uneven one, if the models are equally good
        (Q. McNemar, Psychometrika 12, 1947; exact). Of pictures that depend on each other whole
        units are exchanged between the models instead.
    verdict : {"first", "second", "cannot tell"}
        Which is better in accuracy, where `p` is below 0.05.
    """

    n: int
    only_first: int
    only_second: int
    accuracy: Estimate
    balanced_accuracy: Estimate
    log_loss: Estimate
    p: float
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values; differences are fractions."""
        return {
            "n": self.n,
            "only_first_right": self.only_first,
            "only_second_right": self.only_second,
            "accuracy_difference": self.accuracy.value,
            "accuracy_difference_ci95": self.accuracy.ci95,
            "balanced_accuracy_difference": self.balanced_accuracy.value,
            "balanced_accuracy_difference_ci95": self.balanced_accuracy.ci95,
            "log_loss_difference": self.log_loss.value,
            "log_loss_difference_ci95": self.log_loss.ci95,
            "p": self.p,
            "better": self.verdict,
        }


def compare(
    y: NDArray[np.intp],
    first: tuple[NDArray[np.intp], Array],
    second: tuple[NDArray[np.intp], Array],
    units: NDArray[np.intp],
    seed: int = 0,
) -> Paired:
    """Compare what two models say of the same pictures.

    The interval of the accuracy is D. Bonett's and R. Price's (Statistics in Medicine 31, 2012):
    a normal one with one made picture in favour of each model, by unit. That of the balanced
    accuracy adds up such variances by class. That of the log loss has two made pictures, too, of
    which the one speaks for either model by what a guess loses, and Student's quantile at the
    degrees of freedom of `regraft.heavy_tails`.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        True columns; not empty.
    first, second : pair of ndarray of shape (n,), int, and of shape (n, n_classes), float64
        The columns that were called, and the probabilities.
    units : ndarray of shape (n,), int
        Pictures with the same number may depend on each other.
    seed : int
        Decides which units are exchanged, where it is not exact.
    """
    right, other = (first[0] == y).astype(np.float64), (second[0] == y).astype(np.float64)
    ahead = right - other
    value = float(ahead.mean())
    drawn, numbers = with_two_made(ahead, 1.0, units)
    centre, half = float(drawn.mean()), Z95 * mean_error(drawn, numbers)
    losses = log_losses(y, first[1]) - log_losses(y, second[1])
    loss = float(losses.mean())
    wider, of_unit = with_two_made(losses, float(np.log(first[1].shape[1])), units)
    loss_half = student(freedom(wider, of_unit)) * mean_error(wider, of_unit)
    loss_half *= len(wider) / len(losses)
    p = _probability(ahead, units, seed)
    better: Verdict = "first" if value > 0 else "second"
    return Paired(
        n=len(y),
        only_first=int(np.sum(ahead > 0)),
        only_second=int(np.sum(ahead < 0)),
        accuracy=Estimate(value, max(-1.0, centre - half), min(1.0, centre + half)),
        balanced_accuracy=_balanced(y, ahead, units),
        log_loss=Estimate(loss, loss - loss_half, loss + loss_half),
        p=p,
        verdict=better if p < _CERTAIN else "cannot tell",
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided probability of McNemar's test.

    Parameters
    ----------
    only_first, only_second : int
        Pictures that only the one or only the other called right.

    Examples
    --------
    >>> round(mcnemar(1, 9), 4)
    0.0215
    """
    n, least = only_first + only_second, min(only_first, only_second)
    ways = tail = 1
    for k in range(least):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, float(Fraction(2 * tail, 2**n)))


def _probability(ahead: Array, units: NDArray[np.intp], seed: int) -> float:
    """McNemar's, or where pictures hang together, that of exchanging units at random."""
    sums = unit_sums(ahead, units)
    if len(sums) == len(ahead):
        return mcnemar(int(np.sum(ahead > 0)), int(np.sum(ahead < 0)))
    uneven = sums[sums != 0]
    generator, as_far = np.random.default_rng(seed), 0
    for _ in range(_FLIPS // _AT_ONCE):
        signs = generator.choice([-1.0, 1.0], (_AT_ONCE, len(uneven)))
        as_far += int(np.sum(np.abs(signs @ uneven) >= abs(uneven.sum()) - 1e-9))
    return (1 + as_far) / (1 + _FLIPS)


def _balanced(y: NDArray[np.intp], ahead: Array, units: NDArray[np.intp]) -> Estimate:
    """Mean over classes; each has two made units, and what they take from it is given back."""
    means, variance = [], 0.0
    for column in np.unique(y):
        rows = np.flatnonzero(y == column)
        drawn, numbers = with_two_made(ahead[rows], _MADE, units[rows])
        means.append(float(ahead[rows].mean()))
        variance += (mean_error(drawn, numbers) * len(drawn) / len(rows)) ** 2
    value, half = float(np.mean(means)), Z95 * variance**0.5 / len(means)
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half))
