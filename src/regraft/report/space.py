"""A map of pictures: those that the head sees as alike lie close together."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

_LEAST = 8
_AXES = 50
_NEIGHBOURS = 30.0


def flat_map(features: NDArray[np.float32], seed: int) -> NDArray[np.float64] | None:
    """Lay pictures out on a square so that neighbours stay neighbours.

    t-SNE (L. van der Maaten and G. Hinton, JMLR 2008) of the first principal components of the
    scaled features, by scikit-learn. Distances between far groups mean little.

    Parameters
    ----------
    features : ndarray of shape (n, dim), float32
        What the head reads.
    seed : int
        Decides the layout.

    Returns
    -------
    ndarray of shape (n, 2), float64, or None
        Within 0 to 1; None for fewer than eight pictures, and where all are the same.
    """
    if len(features) < _LEAST or not np.ptp(features, axis=0).any():
        return None
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    scaled = features - features.mean(axis=0)
    scaled /= np.maximum(scaled.std(axis=0), 1e-6)
    axes = min(_AXES, *scaled.shape)
    near = min(_NEIGHBOURS, (len(features) - 1) / 3)
    # One thread: the layout is small, and those of OpenMP wait for each other.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of divisions by zero, where all pictures are the same
        reduced = PCA(axes, svd_solver="full").fit_transform(scaled.astype(np.float64))
        reduced = np.nan_to_num(reduced)
        # A beginning of our own: that of scikit-learn may end the process where pictures are equal.
        layout = TSNE(perplexity=near, init=_beginning(reduced, seed), random_state=seed, n_jobs=1)
        places = np.nan_to_num(layout.fit_transform(reduced).astype(np.float64))
    low, high = places.min(axis=0), places.max(axis=0)
    found: NDArray[np.float64] = (places - low) / np.maximum(high - low, 1e-12)
    return found


def _beginning(reduced: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    """Return the first two components, small as t-SNE wants them, no two places the same."""
    flat = np.zeros((len(reduced), 2))
    flat[:, : reduced.shape[1]] = reduced[:, :2]
    flat /= max(float(flat[:, 0].std()), 1e-12)
    flat += np.random.default_rng(seed).normal(0, 1e-3, flat.shape)
    return (1e-4 * flat).astype(np.float32)
