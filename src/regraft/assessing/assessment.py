"""All that is said of predictions on labelled pictures, beyond what every fit reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.assessing.calibration import Calibration, calibration
from regraft.assessing.confidence import LEVELS, Answered, answered
from regraft.assessing.f1 import f1_scores, macro_f1
from regraft.assessing.ranking import Ranking, area, rank_class
from regraft.metrics import Estimate, share

Array = NDArray[np.float64]

TOPS = (2, 3, 5)
"""Lengths of the lists in which the true class is looked for, where there are more classes."""
RANKED = 30
"""Classes up to which each gets curves; of more, each gets its area alone."""


@dataclass(frozen=True, slots=True)
class ClassDetail:
    """What is said of one class beyond recall and precision.

    Parameters
    ----------
    label : str
        The class.
    specificity : Estimate or None
        Share of the pictures of other classes that were not called this one; None without any.
    f1 : float or None
        Harmonic mean of precision and recall; None where the class neither occurs nor was called.
    auc : Estimate or None
        Area under the ROC curve of this class against the rest; None without either.
    """

    label: str
    specificity: Estimate | None
    f1: float | None
    auc: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values; fractions are 0-1."""
        return {
            "specificity": self.specificity.value if self.specificity else None,
            "specificity_ci95": self.specificity.ci95 if self.specificity else None,
            "f1": self.f1,
            "auc": self.auc.value if self.auc else None,
            "auc_ci95": self.auc.ci95 if self.auc else None,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """All figures of one evaluation that an `Evaluation` does not have.

    Parameters
    ----------
    macro_f1 : Estimate
        Mean F1 score over the classes.
    top : tuple of (int, Estimate)
        Share of pictures whose class is among the so many most probable ones.
    details : tuple of ClassDetail
        One per class, in the order of the columns.
    rankings : tuple of Ranking
        Curves of each class against the rest; none with more than `RANKED` classes.
    calibration, uncalibrated : Calibration
        With the temperature of the bundle, and without.
    answered : tuple of Answered
        Accuracy against coverage.
    """

    macro_f1: Estimate
    top: tuple[tuple[int, Estimate], ...]
    details: tuple[ClassDetail, ...]
    rankings: tuple[Ranking, ...]
    calibration: Calibration
    uncalibrated: Calibration
    answered: tuple[Answered, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values; fractions are 0-1, intervals ``[low, high]``."""
        return {
            "macro_f1": self.macro_f1.value,
            "macro_f1_ci95": self.macro_f1.ci95,
            "top_k": [
                {"k": k, "accuracy": found.value, "ci95": found.ci95} for k, found in self.top
            ],
            "curves": [ranking.as_dict() for ranking in self.rankings],
            "calibration": {
                "before": self.uncalibrated.as_dict(),
                "after": self.calibration.as_dict(),
            },
            "coverage": [row.as_dict() for row in self.answered],
        }


def assess(
    y: NDArray[np.intp],
    predicted: NDArray[np.intp],
    proba: Array,
    uncalibrated: Array,
    classes: Sequence[str],
    units: NDArray[np.intp],
    min_confidence: float | None = None,
) -> Assessment:
    """Work out every figure.

    Parameters
    ----------
    y, predicted : ndarray of shape (n,), int
        True columns and called ones; not empty.
    proba, uncalibrated : ndarray of shape (n, n_classes), float64
        Probabilities with the temperature of the bundle and without.
    classes : sequence of str
        Labels in the order of the columns.
    units : ndarray of shape (n,), int
        Pictures with the same number may depend on each other.
    min_confidence : float, optional
        One more row of the table of accuracy against coverage.
    """
    k, right = len(classes), (y == predicted).astype(np.float64)
    curves = k <= RANKED
    found = [
        rank_class(label, y == column, proba[:, column], units, k) if curves else None
        for column, label in enumerate(classes)
    ]
    scores = f1_scores(y, predicted, k)
    levels = sorted({*LEVELS, *([] if min_confidence is None else [min_confidence])})
    called = proba[np.arange(len(y)), predicted]
    return Assessment(
        macro_f1=macro_f1(y, predicted, k, units),
        top=tuple((top, _top(y, proba, top, units)) for top in TOPS if top < k),
        details=tuple(
            ClassDetail(
                label,
                _specificity(y != column, predicted != column, units),
                None if np.isnan(scores[column]) else float(scores[column]),
                ranking.auc if ranking else _area(y == column, proba[:, column], units),
            )
            for column, (label, ranking) in enumerate(zip(classes, found, strict=True))
        ),
        rankings=tuple(ranking for ranking in found if ranking is not None),
        calibration=calibration(y, proba, units),
        uncalibrated=calibration(y, uncalibrated, units),
        answered=answered(called, right, units, levels),
    )


def _area(of_class: NDArray[np.bool_], scores: Array, units: NDArray[np.intp]) -> Estimate | None:
    if of_class.all() or not of_class.any():
        return None
    return area(of_class, scores, units)


def _specificity(
    others: NDArray[np.bool_], spared: NDArray[np.bool_], units: NDArray[np.intp]
) -> Estimate | None:
    return share(spared[others], units[others]) if others.any() else None


def _top(y: NDArray[np.intp], proba: Array, top: int, units: NDArray[np.intp]) -> Estimate:
    """Share of pictures whose class is among the most probable; of equals the first count."""
    order = np.argsort(-proba, axis=1, kind="stable")[:, :top]
    return share((order == y[:, None]).any(axis=1), units)
