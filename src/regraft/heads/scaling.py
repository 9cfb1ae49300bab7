"""Bring features to a common scale, without ever holding a second copy of them.

Each column is centred and divided by its standard deviation, which is first drawn towards the
typical one of its tap (the root of the mean of the two variances): a column that hardly moved in
training would otherwise be blown up without limit and swing wildly on a new picture. The same
guard is the "fudge factor" of V. Tusher et al., PNAS 98, 2001, and the ``s0`` of the nearest
shrunken centroids of R. Tibshirani et al., PNAS 99, 2002.

Each tap's columns together then get a share of the length that goes with the root of their
number, between a say in proportion (a wide last layer drowns the others) and an equal one (a
stem of 32 channels speaks as loud as 1,280 features). A picture's vector has a mean squared
length of one, so one range of strengths serves every set of taps. Columns that never vary are
dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.errors import UserError

CHUNK_VALUES = 1 << 21
CONSTANT = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """An affine map of features: ``(X - centre) * factor``.

    Parameters
    ----------
    centre : ndarray of shape (dim,), float64
        Mean of each column.
    factor : ndarray of shape (dim,), float64
        What each centred column is multiplied by; 0 drops it.
    """

    centre: NDArray[np.float64]
    factor: NDArray[np.float64]

    def apply(self, X: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scale some rows; the result is new and float32.

        Parameters
        ----------
        X : ndarray of shape (n, dim), float
            Raw features.
        """
        scaled: NDArray[np.float32] = np.subtract(
            X, self.centre.astype(np.float32), dtype=np.float32
        )
        scaled *= self.factor.astype(np.float32)
        return scaled

    def unfold(
        self, weight: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Turn weights on scaled features into the same weights on raw ones.

        Parameters
        ----------
        weight : ndarray of shape (n_classes, dim), float64
        bias : ndarray of shape (n_classes,), float64

        Returns
        -------
        weight, bias : ndarray, float32
            Of the same shapes.
        """
        raw = (weight * self.factor).astype(np.float32)
        return raw, (bias - raw.astype(np.float64) @ self.centre).astype(np.float32)


def chunks(n: int, width: int) -> Iterator[slice]:
    """Cut rows into runs of a bounded number of values.

    Parameters
    ----------
    n : int
        Rows in all.
    width : int
        Values that one row costs.
    """
    step = max(1, CHUNK_VALUES // max(1, width))
    for first in range(0, n, step):
        yield slice(first, min(n, first + step))


def scaling_of(X: NDArray[np.floating], widths: Sequence[int]) -> Scaling:
    """Measure the scaling of a feature matrix in one streamed pass.

    Parameters
    ----------
    X : ndarray or memmap of shape (n, dim), float
        Raw features.
    widths : sequence of int
        Columns of each tap, in order; they add up to dim.

    Returns
    -------
    Scaling

    Raises
    ------
    UserError
        Where a value is not a finite number.
    """
    mean = np.zeros(X.shape[1])
    squares = np.zeros(X.shape[1])
    seen = 0
    for part in chunks(*X.shape):
        block = np.asarray(X[part], dtype=np.float64)
        if not np.isfinite(block).all():
            raise UserError("features must be finite numbers, got NaN or infinity among them")
        block_mean = block.mean(axis=0)
        shift = block_mean - mean
        total = seen + len(block)
        block -= block_mean
        squares += np.einsum("nd,nd->d", block, block) + shift**2 * (seen * len(block) / total)
        mean += shift * (len(block) / total)
        seen = total
    return scaling_from(mean, np.sqrt(squares / seen), widths)


def scaling_from(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], widths: Sequence[int]
) -> Scaling:
    """Make the scaling that follows from each column's mean and standard deviation.

    Parameters
    ----------
    mean, deviation : ndarray of shape (dim,), float64
    widths : sequence of int
        Columns of each tap, in order; they add up to dim.
    """
    varies = deviation > CONSTANT * np.abs(mean) + np.finfo(np.float32).tiny
    variance = np.where(varies, deviation**2, 0.0)
    factor = np.zeros_like(variance)
    shares = tap_shares(widths)
    ends = np.cumsum(widths)
    for share, first, end in zip(shares, ends - np.asarray(widths), ends, strict=True):
        alive = np.flatnonzero(varies[first:end]) + first
        if len(alive):
            drawn = 1.0 / (variance[alive] + variance[alive].mean())
            factor[alive] = np.sqrt(drawn * share / (drawn @ variance[alive]))
    return Scaling(mean, factor)


def tap_shares(widths: Sequence[int]) -> NDArray[np.float64]:
    """Share of the squared length that each tap of a set gets.

    Parameters
    ----------
    widths : sequence of int
        Columns of each tap.

    Returns
    -------
    ndarray of shape (n_taps,), float64
        They add up to 1.
    """
    roots = np.sqrt(np.asarray(widths, dtype=np.float64))
    shares: NDArray[np.float64] = roots / roots.sum()
    return shares
