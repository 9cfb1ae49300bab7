"""What a model says of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.data.records import Skipped
from regraft.operating import MOST_PROBABLE, Decision


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says of some pictures.

    Parameters
    ----------
    classes : tuple of str
        The columns of `probabilities`.
    names : tuple of str
        The pictures that could be read, in the order given.
    positions : ndarray of shape (n,), int
        Where each of them stood among all pictures given.
    digests : tuple of bytes
        SHA-256 of the content of each.
    probabilities : ndarray of shape (n, n_classes), float64
        Each row sums to 1.
    skipped : tuple of Skipped
        The pictures that could not be read, and why.
    decision : Decision
        How probabilities become classes.
    unlike : ndarray of shape (n,), bool, or None
        Which pictures are unlike any that the model learned from; None where it cannot say.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    positions: NDArray[np.intp]
    digests: tuple[bytes, ...]
    probabilities: NDArray[np.float64]
    skipped: tuple[Skipped, ...]
    decision: Decision = MOST_PROBABLE
    unlike: NDArray[np.bool_] | None = None

    @property
    def columns(self) -> NDArray[np.intp]:
        """The column of `probabilities` that is called, for each picture."""
        return self.decision.columns(self.probabilities)

    @property
    def labels(self) -> list[str]:
        """The class that is called: the most probable, or what the model's threshold says."""
        return [self.classes[column] for column in self.columns]

    @property
    def confidences(self) -> NDArray[np.float64]:
        """The probability of the class that is called, for each picture."""
        return self.probabilities[np.arange(len(self.probabilities)), self.columns]

    def as_dicts(self, top: int | None = None, min_confidence: float = 0.0) -> list[dict[str, Any]]:
        """Give what is said of each picture, as JSON values.

        That is ``path``, ``label``, ``probabilities`` and ``unlike_training``.

        Parameters
        ----------
        top : int, optional
            Only the so many most probable classes, and the one that is called; all by default.
            The most probable is first.
        min_confidence : float
            Where the class that is called is less probable, the label is None.
        """
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :top]
        unlike = [None] * len(self.names) if self.unlike is None else self.unlike.tolist()
        rows = zip(
            self.names,
            self.labels,
            self.confidences,
            self.probabilities,
            order,
            unlike,
            strict=True,
        )
        return [
            {
                "path": name,
                "label": label if sure >= min_confidence else None,
                "probabilities": {
                    self.classes[k]: float(row[k])
                    for k in dict.fromkeys([*columns, self.classes.index(label)])
                },
                "unlike_training": odd,
            }
            for name, label, sure, row, columns, odd in rows
        ]
