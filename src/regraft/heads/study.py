"""Candidates against each other, at a cost that the size of the problem alone decides.

Never the clock: the same pictures give the same choice on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from regraft.heads.held_out import Entry, Split, TapMatrix, Task, cost
from regraft.heads.trials import Trial, run_trials
from regraft.strategy import Metric

SMALL = 1e10
"""Multiplications up to which every candidate is tried in every fold."""
HEAT, HEAT_EACH = 1e11, 4e6
"""Multiplications that the first heat of a larger problem may take, at least and per picture."""
VALUES = 4e7
"""Feature values, and scores, that may be held at once."""
ENOUGH = 1000
"""Held-out pictures after which a larger problem needs no further fold."""
HEAT_ERRORS = 2.0
"""Standard errors behind the best of the first heat at which a set drops out."""
_STREAM = 0x5A3B1E
"""Sets the sample apart from whatever else the caller's seed shuffled, the folds above all: drawn
by the same numbers, it would be made of the first folds."""
SAMPLED_CLASSES, FEWEST = 32, 5
"""Classes that a sample is limited to, and the pictures of each that it leaves at least."""


def compete(
    matrix: TapMatrix,
    task: Task,
    splits: Sequence[Split],
    entries: Sequence[Entry],
    metric: Metric,
) -> tuple[list[Trial], list[Trial]]:
    """Try the candidates: all in every fold, or in a heat and a final where that is too much.

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

    Returns
    -------
    finalists, dropped : list of Trial
        Those that may be chosen, and those that dropped out in the heat, in order.
    """
    if sum(cost(task, len(train), entries, matrix.widths) for train, _ in splits) <= SMALL:
        return run_trials(matrix, task, splits, entries, metric), []
    heats = run_trials(matrix, task, splits[:1], _coarse(entries), metric)
    best = min(heats, key=lambda heat: heat.mean)
    through = [heat for heat in heats if _may_win(heat, best)]
    fine = [
        replace(entry, strengths=_around(entry.strengths, heat.strength))
        for heat in through
        for entry in (entries[heat.number],)
    ]
    judges = np.cumsum([len(held) for _, held in splits])
    enough = splits[: int(np.searchsorted(judges, ENOUGH)) + 1]
    finalists = run_trials(matrix, task, enough, fine, metric)
    return finalists, [heat for heat in heats if heat not in through]


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
    return replace(task, y=task.y[kept]), kept, inside


def _coarse(entries: Sequence[Entry]) -> list[Entry]:
    """Take every other strength without the weakest, which take longest and seldom win."""
    return [
        replace(entry, strengths=entry.strengths[:-1:2] or entry.strengths) for entry in entries
    ]


def _around(strengths: tuple[float, ...], strength: float) -> tuple[float, ...]:
    place = strengths.index(strength)
    return strengths[max(0, place - 1) : place + 2]


def _may_win(heat: Trial, best: Trial) -> bool:
    """Whether the one-standard-error rule may yet pick it: simpler than the best, or the best."""
    behind, error = heat.behind(best)
    return heat.number <= best.number and behind <= HEAT_ERRORS * error


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
