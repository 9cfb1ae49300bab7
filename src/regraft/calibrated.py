"""What held-out pictures still decide: how sure to be, and when to say yes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.errors import UserError
from regraft.heads.fitting import class_weights
from regraft.heads.linear import softmax
from regraft.heads.temperature import calibrating_temperature
from regraft.metrics import log_losses
from regraft.operating import (
    MOST_PROBABLE,
    Decision,
    OperatingPoint,
    check_enough,
    decision_of,
    operating_point,
    positive_class,
)
from regraft.options import FitOptions
from regraft.selection import HeldOut
from regraft.target import parse_target


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What held-out pictures decided.

    Parameters
    ----------
    temperature : float
        The scores are divided by it (C. Guo et al., ICML 2017); 1 where nothing was held out.
    n : int
        Pictures that decided.
    log_loss_before, log_loss_after : float or None
        Of those pictures, without the temperature and with it; None without pictures.
    decision : Decision
        How probabilities become classes.
    point : OperatingPoint or None
        Where a model of two classes says yes, if something was asked for.
    """

    temperature: float = 1.0
    n: int = 0
    log_loss_before: float | None = None
    log_loss_after: float | None = None
    decision: Decision = MOST_PROBABLE
    point: OperatingPoint | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the temperature and its evidence as JSON values."""
        return {
            "temperature": self.temperature,
            "n": self.n,
            "log_loss_before": self.log_loss_before,
            "log_loss_after": self.log_loss_after,
        }


def check_target(
    options: FitOptions,
    classes: tuple[str, ...],
    y: NDArray[np.intp],
    units: NDArray[np.intp],
    held_out: NDArray[np.intp],
) -> None:
    """Complain before a training about a target that its held-out pictures cannot promise.

    Parameters
    ----------
    options, classes, y, units
        See `calibrate`.
    held_out : ndarray of int
        The pictures that would choose the threshold.

    Raises
    ------
    UserError
        If even finding all of them would not do.
    """
    if options.target is not None:
        own = y[held_out]
        positive = classes.index(positive_class(own, classes, options.positive))
        check_enough(parse_target(options.target), positive, classes, own, units[held_out])


def calibrate(
    held_out: HeldOut | None,
    y: NDArray[np.intp],
    units: NDArray[np.intp],
    classes: tuple[str, ...],
    options: FitOptions,
) -> Calibrated:
    """Measure the temperature and, where a target was named, choose the threshold.

    Parameters
    ----------
    held_out : HeldOut or None
        What was said of pictures by models that were not trained on them.
    y : ndarray of shape (number of pictures,), int
        Column of each picture's class; -1 where it is not trained.
    units : ndarray of shape (number of pictures,), int
        Pictures with the same number depend on each other: a unit counts as one witness.
    classes : tuple of str
        The columns.
    options : FitOptions
        Its `target`, `positive` and `class_weight` count.

    Raises
    ------
    UserError
        If the target cannot be promised.
    """
    if held_out is None:
        if options.target is not None:
            raise UserError(
                f"target {options.target} needs pictures to hold out, got too few to do so; add "
                "pictures, or leave --target out"
            )
        return Calibrated()
    own, scores, witnesses = y[held_out.rows], held_out.scores, units[held_out.rows]
    _, number, counts = np.unique(witnesses, return_inverse=True, return_counts=True)
    weights = class_weights(own, len(classes), balanced=options.class_weight == "balanced")
    temperature = calibrating_temperature(scores, own, weights / counts[number])
    after = softmax(scores / temperature)
    point = None
    if options.target is not None:
        positive = positive_class(own, classes, options.positive)
        target, column = parse_target(options.target), classes.index(positive)
        point = operating_point(target, column, classes, own, after, witnesses)
    return Calibrated(
        temperature,
        len(own),
        float(log_losses(own, softmax(scores)).mean()),
        float(log_losses(own, after).mean()),
        decision_of(point, classes),
        point,
    )
