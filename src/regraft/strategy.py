"""What trains and on what it is trained: plain values, no behaviour.

A *cut* is named by the module whose output it is, in the source network's own names
(``"blocks.6"``). A *tap* is a cut together with the way its map is pooled to a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Pooling = Literal["avg", "max", "std", "grid", "map"]
POOLINGS: tuple[Pooling, ...] = ("avg", "max", "std", "grid")
"""The poolings whose vectors a head can read; ``"map"`` keeps everything, for what trains on."""

HeadKind = Literal["logistic", "ridge", "prototype"]
HEAD_KINDS: tuple[HeadKind, ...] = get_args(HeadKind)

Metric = Literal["log_loss", "balanced_accuracy"]
METRICS: tuple[Metric, ...] = get_args(Metric)

StrategyName = Literal["auto", "features", "partial", "gradual", "full", "scratch", "norm", "lora"]
STRATEGY_NAMES: tuple[StrategyName, ...] = get_args(StrategyName)
TUNING: tuple[StrategyName, ...] = ("partial", "gradual", "full", "scratch", "norm", "lora")
"""The strategies that train layers of the network."""
STRATEGIES_OF: dict[str, tuple[StrategyName, ...]] = {
    "depth": ("auto", "features"),
    "train_from": ("partial",),
    "budget": ("auto",),
    **dict.fromkeys(("lr", "epochs", "views", "mixup", "l2_sp"), TUNING),
}
"""Settings that go with some strategies only, and with which."""

TrainableWeights = Literal["all", "norm", "lora"]

Precision = Literal["bf16", "f32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, order=True)
class Tap:
    """One vector that a picture gives: a cut of the network, pooled over space.

    Parameters
    ----------
    cut : str
        Name of the module whose output is pooled.
    pooling : {"avg", "max", "std", "grid", "map"}
        ``"grid"`` averages each quarter of the map and keeps the four apart (4 x channels).
        ``"map"`` pools nothing: all tensors of the cut, each flattened with its channels last.
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
class Phase:
    """A stretch of training in which the same layers train.

    Parameters
    ----------
    train_from : str or None
        The first cut whose layers train: all before it is frozen. None: all layers train.
    epochs : int
        Passes over the training pictures, at most.
    patience : int
        Passes in a row whose loss on held-out pictures is clearly above the least (by more than the
        standard error of the difference), after which the phase ends.
    rate : float or None
        Learning rate of the head; None: found by trial.
    depth_decay : float
        The rate of the very first layers, as a part of that of the head; in between it falls by
        the same factor from stage to stage.
    views : int
        Views of each picture, the plain one included; each pass takes the next one.
    mirror : bool
        Whether half of the views are mirrored left to right.
    batch : int
        Pictures in a step.
    weight_decay : float
        Of AdamW.
    label_smoothing : float
        Part of the target that is spread over all classes (C. Szegedy et al., 2016).
    mixup : float
        Parameter of the beta distribution with which pairs of activations are mixed (H. Zhang et
        al., 2018); 0: none.
    pull : float
        Weight of the squared distance to where training began (L2-SP, X. Li et al., 2018).
    average : float
        Decay of the moving average of the weights that is tested and kept, in [0, 1).
    still_norms : bool
        Whether the statistics of batch normalisation stay as they are: small batches spoil them.
    what : {"all", "norm", "lora"}
        Which weights of the layers train: all, those of normalisations and all biases, or
        low-rank adapters beside linear layers (E. Hu et al., 2022).
    rank : int
        Of the adapters.
    guarded : bool
        Whether a pass counts only where held-out pictures show that it is better than the start;
        random weights are no start worth keeping.
    passes : int or None
        Passes after which the phase ends, whatever held-out pictures say, though the rate falls as
        if there were `epochs`; None: held-out pictures say when.
    """

    train_from: str | None
    epochs: int
    patience: int
    rate: float | None = None
    depth_decay: float = 0.1
    views: int = 1
    mirror: bool = True
    batch: int = 32
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    mixup: float = 0.0
    pull: float = 0.0
    average: float = 0.98
    still_norms: bool = True
    what: TrainableWeights = "all"
    rank: int = 8
    guarded: bool = True
    passes: int | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a model was, or will be, made from a network and pictures.

    Parameters
    ----------
    name : str
        ``"features"``: the network is frozen and only a head is trained; else one of `TUNING`.
    features : FeatureSet
        What the head reads.
    head : {"logistic", "ridge", "prototype"}
        The classifier on top.
    strength : float
        Weight of the penalty, in the unit of the head (see `regraft.heads`).
    precision : {"bf16", "f32"}
        Arithmetic of the frozen pass.
    phases : tuple of Phase
        How layers of the network were trained; none where all of it is frozen.
    """

    name: str
    features: FeatureSet
    head: HeadKind
    strength: float
    precision: Precision
    phases: tuple[Phase, ...] = ()
