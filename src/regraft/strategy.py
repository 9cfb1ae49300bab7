"""What trains and on what it is trained: plain values, no behaviour.

A *cut* is named by the module whose output it is, in the source network's own names
(``"blocks.6"``). A *tap* is a cut together with the way its map is pooled to a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Pooling = Literal["avg", "max", "std", "grid"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

HeadKind = Literal["logistic", "ridge", "prototype"]
HEAD_KINDS: tuple[HeadKind, ...] = get_args(HeadKind)

Metric = Literal["log_loss", "balanced_accuracy"]
METRICS: tuple[Metric, ...] = get_args(Metric)

Precision = Literal["bf16", "f32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, order=True)
class Tap:
    """One vector that a picture gives: a cut of the network, pooled over space.

    Parameters
    ----------
    cut : str
        Name of the module whose output is pooled.
    pooling : {"avg", "max", "std", "grid"}
        ``"grid"`` averages each quarter of the map and keeps the four apart (4 x channels).
    """

    cut: str
    pooling: Pooling = "avg"


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """A named, ordered choice of taps whose vectors are laid side by side."""

    name: str
    taps: tuple[Tap, ...]

    @property
    def cuts(self) -> tuple[str, ...]:
        """The cuts in order, each once."""
        return tuple(dict.fromkeys(tap.cut for tap in self.taps))

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """The poolings in use, each once."""
        return tuple(dict.fromkeys(tap.pooling for tap in self.taps))


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a model was, or will be, made from a network and pictures.

    Parameters
    ----------
    name : str
        ``"features"``: the network is frozen and only a head is trained.
    features : FeatureSet
        What the head reads.
    head : {"logistic", "ridge", "prototype"}
        The classifier on top.
    strength : float
        Weight of the penalty, in the unit of the head (see `regraft.heads`).
    precision : {"bf16", "f32"}
        Arithmetic of the frozen pass.
    """

    name: str
    features: FeatureSet
    head: HeadKind
    strength: float
    precision: Precision
