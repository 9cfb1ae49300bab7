"""What a training costs: a value between those who time steps and those who plan a race."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a phase trains, whatever the number of pictures.

    Parameters
    ----------
    trained : float
        Seconds that a picture of a batch takes, forwards and backwards.
    frozen : float
        Seconds that the frozen part takes for a picture.
    """

    trained: float
    frozen: float


@dataclass(frozen=True, slots=True)
class Price:
    """What a training costs.

    Parameters
    ----------
    fixed : float
        Seconds whatever the number of passes: the trial of rates, the frozen part and, in a race,
        the judging.
    per_pass : float
        Seconds of a pass, its test on held-out pictures included.
    passes : int
        Passes, at most, all phases together.
    """

    fixed: float
    per_pass: float
    passes: int

    def seconds(self, passes: int) -> float:
        """Seconds of so many passes."""
        return self.fixed + passes * self.per_pass
