"""What about a collection may not be what its owner meant: said, never acted upon."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from regraft.data.records import Layout, Picture

_MOST_NAMES = 5


def hints(pictures: Sequence[Picture], layout: Layout) -> tuple[str, ...]:
    """Look for classes that may be something else, or the same thing twice.

    Parameters
    ----------
    pictures : sequence of Picture
        All of the collection.
    layout : {"folders", "split-folders", "table"}
        How it is laid out.

    Returns
    -------
    tuple of str
        A sentence for each finding.
    """
    found = []
    labels = sorted({picture.label for picture in pictures})
    twins = [label for label in labels if _spelling(label) in _repeated(map(_spelling, labels))]
    if twins:
        found.append(f"these classes differ only in spelling: {_listed(twins)}")
    inner = _shared_folders(pictures) if layout == "folders" else []
    if len(inner) > 1:
        found.append(
            f"each class folder holds folders of the same names ({_listed(inner)}); if those are "
            "the classes, call the outer folders train and test, or write a table"
        )
    return tuple(found)


def _spelling(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())


def _repeated(words: Iterable[str]) -> set[str]:
    seen, twice = set[str](), set[str]()
    for word in words:
        (twice if word in seen else seen).add(word)
    return twice


def _shared_folders(pictures: Sequence[Picture]) -> list[str]:
    """Names of folders that every class folder holds, where no picture lies beside them."""
    inside: dict[str, set[str]] = {}
    for picture in pictures:
        parts = picture.name.split("/")
        if len(parts) < 3:
            return []
        inside.setdefault(picture.label, set()).add(parts[1])
    return sorted(set.intersection(*inside.values())) if inside else []


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MOST_NAMES]))
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
