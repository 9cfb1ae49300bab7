"""Ridge probes: how well some features tell the classes apart, on pictures left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regraft.data.splits import folds
from regraft.heads.fitting import ROUGH, STRENGTHS, class_weights
from regraft.heads.held_out import Entry, TapMatrix, Task
from regraft.heads.leave_out import left_out_scores
from regraft.heads.scaling import scaling_of
from regraft.heads.study import splits_of
from regraft.heads.tables import FeatureTable
from regraft.heads.trials import Trial, judge, run_trials
from regraft.progress import Progress
from regraft.strategy import FeatureSet, Metric, Tap
from regraft.workshop import Lot, Workshop

ProbeMethod = Literal["leave-one-out", "leave-group-out", "cross-validation", "none"]

FEW = 20
"""Pictures of the rarest class below which folds are dealt: with one picture left out of few, its
class is missed by the mean of the others too."""
FOLDS = 5
_MOST_ROWS, _MOST_SCORES = 1500, 4e7
_LEAST_EACH = 8  # pictures of a class that a sample should have; else it is of fewer classes
_STREAM = 11


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """What probes are trained on and judged by.

    Parameters
    ----------
    table : FeatureTable
        Where features come from.
    y : ndarray of shape (table.n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    rows : ndarray of int
        The pictures that take part; no other is read.
    units : ndarray of shape (table.n,), int
        Pictures with the same number depend on each other and are left out together.
    balanced : bool
        Whether every class weighs the same, in the regression and in the log loss.
    metric : {"log_loss", "balanced_accuracy"}
        What picks the strength of each probe.
    seed : int
        Decides folds and samples.
    progress : Progress
        Hears of every probe.
    """

    table: FeatureTable
    y: NDArray[np.intp]
    n_classes: int
    rows: NDArray[np.intp]
    units: NDArray[np.intp]
    balanced: bool
    metric: Metric
    seed: int
    progress: Progress

    @property
    def _most(self) -> int:
        """Pictures that can be probed in seconds."""
        return min(_MOST_ROWS, int(_MOST_SCORES / (self.n_classes * len(STRENGTHS["ridge"]))))

    def of_some_classes(self) -> Exam:
        """Take some of the classes, numbered anew, where a sample had next to nothing of each.

        They are so many that it has `FEW` pictures of each.
        """
        there = np.unique(self.y[self.rows])
        if len(self.rows) <= self._most or self._most >= _LEAST_EACH * len(there):
            return self
        rng = np.random.default_rng([self.seed, _STREAM])
        some = np.sort(rng.permutation(there)[: _MOST_ROWS // FEW])
        renamed = np.full(self.n_classes, -1, dtype=np.intp)
        renamed[some] = np.arange(len(some))
        y = np.where(self.y < 0, -1, renamed[self.y])
        return replace(self, y=y, n_classes=len(some), rows=self.rows[y[self.rows] >= 0])

    def sampled(self) -> Exam:
        """Take as many of the pictures as can be probed in seconds, of each class its share.

        Of very many classes some take part, see `of_some_classes`.
        """
        exam = self.of_some_classes()
        if len(exam.rows) <= exam._most:
            return exam
        mixed = np.random.default_rng([exam.seed, _STREAM]).permutation(exam.rows)
        mixed = mixed[np.argsort(exam.y[mixed], kind="stable")]
        kept = mixed[np.linspace(0, len(mixed) - 1, exam._most).astype(np.intp)]
        return replace(exam, rows=np.sort(kept))

    def task(self, rows: NDArray[np.intp]) -> Task:
        """Return what to train on some of the pictures."""
        units = np.unique(self.units[rows], return_inverse=True)[1]
        return Task("ridge", self.y[rows], self.n_classes, self.balanced, ROUGH, units)

    def matrix(self, sets: Sequence[FeatureSet], rows: NDArray[np.intp]) -> TapMatrix:
        """Read what some sets of features need."""
        taps = _taps(sets)
        return TapMatrix(self.table.read(taps, rows), tuple(self.table.dim(tap) for tap in taps))


def exam_of(shop: Workshop, lot: Lot) -> Exam:
    """Examine the pictures of a fit; those of the test part take no part."""
    return Exam(
        table=lot.table,
        y=lot.y,
        n_classes=len(lot.classes),
        rows=np.sort(np.concatenate([lot.splits.train, lot.splits.val])),
        units=lot.splits.units,
        balanced=shop.options.class_weight == "balanced",
        metric=shop.options.metric,
        seed=shop.options.seed,
        progress=shop.progress,
    )


def entries_of(sets: Sequence[FeatureSet]) -> list[Entry]:
    """Return candidates for the columns that `Exam.matrix` gives."""
    taps = _taps(sets)
    return [
        Entry(number, tuple(taps.index(tap) for tap in features.taps), STRENGTHS["ridge"])
        for number, features in enumerate(sets)
    ]


def probe(exam: Exam, sets: Sequence[FeatureSet]) -> tuple[list[Trial], ProbeMethod]:
    """Judge ridge probes on pictures that they were not trained on.

    Each picture is judged by a regression that was trained without it, and without the others of
    its unit, in closed form; where the rarest class has fewer than `FEW` pictures, in five
    stratified folds. Of some thousand pictures a sample is probed (see `Exam.sampled`), in whose
    numbers rows and classes are. For the closed form columns are scaled by all pictures that take
    part, which needs no label.

    Parameters
    ----------
    exam : Exam
        The pictures.
    sets : sequence of FeatureSet
        What the probes read.

    Returns
    -------
    list of Trial
        One for each set; none where no picture can be left out.
    method : {"leave-one-out", "leave-group-out", "cross-validation", "none"}
        How they were left out.
    """
    exam = exam.sampled()
    rows = exam.rows
    task, matrix, entries = exam.task(rows), exam.matrix(sets, rows), entries_of(sets)
    counts = np.bincount(task.y, minlength=exam.n_classes)
    if counts[counts > 0].min() < FEW:
        trials = cross_validated(exam, task, matrix, entries)
        return trials, "cross-validation" if trials else "none"
    units = np.asarray(task.units)
    judged = _judged(task.y, units)
    if not len(judged):
        return [], "none"
    weights = class_weights(task.y, exam.n_classes, balanced=exam.balanced)
    exam.progress.start("probing depths", len(entries))
    trials = []
    for entry in entries:
        X = matrix.read(entry.taps, np.arange(len(rows)))
        scaled = scaling_of(X, [matrix.widths[tap] for tap in entry.taps]).apply(X)
        scores = left_out_scores(scaled, task.y, exam.n_classes, entry.strengths, units, weights)
        trials.append(judge(entry, scores[:, judged], judged, task, exam.metric))
        exam.progress.advance(1)
    exam.progress.finish()
    alone = len(np.unique(units)) == len(rows)
    return trials, "leave-one-out" if alone else "leave-group-out"


def cross_validated(
    exam: Exam, task: Task, matrix: TapMatrix, entries: Sequence[Entry]
) -> list[Trial]:
    """Judge probes in stratified folds; none where no two folds can be dealt."""
    dealt = folds(task.y, np.asarray(task.units), FOLDS, exam.seed)
    _, splits = splits_of(np.arange(len(task.y)), dealt, None)
    if not splits:
        return []
    trials = run_trials(matrix, task, splits, entries, exam.metric, exam.progress)
    exam.progress.finish()
    return trials


def _taps(sets: Sequence[FeatureSet]) -> list[Tap]:
    return list(dict.fromkeys(tap for features in sets for tap in features.taps))


def _judged(y: NDArray[np.intp], units: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows whose class is known from other units too."""
    pairs = np.unique(np.stack([y, units]), axis=1)
    known = np.bincount(pairs[0], minlength=int(y.max()) + 1) > 1
    return np.flatnonzero(known[y])
