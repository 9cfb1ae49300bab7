"""What the loop is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from regraft.clusters import mean_error, with_two_made
from regraft.errors import RegraftError
from regraft.heads.linear import softmax
from regraft.heads.temperature import fit_temperature
from regraft.metrics import log_losses
from regraft.progress import Progress
from regraft.train.batches import Pictures
from regraft.train.checkpoint import Saved
from regraft.train.compute import Arithmetic


class DivergedError(RegraftError):
    """The loss exploded however low the rate was."""


class NoNumberError(RegraftError):
    """What a network says is no number, whatever the rate."""


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
        Means; the loss is that of the scores divided by `temperature`.
    temperature : float
        What makes the scores probabilities (C. Guo et al., 2017). Label smoothing keeps the
        scores of a network small however sure it could be, and without this its loss would rise
        while its accuracy still grows.
    gain, error : float
        By how much the loss is lower than before the first pass, and the standard error of that;
        see `gained`.
    """

    epoch: int
    log_loss: float
    accuracy: float
    temperature: float
    gain: float = 0.0
    error: float = 0.0

    @property
    def shown(self) -> bool:
        """Whether the held-out pictures show that it is better than before the first pass."""
        return self.gain > self.error


def judged(
    epoch: int,
    scores: NDArray[np.float64],
    y: NDArray[np.intp],
    weights: NDArray[np.float64],
    units: NDArray[np.intp],
    before: NDArray[np.float64] | None = None,
) -> tuple[Held, NDArray[np.float64]]:
    """Judge scores of held-out pictures.

    Parameters
    ----------
    epoch : int
        After so many passes.
    scores : ndarray of shape (n, n_classes), float64
        What the network says.
    y : ndarray of shape (n,), int
        Columns of the classes.
    weights : ndarray of shape (n,), float64
        Weight of each picture in the loss and for the temperature.
    units : ndarray of shape (n,), int
        Pictures with the same number depend on each other.
    before : ndarray of shape (n,), float64, optional
        Loss of each picture before the first pass.

    Returns
    -------
    held : Held
    losses : ndarray of shape (n,), float64
        Loss of each picture.
    """
    temperature = float(fit_temperature(scores[None], y, weights, 1 / (len(y) + 2))[0])
    losses = log_losses(y, softmax(scores / temperature))
    gain = error = 0.0
    if before is not None:
        gain, error = gained(before, losses, weights, units, scores.shape[1])
    held = Held(
        epoch=epoch,
        log_loss=float(np.average(losses, weights=weights)),
        accuracy=float(np.mean(scores.argmax(1) == y)),
        temperature=temperature,
        gain=gain,
        error=error,
    )
    return held, losses


def gained(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    weights: NDArray[np.float64],
    units: NDArray[np.intp],
    n_classes: int,
) -> tuple[float, float]:
    """Estimate by how much losses fell, so that a handful of pictures cannot pretend to know.

    Two made pictures are added (`regraft.clusters.with_two_made`): two pictures alone prove
    nothing, nor do two groups of pictures. Of networks that are no better fewer than a quarter
    pass, and of a row of eight passes that lead nowhere one does in about a third; what is kept
    then is as good as what was there. A network that is clearly worse hardly ever passes.

    Parameters
    ----------
    before, after : ndarray of shape (n,), float64
        Loss of each picture.
    weights : ndarray of shape (n,), float64
        Weight of each picture.
    units : ndarray of shape (n,), int
        Pictures with the same number depend on each other, and count as one witness.
    n_classes : int
        Number of classes.

    Returns
    -------
    gain, error : float
        Mean of the paired differences, and its standard error.
    """
    differences = (before - after) * weights / np.mean(weights)
    values, witnesses = with_two_made(differences, np.log(n_classes), units)
    return float(values.mean()), mean_error(values, witnesses)


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

    def weights_of(self, y: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the weight of each picture in the loss, by its class."""
        if self.class_weights is None:
            return np.ones(len(y))
        found: NDArray[np.float64] = self.class_weights.cpu().double().numpy()[y]
        return found
