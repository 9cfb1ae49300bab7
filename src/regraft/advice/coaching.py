"""The seam between a race and the networks: folds, and who trains on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from regraft.advice.contenders import Contender
from regraft.price import Price

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One fold: who trains, who says when to stop, who is judged."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]
    judged: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """The training on all pictures that a race is about.

    Parameters
    ----------
    heat : Heat
        Who trains, who says when to stop, and who is tested: none of the last is looked at.
    again : float
        See `regraft.advice.plan.Offer`.
    follows : bool
        Whether it follows at once, within the budget.
    """

    heat: Heat
    again: float
    follows: bool


class FailedError(Exception):
    """A contender could not be trained; the others go on."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a contender says of the pictures that judge it.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes), float64
        Those of the frozen network where training did not improve it.
    improved : bool
        Whether it did, as the pictures showed that say when to stop.
    """

    probabilities: Array
    improved: bool


class Coach(Protocol):
    """Trains: the seam between the race and the networks; raises `FailedError` for a contender."""

    def price(self, contender: Contender, heat: Heat, over: Callable[[], bool]) -> Price | None:
        """Estimate what it costs; None where time is up before that is known."""

    def train(
        self, contender: Contender, heat: Heat, passes: int, over: Callable[[], bool]
    ) -> Answers | None:
        """Train and judge a contender.

        Parameters
        ----------
        contender : Contender
            What to train.
        heat : Heat
            The pictures.
        passes : int
            Passes, at most.
        over : callable
            Whether time is up.

        Returns
        -------
        Answers or None
            None where time was up before it was done.
        """

    def finish(self, heat: Heat) -> float:
        """Estimate the seconds from the last step to the end of a fit that is tested there."""

    def frozen(self, heat: Heat, *, with_held_out: bool = False) -> Array:
        """Probabilities that the frozen network with the best head gives.

        The head is trained on the pictures that contenders train on, so that the same is compared;
        on request, on those that say when to stop as well.
        """
