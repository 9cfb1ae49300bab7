"""Copies across parts, across classes, and within a class."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Item, counted

_RANK = {"train": 0, "val": 1, "test": 2}


def copy_findings(collection: Collection) -> list[Finding]:
    """Tell copies that leak or contradict each other from those that only weigh double."""
    leaks, conflicts, others = [], [], []
    for group in collection.copies:
        labels = sorted({collection.pictures[row].label for row in group})
        parts = sorted(
            {collection.pictures[row].role or "" for row in group}, key=lambda p: _RANK.get(p, 0)
        )
        item = Item(collection.names(group), _detail(collection, group, labels, parts))
        if len(labels) > 1:
            conflicts.append(item)
        if len(parts) > 1:
            leaks.append(item)
        groups = {collection.pictures[row].group for row in group}
        if len(labels) == len(parts) == 1 and (len(groups) > 1 or None in groups):
            others.append(item)
    found = []
    if leaks:
        found.append(
            Finding(
                "leak",
                f"{counted(len(leaks), 'picture')} in more than one part",
                tuple(leaks),
                "What a model has trained on it knows by heart, so its figures are too good.",
                "Leave the copies out of train (--fix does), and keep those of the test part.",
            )
        )
    if conflicts:
        found.append(
            Finding(
                "conflict",
                f"{counted(len(conflicts), 'picture')} in more than one class",
                tuple(conflicts),
                "The same picture cannot be right in both: whichever is learned, one is wrong. Two "
                "of one scene can, if the class is a small part of what they show.",
                "Look at each and keep it in the class that it shows (--fix leaves out what is the "
                "same file, and marks the others in the column 'suspect').",
            )
        )
    if others:
        found.append(
            Finding(
                "copy",
                f"{counted(len(others), 'picture')} more than once in a class",
                tuple(others),
                "A picture that is there twice weighs double, and in a split that is drawn without "
                "regard to it, half of it tests what the other half taught.",
                "Keep one of each (--fix does with what is the same file, and gives the others a "
                "group). regraft keeps copies on one side of any split.",
            )
        )
    return found


def divided_groups(collection: Collection) -> list[Finding]:
    """Name groups of the owner's that stand in more than one of the parts that were given."""
    rows_of: dict[str, list[int]] = {}
    for row, picture in enumerate(collection.pictures):
        if picture.group is not None:
            rows_of.setdefault(picture.group, []).append(row)
    items = []
    for group, rows in rows_of.items():
        parts = sorted(
            {collection.pictures[row].role or "" for row in rows}, key=lambda p: _RANK.get(p, 0)
        )
        if len(parts) > 1:
            detail = f"group {group!r} in {' and '.join(parts)}"
            items.append(Item(collection.names(rows), detail))
    if not items:
        return []
    items.sort(key=lambda item: -len(item.pictures))
    return [
        Finding(
            "divided",
            f"{counted(len(items), 'group')} in more than one part",
            tuple(items),
            "What belongs together is alike beyond its class (a patient, a place, a day), so a "
            "test on one half of what trained on the other comes out too good.",
            "Put each group into one part. A fit leaves out of train what is also in a later part.",
        )
    ]


def _detail(
    collection: Collection, group: Sequence[int], labels: Sequence[str], parts: Sequence[str]
) -> str:
    exact = len({collection.digests[row] for row in group}) == 1
    said = ["the same file" if exact else "the same picture, changed, or the same scene"]
    if len(labels) > 1:
        said.append(" and ".join(map(repr, labels)))
    if len(parts) > 1:
        said.append(" and ".join(parts))
    return ", ".join(said)
