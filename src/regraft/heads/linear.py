"""What every head becomes once it is trained: one weight per feature and class."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regraft.errors import UserError
from regraft.strategy import HeadKind


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """A trained head: linear scores on raw features, standardisation and temperature folded in.

    Parameters
    ----------
    kind : {"logistic", "ridge", "prototype"}
        How it was trained.
    weight : ndarray of shape (n_classes, dim), float32
        Weights on raw features.
    bias : ndarray of shape (n_classes,), float32
        Added to the scores.
    converged : bool
        False where training stopped before the minimum: the head works, but is not the one that
        its strength stands for.
    """

    kind: HeadKind
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    converged: bool = True

    def scores(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log probabilities up to a constant per picture.

        Parameters
        ----------
        X : ndarray of shape (n_images, dim), float
            Raw features.

        Returns
        -------
        ndarray of shape (n_images, n_classes), float64

        Raises
        ------
        UserError
            Where `X` has another width than the head was trained on.
        """
        if X.ndim != 2 or X.shape[1] != self.weight.shape[1]:
            raise UserError(
                f"features must have the shape (n_images, {self.weight.shape[1]}), got {X.shape}"
            )
        return np.asarray(X @ self.weight.T, dtype=np.float64) + self.bias

    def tempered(self, temperature: float) -> LinearHead:
        """Return the head with its scores divided by a temperature."""
        weight, bias = self.weight / temperature, self.bias / temperature
        return replace(self, weight=weight.astype(np.float32), bias=bias.astype(np.float32))

    def predict_proba(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability of each class; each row sums to 1.

        Parameters
        ----------
        X : ndarray of shape (n_images, dim), float
            Raw features.

        Returns
        -------
        ndarray of shape (n_images, n_classes), float64
        """
        return softmax(self.scores(X))


def softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over the last axis in float64, safe for scores of any size.

    Parameters
    ----------
    scores : ndarray of shape (..., n_classes), float

    Returns
    -------
    ndarray of the same shape, float64
    """
    exact = np.asarray(scores, dtype=np.float64)
    shifted: NDArray[np.float64] = np.exp(exact - exact.max(axis=-1, keepdims=True))
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted
