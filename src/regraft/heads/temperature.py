"""The temperature that turns scores into probabilities (C. Guo et al., ICML 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.heads.linear import softmax

Array = NDArray[np.float64]

LOWEST, HIGHEST = 1e-4, 1e4
HALVINGS = 40


def fit_temperature(scores: Array, y: NDArray[np.intp], weights: Array) -> Array:
    """Find the divisor of the scores that gives the least log loss.

    The loss is convex in the inverse of the temperature, so halving an interval on the
    logarithmic scale finds where its slope vanishes.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n, n_classes), float64
        Scores of pictures that the models were not trained on.
    y : ndarray of shape (n,), int
        Columns of the classes.
    weights : ndarray of shape (n,), float64
        Weight of each picture.

    Returns
    -------
    ndarray of shape (n_models,), float64
        Within 1e-4 to 1e4.
    """
    own = np.take_along_axis(scores, y[None, :, None], axis=2)[:, :, 0]
    low = np.full(len(scores), np.log(LOWEST))
    high = np.full(len(scores), np.log(HIGHEST))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = np.einsum(
            "mnk,mnk->mn", softmax(scores * np.exp(-middle)[:, None, None]), scores
        )
        too_hot = (expected - own) @ weights < 0
        high = np.where(too_hot, middle, high)
        low = np.where(too_hot, low, middle)
    temperature: Array = np.exp((low + high) / 2)
    return temperature
