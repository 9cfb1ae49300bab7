"""What the loop is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from regraft.errors import RegraftError
from regraft.progress import Progress
from regraft.train.batches import Pictures
from regraft.train.checkpoint import Saved
from regraft.train.compute import Arithmetic


class DivergedError(RegraftError):
    """The loss exploded however low the rate was."""


class Stopped(KeyboardInterrupt):
    """Training was asked to stop; a checkpoint has been saved."""


@dataclass(frozen=True, slots=True)
class Held:
    """How a network does on held-out pictures.

    Parameters
    ----------
    epoch : int
        After so many passes; 0: before the first.
    log_loss, accuracy : float
        Means.
    """

    epoch: int
    log_loss: float
    accuracy: float


@dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """What a phase is carried out with.

    Parameters
    ----------
    train, held_out : Pictures
        To train on, and to stop by.
    seed : tuple of int
        Decides orders, views, mixing and dropout.
    rate : float
        Learning rate of the head at its peak.
    arithmetic : Arithmetic
        How steps are computed.
    class_weights : torch.Tensor or None
        Weight of each class in the loss; None: every picture weighs the same.
    source : Mapping of str to torch.Tensor
        Where weights are pulled to, by their names in the part; used where the phase pulls.
    progress : Progress
        Hears of every step and pass.
    save : callable
        Takes a checkpoint; called between steps.
    stop : callable
        Whether somebody wants to stop.
    """

    train: Pictures
    held_out: Pictures
    seed: tuple[int, ...]
    rate: float
    arithmetic: Arithmetic
    class_weights: torch.Tensor | None
    source: Mapping[str, torch.Tensor]
    progress: Progress
    save: Callable[[Saved], None]
    stop: Callable[[], bool]
