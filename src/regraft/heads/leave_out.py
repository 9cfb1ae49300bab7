"""Ridge regression judged on every picture without it, from a single fit.

Leaving pictures out of a least-squares fit moves their residuals by what their own leverage says,
so the scores of all the fits that leave one unit out follow from one decomposition (D. Allen,
Technometrics 16, 1974; G. Golub, M. Heath and G. Wahba, Technometrics 21, 1979). The intercept is
not penalised and takes part in the leverage, ``1/n`` of it where all pictures count the same:
without that the mean of the classes, which knows the picture that is left out, leaks its answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_NOTHING = 1e-10
"""Part of the largest eigenvalue below which a direction counts as rounding."""


def left_out_scores(
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    n_classes: int,
    strengths: Sequence[float],
    units: NDArray[np.intp] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Score each picture by the ridge regression that was trained on all units but its own.

    Exact: the same as to fit once for each unit, on the columns of `X` as they are.

    Parameters
    ----------
    X : ndarray of shape (n, dim), float
        Scaled features.
    y : ndarray of shape (n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    strengths : sequence of float
        Weights of the penalty, above 0.
    units : ndarray of shape (n,), int, optional
        Pictures of the same unit are left out together. By default each is alone; two units are
        needed in any case.
    weights : ndarray of shape (n,), float64, optional
        What the squared residual of each picture counts, above 0; by default all the same.

    Returns
    -------
    ndarray of shape (n_strengths, n, n_classes), float64
    """
    X = np.asarray(X, dtype=np.float64)
    weights = np.ones(len(X)) if weights is None else weights
    # What is weighted is an ordinary regression of rows that are multiplied by these.
    root = np.sqrt(weights)[:, None]
    targets = np.eye(n_classes)[y]
    centred = root * (targets - np.average(targets, axis=0, weights=weights))
    basis, spectrum = _left_vectors(root * (X - np.average(X, axis=0, weights=weights)))
    constant = root[:, 0] / np.linalg.norm(root)
    rotated = basis.T @ centred
    together = [] if units is None else _shared(units)
    scores = np.empty((len(strengths), len(X), n_classes))
    for found, strength in zip(scores, strengths, strict=True):
        kept = spectrum / (spectrum + strength)
        residuals = centred - basis @ (kept[:, None] * rotated)
        leverage = constant**2 + (basis**2) @ kept
        np.subtract(targets, residuals / (1 - leverage)[:, None] / root, out=found)
        for rows in together:
            hat = np.outer(constant[rows], constant[rows]) + (basis[rows] * kept) @ basis[rows].T
            without = np.linalg.solve(np.eye(len(rows)) - hat, residuals[rows])
            found[rows] = targets[rows] - without / root[rows]
    return scores


def _left_vectors(X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Left singular vectors of a matrix, and its squared singular values."""
    wide = X.shape[0] <= X.shape[1]
    spectrum, vectors = np.linalg.eigh(X @ X.T if wide else X.T @ X)
    real = spectrum > _NOTHING * max(float(spectrum[-1]), np.finfo(np.float64).tiny)
    spectrum, vectors = spectrum[real], vectors[:, real]
    return (vectors if wide else X @ vectors / np.sqrt(spectrum)), spectrum


def _shared(units: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Rows of each unit that has several."""
    order = np.argsort(units, kind="stable")
    ends = np.flatnonzero(np.diff(units[order])) + 1
    return [rows for rows in np.split(order, ends) if len(rows) > 1]
