"""What an audit found, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal[
    "leak",
    "divided",
    "conflict",
    "label",
    "copy",
    "shortcut",
    "burst",
    "imbalance",
    "unreadable",
    "dark",
    "empty",
    "blurred",
    "tiny",
]


@dataclass(frozen=True, slots=True)
class Item:
    """One or several pictures that something is said of.

    Parameters
    ----------
    pictures : tuple of str
        Their names, relative to the root of the collection.
    detail : str
        What is said, for people.
    suggestion : str
        The class that a wrong label probably is; empty for everything else.
    """

    pictures: tuple[str, ...]
    detail: str
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, wherever it was found.

    Parameters
    ----------
    kind : str
        What it is.
    title : str
        What was found, in one sentence.
    items : tuple of Item
        Where; the worst first.
    why : str
        Why it matters.
    do : str
        What to do.
    """

    kind: Kind
    title: str
    items: tuple[Item, ...]
    why: str
    do: str

    @property
    def pictures(self) -> frozenset[str]:
        """The names of all pictures that it is about."""
        return frozenset(name for item in self.items for name in item.pictures)


@dataclass(frozen=True, slots=True)
class Row:
    """A picture of a cleaned collection; see `regraft.auditing.cleaned`."""

    path: str
    label: str
    split: str
    group: str
    suspect: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Parameters
    ----------
    findings : tuple of Finding
        What may lead a result astray first.
    n_pictures : int
        Pictures that could be read.
    classes : tuple of (str, int)
        The classes, and the pictures of each.
    backbone : str
        The network whose features were used.
    cleaned : tuple of Row
        What is left of the collection when what can be mended without a person is.
    notes : tuple of str
        What could not be looked for, and why.
    seconds : float
        What the audit took.
    table : Path or None
        The table that was audited; None where it was a folder.
    """

    findings: tuple[Finding, ...]
    n_pictures: int
    classes: tuple[tuple[str, int], ...]
    backbone: str
    cleaned: tuple[Row, ...]
    notes: tuple[str, ...]
    seconds: float
    table: Path | None = None

    def of(self, *kinds: Kind) -> tuple[Finding, ...]:
        """Return the findings of some kinds."""
        return tuple(finding for finding in self.findings if finding.kind in kinds)

    def as_dict(self) -> dict[str, Any]:
        """Give all but the cleaned collection as JSON values."""
        return {
            "pictures": self.n_pictures,
            "classes": dict(self.classes),
            "backbone": self.backbone,
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
            "kept": len(self.cleaned),
            "seconds": self.seconds,
        }


def counted(n: int, one: str, many: str | None = None) -> str:
    """Say how many.

    Examples
    --------
    >>> counted(1, "picture"), counted(1200, "picture"), counted(2, "class", "classes")
    ('1 picture', '1,200 pictures', '2 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def named(names: Sequence[str], most: int = 3) -> str:
    """List some names, and how many more there are."""
    listed = ", ".join(map(repr, names[:most]))
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")
