"""Which vectors one frozen pass takes from the network, and where each lies in the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from regraft.backbones.base import Backbone, backbone_key
from regraft.backbones.cuts import Cut
from regraft.candidates import candidate_sets
from regraft.data.images import DECODER
from regraft.strategy import POOLINGS, Pooling, Precision, Tap


@dataclass(frozen=True, slots=True)
class CutPlan:
    """The poolings taken at one cut; together they are one row of the store."""

    cut: Cut
    poolings: tuple[Pooling, ...]

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The taps of this cut, in the order of their columns."""
        return tuple(Tap(self.cut.name, pooling) for pooling in self.poolings)

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(self.cut.width(pooling) for pooling in self.poolings)

    def columns(self, tap: Tap) -> slice:
        """Where a tap's vector lies in the row."""
        start = 0
        for pooling in self.poolings:
            stop = start + self.cut.width(pooling)
            if Tap(self.cut.name, pooling) == tap:
                return slice(start, stop)
            start = stop
        raise KeyError(tap)


@dataclass(frozen=True, slots=True)
class PassPlan:
    """Everything that one frozen pass computes for a picture.

    Parameters
    ----------
    cuts : tuple of CutPlan
        From input to output.
    read : int, optional
        So many of them, the first ones, are there for a head to read; by default all are.
    judge : Tap, optional
        What tells pictures apart; by default of the last cut but one.
    """

    cuts: tuple[CutPlan, ...]
    read: int | None = None
    judge: Tap | None = None

    @property
    def taps(self) -> tuple[Tap, ...]:
        """All taps, in the order of the columns of the pass."""
        return tuple(tap for plan in self.cuts for tap in plan.taps)

    @property
    def width(self) -> int:
        """Number of columns of the pass."""
        return sum(plan.width for plan in self.cuts)

    @property
    def last(self) -> CutPlan:
        """The last cut that a head may read."""
        return self.cuts[: self.read][-1]

    @property
    def late(self) -> Tap:
        """What tells pictures apart whatever their classes."""
        return self.judge or self.cuts[max(0, len(self.cuts) - 2)].taps[0]

    @property
    def probes(self) -> tuple[Cut, ...]:
        """The cuts that a head may read."""
        return tuple(plan.cut for plan in self.cuts[: self.read])

    def cut_of(self, tap: Tap) -> CutPlan:
        """Return the plan of the tap's cut."""
        for plan in self.cuts:
            if plan.cut.name == tap.cut and tap.pooling in plan.poolings:
                return plan
        raise KeyError(tap)

    def tap_width(self, tap: Tap) -> int:
        """Size of a tap's vector."""
        return self.cut_of(tap).cut.width(tap.pooling)


def default_plan(cuts: Sequence[Cut]) -> PassPlan:
    """Take at every cut what `regraft.candidates.candidate_sets` reads there."""
    read = {tap for features in candidate_sets(cuts) for tap in features.taps}
    return PassPlan(
        tuple(CutPlan(cut, tuple(p for p in POOLINGS if Tap(cut.name, p) in read)) for cut in cuts)
    )


def plan_of(taps: Sequence[Tap], cuts: Sequence[Cut]) -> PassPlan:
    """Take these taps and nothing else."""
    poolings: dict[str, list[Pooling]] = {}
    for tap in taps:
        poolings.setdefault(tap.cut, []).append(tap.pooling)
    return PassPlan(
        tuple(
            CutPlan(cut, tuple(p for p in POOLINGS if p in poolings[cut.name]))
            for cut in cuts
            if cut.name in poolings
        )
    )


def space_key(
    backbone: Backbone, plan: CutPlan, precision: Precision, engine: str, view: str = "whole"
) -> str:
    """Name everything but the picture that decides a row of the store, as a hex SHA-256.

    Parameters
    ----------
    backbone : Backbone
        Weights, architecture and preprocessing.
    plan : CutPlan
        Cut and poolings.
    precision : {"bf16", "f32"}
        Arithmetic of the pass.
    engine : str
        Name, version and instruction set of the engine.
    view : str
        Name of the view of each picture; ``"whole"`` is the picture as it is evaluated.
    """
    parts = {
        "backbone": backbone_key(backbone, (plan.cut,)),
        "decoder": DECODER,
        "view": view,
        "poolings": plan.poolings,
        "precision": precision,
        "engine": engine,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
