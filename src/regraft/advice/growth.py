"""The learning curve: what more pictures of the same kind would bring."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.advice.probe import FOLDS, Exam, cross_validated, entries_of
from regraft.clusters import mean_error, with_two_made
from regraft.data.deal import deal
from regraft.heads.held_out import TapMatrix
from regraft.metrics import Z95
from regraft.strategy import FeatureSet

_PARTS = (4, 2, 1)
_OVERLAP = 1.5  # of folds whose training sets overlap (C. Nadeau and Y. Bengio, 2003)
_LEAST = 5  # pictures of a class, on average, in the smallest part


@dataclass(frozen=True, slots=True)
class Growth:
    """Accuracy against the number of training pictures.

    Parameters
    ----------
    pictures : tuple of int
        Numbers of training pictures, rising: each about twice the one before.
    accuracy : tuple of float
        Of pictures that were left out, the same ones at each number.
    gain : float or None
        What twice all pictures would add to the accuracy; None with fewer than two numbers.
    gain_ci95 : tuple of float or None
        A rough 95 % interval of it: what the last doubling so far says, if the law holds.
    n : int
        Pictures that were left out.
    """

    pictures: tuple[int, ...]
    accuracy: tuple[float, ...]
    gain: float | None
    gain_ci95: tuple[float, float] | None
    n: int = 0


def learning_curve(exam: Exam, features: FeatureSet) -> Growth:
    """Measure how accuracy grew with the pictures so far, and go on with that.

    The pictures are dealt into four quarters, two halves and a whole. A ridge probe is
    cross-validated in each of them, so the same pictures are judged once at each number, and the
    differences are paired. A number at which most pictures of a class cannot be judged, as a part
    has nothing else of it, is left out. The error is taken to fall by the same factor with each
    doubling (a power law: C. Cortes et al., NIPS 1993; J. Hestness et al., arXiv 1712.00409), and
    never to rise. Of some thousand pictures a sample is measured, and the law carries it on to all.

    Parameters
    ----------
    exam : Exam
        The pictures.
    features : FeatureSet
        What the probe reads.
    """
    whole = exam.of_some_classes()
    exam = whole.sampled()
    rows = exam.rows
    task, matrix, entries = exam.task(rows), exam.matrix([features], rows), entries_of([features])
    units = np.asarray(task.units)
    right: list[NDArray[np.float64]] = []
    pictures = []
    for parts in _PARTS:
        if len(rows) < parts * _LEAST * exam.n_classes:
            continue
        answers = np.full(len(rows), np.nan)
        part_of = deal(task.y, units, np.full(parts, 1 / parts), exam.seed)
        for part in range(parts):
            inside = np.flatnonzero(part_of == part)
            some = TapMatrix(matrix.X[inside], matrix.widths)
            for trial in cross_validated(exam, task.only(inside), some, entries):
                answers[inside[trial.rows]] = trial.right
        right.append(answers)
        pictures.append(round(len(rows) / parts * (1 - 1 / FOLDS)))
    used = [n for n, answers in enumerate(right) if _judges_all(answers, right[-1], task.y)]
    more = len(whole.rows) / len(rows)
    return _grown([pictures[n] for n in used], [right[n] for n in used], units, more)


def _judges_all(
    answers: NDArray[np.float64], of_all: NDArray[np.float64], y: NDArray[np.intp]
) -> bool:
    """Whether half of each class is judged, at least, of what a probe of all pictures judges."""
    width = int(y.max()) + 1
    here, there = (np.bincount(y[~np.isnan(a)], minlength=width) for a in (answers, of_all))
    return bool(np.all(2 * here >= there))


def _grown(
    pictures: list[int], right: list[NDArray[np.float64]], units: NDArray[np.intp], more: float
) -> Growth:
    """Go on with what the numbers of pictures so far brought; `more` times as many are there."""
    judged = np.logical_and.reduce([~np.isnan(answers) for answers in right]) if right else None
    if judged is None or not judged.any():
        return Growth((), (), None, None)
    shares = tuple(float(answers[judged].mean()) for answers in right)
    if len(shares) < 2:
        return Growth(tuple(pictures), shares, None, None, int(judged.sum()))
    before, now = 1 - shares[-2], 1 - shares[-1]
    factor = min(1.0, now / before) if before else 1.0
    ahead = factor ** math.log2(more)
    gain = now * ahead * (1 - factor)
    # A handful of answers that are all right, or all the same, shows no certainty: a right and a
    # wrong one are made up, in the errors and in their difference.
    n = int(judged.sum())
    before, now = ((n * share + 1) / (n + 2) for share in (before, now))
    factor = min(1.0, now / before)
    most = now * factor ** math.log2(more)
    difference = right[-1][judged] - right[-2][judged]
    values, witnesses = with_two_made(difference - difference.mean(), 1.0, units[judged])
    half = Z95 * _OVERLAP * mean_error(values, witnesses) * factor * factor ** math.log2(more)
    ci95 = (max(0.0, gain - half), min(most, gain + half))
    return Growth(tuple(pictures), shares, gain, ci95, n)
