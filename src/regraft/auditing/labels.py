"""Which labels are probably wrong: confident learning on probabilities of held-out pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Item, counted
from regraft.candidates import candidate_sets
from regraft.data.deal import incidence
from regraft.data.splits import folds
from regraft.frozen.table import StoredFeatures
from regraft.heads.fitting import ROUGH
from regraft.metrics import balanced_accuracy, confusion_matrix
from regraft.progress import Progress
from regraft.selection import choose, fit_head

FOLDS, FEWER_FOLDS, MANY = 5, 3, 20_000
"""Folds, and how many are enough of so many pictures."""
LEAST = 5
"""Pictures of a class below which nothing can be said of its labels."""
_NAMED = 3
_FIRMLY = 0.5


def wrong_labels(
    collection: Collection, table: StoredFeatures, seed: int, progress: Progress
) -> tuple[list[Finding], str]:
    """Find labels that a classifier which never saw the picture firmly contradicts.

    A head on frozen features is trained in folds, copies and groups whole; its probabilities
    go to cleanlab, which estimates how often each class is mistaken for each other and prunes so
    many labels (C. Northcutt, L. Jiang and I. Chuang, JAIR 70, 2021).

    Parameters
    ----------
    collection : Collection
        The pictures.
    table : StoredFeatures
        Their features.
    seed : int
        Decides the folds.
    progress : Progress
        Hears of every fit.

    Returns
    -------
    findings : list of Finding
        One, or none.
    note : str
        Why nothing, or not every class, was looked at; empty where all was.
    """
    classes, units = collection.classes, collection.units
    if len(classes) < 2:
        return [], "wrong labels were not looked for: there is one class alone"
    enough, note = _enough(collection.y, units, classes)
    if len(enough) < 2:
        return [], f"wrong labels were not looked for: {note}"
    rows = np.flatnonzero(np.isin(collection.y, enough))
    y = np.searchsorted(enough, collection.y)
    rows, probabilities = _held_out(table, y, rows, units, seed, progress)
    y = y[rows]
    called = confusion_matrix(y, probabilities.argmax(axis=1).astype(np.intp), len(enough))
    if balanced_accuracy(called).low <= 1 / len(enough):
        return [], (
            "wrong labels were not looked for: the classes cannot be told apart better than by "
            "chance, so nobody can say which label is wrong"
        )
    note = f"wrong labels were not looked for in every class: {note}" if note else ""
    suspects = _suspects(y, probabilities)
    if not len(suspects):
        return [], note
    items = []
    for row in suspects:
        best = int(probabilities[row].argmax())
        own, other = probabilities[row, y[row]], probabilities[row, best]
        stated, rather = classes[enough[y[row]]], classes[enough[best]]
        items.append(
            Item(
                collection.names([rows[row]]),
                f"{stated!r}, rather {rather!r} ({other:.0%} against {own:.0%})",
                rather,
            )
        )
    finding = Finding(
        "label",
        f"{counted(len(items), 'label is', 'labels are')} probably wrong",
        tuple(items),
        "A wrong label teaches a mistake, and in the test part it counts a right answer as wrong.",
        "Look at each. No tool can know: some are only unusual, so --fix marks them in the column "
        "'suspect' and keeps them.",
    )
    return [finding], note


def _enough(
    y: NDArray[np.intp], units: NDArray[np.intp], classes: tuple[str, ...]
) -> tuple[NDArray[np.intp], str]:
    """Return the classes whose labels can be judged, and why the others cannot."""
    counts = np.bincount(y)
    scenes = np.bincount(incidence(y, units)[0])
    reasons = [
        f"{label!r} has {counted(int(count), 'picture')}"
        if count < LEAST
        else f"{label!r} is of one group or scene"
        for label, count, several in zip(classes, counts, scenes > 1, strict=True)
        if count < LEAST or not several
    ]
    if not reasons:
        return np.arange(len(classes)), ""
    shown = ", ".join(reasons[:_NAMED])
    if len(reasons) > _NAMED:
        shown += f" and {len(reasons) - _NAMED} more"
    note = f"{shown}; {LEAST} pictures of each class, in two scenes or more, are needed"
    return np.flatnonzero((counts >= LEAST) & (scenes > 1)), note


def _held_out(
    table: StoredFeatures,
    y: NDArray[np.intp],
    rows: NDArray[np.intp],
    units: NDArray[np.intp],
    seed: int,
    progress: Progress,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Give each of some rows the probabilities of a head that was trained without it.

    Left out are those that no fold holds out, because a class would be missing from training.
    """
    n_classes = int(y[rows].max()) + 1
    dealt = folds(y[rows], units[rows], FOLDS if len(rows) < MANY else FEWER_FOLDS, seed)
    cuts = [plan.cut for plan in table.plan.cuts]
    choice = choose(
        table,
        y,
        n_classes,
        rows=rows,
        sets=candidate_sets(cuts),
        folds=dealt,
        seed=seed,
        units=units,
        progress=progress,
    )
    found = np.zeros((len(rows), n_classes))
    judged = dealt >= 0
    for fold in np.unique(dealt[judged]):
        out, trains = dealt == fold, rows[dealt != fold]
        head = fit_head(table, y, n_classes, trains, choice, progress, tolerance=ROUGH)
        found[out] = head.predict_proba(table.read(choice.features.taps, rows[out]))
    return rows[judged], found[judged]


def _suspects(y: NDArray[np.intp], probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows that cleanlab prunes and of which another class is firmly the likelier."""
    from cleanlab.filter import find_label_issues

    found = find_label_issues(
        labels=y,
        pred_probs=probabilities,
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    rows = np.asarray(found, dtype=np.intp)
    own, other = probabilities[rows, y[rows]], probabilities[rows].max(axis=1)
    firmly: NDArray[np.intp] = rows[(other >= _FIRMLY) & (other >= 2 * own)]
    return firmly
