"""Ridge regression on one-hot classes, in closed form.

The objective, on features scaled as `regraft.heads.scaling` says, is::

    sum_i w_i * ||onehot(y_i) - W z_i - b||^2  +  strength * ||W||^2

with the biases free, as in scikit-learn's ``Ridge(alpha=strength)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.heads.rows import Rows, class_sums

Array = NDArray[np.float64]


def ridge_path(
    rows: Rows,
    y: NDArray[np.intp],
    n_classes: int,
    *,
    weights: Array,
    strengths: Array,
) -> Array:
    """Fit one model per strength from a Gram matrix that is summed up in a single pass.

    Parameters
    ----------
    rows : Rows
        Scaled features of n pictures.
    y : ndarray of shape (n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    weights : ndarray of shape (n,), float64
        Weight of each picture.
    strengths : ndarray of shape (n_strengths,), float64
        Weights of the penalty, above 0.

    Returns
    -------
    ndarray of shape (n_strengths, n_classes, dim + 1), float64
        Weights on the scaled features; the last column is the bias.
    """
    gram = np.zeros((rows.dim, rows.dim))
    sums = np.zeros((n_classes, rows.dim))

    def work(
        part: slice, block: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        root = np.sqrt(weights[part]).astype(block.dtype)[:, None]
        weighted = block * root
        return weighted.T @ weighted, class_sums(weighted * root, y[part], n_classes)

    for part_gram, part_sums in rows.each(work):
        gram += part_gram
        sums += part_sums
    counts = np.bincount(y, weights=weights, minlength=n_classes)
    mean, prior = sums.sum(axis=0) / counts.sum(), counts / counts.sum()
    gram -= counts.sum() * np.outer(mean, mean)
    sums -= np.outer(counts, mean)
    path = np.empty((len(strengths), n_classes, rows.dim + 1))
    diagonal = gram.diagonal().copy()
    for model, strength in zip(path, strengths, strict=True):
        np.fill_diagonal(gram, diagonal + strength)
        model[:, :-1] = np.linalg.solve(gram, sums.T).T
        model[:, -1] = prior - model[:, :-1] @ mean
    return path
