"""The temperature that turns scores into probabilities (C. Guo et al., ICML 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regraft.heads.fitting import class_weights, fit_linear
from regraft.heads.linear import softmax
from regraft.strategy import HeadKind

Array = NDArray[np.float64]

LOWEST, HIGHEST = 1e-4, 1e4
HALVINGS = 40
PRIOR, FARTHEST = 0.25, 1.5
"""Standard deviation of a temperature's logarithm before pictures speak, and how far it may go."""
SECTIONS, GOLDEN = 20, (1 + 5**0.5) / 2
SCORES = 2_000_000
"""Scores that say enough about a temperature."""


def fit_temperature(
    scores: Array, y: NDArray[np.intp], weights: Array, smoothing: float = 0.0
) -> Array:
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
    smoothing : float
        Part of each target that is spread over all classes. Above 0 it keeps few pictures, all of
        them right, from asking for certainty; J. Platt (1999) takes 1 / (n + 2).

    Returns
    -------
    ndarray of shape (n_models,), float64
        Within 1e-4 to 1e4.
    """
    own = np.take_along_axis(scores, y[None, :, None], axis=2)[:, :, 0]
    own = (1 - smoothing) * own + smoothing * scores.mean(2)
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


def calibrating_temperature(scores: Array, y: NDArray[np.intp], weights: Array) -> float:
    """Find by what to divide calibrated scores yet, where that is more than chance.

    As `fit_temperature`, but drawn towards 1 by a normal prior on its logarithm with a standard
    deviation of a quarter: a handful of pictures, all of them right, asks for certainty.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes), float64
        Scores of pictures that the model was not trained on; of more than enough a part is used.
    y : ndarray of shape (n,), int
        Columns of the classes.
    weights : ndarray of shape (n,), float64
        Weight of each picture: 1 for one that is a witness of its own.
    """
    step = -(-scores.size // SCORES)
    part, own, shares = scores[::step], y[::step, None], weights[::step] * step

    def loss(logarithm: float) -> float:
        scaled = part / np.exp(logarithm)
        scaled -= scaled.max(axis=1, keepdims=True)
        given = np.take_along_axis(scaled, own, axis=1)[:, 0]
        mean = shares @ (np.log(np.exp(scaled).sum(axis=1)) - given)
        return float(mean) + logarithm**2 / (2 * PRIOR**2)

    low, high = -FARTHEST, FARTHEST
    for _ in range(SECTIONS):
        left, right = high - (high - low) / GOLDEN, low + (high - low) / GOLDEN
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def measure_temperature(
    kind: HeadKind,
    train: tuple[NDArray[np.floating], NDArray[np.intp]],
    held_out: tuple[NDArray[np.floating], NDArray[np.intp]],
    n_classes: int,
    *,
    strength: float,
    balanced: bool,
    widths: Sequence[int],
) -> float:
    """Train a head on some pictures and find its temperature on others.

    Parameters
    ----------
    kind : {"logistic", "ridge", "prototype"}
        What to train.
    train, held_out : pair of ndarray of shape (n, dim) and of shape (n,)
        Raw features, and columns of the classes.
    n_classes : int
        Number of classes.
    strength, balanced, widths
        See `fit_linear`.
    """
    head = fit_linear(kind, *train, n_classes, strength=strength, balanced=balanced, widths=widths)
    X, y = held_out
    weights = class_weights(y, n_classes, balanced=balanced)
    return float(fit_temperature(head.scores(X)[None], y, weights, 1 / (len(y) + 2))[0])
