"""LogME: how well a linear model could explain the classes, without training one.

The logarithm of the maximum evidence of a Bayesian linear regression of each class's indicator on
the features, as a mean over classes and pictures (K. You, Y. Liu, J. Wang and M. Long, ICML 2021),
here with an intercept: features and indicators are centred, which takes one observation away.
Higher is better. No single score of transferability is reliable; this one decides among networks
that probes cannot tell apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_STEPS = 100
_TOLERANCE = 1e-8
_LEAST = 1e-12


def logme(X: NDArray[np.floating], y: NDArray[np.intp], n_classes: int) -> float:
    """Score features by the evidence for a linear model on them.

    Parameters
    ----------
    X : ndarray of shape (n, dim), float
        Features of two or more pictures.
    y : ndarray of shape (n,), int
        Columns of the classes.
    n_classes : int
        Number of classes; those without a picture are left out.

    Returns
    -------
    float
        Logarithm of the evidence, per picture.
    """
    X = np.asarray(X, dtype=np.float64)
    X = X - X.mean(axis=0)
    n, dim = X.shape
    basis, singular, _ = np.linalg.svd(X, full_matrices=False)
    spectrum = singular**2
    scores = []
    for label in range(n_classes):
        target = (y == label).astype(np.float64)
        if target.any():
            target -= target.mean()
            inside = (basis.T @ target) ** 2
            outside = max(0.0, float(target @ target - inside.sum()))
            scores.append(_evidence(spectrum, inside, outside, n - 1, dim))
    return float(np.mean(scores))


def _evidence(
    spectrum: NDArray[np.float64], inside: NDArray[np.float64], outside: float, n: int, dim: int
) -> float:
    """Maximise the evidence over both precisions by MacKay's fixed point; per picture.

    `inside` are the squared parts of the target along the left singular vectors, `outside` what
    no linear model reaches.
    """
    alpha, beta = 1.0, 1.0
    for _ in range(_MOST_STEPS):
        scale = alpha + beta * spectrum
        effective = float((beta * spectrum / scale).sum())
        weights = float((beta**2 * spectrum * inside / scale**2).sum())
        residual = float((alpha**2 * inside / scale**2).sum()) + outside
        before = alpha / beta
        alpha = max(effective, _LEAST) / max(weights, _LEAST)
        beta = max(n - effective, _LEAST) / max(residual, _LEAST)
        if abs(alpha / beta - before) <= _TOLERANCE * before:
            break
    scale = alpha + beta * spectrum
    weights = float((beta**2 * spectrum * inside / scale**2).sum())
    residual = float((alpha**2 * inside / scale**2).sum()) + outside
    determinant = float(np.log(scale).sum()) + (dim - len(spectrum)) * np.log(alpha)
    total = (
        dim * np.log(alpha)
        + n * np.log(beta)
        - determinant
        - beta * residual
        - alpha * weights
        - n * np.log(2 * np.pi)
    )
    return float(total / (2 * n))
