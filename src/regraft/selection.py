"""Choose what the head reads and how strongly it is penalised, on training pictures only.

Every candidate is a set of taps with a strength. Each is trained on part of the pictures and
judged on the rest, all by the same folds. Of each set the strength with the least loss stands
for it; the choice is the simplest set whose loss is not larger than the smallest by more than
one standard error of the *paired* difference, picture by picture, or unit by unit where pictures
depend on each other (L. Breiman et al., *Classification and Regression Trees*, 1984, for the
one-standard-error rule), or by next to nothing. Whatever is measured here was used to choose, and
so is optimistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regraft.errors import UserError
from regraft.heads.fitting import (
    DEFAULT_STRENGTH,
    DEFAULT_TEMPERATURE,
    EXACT,
    ROUGH,
    STRENGTHS,
    fit_linear,
)
from regraft.heads.held_out import Entry, Split, TapMatrix, Task
from regraft.heads.linear import LinearHead
from regraft.heads.study import compete, splits_of, within_budget
from regraft.heads.tables import FeatureTable
from regraft.heads.temperature import SCORES, measure_temperature
from regraft.heads.trials import NO_DIFFERENCE, Trial
from regraft.progress import Progress, Silent
from regraft.strategy import FeatureSet, HeadKind, Metric

Method = Literal["cross-validation", "validation", "none"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """How one set of taps did, at its best strength, on pictures held out of training.

    Parameters
    ----------
    features : FeatureSet
        The set.
    strength : float
        Of the strengths tried, the one with the least loss.
    log_loss, accuracy, balanced_accuracy : float
        Means over the held-out pictures.
    ci95 : tuple of float
        95 % interval of the accuracy.
    behind, behind_se : float
        Mean of the paired difference to the best candidate, in the metric that chose, and its
        standard error; both 0 for the best itself.
    n : int
        Held-out pictures.
    """

    features: FeatureSet
    strength: float
    log_loss: float
    accuracy: float
    ci95: tuple[float, float]
    balanced_accuracy: float
    behind: float
    behind_se: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What was said of pictures by heads that were not trained on them.

    Parameters
    ----------
    rows : ndarray of shape (n,), int
        The pictures, as rows of the table.
    scores : ndarray of shape (n, n_classes), float64
        Log probabilities up to a constant per picture.
    """

    rows: NDArray[np.intp]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice and its evidence, all of it optimistic because it chose.

    Parameters
    ----------
    features : FeatureSet
        What the head is to read.
    head : {"logistic", "ridge", "prototype"}
        The kind of head.
    strength : float
        Weight of its penalty.
    temperature : float
        Divisor of its scores, measured on held-out pictures; 1 for logistic regression.
    balanced : bool
        Whether every class weighs the same in sum.
    metric : {"log_loss", "balanced_accuracy"}
        What chose.
    method : {"cross-validation", "validation", "none"}
        Where held-out pictures came from; "none" where the pictures are too few.
    evidence : tuple of Candidate
        Every set that was tried, simplest first; empty with method "none".
    n_classes : int
        Classes that took part; fewer than there are where a sample of them chose.
    folds, of_folds : int
        Folds that judged the last candidates, and folds that were dealt: of larger problems a
        few are enough. 1 of 1 with a validation part, 0 of 0 with method "none".
    held_out : HeldOut or None
        What the chosen set said at its strength; None where nothing was held out, or where a
        sample of the pictures chose: their heads are less sure than that of all will be.
    """

    features: FeatureSet
    head: HeadKind
    strength: float
    temperature: float
    balanced: bool
    metric: Metric
    method: Method
    evidence: tuple[Candidate, ...]
    n_classes: int
    folds: int = 0
    of_folds: int = 0
    held_out: HeldOut | None = field(default=None, compare=False)

    @property
    def chosen(self) -> Candidate | None:
        """The evidence for the chosen set; None with method "none"."""
        return next((row for row in self.evidence if row.features == self.features), None)

    def as_dict(self) -> dict[str, Any]:
        """How the chosen set did, as JSON values."""
        row = self.chosen
        return {
            "method": self.method,
            "metric": self.metric,
            "accuracy": row.accuracy if row else None,
            "balanced_accuracy": row.balanced_accuracy if row else None,
            "log_loss": row.log_loss if row else None,
            "n": row.n if row else 0,
            "n_classes": self.n_classes,
            "folds": self.folds,
            "of_folds": self.of_folds,
            "optimistic": True,
            "candidates": [
                {
                    "name": row.features.name,
                    "strength": row.strength,
                    "log_loss": row.log_loss,
                    "accuracy": row.accuracy,
                    "ci95": list(row.ci95),
                    "balanced_accuracy": row.balanced_accuracy,
                    "behind": row.behind,
                    "behind_se": row.behind_se,
                    "n": row.n,
                }
                for row in self.evidence
            ],
        }


def choose(
    table: FeatureTable,
    y: NDArray[np.intp],
    n_classes: int,
    *,
    rows: NDArray[np.intp],
    sets: Sequence[FeatureSet],
    folds: NDArray[np.intp] | None = None,
    validation: NDArray[np.intp] | None = None,
    head: HeadKind = "logistic",
    metric: Metric = "log_loss",
    balanced: bool = False,
    seed: int = 0,
    units: NDArray[np.intp] | None = None,
    strengths: Sequence[float] | None = None,
    progress: Progress | None = None,
) -> Choice:
    """Choose a set of taps and a strength.

    What is tried depends on the size of the problem alone, never on the clock, so the same
    pictures give the same choice on any machine. Small ones get every candidate in every fold.
    Larger ones get every other strength in the first fold, then the sets that may still win, at
    strengths around their best, in as many of the other folds as it needs (two or more). Where
    even that is too much, a sample of the pictures, and of many classes, chooses: the penalty is a
    prior on weights, whose right size does not depend on the number of pictures. A temperature
    does depend on both, and is then measured once more on all of the first fold.

    Parameters
    ----------
    table : FeatureTable
        Where features come from.
    y : ndarray of shape (table.n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    rows : ndarray of int
        Rows of the table to train on.
    sets : sequence of FeatureSet
        Candidates, simplest first.
    folds : ndarray of shape (len(rows),), int, optional
        Fold in which each of `rows` is held out; -1 for never.
    validation : ndarray of int, optional
        Rows of the table to judge on, instead of folds.
    head : {"logistic", "ridge", "prototype"}
        The kind of head.
    metric : {"log_loss", "balanced_accuracy"}
        What decides.
    balanced : bool
        Whether every class weighs the same in sum, in training and in the log loss.
    seed : int
        Decides the sample, where one is needed.
    units : ndarray of shape (table.n,), int, optional
        Pictures with the same number depend on each other: they count together in the standard
        errors, and should be in one fold. By default none do.
    strengths : sequence of float, optional
        What to try instead of `STRENGTHS`; one alone still gets its temperature measured.
    progress : Progress, optional
        Hears of every fit.

    Returns
    -------
    Choice
        With method "none", the simplest set and a default strength (or the first of `strengths`)
        where nothing is held out.

    Raises
    ------
    UserError
        Where there is no candidate, or both or neither of `folds` and `validation` are given.
    """
    if not sets or (folds is None) == (validation is None):
        raise UserError("sets must not be empty, and one of folds and validation must be given")
    if strengths is not None and not len(strengths):
        raise UserError("strengths must be None or have at least one value, got none")
    everyone, splits = splits_of(rows, folds, validation)
    if not splits:
        return Choice(
            sets[0],
            head,
            strengths[0] if strengths else DEFAULT_STRENGTH[head],
            DEFAULT_TEMPERATURE[head],
            balanced,
            metric,
            "none",
            (),
            n_classes,
        )
    progress = progress or Silent()
    progress.start("reading features", 0)
    task = Task(
        head, y[everyone], n_classes, balanced, ROUGH, None if units is None else units[everyone]
    )
    taps = list(dict.fromkeys(tap for features in sets for tap in features.taps))
    tried = STRENGTHS[head] if strengths is None else tuple(sorted(strengths, reverse=True))
    entries = [
        Entry(number, tuple(taps.index(tap) for tap in features.taps), tried)
        for number, features in enumerate(sets)
    ]
    widths = tuple(table.dim(tap) for tap in taps)
    task, kept, inside = within_budget(task, splits, entries, widths, seed)
    sampled = len(kept) < len(np.unique(np.concatenate([rows for s in splits for rows in s])))
    matrix = TapMatrix(table.read(taps, everyone[kept]), widths)
    contest = compete(matrix, task, inside, entries, metric, progress)
    del matrix
    winner = next(trial for trial in contest.finalists if _within_one_error(trial, contest.best))
    choice = Choice(
        sets[winner.number],
        head,
        winner.strength,
        winner.temperature,
        balanced,
        metric,
        "validation" if folds is None else "cross-validation",
        tuple(_candidate(trial, sets, best) for trial, best in contest.evidence()),
        task.n_classes,
        contest.folds,
        len(splits),
        None if sampled else HeldOut(everyone[kept][winner.rows], winner.scores),
    )
    if len(kept) < len(everyone) and head != "logistic":
        first = (everyone[splits[0][0]], everyone[splits[0][1]])
        choice = _with_temperature(choice, table, y, n_classes, first)
    progress.finish()
    return choice


def fit_head(
    table: FeatureTable,
    y: NDArray[np.intp],
    n_classes: int,
    rows: NDArray[np.intp],
    choice: Choice,
    progress: Progress | None = None,
    *,
    tolerance: float = EXACT,
) -> LinearHead:
    """Train the chosen head on all given pictures, by default to convergence.

    Parameters
    ----------
    table : FeatureTable
        Where features come from; read once.
    y : ndarray of shape (table.n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    rows : ndarray of int
        Rows of the table to train on.
    choice : Choice
        What `choose` gave.
    progress : Progress, optional
        Hears of every pass of an iterative fit.
    tolerance : float
        See `regraft.heads.fitting.fit_linear`.

    Returns
    -------
    LinearHead
        Its `converged` says whether the fit came to its end.
    """
    taps = choice.features.taps
    progress = progress or Silent()
    progress.start("training the head", 0)
    head = fit_linear(
        choice.head,
        table.read(taps, rows),
        y[rows],
        n_classes,
        strength=choice.strength,
        temperature=choice.temperature,
        balanced=choice.balanced,
        widths=[table.dim(tap) for tap in taps],
        tolerance=tolerance,
        progress=progress,
    )
    progress.finish()
    return head


def _with_temperature(
    choice: Choice, table: FeatureTable, y: NDArray[np.intp], n_classes: int, split: Split
) -> Choice:
    """Measure the temperature at the full number of classes and pictures."""
    (train, held), taps = split, choice.features.taps
    held = held[:: -(-len(held) * n_classes // SCORES)]
    temperature = measure_temperature(
        choice.head,
        (table.read(taps, train), y[train]),
        (table.read(taps, held), y[held]),
        n_classes,
        strength=choice.strength,
        balanced=choice.balanced,
        widths=[table.dim(tap) for tap in taps],
    )
    return replace(choice, temperature=temperature)


def _within_one_error(trial: Trial, best: Trial) -> bool:
    behind, error = trial.behind(best)
    return behind <= max(error, NO_DIFFERENCE)


def _candidate(trial: Trial, sets: Sequence[FeatureSet], best: Trial) -> Candidate:
    behind, error = trial.behind(best)
    accuracy = trial.accuracy
    return Candidate(
        features=sets[trial.number],
        strength=trial.strength,
        log_loss=float(trial.log_loss.mean()),
        accuracy=accuracy.value,
        ci95=(accuracy.low, accuracy.high),
        balanced_accuracy=float(trial.recall.mean()),
        behind=behind,
        behind_se=error,
        n=len(trial.rows),
    )
