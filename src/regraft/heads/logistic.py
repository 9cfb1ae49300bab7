"""Multinomial logistic regression, fitted to convergence.

The objective, on features scaled as `regraft.heads.scaling` says, is::

    sum_i w_i * -log softmax(W z_i + b)[y_i]  +  strength / 2 * ||W||^2

with every class having its own row of ``W`` and the biases free. For three classes or more it
is scikit-learn's ``LogisticRegression(C=1 / strength)`` on those scaled features; for two, where
scikit-learn keeps a single row, it is ``C=2 / strength``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from regraft.heads.optimise import minimise
from regraft.heads.rows import Curvature, Rows
from regraft.progress import Progress

Array = NDArray[np.float64]

MAX_EVALUATIONS = 1000


def logistic_path(
    rows: Rows,
    y: NDArray[np.intp],
    n_classes: int,
    *,
    curvature: Curvature,
    weights: Array,
    strengths: Array,
    tolerance: float,
    progress: Progress,
) -> tuple[Array, NDArray[np.bool_]]:
    """Fit one model per strength, all in step.

    Parameters
    ----------
    rows : Rows
        Scaled features of n pictures.
    y : ndarray of shape (n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    curvature : Curvature
        Of the same rows; the preconditioner. It changes the speed, not the result.
    weights : ndarray of shape (n,), float64
        Weight of each picture.
    strengths : ndarray of shape (n_strengths,), float64
        Weights of the penalty, above 0.
    tolerance : float
        Decrease of the objective, relative to its value, that is not worth another step.
    progress : Progress
        Hears of every pass over the rows.

    Returns
    -------
    models : ndarray of shape (n_strengths, n_classes, dim + 1), float64
        Weights on the scaled features; the last column is the bias.
    converged : ndarray of shape (n_strengths,), bool
        Whether the tolerance was reached within `MAX_EVALUATIONS` passes.
    """
    loss = _SoftmaxLoss(rows, y, n_classes, weights, strengths, progress)
    start = np.zeros((len(strengths), n_classes, rows.dim + 1))
    counts = np.bincount(y, weights=weights, minlength=n_classes)
    prior = np.maximum(counts, 0.5) / np.maximum(counts, 0.5).sum()
    start[:, :, -1] = np.log(prior)
    flat = start.reshape(len(strengths), -1)
    steepness = float(np.mean(prior * (1 - prior)))
    found = minimise(
        loss,
        flat,
        _preconditioner(curvature, strengths, n_classes, steepness, float(weights.sum())),
        tolerance=max(tolerance, rows.rounding),
        rounding=rows.rounding,
        max_evaluations=MAX_EVALUATIONS,
    )
    return found.x.reshape(start.shape), found.converged


class _SoftmaxLoss:
    """Value and gradient of the objective for several strengths in one pass over the rows."""

    def __init__(
        self,
        rows: Rows,
        y: NDArray[np.intp],
        n_classes: int,
        weights: Array,
        strengths: Array,
        progress: Progress,
    ) -> None:
        self._rows, self._y, self._n_classes = rows, y, n_classes
        self._weights, self._strengths, self._progress = weights, strengths, progress

    def __call__(self, x: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        strengths = self._strengths[which]
        model = x.reshape(len(x), self._n_classes, -1)
        weight, bias = model[:, :, :-1], model[:, :, -1]
        gradient = np.empty_like(model)
        np.multiply(weight, strengths[:, None, None], out=gradient[:, :, :-1])
        gradient[:, :, -1] = 0.0
        value = 0.5 * strengths * np.einsum("skd,skd->s", weight, weight)
        flat = weight.reshape(len(x) * self._n_classes, self._rows.dim)

        def work(
            part: slice, block: NDArray[np.floating]
        ) -> tuple[Array, NDArray[np.floating], Array]:
            scores = (flat.astype(block.dtype, copy=False) @ block.T).reshape(*bias.shape, -1)
            scores += bias[:, :, None].astype(block.dtype)
            losses = self._turn_into_slopes(scores, part)
            return losses, scores.reshape(len(flat), -1) @ block, scores.sum(axis=2, dtype=float)

        for losses, slopes, intercepts in self._rows.each(work):
            value += losses
            gradient[:, :, :-1] += slopes.reshape(weight.shape)
            gradient[:, :, -1] += intercepts
        self._progress.advance(1)
        return value, gradient.reshape(x.shape)

    def _turn_into_slopes(self, scores: NDArray[np.floating], part: slice) -> Array:
        """Overwrite (strength, class, picture) scores by loss derivatives; return the losses."""
        y, weights = self._y[part], self._weights[part]
        run = np.arange(len(y))
        scores -= scores.max(axis=1, keepdims=True)
        own = scores[:, y, run].astype(np.float64)
        np.exp(scores, out=scores)
        total = scores.sum(axis=1)
        losses = np.log(total.astype(np.float64)) - own
        scores *= (weights / total).astype(scores.dtype)[:, None, :]
        scores[:, y, run] -= weights.astype(scores.dtype)
        value: Array = losses @ weights
        return value


def _preconditioner(
    curvature: Curvature, strengths: Array, n_classes: int, steepness: float, total: float
) -> Callable[[Array, NDArray[np.intp]], Array]:
    """Inverse Hessian at the start, taken as the same for every class and without cross terms."""
    inside = 1.0 / (steepness * curvature.spectrum + strengths[:, None])
    outside = 1.0 / (steepness * curvature.rest + strengths[:, None])
    basis = curvature.basis

    def apply(x: Array, which: NDArray[np.intp]) -> Array:
        model = x.reshape(len(x), n_classes, -1)
        result = np.empty_like(model)
        result[:, :, -1] = model[:, :, -1] / (steepness * total)
        weight = model[:, :, :-1]
        if basis is None:
            np.multiply(weight, inside[which, None], out=result[:, :, :-1])
        else:
            along = weight.astype(basis.dtype, copy=False) @ basis
            along *= (inside - outside).astype(basis.dtype)[which, None]
            np.multiply(weight, outside[which, None], out=result[:, :, :-1])
            result[:, :, :-1] += along @ basis.T
        return result.reshape(x.shape)

    return apply
