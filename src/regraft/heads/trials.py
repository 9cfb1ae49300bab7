"""What became of candidates on pictures that were held out of their training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.clusters import mean_error
from regraft.heads.fitting import class_weights
from regraft.heads.held_out import Entry, Split, TapMatrix, Task, held_out_scores
from regraft.heads.temperature import fit_temperature
from regraft.metrics import Estimate, share
from regraft.progress import Progress
from regraft.strategy import Metric

Array = NDArray[np.float64]


NO_DIFFERENCE = 1e-3
"""A loss that is higher by less (nats, or a thousandth of balanced accuracy) is no worse."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One set at its best strength, picture by picture.

    Parameters
    ----------
    number : int
        Which set.
    strength, temperature : float
        The strength with the least loss, and the divisor of its scores.
    rows : ndarray of shape (n,), int
        The held-out pictures, rising.
    units : ndarray of shape (n,), int, or None
        Those with the same number are no independent witnesses.
    loss : ndarray of shape (n,), float64
        What the metric adds up; less is better.
    log_loss, right, recall : ndarray of shape (n,), float64
        Contributions whose means are the log loss, the accuracy and the balanced accuracy.
    scores : ndarray of shape (n, n_classes), float64
        Log probabilities up to a constant per picture.
    """

    number: int
    strength: float
    temperature: float
    rows: NDArray[np.intp]
    units: NDArray[np.intp] | None
    loss: Array
    log_loss: Array
    right: Array
    recall: Array
    scores: Array

    @property
    def mean(self) -> float:
        """Mean loss."""
        return float(self.loss.mean())

    @property
    def accuracy(self) -> Estimate:
        """Share of right answers, with Wilson's interval."""
        return share(self.right, self.units)

    def behind(self, other: Trial) -> tuple[float, float]:
        """Mean of the paired difference in loss to another trial, and its standard error."""
        _, mine, theirs = np.intersect1d(
            self.rows, other.rows, assume_unique=True, return_indices=True
        )
        difference = self.loss[mine] - other.loss[theirs]
        units = None if self.units is None else self.units[mine]
        return float(difference.mean()), mean_error(difference, units)


def run_trials(
    matrix: TapMatrix,
    task: Task,
    splits: Sequence[Split],
    entries: Sequence[Entry],
    metric: Metric,
    progress: Progress,
) -> list[Trial]:
    """Train every entry on each split and judge it on what the split holds out.

    Parameters
    ----------
    matrix : TapMatrix
        Features of all rows.
    task : Task
        What to train.
    splits : sequence of (train, held_out)
        Row numbers; no row is held out twice.
    entries : sequence of Entry
        The candidates.
    metric : {"log_loss", "balanced_accuracy"}
        What picks each entry's strength.
    progress : Progress
        Hears of every entry and split.

    Returns
    -------
    list of Trial
        In the order of the entries.
    """
    rows = np.concatenate([held for _, held in splits])
    order = np.argsort(rows)
    progress.start("choosing the head", len(entries) * len(splits))
    return [
        judge(entry, np.concatenate(scores, axis=1)[:, order], rows[order], task, metric)
        for entry, scores in zip(
            entries, held_out_scores(matrix, task, splits, entries, progress), strict=True
        )
    ]


def judge(entry: Entry, scores: Array, rows: NDArray[np.intp], task: Task, metric: Metric) -> Trial:
    """Keep the best of an entry's strengths, given the scores of held-out pictures.

    Parameters
    ----------
    entry : Entry
        The candidate.
    scores : ndarray of shape (n_strengths, len(rows), n_classes), float64
        What it says at each strength.
    rows : ndarray of int
        The held-out pictures, rising.
    task : Task
        What was trained.
    metric : {"log_loss", "balanced_accuracy"}
        What picks the strength.
    """
    y = task.y[rows]
    weights = class_weights(y, task.n_classes, balanced=task.balanced)
    temperatures = np.ones(len(scores))
    if task.kind != "logistic":
        temperatures = fit_temperature(scores, y, weights, 1 / (len(y) + 2))
    scaled = scores / temperatures[:, None, None]
    scaled -= scaled.max(axis=2, keepdims=True)
    own = np.take_along_axis(scaled, y[None, :, None], axis=2)[:, :, 0]
    log_loss = (np.log(np.exp(scaled).sum(axis=2)) - own) * weights
    right = (scores.argmax(axis=2) == y).astype(np.float64)
    recall = right * class_weights(y, task.n_classes, balanced=True)
    loss = log_loss if metric == "log_loss" else -recall
    best = int(loss.mean(axis=1).argmin())
    return Trial(
        entry.number,
        entry.strengths[best],
        float(temperatures[best]),
        rows,
        None if task.units is None else task.units[rows],
        loss[best],
        log_loss[best],
        right[best],
        recall[best],
        scores[best] / temperatures[best],
    )
