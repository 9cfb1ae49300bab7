"""Candidates against each other, at a cost that the size of the problem alone decides.

Never the clock: the same pictures give the same choice on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regraft.heads.held_out import Entry, Split, TapMatrix, Task, cost
from regraft.heads.trials import NO_DIFFERENCE, Trial, run_trials
from regraft.progress import Progress
from regraft.strategy import Metric

SMALL = 1e10
"""Multiplications up to which every candidate is tried in every fold."""
HEAT, HEAT_EACH = 1e11, 4e6
"""Multiplications that the first heat of a larger problem may take, at least and per picture."""
VALUES = 4e7
"""Feature values, and scores, that may be held at once."""
ENOUGH, ENOUGH_RARE, FEWEST_FOLDS = 1000, 20, 2
"""Held-out pictures after which a larger problem needs no further fold, those of the rarest class
where classes count alike, and the folds that it needs in any case."""
HEAT_ERRORS, MORE_COMPLEX = 2.0, 2
"""Standard errors behind the best of the first heat at which a set drops out, and the number of
sets more complex than the best that may stay: the choice needs every simpler one that is as good,
but of the others only the best."""
_STREAM = 0x5A3B1E
"""Sets the sample apart from whatever else the caller's seed shuffled, the folds above all: drawn
by the same numbers, it would be made of the first folds."""
SAMPLED_CLASSES, FEWEST = 32, 5
"""Classes that a sample is limited to, and the pictures of each that it leaves at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """What became of the candidates.

    Parameters
    ----------
    finalists : tuple of Trial
        Those that may be chosen, in order.
    heats : tuple of Trial
        All of them in the heat, in order; empty where there was none.
    folds : int
        How many of the splits judged the finalists.
    """

    finalists: tuple[Trial, ...]
    heats: tuple[Trial, ...]
    folds: int

    @property
    def best(self) -> Trial:
        """The finalist with the least loss."""
        return min(self.finalists, key=lambda trial: trial.mean)

    def evidence(self) -> list[tuple[Trial, Trial]]:
        """Every candidate and the best of all on the same pictures, in order."""
        best = self.best
        done = {trial.number for trial in self.finalists}
        pairs = [(trial, best) for trial in self.finalists]
        pairs += [(heat, self.heats[best.number]) for heat in self.heats if heat.number not in done]
        return sorted(pairs, key=lambda pair: pair[0].number)


def compete(
    matrix: TapMatrix,
    task: Task,
    splits: Sequence[Split],
    entries: Sequence[Entry],
    metric: Metric,
    progress: Progress,
) -> Contest:
    """Try the candidates: all in every fold, or in a heat and a final where that is too much.

    The final is judged by other folds than the heat, unless it takes all of them.

    Parameters
    ----------
    matrix : TapMatrix
        Features of all rows.
    task : Task
        What to train.
    splits : sequence of (train, held_out)
        Row numbers; no row is held out twice.
    entries : sequence of Entry
        The candidates, simplest first, numbered from 0.
    metric : {"log_loss", "balanced_accuracy"}
        What they are compared by.
    progress : Progress
        Hears of every candidate and split.

    Returns
    -------
    Contest
    """
    if sum(cost(task, len(train), entries, matrix.widths) for train, _ in splits) <= SMALL:
        trials = run_trials(matrix, task, splits, entries, metric, progress)
        return Contest(tuple(trials), (), len(splits))
    heats = run_trials(matrix, task, splits[:1], _coarse(entries), metric, progress)
    fine = [
        replace(entry, strengths=_around(entry.strengths, heat.strength))
        for heat in _may_win(heats)
        for entry in (entries[heat.number],)
    ]
    judges = _judges(task, splits, metric)
    finalists = run_trials(matrix, task, judges, fine, metric, progress)
    return Contest(tuple(finalists), tuple(heats), len(judges))


def splits_of(
    rows: NDArray[np.intp],
    folds: NDArray[np.intp] | None,
    validation: NDArray[np.intp] | None,
) -> tuple[NDArray[np.intp], list[Split]]:
    """List the rows that take part, and the splits.

    Parameters
    ----------
    rows : ndarray of int
        Rows of the table to train on.
    folds : ndarray of shape (len(rows),), int, or None
        Fold in which each of `rows` is held out; -1 for never.
    validation : ndarray of int or None
        Rows of the table to judge on, instead of folds.

    Returns
    -------
    everyone : ndarray of int
        Rows of the table.
    splits : list of (train, held_out)
        Positions in `everyone`; none where too little can be held out.
    """
    if validation is not None:
        both = np.arange(len(rows) + len(validation))
        splits = [(both[: len(rows)], both[len(rows) :])] if len(validation) else []
        return np.concatenate([rows, validation]), splits
    folds = np.asarray(folds)
    numbers = np.unique(folds[folds >= 0])
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in numbers]
    return rows, splits if len(splits) > 1 else []


def within_budget(
    task: Task,
    splits: Sequence[Split],
    entries: Sequence[Entry],
    widths: Sequence[int],
    seed: int,
) -> tuple[Task, NDArray[np.intp], list[Split]]:
    """Sample classes, then pictures of each, until the first heat keeps to its budget.

    Parameters
    ----------
    task : Task
        What to train.
    splits : sequence of (train, held_out)
        Row numbers.
    entries : sequence of Entry
        The candidates.
    widths : sequence of int
        Columns of each tap.
    seed : int
        Decides the sample.

    Returns
    -------
    task : Task
        Of the rows that are kept; classes are numbered anew where they were sampled.
    kept : ndarray of int
        Rows that are kept.
    splits : list of (train, held_out)
        In numbers of kept rows.
    """
    kept = np.unique(np.concatenate([rows for split in splits for rows in split]))
    n_rows, generator = len(task.y), np.random.default_rng([seed, _STREAM])
    inside = list(splits)
    share = _affordable(task, inside, entries, widths, len(kept))
    if share < 1 and task.n_classes > SAMPLED_CLASSES:
        some = np.sort(generator.permutation(np.unique(task.y[kept]))[:SAMPLED_CLASSES])
        renamed = np.full(task.n_classes, -1, dtype=np.intp)
        renamed[some] = np.arange(len(some))
        task = replace(task, y=renamed[task.y], n_classes=len(some))
        kept = kept[task.y[kept] >= 0]
        inside = [_only(split, kept) for split in inside]
        share = _affordable(task, inside, entries, widths, len(kept))
    if share < 1:
        kept = _stratified(task.y, kept, share, generator)
        inside = [_only(split, kept) for split in inside]
    place = np.full(n_rows, -1, dtype=np.intp)
    place[kept] = np.arange(len(kept))
    inside = [(place[train], place[held]) for train, held in inside if len(train) and len(held)]
    return task.only(kept), kept, inside


def _coarse(entries: Sequence[Entry]) -> list[Entry]:
    """Take every other strength without the weakest, which take longest and seldom win."""
    return [
        replace(entry, strengths=entry.strengths[:-1:2] or entry.strengths) for entry in entries
    ]


def _around(strengths: tuple[float, ...], strength: float) -> tuple[float, ...]:
    place = strengths.index(strength)
    return strengths[max(0, place - 1) : place + 2]


def _may_win(heats: Sequence[Trial]) -> list[Trial]:
    """Keep the sets that may yet be best, or simpler and as good as the best."""
    best = min(heats, key=lambda heat: heat.mean)
    near = []
    for heat in heats:
        behind, error = heat.behind(best)
        if behind <= max(HEAT_ERRORS * error, NO_DIFFERENCE):
            near.append(heat)
    complex_ = sorted((heat for heat in near if heat.number > best.number), key=lambda h: h.mean)
    dropped = {heat.number for heat in complex_[MORE_COMPLEX:]}
    return [heat for heat in near if heat.number not in dropped]


def _judges(task: Task, splits: Sequence[Split], metric: Metric) -> Sequence[Split]:
    """Take as many folds as it needs, that of the heat only where the others are too few."""
    counts = np.array([np.bincount(task.y[held], minlength=task.n_classes) for _, held in splits])
    seen = np.cumsum(counts[1:, counts.sum(axis=0) > 0], axis=0)
    for place, so_far in enumerate(seen):
        alike = metric == "balanced_accuracy" or task.balanced
        rare_enough = not alike or so_far.min() >= ENOUGH_RARE
        if place + 1 >= FEWEST_FOLDS and so_far.sum() >= ENOUGH and rare_enough:
            return splits[1 : place + 2]
    return splits


def _affordable(
    task: Task, splits: Sequence[Split], entries: Sequence[Entry], widths: Sequence[int], n: int
) -> float:
    """Share of the pictures that the first heat can use within its budgets."""
    work = cost(task, len(splits[0][0]), _coarse(entries), widths)
    scores = task.n_classes * sum(len(entry.strengths) for entry in entries)
    return min(max(HEAT, HEAT_EACH * n) / work, VALUES / (n * max(sum(widths), scores)))


def _only(split: Split, kept: NDArray[np.intp]) -> Split:
    train, held = split
    return train[np.isin(train, kept)], held[np.isin(held, kept)]


def _stratified(
    y: NDArray[np.intp], kept: NDArray[np.intp], share: float, generator: np.random.Generator
) -> NDArray[np.intp]:
    """Draw a share of each class, at least a few of each."""
    mixed = generator.permutation(kept)
    mixed = mixed[np.argsort(y[mixed], kind="stable")]
    _, first, counts = np.unique(y[mixed], return_index=True, return_counts=True)
    rank = np.arange(len(mixed)) - np.repeat(first, counts)
    wanted = np.maximum(np.ceil(share * counts), np.minimum(counts, FEWEST))
    return np.sort(mixed[rank < np.repeat(wanted, counts)])
