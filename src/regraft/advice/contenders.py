"""Which ways to train layers are worth a race on these pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from regraft.advice.textbook import Case
from regraft.backbones.base import Backbone
from regraft.strategy import StrategyName

_PARTIAL, _MATRICES = 3, 2


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


def starts_of(backbone: Backbone) -> tuple[str, ...]:
    """Return where training the last blocks may begin, the last one first; at most three.

    Between two cuts that are worth probing lies a stretch of the network. It is worth training
    where it holds two matrices of weights or more: a lone projection or normalisation is not. The
    first stretch is left to those who train the whole network.
    """
    chain = backbone.chain()
    names = [cut.name for cut in backbone.cuts]
    matrices = {
        stage.name: sum(parameter.ndim > 1 for parameter in stage.module.parameters())
        for stage in chain.stages
    }
    found = []
    probes = [cut.name for cut in backbone.probes]
    for before, probe in itertools.pairwise(probes):
        stretch = names[names.index(before) + 1 : names.index(probe) + 1]
        parts = [name for name in names if name == probe or name.startswith(f"{probe}.")]
        if sum(matrices[name] for name in stretch) >= _MATRICES:
            found.append(probe if parts == stretch else stretch[0])
    return tuple(reversed(found[-_PARTIAL:]))


def contenders(starts: Sequence[str], case: Case) -> tuple[Contender, ...]:
    """Name the ways that the evidence leaves in play, those that train least first.

    The last blocks are always in play. The whole network is where pictures are many or unlike
    those of the source; random weights only where they are both.

    Parameters
    ----------
    starts : sequence of str
        What `starts_of` gave.
    case : Case
        The textbook's.
    """
    found = [Contender("partial", start) for start in starts]
    if case.size == "large" or case.likeness == "unlike":
        found.append(Contender("full"))
    if case.size == "large" and case.likeness == "unlike":
        found.append(Contender("scratch"))
    return tuple(found)
