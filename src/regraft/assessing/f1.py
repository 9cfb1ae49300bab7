"""The F1 score: of each class, and its mean over the classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.assessing.resampling import bounded, draws_for, spread
from regraft.metrics import Estimate

Array = NDArray[np.float64]


def f1_scores(
    y: NDArray[np.intp],
    predicted: NDArray[np.intp],
    n_classes: int,
    weights: Array | None = None,
    made: NDArray[np.bool_] | None = None,
) -> Array:
    """Harmonic mean of precision and recall of each class.

    Parameters
    ----------
    y, predicted : ndarray of shape (n,), int
        True and predicted columns.
    n_classes : int
        Number of classes.
    weights : ndarray of shape (n,), float64, optional
        What each picture counts; 1 by default.
    made : ndarray of shape (n_classes,), bool, optional
        One more picture of each class that occurs: whether it is called right.

    Returns
    -------
    ndarray of shape (n_classes,), float64
        nan for a class that neither occurs nor was called.
    """
    weights = np.ones(len(y)) if weights is None else weights
    hits = np.bincount(y, weights=weights * (y == predicted), minlength=n_classes)
    occurs = np.bincount(y, weights=weights, minlength=n_classes).astype(np.float64)
    called = np.bincount(predicted, weights=weights, minlength=n_classes).astype(np.float64)
    both: Array = occurs + called
    if made is not None:
        hits += (occurs > 0) * made
        both += (occurs > 0) * (1.0 + made)
    scores: Array = np.full(n_classes, np.nan)
    np.divide(2 * hits, both, out=scores, where=both > 0)
    return scores


def macro_f1(
    y: NDArray[np.intp],
    predicted: NDArray[np.intp],
    n_classes: int,
    units: NDArray[np.intp],
    seed: int = 0,
) -> Estimate:
    """Mean F1 score over the classes that occur or were called, with a bootstrap interval.

    To each resample belongs one made picture of each class, right half of the time: a rare class
    without an error is not certain.

    Parameters
    ----------
    y, predicted : ndarray of shape (n,), int
        True and predicted columns; not empty.
    n_classes : int
        Number of classes.
    units : ndarray of shape (n,), int
        Pictures with the same number may depend on each other.
    seed : int
        Decides the resamples.
    """

    def figure(weights: Array, generator: np.random.Generator) -> Array:
        made = generator.random(n_classes) < 1 / 2
        return np.array([np.nanmean(f1_scores(y, predicted, n_classes, weights, made))])

    value = float(np.nanmean(f1_scores(y, predicted, n_classes)))
    variance = spread(figure, units, draws_for(len(y) + n_classes), seed)
    return bounded(value, float(variance[0]), _witnesses(y, units))


def _witnesses(y: NDArray[np.intp], units: NDArray[np.intp]) -> float:
    """Units that a mean over classes rests on: a rare class counts as much as a common one."""
    pairs = np.unique(np.stack([y, units], axis=1), axis=0)
    _, counts = np.unique(pairs[:, 0], return_counts=True)
    return float(len(counts) ** 2 / np.sum(1 / counts))
