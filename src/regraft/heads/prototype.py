"""Nearest class mean: each class is its average picture.

On features scaled as `regraft.heads.scaling` says, the score of a class with mean ``m`` is
``m @ z - ||m||^2 / 2``, which orders classes by Euclidean distance (J. Snell, K. Swersky and
R. Zemel, *Prototypical networks for few-shot learning*, NeurIPS 2017). There is nothing to
penalise: the strength is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.heads.rows import Rows, class_sums

Array = NDArray[np.float64]


def prototype_model(rows: Rows, y: NDArray[np.intp], n_classes: int) -> Array:
    """Average the pictures of each class.

    Parameters
    ----------
    rows : Rows
        Scaled features of n pictures.
    y : ndarray of shape (n,), int
        Columns of the classes; each occurs.
    n_classes : int
        Number of classes.

    Returns
    -------
    ndarray of shape (1, n_classes, dim + 1), float64
        Weights on the scaled features; the last column is the bias.
    """
    sums = np.zeros((n_classes, rows.dim))
    for part_sums in rows.each(lambda part, block: class_sums(block, y[part], n_classes)):
        sums += part_sums
    means = sums / np.maximum(np.bincount(y, minlength=n_classes), 1)[:, None]
    bias = -0.5 * np.einsum("kd,kd->k", means, means)
    return np.concatenate([means, bias[:, None]], axis=1)[None]
