"""Whether a class can be told without looking at what is in the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from regraft.alike.looks import Look
from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Item
from regraft.data.splits import folds
from regraft.heads.threads import map_side_by_side

FOLDS = 5
LEAST = 20
"""Pictures of a class, and of all others, below which no probe is fitted."""
_TOLD = 0.9  # lower end of the 95 % interval of the area under the ROC curve
_LEAVES, _DEPTH = 10, 3
_CAMERAS = 20

# What each probe sees, and nothing else.
_PROBES: Mapping[str, Callable[[Look], tuple[float, ...]]] = {
    "the size of its file": lambda look: (
        float(np.log(look.n_bytes)),
        look.n_bytes / (look.height * look.width),
    ),
    "its resolution and shape": lambda look: (
        float(np.log(look.height)),
        float(np.log(look.width)),
        look.width / look.height,
    ),
    "its border": lambda look: look.border,
    "its brightness": lambda look: (look.brightness,),
}


def shortcuts(collection: Collection, seed: int) -> list[Finding]:
    """Fit probes on what is beside the point, one class against the others.

    A probe is a tree of depth three, judged in folds by the area under the ROC curve; a class is
    told where the lower end of its 95 % interval (J. Hanley and B. McNeil, Radiology 143, 1982)
    is above 0.9.

    Parameters
    ----------
    collection : Collection
        The pictures.
    seed : int
        Decides the folds.
    """
    y, units = collection.y, collection.units
    dealt = folds(y, units, FOLDS, seed)
    counts = np.bincount(y, minlength=len(collection.classes))
    probes = [
        (name, column, values)
        for name, values in _evidence(collection.looks).items()
        if not (values == values[0]).all()
        for column, count in enumerate(counts)
        if min(count, len(y) - count) >= LEAST
    ]
    areas = map_side_by_side(lambda probe: _area(probe[2], y == probe[1], dealt), probes)
    found = []
    for (name, column, _), area in zip(probes, areas, strict=True):
        label, count = collection.classes[column], int(counts[column])
        if area - 1.96 * _error(area, count, len(y) - count) > _TOLD:
            detail = f"{label!r} can be told by {name} alone (area under the ROC {area:.2f})"
            found.append((area, detail))
    if not found:
        return []
    found.sort(key=lambda one: -one[0])
    items = [Item((), detail) for _, detail in found]
    return [
        Finding(
            "shortcut",
            f"{len(items)} ways to tell a class without looking at what the picture shows",
            tuple(items),
            "A model takes the easiest way there is: it may learn the camera, the scanner or the "
            "frame instead of the subject, and fail on pictures that come from elsewhere.",
            "Make the classes alike in this, or test on pictures from another source. Where it "
            "belongs to the subject (night is dark), nothing is wrong.",
        )
    ]


def _evidence(looks: tuple[Look, ...]) -> dict[str, NDArray[np.float64]]:
    found = {name: np.array([see(look) for look in looks]) for name, see in _PROBES.items()}
    for name, words in (
        ("its file format", [look.format for look in looks]),
        ("the camera that its EXIF names", [look.camera for look in looks]),
    ):
        kinds, counts = np.unique(words, return_counts=True)
        common = kinds[np.argsort(-counts, kind="stable")][:_CAMERAS]
        found[name] = (np.array(words)[:, None] == common).astype(np.float64)
    return found


def _area(values: NDArray[np.float64], mine: NDArray[np.bool_], dealt: NDArray[np.intp]) -> float:
    """Judge a probe on held-out pictures, each fold by itself."""
    from sklearn.metrics import roc_auc_score
    from sklearn.tree import DecisionTreeClassifier

    areas, weights = [], []
    for fold in np.unique(dealt[dealt >= 0]):
        out = dealt == fold
        if len(np.unique(mine[out])) < 2 or len(np.unique(mine[~out])) < 2:
            continue
        tree = DecisionTreeClassifier(
            max_depth=_DEPTH, min_samples_leaf=_LEAVES, class_weight="balanced", random_state=0
        )
        tree.fit(values[~out], mine[~out])
        areas.append(roc_auc_score(mine[out], tree.predict_proba(values[out])[:, 1]))
        weights.append(out.sum())
    return float(np.average(areas, weights=weights)) if areas else 0.5


def _error(area: float, mine: int, others: int) -> float:
    """Return the standard error of an area under the ROC curve."""
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area) + (mine - 1) * (first - area**2) + (others - 1) * (second - area**2)
    )
    return float(np.sqrt(max(0.0, variance) / (mine * others)))
