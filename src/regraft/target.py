"""What a model of two classes is asked to promise, as it is written: ``sensitivity=0.95``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from regraft.errors import UserError

Promise = Literal["sensitivity", "specificity"]
PROMISES: tuple[Promise, ...] = get_args(Promise)


@dataclass(frozen=True, slots=True)
class Target:
    """What a threshold is to reach.

    Parameters
    ----------
    promise : {"sensitivity", "specificity"}
        Share of the pictures of the class to find that are called so, or of the other's that are
        not.
    least : float
        The share, in (0, 1).
    """

    promise: Promise
    least: float

    def __str__(self) -> str:
        return f"{self.promise}={self.least:g}"


def parse_target(text: str) -> Target:
    """Read ``sensitivity=0.95``.

    Raises
    ------
    UserError
        If it is anything else.
    """
    name, _, number = text.partition("=")
    promise = next((known for known in PROMISES if known == name.strip().lower()), None)
    try:
        least = float(number)
    except ValueError:
        least = math.nan
    if promise is None or not 0 < least < 1:
        raise UserError(
            "target must be sensitivity=SHARE or specificity=SHARE with a share between 0 and 1 "
            f"(both excluded), such as sensitivity=0.95, got {text!r}"
        )
    return Target(promise, least)
