"""Which labels are probably wrong: confident learning on probabilities of held-out pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Item, counted
from regraft.candidates import candidate_sets
from regraft.data.splits import folds
from regraft.frozen.table import StoredFeatures
from regraft.metrics import balanced_accuracy, confusion_matrix
from regraft.progress import Progress
from regraft.selection import choose, fit_head

FOLDS = 5
LEAST = 5
"""Pictures of a class below which nothing can be said of its labels."""
_FIRMLY = 0.5


def wrong_labels(
    collection: Collection, table: StoredFeatures, seed: int, progress: Progress
) -> tuple[list[Finding], str]:
    """Find labels that a classifier which never saw the picture firmly contradicts.

    A head on frozen features is trained in five folds, copies and groups whole; its probabilities
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
        Why nothing was looked for; empty where it was.
    """
    y, classes = collection.y, collection.classes
    counts = np.bincount(y, minlength=len(classes))
    if len(classes) < 2:
        return [], "wrong labels were not looked for: there is one class alone"
    if counts.min() < LEAST:
        few = int(counts.argmin())
        return [], (
            f"wrong labels were not looked for: {classes[few]!r} has "
            f"{counted(int(counts[few]), 'picture')}, and {LEAST} of each class are needed"
        )
    probabilities, judged = _held_out(collection, table, seed, progress)
    if not judged.all():
        return (
            [],
            "wrong labels were not looked for: a class is of one group or scene, which no fold "
            "cuts",
        )
    called = confusion_matrix(y, probabilities.argmax(axis=1).astype(np.intp), len(classes))
    if balanced_accuracy(called).low <= 1 / len(classes):
        return [], (
            "wrong labels were not looked for: the classes cannot be told apart better than by "
            "chance, so nobody can say which label is wrong"
        )
    suspects = _suspects(y, probabilities)
    if not len(suspects):
        return [], ""
    items = []
    for row in suspects:
        best = int(probabilities[row].argmax())
        own, other = probabilities[row, y[row]], probabilities[row, best]
        items.append(
            Item(
                collection.names([row]),
                f"{classes[y[row]]!r}, rather {classes[best]!r} ({other:.0%} against {own:.0%})",
                classes[best],
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
    return [finding], ""


def _held_out(
    collection: Collection, table: StoredFeatures, seed: int, progress: Progress
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give each picture the probabilities of a head that was trained without it."""
    y, units, n_classes = collection.y, collection.units, len(collection.classes)
    rows = np.arange(len(y), dtype=np.intp)
    dealt = folds(y, units, FOLDS, seed)
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
    found = np.zeros((len(y), n_classes))
    judged = np.zeros(len(y), bool)
    for fold in np.unique(dealt[dealt >= 0]):
        out, trains = rows[dealt == fold], rows[dealt != fold]
        if len(np.unique(y[trains])) < n_classes:
            continue
        head = fit_head(table, y, n_classes, trains, choice, progress)
        found[out] = head.predict_proba(table.read(choice.features.taps, out))
        judged[out] = True
    return found, judged


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
