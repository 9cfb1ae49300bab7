"""The settings of a fit: one place for names, defaults and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from regraft.errors import UserError
from regraft.strategy import HEAD_KINDS, METRICS, PRECISIONS, HeadKind, Metric

PrecisionChoice = Literal["auto", "bf16", "f32"]
DeviceName = Literal["auto", "cpu", "cuda"]
ClassWeight = Literal["balanced"]

DEFAULT_BACKBONE = "embedded:efficientnet_lite0"


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a model is to be made.

    Parameters
    ----------
    backbone : str
        The source network.
    head : {"logistic", "ridge", "prototype"}
        The classifier on the frozen features.
    metric : {"log_loss", "balanced_accuracy"}
        What the choice of features and strength is made by.
    class_weight : {"balanced"} or None
        Let rare classes weigh as much as frequent ones.
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
    head: HeadKind = "logistic"
    metric: Metric = "log_loss"
    class_weight: ClassWeight | None = None
    precision: PrecisionChoice = "auto"
    device: DeviceName = "auto"
    test_fraction: float = 0.2
    seed: int = 0
    strict: bool = False

    def __post_init__(self) -> None:
        rules: tuple[tuple[str, Sequence[object]], ...] = (
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
        if not 0 < self.test_fraction < 1:
            problems.append(
                f"test_fraction must lie between 0 and 1 (both excluded), got {self.test_fraction}"
            )
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            problems.append(f"seed must be a whole number from 0 to 2**32 - 1, got {self.seed!r}")
        if problems:
            raise UserError("; ".join(problems))
