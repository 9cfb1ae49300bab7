"""How well scores put the pictures of a class before all others: ROC and precision-recall.

The area under the ROC curve is the share of pairs, one picture of the class and one of the rest,
in the right order. Its variance is that of its structural components (E. DeLong et al.,
Biometrics 44, 1988), summed by unit (N. Obuchowski, Biometrics 53, 1997). To it belong two made
pictures, one of the class and one of the rest, which are in the right order with 60 % of the
others: without them a sample in perfect order would be certain. That of the average precision
is of a bootstrap over units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.assessing.resampling import bounded, draws_for, spread
from regraft.clusters import unit_sums
from regraft.metrics import Estimate, wilson

Array = NDArray[np.float64]

_MADE = 0.6
_POINTS = 101
_MOST_PER_PICTURE = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """How well one class is told from all others, at any threshold.

    Parameters
    ----------
    label : str
        The class.
    auc : Estimate
        Area under the ROC curve.
    average_precision : Estimate
        Mean precision over the recalls, as scikit-learn defines it; a random order gives the
        share of the class.
    false_positive_rate, recall, precision : ndarray of shape (n_points,), float64
        The curves: recall against the false positive rate, and precision against recall, with
        the threshold falling. The precision where nothing is called is 1.
    """

    label: str
    auc: Estimate
    average_precision: Estimate
    false_positive_rate: Array
    recall: Array
    precision: Array

    def as_dict(self) -> dict[str, object]:
        """Give the curves as JSON values; fractions are 0-1."""
        return {
            "class": self.label,
            "auc": self.auc.value,
            "auc_ci95": self.auc.ci95,
            "average_precision": self.average_precision.value,
            "average_precision_ci95": self.average_precision.ci95,
            "roc": {"fpr": _rounded(self.false_positive_rate), "tpr": _rounded(self.recall)},
            "precision_recall": {
                "recall": _rounded(self.recall),
                "precision": _rounded(self.precision),
            },
        }


def rank_class(
    label: str,
    of_class: NDArray[np.bool_],
    scores: Array,
    units: NDArray[np.intp],
    n_classes: int,
    seed: int = 0,
) -> Ranking | None:
    """Compare the scores of a class's pictures with those of all others.

    Parameters
    ----------
    label : str
        The class.
    of_class : ndarray of shape (n,), bool
        Which pictures truly are of it.
    scores : ndarray of shape (n,), float64
        How much each is taken for one of it.
    units : ndarray of shape (n,), int
        Pictures with the same number may depend on each other.
    n_classes : int
        Classes that are ranked altogether: the more, the fewer resamples each gets.
    seed : int
        Decides the resamples.

    Returns
    -------
    Ranking or None
        None where the class, or the rest, has no picture.
    """
    if of_class.all() or not of_class.any():
        return None
    order = np.argsort(-scores, kind="stable")
    truth, ranked = of_class[order], scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def figure(weights: Array, _: np.random.Generator) -> Array:
        return np.array([_average_precision(truth, weights[order], last)])

    value = _average_precision(truth, np.ones(len(scores)), last)
    variance = spread(figure, units, draws_for(4 * len(scores) * n_classes), seed)
    most = _MOST_PER_PICTURE * len(np.unique(units[of_class]))
    hits, called = np.cumsum(truth)[last], last + 1
    points = np.unique(np.linspace(0, len(last) - 1, _POINTS).round().astype(np.intp))
    recall = hits[points] / hits[-1]
    return Ranking(
        label=label,
        auc=area(of_class, scores, units),
        average_precision=bounded(value, float(variance[0]), most),
        false_positive_rate=np.append(0.0, (called - hits)[points] / (called - hits)[-1]),
        recall=np.append(0.0, recall),
        precision=np.append(1.0, hits[points] / called[points]),
    )


def area(of_class: NDArray[np.bool_], scores: Array, units: NDArray[np.intp]) -> Estimate:
    """Area under the ROC curve with its interval; see the module.

    Parameters
    ----------
    of_class, scores, units
        See `rank_class`; the class and the rest have a picture each.
    """
    own, rest = np.flatnonzero(of_class), np.flatnonzero(~of_class)
    right = np.empty(len(scores))
    right[own] = _below(scores[rest], scores[own])
    right[rest] = 1 - _below(scores[own], scores[rest])
    value = float(right[own].mean())
    made = np.zeros(len(scores) + 2)
    numbers = np.append(units, [units.max() + 1, units.max() + 2])
    centres = []
    for rows, extra in ((own, len(scores)), (rest, len(scores) + 1)):
        values = np.append(right[rows], _MADE)
        centres.append(values.mean())
        scale = np.sqrt(len(values) / len(rows)) / len(rows)
        made[np.append(rows, extra)] = scale * (values - values.mean())
    together = unit_sums(made, numbers)
    variance = max(float(together @ together), float(made @ made))
    centre, count = float(np.mean(centres)), len(np.unique(units))
    effective = centre * (1 - centre) / variance * (count - 1) / count if count > 1 else 1.0
    return Estimate(value, *wilson(value * effective, effective))


def _below(others: Array, values: Array) -> Array:
    """Share of others that each value exceeds; equals count half."""
    ordered = np.sort(others)
    left, right = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (left + right) / (2 * len(others))


def _average_precision(truth: NDArray[np.bool_], weights: Array, last: NDArray[np.intp]) -> float:
    """Sum of precision times gain in recall; equal scores are one step."""
    hits = np.cumsum(weights * truth)[last]
    called = np.cumsum(weights)[last]
    if not hits[-1]:
        return float("nan")
    gained = np.diff(hits, prepend=0.0)
    return float(gained @ (hits / np.maximum(called, 1e-12)) / hits[-1])


def _rounded(values: Array) -> list[float]:
    return [round(float(value), 5) for value in values]
