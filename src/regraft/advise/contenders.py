"""Which ways to train layers are worth a race on these pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regraft.advise.textbook import Case
from regraft.backbones.cuts import Cut
from regraft.strategy import StrategyName

_PARTIAL = 3


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to train layers.

    Parameters
    ----------
    strategy : str
        One of `regraft.strategy.TUNING`.
    train_from : str or None
        ``"partial"`` only: the first cut whose layers train.
    """

    strategy: StrategyName
    train_from: str | None = None

    @property
    def name(self) -> str:
        """For people and JSON: ``"partial blocks.5"``."""
        return self.strategy if self.train_from is None else f"{self.strategy} {self.train_from}"


def contenders(probes: Sequence[Cut], case: Case) -> tuple[Contender, ...]:
    """Name the ways that the evidence leaves in play, those that train least first.

    The last three blocks are always in play. The whole network is where pictures are many or
    unlike those of the source; random weights only where they are both.

    Parameters
    ----------
    probes : sequence of Cut
        The cuts worth probing, from input to head.
    case : Case
        The textbook's.
    """
    starts = [cut.name for cut in probes[1:-1]][-_PARTIAL:]
    found = [Contender("partial", start) for start in reversed(starts)]
    if case.size == "large" or case.likeness == "unlike":
        found.append(Contender("full"))
    if case.size == "large" and case.likeness == "unlike":
        found.append(Contender("scratch"))
    return tuple(found)
