"""Whether a picture is like those that a model learned from: how far the nearest of them are.

The distance is one minus the mean cosine of the deepest features to the three nearest pictures of
training (Y. Sun et al., ICML 2022, without their choice of a threshold). Beyond which distance a
picture is unlike is measured on pictures that the distance does not know: each picture of training
against those of other units or, where layers were trained, pictures that were held out. At most 2
of 100 new pictures of the same kind are beyond it (V. Vovk et al., *Algorithmic Learning in a
Random World*, 2005).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

NEAREST = 3
FALSE_ALARMS = 0.02
REFERENCES, JUDGES = 1000, 2000
"""Pictures of training that are kept, and pictures that the threshold is measured on, at most."""
_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """What tells a picture that is unlike those of training.

    Parameters
    ----------
    references : ndarray of shape (n, width), float32
        Deepest features of pictures of training, each of length one, in steps of half precision.
    threshold : float
        The distance beyond which a picture is unlike them.
    """

    references: Array
    threshold: float

    def distances(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return how far pictures are from those of training, 0 to 2.

        Parameters
        ----------
        features : ndarray of shape (n, dim), float
            What the head reads; its last columns are the deepest.
        """
        found = np.empty(len(features))
        for row, own in enumerate(_units(features[:, -self.references.shape[1] :])):
            # One by one and on one thread: a product of matrices rounds by where a row stands.
            found[row] = _distance(np.einsum("nd,d->n", self.references, own))
        return found

    def unlike(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Say which pictures are unlike those of training; see `distances`."""
        return self.distances(features) > self.threshold


def familiarity(
    references: Array,
    judges: Array,
    reference_units: NDArray[np.intp],
    judge_units: NDArray[np.intp],
) -> Familiarity | None:
    """Measure the threshold.

    Parameters
    ----------
    references : ndarray of shape (n, width), float32
        Deepest features of pictures of training.
    judges : ndarray of shape (n_judges, width), float32
        Those of pictures that the threshold is measured on, which may be the same.
    reference_units, judge_units : ndarray of int
        Pictures with the same number depend on each other: none is compared with its own unit.

    Returns
    -------
    Familiarity or None
        None where the pictures are too few to say what is rare among them.
    """
    rank = math.ceil((1 - FALSE_ALARMS) * (len(judges) + 1))
    if rank > len(judges) or len(np.unique(reference_units)) <= NEAREST:
        return None
    known = _units(references).astype(np.float16).astype(np.float32)
    seen = _units(judges)
    distances = np.empty(len(judges))
    for start in range(0, len(judges), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        cosines = seen[block] @ known.T
        cosines[judge_units[block, None] == reference_units] = -1
        distances[block] = [_distance(row) for row in cosines]
    return Familiarity(known, float(np.sort(distances)[rank - 1]))


def _distance(cosines: Array) -> float:
    return 1 - float(np.partition(cosines, -NEAREST)[-NEAREST:].mean())


def _units(features: NDArray[np.floating]) -> Array:
    exact = features.astype(np.float32)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    scaled: Array = exact / np.maximum(length, 1e-12)
    return scaled


def some(rows: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """Draw so many rows at random, or all where they are fewer; ascending."""
    if len(rows) <= count:
        return np.sort(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
