"""The textbook's four cases: few or many pictures, like those of the source or unlike them.

A rule of thumb, stated so that it can be checked against what was measured; no choice follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LARGE = 500
"""Pictures of the typical class from which a collection counts as large."""

_WORDS = {
    ("small", "alike"): "freeze the whole network and train a new head",
    ("small", "unlike"): "leave the top layers out and train a head on what is below them",
    ("large", "alike"): "train the whole network further, at a low rate",
    ("large", "unlike"): (
        "train the whole network, with no layer frozen, and compare with random weights"
    ),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One of the four.

    Parameters
    ----------
    size : {"small", "large"}
        By pictures of the typical class.
    likeness : {"alike", "unlike"}
        By the distance to the source.
    """

    size: Literal["small", "large"]
    likeness: Literal["alike", "unlike"]

    @property
    def name(self) -> str:
        """For people and JSON: ``"small, alike"``."""
        return f"{self.size}, {self.likeness}"

    @property
    def word(self) -> str:
        """What the textbook would do."""
        return _WORDS[self.size, self.likeness]


def textbook_case(per_class: float, *, alike: bool) -> Case:
    """Return the case that this is.

    Parameters
    ----------
    per_class : float
        Training pictures of the typical class (the median one).
    alike : bool
        Whether the pictures are like those of the source.

    Examples
    --------
    >>> textbook_case(120, alike=True).word
    'freeze the whole network and train a new head'
    """
    return Case("large" if per_class >= LARGE else "small", "alike" if alike else "unlike")
