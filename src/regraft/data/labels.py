"""Are these labels names of classes? Quantities and several labels a picture are not."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence

MANY = 20
"""Up to so many distinct whole numbers are taken for class numbers whatever their counts."""

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+([.,]0*)?")


def refusal(labels: Sequence[str]) -> str | None:
    """Say in a sentence why labels cannot be classes; None when they can.

    Numbers are a quantity when any of them has a fraction, or when there are more than `MANY`
    and either more than half as many as pictures or half of them belong to one picture. Cells
    are several labels when they are written as a list, or are made of pieces (between ``;`` or
    ``|``) that come back in other labels. A comma may well be part of a name: it counts only
    when the pieces are labels of their own, or come back in labels of other lengths.

    Examples
    --------
    >>> refusal(["3", "7", "3", "7"]) is None
    True
    >>> refusal(["cat;dog", "cat", "dog"])
    "the label 'cat;dog' looks like several labels; regraft learns one class per picture"
    """
    counts = Counter(label for label in labels if label)
    example = _quantity(counts)
    if example is not None:
        return (
            f"they look like a quantity (such as {example!r}), and regraft learns classes, not "
            "numbers (no regression); if they are names of classes, write them as words"
        )
    example = _several(counts)
    if example is not None:
        return (
            f"the label {example!r} looks like several labels; regraft learns one class per picture"
        )
    return None


def _quantity(counts: Counter[str]) -> str | None:
    if not counts or not all(_NUMBER.fullmatch(label) for label in counts):
        return None
    for label in counts:
        if not _WHOLE.fullmatch(label):
            return label
    once = sum(count == 1 for count in counts.values())
    if len(counts) > MANY and (2 * len(counts) > counts.total() or 2 * once >= len(counts)):
        return next(iter(counts))
    return None


def _several(labels: Iterable[str]) -> str | None:
    labels = list(labels)
    for label in labels:
        if _is_list(label):
            return label
    for separator in ";|,":
        parts = {label: _pieces(label, separator) for label in labels}
        found = _compound(parts, strict=separator == ",")
        if found is not None:
            return found
    return None


def _is_list(label: str) -> bool:
    if (label[:1], label[-1:]) not in {("[", "]"), ("(", ")"), ("{", "}")}:
        return False
    try:
        return isinstance(ast.literal_eval(label), list | tuple | set | dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _pieces(label: str, separator: str) -> frozenset[str]:
    return frozenset(piece.strip() for piece in label.split(separator) if piece.strip())


def _compound(parts: dict[str, frozenset[str]], *, strict: bool) -> str | None:
    """Find a label whose pieces all come back in other labels."""
    compounds = {label: pieces for label, pieces in parts.items() if len(pieces) > 1}
    uses = Counter(piece for pieces in parts.values() for piece in pieces)
    lengths = {len(pieces) for pieces in compounds.values()}
    recurring = [
        label for label, pieces in compounds.items() if all(uses[piece] > 1 for piece in pieces)
    ]
    if not strict:
        return recurring[0] if recurring else None
    alone = {piece for pieces in parts.values() if len(pieces) == 1 for piece in pieces}
    for label, pieces in compounds.items():
        if pieces <= alone:
            return label
    if len(lengths) > 1 and len(recurring) == len(compounds):
        return recurring[0]
    return None
