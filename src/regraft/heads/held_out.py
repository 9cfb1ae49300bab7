"""Scores on held-out pictures for many sets of taps and strengths, at the least cost.

In each fold the columns are scaled by what its training pictures say, nothing else. A fit then
needs the scaled columns of its set or, where pictures are few, only the inner products of
pictures: those of a set are a weighted sum of those of its taps, which are worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regraft.heads.fitting import class_weights, fit_path
from regraft.heads.rows import Curvature, decompose, whole
from regraft.heads.scaling import scaling_of, tap_shares
from regraft.heads.threads import map_side_by_side
from regraft.progress import Progress, Silent
from regraft.strategy import HeadKind

Array = NDArray[np.float64]
Split = tuple[NDArray[np.intp], NDArray[np.intp]]

PASSES, SKETCHING = 100, 500
"""Multiplications per scaled feature: per class and strength of a fit, and before it."""
DECOMPOSITION, SHORT_PASSES = 4, 40
"""The same per inner product: for each picture, and per class and strength of a fit."""
DECOMPOSE_UP_TO = 1500
VALUES_AT_ONCE = 6e7
"""Scaled feature values that all threads together may hold."""


@dataclass(frozen=True, slots=True, eq=False)
class TapMatrix:
    """Raw features of some pictures with all taps side by side.

    Parameters
    ----------
    X : ndarray of shape (n, dim), float32
        Features.
    widths : tuple of int
        Columns of each tap, in order.
    """

    X: NDArray[np.float32]
    widths: tuple[int, ...]

    def read(self, taps: Sequence[int], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Copy the columns of some taps, side by side, for some rows."""
        ends = np.cumsum(self.widths)
        blocks = [self.X[:, ends[tap] - self.widths[tap] : ends[tap]] for tap in taps]
        copied = np.empty((len(rows), sum(block.shape[1] for block in blocks)), dtype=np.float32)
        first = 0
        for block in blocks:
            copied[:, first : first + block.shape[1]] = block[rows]
            first += block.shape[1]
        return copied


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What to train in each fold.

    Parameters
    ----------
    kind : {"logistic", "ridge", "prototype"}
        The head.
    y : ndarray of shape (n,), int
        Column of the class of each row of the matrix.
    n_classes : int
        Number of classes.
    balanced : bool
        Whether every class weighs the same in sum.
    tolerance : float
        How exactly; see `fit_path`.
    units : ndarray of shape (n,), int, optional
        Pictures with the same number are no independent witnesses. By default all are.
    """

    kind: HeadKind
    y: NDArray[np.intp]
    n_classes: int
    balanced: bool
    tolerance: float
    units: NDArray[np.intp] | None = None

    def only(self, rows: NDArray[np.intp]) -> Task:
        """Keep some of the rows."""
        return replace(self, y=self.y[rows], units=None if self.units is None else self.units[rows])


@dataclass(frozen=True, slots=True)
class Entry:
    """A set of taps with the strengths to try on it.

    Parameters
    ----------
    number : int
        Which set.
    taps : tuple of int
        Numbers of its taps in the matrix.
    strengths : tuple of float
        Strongest first.
    """

    number: int
    taps: tuple[int, ...]
    strengths: tuple[float, ...]


def cost(task: Task, n_train: int, entries: Sequence[Entry], widths: Sequence[int]) -> float:
    """Estimate the multiplications that one fold takes.

    Parameters
    ----------
    task : Task
        What to train.
    n_train : int
        Training pictures of the fold.
    entries : sequence of Entry
        The candidates.
    widths : sequence of int
        Columns of each tap.
    """
    return sum(
        _by_products(task, n_train, entry)
        if _few(task, n_train, entry, widths)
        else _by_columns(task, n_train, entry, widths)
        for entry in entries
    )


def held_out_scores(
    matrix: TapMatrix,
    task: Task,
    splits: Sequence[Split],
    entries: Sequence[Entry],
    progress: Progress,
) -> list[list[Array]]:
    """Train every entry on each split and score what the split holds out.

    Parameters
    ----------
    matrix : TapMatrix
        Features of all rows.
    task : Task
        What to train.
    splits : sequence of (train, held_out)
        Row numbers.
    entries : sequence of Entry
        The candidates.
    progress : Progress
        Hears of every entry and split.

    Returns
    -------
    list of list of ndarray of shape (n_strengths, n_held_out, n_classes), float64
        By entry, then by split.
    """
    jobs: list[tuple[int, list[int]]] = []
    for number, (train, _) in enumerate(splits):
        few = [_few(task, len(train), entry, matrix.widths) for entry in entries]
        jobs += [(number, [place]) for place, is_few in enumerate(few) if not is_few]
        if any(few):
            jobs.append((number, [place for place, is_few in enumerate(few) if is_few]))
    largest = max(sum(matrix.widths[tap] for tap in entry.taps) for entry in entries)
    workers = max(1, int(VALUES_AT_ONCE / (2 * len(matrix.X) * largest)))

    def work(job: tuple[int, list[int]]) -> list[Array]:
        split, some = splits[job[0]], [entries[place] for place in job[1]]
        if _few(task, len(split[0]), some[0], matrix.widths):
            return _score_by_products(matrix, task, split, some)
        return [_score_by_columns(matrix, task, split, some[0])]

    found = {}
    for job, scores in zip(jobs, map_side_by_side(work, jobs, workers), strict=True):
        found.update({(place, job[0]): s for place, s in zip(job[1], scores, strict=True)})
        progress.advance(len(job[1]))
    return [[found[place, k] for k in range(len(splits))] for place in range(len(entries))]


def _few(task: Task, n_train: int, entry: Entry, widths: Sequence[int]) -> bool:
    """Whether inner products of pictures are the cheaper way."""
    return n_train <= DECOMPOSE_UP_TO and _by_products(task, n_train, entry) < _by_columns(
        task, n_train, entry, widths
    )


def _by_columns(task: Task, n_train: int, entry: Entry, widths: Sequence[int]) -> float:
    dim = sum(widths[tap] for tap in entry.taps)
    if task.kind == "logistic":
        return n_train * dim * (SKETCHING + PASSES * task.n_classes * len(entry.strengths))
    return n_train * dim**2 + len(entry.strengths) * dim**3


def _by_products(task: Task, n_train: int, entry: Entry) -> float:
    passes = SHORT_PASSES * task.n_classes * len(entry.strengths)
    return n_train**2 * (DECOMPOSITION * n_train + passes)


def _score_by_columns(matrix: TapMatrix, task: Task, split: Split, entry: Entry) -> Array:
    train, held_out = split
    scaling = scaling_of(
        X := matrix.read(entry.taps, train), [matrix.widths[tap] for tap in entry.taps]
    )
    Z = scaling.apply(X)
    del X
    rest = scaling.apply(matrix.read(entry.taps, held_out))
    return _fit_and_score(task, train, Z, rest, entry, None)


def _score_by_products(
    matrix: TapMatrix, task: Task, split: Split, entries: Sequence[Entry]
) -> list[Array]:
    train, held_out = split
    order, n_train = np.concatenate([train, held_out]), len(train)
    products: dict[int, NDArray[np.float32]] = {}
    for tap in dict.fromkeys(tap for entry in entries for tap in entry.taps):
        X = matrix.read((tap,), order)
        Z = scaling_of(X[:n_train], (matrix.widths[tap],)).apply(X)
        products[tap] = Z @ Z[:n_train].T
    scores = []
    for entry in entries:
        gram = np.zeros((len(order), n_train))
        shares = tap_shares([matrix.widths[tap] for tap in entry.taps])
        for share, tap in zip(shares, entry.taps, strict=True):
            gram += np.float32(share) * products[tap]
        spectrum, vectors = decompose(gram[:n_train])
        rows = gram @ (vectors / np.sqrt(spectrum))
        scores.append(
            _fit_and_score(
                task,
                train,
                rows[:n_train],
                rows[n_train:],
                entry,
                Curvature(None, spectrum, 0.0),
            )
        )
    return scores


def _fit_and_score(
    task: Task,
    train: NDArray[np.intp],
    rows: NDArray[np.floating],
    rest: NDArray[np.floating],
    entry: Entry,
    curvature: Curvature | None,
) -> Array:
    y = task.y[train]
    path, _ = fit_path(
        task.kind,
        whole(rows),
        y,
        task.n_classes,
        curvature=curvature,
        weights=class_weights(y, task.n_classes, balanced=task.balanced),
        strengths=entry.strengths,
        tolerance=task.tolerance,
        progress=Silent(),
    )
    return np.stack(
        [rest @ model[:, :-1].T.astype(rest.dtype) + model[:, -1] for model in path]
    ).astype(np.float64, copy=False)
