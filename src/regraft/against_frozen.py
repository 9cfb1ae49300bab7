"""Compares a network of which layers were trained with the best head on the frozen one.

Training begins from a head that reads what lies behind the frozen layers. Where pictures are unlike
those of the source, a head that also reads middle depths may do better than that and than all that
training comes to; so the trained network is not kept where held-out pictures show that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.classroom import first_head
from regraft.selection import Choice
from regraft.workshop import Lot, Workshop

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class AgainstFrozen:
    """A trained network against a head on the frozen one, on the pictures that said when to stop.

    Parameters
    ----------
    features : str
        What the head reads.
    n : int
        Pictures.
    frozen_log_loss, log_loss : float
        Means, of the head and of the trained network; scores are divided by the temperature that
        suits these pictures best.
    gain, error : float
        Mean by which the network's loss is lower, drawn towards 0 where pictures are few, and its
        standard error; see `regraft.train.teaching.gained`.
    """

    features: str
    n: int
    frozen_log_loss: float
    log_loss: float
    gain: float
    error: float

    @property
    def behind(self) -> bool:
        """Whether the pictures show that the network is worse."""
        return self.gain < -self.error

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "behind": self.behind}

    def __str__(self) -> str:
        return (
            f"a head on {self.features} of the frozen network has a log loss of "
            f"{self.frozen_log_loss:.3f} on the {self.n:,} held-out pictures, the trained network "
            f"{self.log_loss:.3f} (a gain of {self.gain:.3f}, with a standard error of "
            f"{self.error:.3f})"
        )


def against_frozen(
    shop: Workshop,
    lot: Lot,
    choice: Choice,
    train: Rows,
    held_out: Rows,
    scores: NDArray[np.float64],
    class_weights: NDArray[np.float64] | None,
) -> AgainstFrozen:
    """Compare a trained network with a head that was trained on the same pictures.

    Parameters
    ----------
    shop : Workshop
        The network and the settings.
    lot : Lot
        The pictures.
    choice : Choice
        What the head of the frozen network is to be.
    train, held_out : ndarray of int
        Which pictures trained the network, and which said when to stop.
    scores : ndarray of shape (len(held_out), n_classes), float64
        What the network says of the latter.
    class_weights : ndarray of shape (n_classes,), float64, or None
        What a picture of each class counts in the loss; None: all the same.
    """
    from regraft.train.teaching import judged

    y, units = lot.y[held_out], lot.splits.units[held_out]
    weights = np.ones(len(y)) if class_weights is None else class_weights[y]
    head = first_head(shop, lot, choice, train)
    frozen = head.scores(lot.table.read(choice.features.taps, held_out))
    start, before = judged(0, frozen, y, weights, units)
    found, _ = judged(1, scores, y, weights, units, before)
    return AgainstFrozen(
        features=choice.features.name,
        n=len(y),
        frozen_log_loss=start.log_loss,
        log_loss=found.log_loss,
        gain=found.gain,
        error=found.error,
    )
