"""Pictures that show little: too dark, empty, blurred, tiny; and classes that have few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Item, Kind, counted, named
from regraft.data.records import Skipped

_DARK, _FLAT = 0.06, 0.1  # mean and standard deviation of the grey values; strokes on black vary
_EMPTY = 0.01  # standard deviation of the grey values
_TINY = 4  # times smaller than what the network takes
_BLURRED = 0.003  # sharpness: below any photograph in focus that was looked at
_FAR = 4.0  # robust standard deviations below the others
_MANY = 0.5  # of the pictures: then it is how they are, not a fault of some
_IMBALANCE = 10.0


def unreadable(skipped: Sequence[Skipped]) -> list[Finding]:
    """Report files that cannot be used."""
    if not skipped:
        return []
    return [
        Finding(
            "unreadable",
            f"{counted(len(skipped), 'file')} cannot be used",
            tuple(Item((entry.path,), entry.reason) for entry in skipped),
            "They are left out, and perhaps not by chance: a class may lose its hardest pictures.",
            "Mend or delete them.",
        )
    ]


def imbalance(collection: Collection) -> list[Finding]:
    """Report classes that are far smaller than the largest."""
    counts = np.bincount(collection.y, minlength=len(collection.classes))
    most = int(counts.max())
    rare = [
        (collection.classes[column], int(counts[column]))
        for column in np.argsort(counts, kind="stable")
        if counts[column] * _IMBALANCE < most
    ]
    if not rare:
        return []
    return [
        Finding(
            "imbalance",
            f"{counted(len(rare), 'class has', 'classes have')} less than a tenth of the largest: "
            f"{named([label for label, _ in rare])}",
            tuple(Item((), f"{label!r}: {count} of at most {most:,}") for label, count in rare),
            "Whoever always names the large classes is mostly right, so accuracy says little, and "
            "the small ones are learned badly.",
            "Add pictures of the small classes; --class-weight balanced and --metric "
            "balanced_accuracy make every class count the same.",
        )
    ]


def poor_pictures(collection: Collection, input_side: int) -> list[Finding]:
    """Report pictures that show little.

    Parameters
    ----------
    collection : Collection
        The pictures.
    input_side : int
        Pixels of the shorter side of what the network takes.
    """
    looks = collection.looks
    brightness, contrast, sharpness = (
        np.array([getattr(look, name) for look in looks])
        for name in ("brightness", "contrast", "sharpness")
    )
    side = np.array([min(look.height, look.width) for look in looks])
    empty = contrast < _EMPTY
    dark = (brightness < _DARK) & (contrast < _FLAT) & ~empty
    blurred = _blurred(sharpness) & ~empty
    poor: list[tuple[Kind, str, list[int], list[str]]] = [
        (
            "dark",
            "too dark to see much",
            _worst_first(dark, brightness),
            [f"mean brightness {look.brightness:.0%}" for look in looks],
        ),
        (
            "empty",
            "of nearly one colour",
            _worst_first(empty, contrast),
            [f"contrast {look.contrast:.1%}" for look in looks],
        ),
        (
            "blurred",
            "blurred",
            _worst_first(blurred, sharpness),
            [f"sharpness {look.sharpness:.4f}" for look in looks],
        ),
        (
            "tiny",
            f"smaller than a quarter of what the network takes ({input_side} pixels)",
            _worst_first(side < input_side / _TINY, side),
            [f"{look.width} x {look.height} pixels" for look in looks],
        ),
    ]
    found = []
    for kind, what, rows, details in poor:
        if rows:
            items = tuple(Item(collection.names([i]), details[i]) for i in rows)
            found.append(_poor(kind, what, items, len(looks)))
    return found


def _poor(kind: Kind, what: str, items: tuple[Item, ...], n: int) -> Finding:
    advice = "Look at them; take them out where a person could not name the class either."
    if len(items) > _MANY * n:
        advice = "Most are so: if pictures in use will be so too, that is right; else get better."
    return Finding(
        kind,
        f"{counted(len(items), 'picture is', 'pictures are')} {what}",
        items,
        "What cannot be seen cannot be learned: such pictures teach noise.",
        advice,
    )


def _worst_first(named: NDArray[np.bool_], measure: NDArray[np.floating]) -> list[int]:
    rows = np.flatnonzero(named)
    return [int(row) for row in rows[np.argsort(measure[rows], kind="stable")]]


def _blurred(sharpness: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find pictures that are far less sharp than the others, and than any in focus."""
    values = np.log(np.maximum(sharpness, 1e-9))
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle)) + 1e-9
    low = (values < middle - _FAR * spread) | (middle < np.log(_BLURRED))
    found: NDArray[np.bool_] = low & (values < np.log(_BLURRED))
    return found
