"""The settings of a fit: one place for names, defaults and rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, Literal

from regraft.errors import UserError
from regraft.strategy import (
    HEAD_KINDS,
    METRICS,
    PRECISIONS,
    STRATEGIES_OF,
    STRATEGY_NAMES,
    TUNING,
    HeadKind,
    Metric,
    StrategyName,
)
from regraft.target import parse_target

PrecisionChoice = Literal["auto", "bf16", "f32"]
DeviceName = Literal["auto", "cpu", "cuda"]
ClassWeight = Literal["balanced"]

InputLayout = Literal["NCHW", "NHWC"]
ChannelOrder = Literal["RGB", "BGR"]
Triple = tuple[float, float, float]

ADVICE_BUDGET = 300.0
"""Seconds that an advice may take where nobody says otherwise."""

AUTO = "auto"
"""The backbone that stands for every network whose weights are on this disk."""
DEFAULT_BACKBONE = "embedded:efficientnet_lite0"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the user says of a network's input, against what is known of it.

    Parameters
    ----------
    size : tuple of int, optional
        Height and width in pixels.
    mean, std : tuple of float, optional
        Per channel (red, green, blue), for pixel values scaled to 0..1.
    channels : {"RGB", "BGR"}, optional
        Order in which the network takes the channels.
    crop : float or "squash", optional
        Part of the shortest side that the central crop keeps, in (0, 1]; ``"squash"`` takes the
        whole picture, whatever its shape.
    tap : str, optional
        Network files only: the operation whose output are the features.
    layout : {"NCHW", "NHWC"}, optional
        Network files only: the order of the input's axes.

    Raises
    ------
    UserError
        If a value breaks its rule; all of them are named.
    """

    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    channels: ChannelOrder | None = None
    crop: float | Literal["squash"] | None = None
    tap: str | None = None
    layout: InputLayout | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.size is not None and not _numbers(
            self.size, 2, lambda value: value >= 1 and value == int(value)
        ):
            problems.append(
                f"size must be a height and a width in pixels, such as (224, 224), got {self.size}"
            )
        if self.mean is not None and not _numbers(self.mean, 3, lambda value: abs(value) <= 1):
            problems.append(
                "mean must be three numbers from -1 to 1, for pixel values scaled to 0..1 (divide "
                f"what is meant for 0..255 by 255), got {self.mean}"
            )
        if self.std is not None and not _numbers(self.std, 3, lambda value: 0 < value < math.inf):
            problems.append(
                f"std must have a positive value for each of three channels, got {self.std}"
            )
        if self.channels not in (None, "RGB", "BGR"):
            problems.append(f"channels must be 'RGB' or 'BGR', got {self.channels!r}")
        if self.crop not in (None, "squash") and not (
            _is_number(self.crop) and 0 < float(self.crop) <= 1
        ):
            problems.append(f"crop must lie in (0, 1] or be 'squash', got {self.crop!r}")
        if self.layout not in (None, "NCHW", "NHWC"):
            problems.append(f"layout must be 'NCHW' or 'NHWC', got {self.layout!r}")
        if problems:
            raise UserError("; ".join(problems))

    def over(self, other: Overrides) -> Overrides:
        """Return what is said here and, where nothing is said, what another says."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in said.items() if value is not None})


_NO_OVERRIDES = Overrides()


def _numbers(values: object, count: int, rule: Callable[[float], bool]) -> bool:
    """Whether these are so many numbers, in a tuple or list, that keep a rule."""
    return (
        isinstance(values, tuple | list)
        and len(values) == count
        and all(_is_number(value) and math.isfinite(value) and rule(value) for value in values)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


# What an advice says of a fit: the strategy, and everything that it was measured with.
_ADVISED = (
    "strategy",
    "train_from",
    "epochs",
    "depth",
    "head",
    "backbone",
    "pretrained",
    "overrides",
    "metric",
    "class_weight",
    "precision",
    "device",
    "test_fraction",
    "seed",
)


def advice_budget(budget: float | None, depth: str | None) -> float | None:
    """Return the seconds that an advice may take; features up to a depth take no race."""
    return ADVICE_BUDGET if budget is None and depth is None else budget


def advised_settings(advice: Mapping[str, Any]) -> dict[str, Any]:
    """Turn an advice into settings of a fit.

    Parameters
    ----------
    advice : mapping
        What ``regraft advise --json`` prints, or the part of it called ``"chosen"``.

    Returns
    -------
    dict
        Some of the fields of `FitOptions`.

    Raises
    ------
    UserError
        If it is no advice.
    """
    chosen = advice.get("chosen", advice)
    if not isinstance(chosen, Mapping) or chosen.get("strategy") not in STRATEGY_NAMES:
        raise UserError(
            "an advice must have 'chosen' with a 'strategy' of "
            f"{', '.join(map(repr, STRATEGY_NAMES))}; `regraft advise PHOTOS --json` prints one"
        )
    found = {name: chosen[name] for name in _ADVISED if chosen.get(name) is not None}
    if "overrides" in found:
        found["overrides"] = _overrides(found["overrides"])
    return found


def _overrides(said: object) -> Overrides:
    """Read what an advice says of a network's input."""
    names = [field.name for field in fields(Overrides)]
    if not isinstance(said, Mapping) or not said.keys() <= set(names):
        raise UserError(
            f"overrides of an advice must be an object with some of {', '.join(names)}, got {said}"
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
    return Overrides(**values)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a model is to be made.

    Parameters
    ----------
    backbone : str
        The source network: ``ZOO:NAME``, ``ZOO:NAME@FILE``, ``file:PATH`` or a bundle's folder.
        Several with commas between, or ``"auto"`` for all whose weights are on this disk: they are
        compared frozen (`regraft.advice.backbones`).
    pretrained : bool
        False: the architecture of `backbone` alone, with random weights that `seed` decides.
    overrides : Overrides
        What is to be changed in how pictures are prepared for it.
    strategy : {"auto", "features", "partial", "gradual", "full", "scratch", "norm", \
    "lora"}
        What trains. ``"features"``: only a head. ``"auto"``: the same or, with a `budget`, what
        wins the race. ``"partial"``: the layers from `train_from` on. ``"gradual"``: the last
        layers, then more, then more. ``"full"``: all layers. ``"scratch"``: all, from random
        weights. ``"norm"``: normalisations and biases. ``"lora"``: low-rank adapters beside the
        linear layers of a transformer.
    depth : str, optional
        ``"features"`` only: the last cut that is kept; what comes after it is left out.
    train_from : str, optional
        ``"partial"`` only: the first cut whose layers train; all before it is frozen.
    lr : float, optional
        Learning rate of the head at its peak, where layers train; found by trial by default.
    epochs : int, optional
        Passes over the pictures, at most, in each phase of training.
    views : int, optional
        Views of each picture that layers are trained on, the plain one included.
    mixup : float, optional
        Layers are trained on mixed pairs of activations, by shares from the beta distribution with
        this parameter (H. Zhang et al., 2018); none by default. 0.2 is usual.
    l2_sp : float, optional
        Pull back to the source (X. Li et al., 2018): each step goes `lr` times this of the way.
    budget : float, optional
        ``"auto"`` only: seconds that everything may take; ways to train layers then race against
        the frozen network, and the winner is trained; without time for a race the last two blocks
        are. None or 0: neither.
    head : {"logistic", "ridge", "prototype"}
        The classifier on the frozen features.
    metric : {"log_loss", "balanced_accuracy"}
        What the choice of features and strength is made by.
    class_weight : {"balanced"} or None
        Let rare classes weigh as much as frequent ones.
    target : str, optional
        Of two classes: ``"sensitivity=0.95"`` or ``"specificity=0.95"``. The threshold is chosen
        so that the lower end of the interval meets it, on held-out pictures (`regraft.operating`).
    positive : str, optional
        With `target`: the class to find; by default the rarer one.
    precision : {"auto", "bf16", "f32"}
        Arithmetic of the frozen pass; ``"auto"`` takes bfloat16 where the processor has it and
        the pictures pass the check of `regraft.frozen.precision`.
    device : {"auto", "cpu", "cuda"}
        Where the frozen pass runs.
    test_fraction : float
        Part of the pictures that is held out where no test part is given, in (0, 1).
    seed : int
        Decides the held-out part and the folds, 0 to 2**32 - 1.
    strict : bool
        A picture that cannot be read is an error instead of a listed skip.

    Raises
    ------
    UserError
        If a value breaks its rule; all of them are named.
    """

    backbone: str = DEFAULT_BACKBONE
    pretrained: bool = True
    overrides: Overrides = _NO_OVERRIDES
    strategy: StrategyName = "auto"
    depth: str | None = None
    train_from: str | None = None
    lr: float | None = None
    epochs: int | None = None
    views: int | None = None
    mixup: float | None = None
    l2_sp: float | None = None
    budget: float | None = None
    head: HeadKind = "logistic"
    metric: Metric = "log_loss"
    class_weight: ClassWeight | None = None
    target: str | None = None
    positive: str | None = None
    precision: PrecisionChoice = "auto"
    device: DeviceName = "auto"
    test_fraction: float = 0.2
    seed: int = 0
    strict: bool = False

    def __post_init__(self) -> None:
        if problems := self._wrong_kinds():
            raise UserError("; ".join(problems))
        for name in ("epochs", "views", "seed"):  # whole numbers of numpy too, which JSON refuses
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, int(value))
        rules: tuple[tuple[str, Sequence[object]], ...] = (
            ("strategy", STRATEGY_NAMES),
            ("head", HEAD_KINDS),
            ("metric", METRICS),
            ("class_weight", ("balanced", None)),
            ("precision", ("auto", *PRECISIONS)),
            ("device", ("auto", "cpu", "cuda")),
        )
        problems = [
            f"{name} must be one of {', '.join(map(repr, legal))}, got {getattr(self, name)!r}"
            for name, legal in rules
            if getattr(self, name) not in legal
        ]
        problems += self._training_problems()
        if self.target is not None:
            try:
                parse_target(self.target)
            except UserError as error:
                problems.append(str(error))
        elif self.positive is not None:
            problems.append(
                f"positive belongs to a target, got {self.positive!r} without one: add a target "
                "such as 'sensitivity=0.95', or leave positive out"
            )
        if not 0 < self.test_fraction < 1:
            problems.append(
                f"test_fraction must lie between 0 and 1 (both excluded), got {self.test_fraction}"
            )
        if not 0 <= self.seed < 2**32:
            problems.append(f"seed must be a whole number from 0 to 2**32 - 1, got {self.seed!r}")
        if problems:
            raise UserError("; ".join(problems))

    @property
    def tunes(self) -> bool:
        """Whether layers of the network are trained."""
        return self.strategy in TUNING

    def _wrong_kinds(self) -> list[str]:
        """Name the settings that are of another kind than they must be."""
        kinds: tuple[tuple[str, Callable[[object], bool], Sequence[str]], ...] = (
            ("a text", lambda value: isinstance(value, str), ("backbone",)),
            (
                "a text or None",
                lambda value: value is None or isinstance(value, str),
                ("depth", "train_from", "target", "positive"),
            ),
            ("True or False", lambda value: isinstance(value, bool), ("pretrained", "strict")),
            ("an Overrides", lambda value: isinstance(value, Overrides), ("overrides",)),
            ("a number", _is_number, ("test_fraction",)),
            ("a whole number from 0 to 2**32 - 1", _is_whole, ("seed",)),
            (
                "a whole number of 1 or more",
                lambda value: value is None or _is_whole(value),
                ("epochs", "views"),
            ),
            ("a number or None", lambda v: v is None or _is_number(v), ("lr", "mixup", "l2_sp")),
            (
                "a number of seconds or None",
                lambda value: value is None or _is_number(value),
                ("budget",),
            ),
        )
        return [
            f"{name} must be {kind}, got {getattr(self, name)!r}"
            for kind, rule, names in kinds
            for name in names
            if not rule(getattr(self, name))
        ]

    def _training_problems(self) -> list[str]:
        """Name the settings of training that break a rule, or do not belong to the strategy."""
        problems = [
            f"{name} needs strategy {' or '.join(map(repr, owners))}, got {value!r} with "
            f"{self.strategy!r}: set the strategy, or leave {name} out"
            for name, owners in STRATEGIES_OF.items()
            if (value := getattr(self, name)) is not None and self.strategy not in owners
        ]
        if self.budget and self.depth is not None:
            problems.append(
                f"budget and depth exclude each other (a race trains to the last layer), got "
                f"{self.budget} seconds and {self.depth!r}: leave out one of them"
            )
        if self.tunes and self.head != "logistic":
            problems.append(f"head must be 'logistic' where layers train, got {self.head!r}")
        if self.l2_sp and self.strategy in ("scratch", "lora"):
            problems.append(
                f"l2_sp must be left out with strategy {self.strategy!r}, which has no weights to "
                f"pull back, got {self.l2_sp}"
            )
        bounds: tuple[tuple[str, Callable[[float], bool], str], ...] = (
            ("budget", lambda value: 0 <= value < math.inf, "be 0 seconds or more"),
            ("lr", lambda value: 0 < value <= 1, "lie in (0, 1]"),
            ("mixup", lambda value: 0 <= value <= 100, "lie in [0, 100]"),
            ("l2_sp", lambda value: 0 <= value < math.inf, "be 0 or more"),
            ("epochs", lambda value: value >= 1, "be a whole number of 1 or more"),
            ("views", lambda value: value >= 1, "be a whole number of 1 or more"),
        )
        problems += [
            f"{name} must {rule}, got {value!r}"
            for name, holds, rule in bounds
            if (value := getattr(self, name)) is not None and not holds(value)
        ]
        return problems
