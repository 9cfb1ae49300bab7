"""Pictures that show little: too dark, empty, blurred, tiny; and classes that have few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Item, Kind, counted, named
from regraft.data.records import Skipped

_DARK = 0.06  # mean grey value
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
        (label, int(count))
        for label, count in zip(collection.classes, counts, strict=True)
        if count * _IMBALANCE < most
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
    dark = [i for i, look in enumerate(looks) if look.brightness < _DARK]
    empty = [i for i, look in enumerate(looks) if look.contrast < _EMPTY]
    tiny = [i for i, look in enumerate(looks) if min(look.height, look.width) < input_side / _TINY]
    without = set(empty)
    poor: list[tuple[Kind, str, list[int], list[str]]] = [
        (
            "dark",
            "too dark to see much",
            [i for i in dark if i not in without],
            [f"mean brightness {look.brightness:.0%}" for look in looks],
        ),
        (
            "empty",
            "of nearly one colour",
            empty,
            [f"contrast {look.contrast:.1%}" for look in looks],
        ),
        (
            "blurred",
            "blurred",
            [i for i in _blurred(collection) if i not in without],
            [f"sharpness {look.sharpness:.4f}" for look in looks],
        ),
        (
            "tiny",
            f"smaller than a quarter of what the network takes ({input_side} pixels)",
            tiny,
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


def _blurred(collection: Collection) -> list[int]:
    """Find pictures that are far less sharp than the others, and than any in focus."""
    sharpness = np.log(np.array([max(look.sharpness, 1e-9) for look in collection.looks]))
    middle = np.median(sharpness)
    spread = 1.4826 * np.median(np.abs(sharpness - middle)) + 1e-9
    low = (sharpness < middle - _FAR * spread) | (middle < np.log(_BLURRED))
    return np.flatnonzero(low & (sharpness < np.log(_BLURRED))).tolist()
