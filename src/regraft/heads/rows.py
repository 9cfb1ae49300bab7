"""Scaled features as the fits read them: in chunks, turned into few dimensions where possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from regraft.heads.scaling import Scaling, chunks

Array = NDArray[np.float64]
Result = TypeVar("Result")

ROTATE_UP_TO = 800
"""Largest Gram matrix that is decomposed outright; of larger ones only the largest directions."""
ROTATED_VALUES = 1 << 24
SKETCH_ROWS, SKETCH_RANK = 1024, 64
RANK_TOLERANCE = 1e-7
DOUBLE, SINGLE = 1e-13, 1e-6
"""Relative rounding errors of sums over many rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Scaled features of n pictures, read in runs of rows.

    Parameters
    ----------
    n, dim : int
        Shape of the whole.
    block : callable
        Gives the rows of a slice.
    rounding : float
        Relative rounding error of sums over the rows.
    threads : int
        How many runs may be worked on at a time.
    """

    n: int
    dim: int
    block: Callable[[slice], NDArray[np.floating]]
    rounding: float
    threads: int

    def each(self, work: Callable[[slice, NDArray[np.floating]], Result]) -> Iterator[Result]:
        """Apply a function to every run of rows; give its results in their order.

        The runs, and so sums over them, do not depend on the number of threads.
        """
        parts = list(chunks(self.n, self.dim))
        together = min(self.threads, len(parts))
        if together < 2:
            yield from (work(part, self.block(part)) for part in parts)
            return
        with ThreadPoolExecutor(together) as pool:
            for first in range(0, len(parts), together):
                yield from pool.map(
                    lambda part: work(part, self.block(part)), parts[first : first + together]
                )


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """Sums of squares of scaled features along directions: where an optimiser starts from.

    Parameters
    ----------
    basis : ndarray of shape (dim, rank), float, or None
        Orthonormal directions; None where they are the coordinate axes.
    spectrum : ndarray of shape (rank,), float64
        Sum of squares along each of them.
    rest : float
        Sum of squares along any direction at right angles to them all.
    """

    basis: NDArray[np.floating] | None
    spectrum: Array
    rest: float


def whole(rows: NDArray[np.floating], threads: int = 1) -> Rows:
    """Rows that lie in memory, already scaled.

    Parameters
    ----------
    rows : ndarray of shape (n, dim), float32 or float64
    threads : int
        How many runs of them may be worked on at a time.
    """
    rounding = DOUBLE if rows.dtype == np.float64 else SINGLE
    n, dim = rows.shape
    return Rows(n, dim, lambda part: rows[part], rounding, threads)


def scaled(X: NDArray[np.floating], scaling: Scaling, threads: int = 1) -> Rows:
    """Rows that are scaled anew in each pass, for features too large to copy.

    Parameters
    ----------
    X : ndarray or memmap of shape (n, dim), float
        Raw features.
    scaling : Scaling
        What to do with them.
    threads : int
        How many runs of them may be worked on at a time.
    """
    n, dim = X.shape
    return Rows(n, dim, lambda part: scaling.apply(X[part]), SINGLE, threads)


def rotate(Z: Array) -> tuple[Array, Array, Array]:
    """Turn scaled features into the coordinates in which they are uncorrelated; nothing is lost.

    Penalised linear fits give the same scores in these coordinates, of which there are no more
    than pictures.

    Parameters
    ----------
    Z : ndarray of shape (n, dim), float64
        Scaled features.

    Returns
    -------
    rows : ndarray of shape (n, rank)
        ``Z @ basis``.
    basis : ndarray of shape (dim, rank)
        Orthonormal columns.
    spectrum : ndarray of shape (rank,)
        Sum of squares of each coordinate.
    """
    n, dim = Z.shape
    if dim <= n:
        spectrum, basis = decompose(Z.T @ Z)
        return Z @ basis, basis, spectrum
    spectrum, left = decompose(Z @ Z.T)
    return left * np.sqrt(spectrum), Z.T @ (left / np.sqrt(spectrum)), spectrum


def decompose(gram: Array) -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors of a Gram matrix, without those that are rounding error.

    Parameters
    ----------
    gram : ndarray of shape (m, m), float64
        Symmetric, positive semidefinite.

    Returns
    -------
    spectrum : ndarray of shape (rank,)
        Rising.
    vectors : ndarray of shape (m, rank)
        One eigenvector a column.
    """
    spectrum, vectors = np.linalg.eigh(gram)
    keep = spectrum > RANK_TOLERANCE * max(float(spectrum[-1]), np.finfo(np.float64).tiny)
    return spectrum[keep], vectors[:, keep]


def class_sums(
    block: NDArray[np.floating], y: NDArray[np.intp], n_classes: int
) -> NDArray[np.floating]:
    """Add up the rows of each class.

    Parameters
    ----------
    block : ndarray of shape (n, dim), float
        At least one row.
    y : ndarray of shape (n,), int
        Column of each row's class.
    n_classes : int
        Number of classes.

    Returns
    -------
    ndarray of shape (n_classes, dim)
        In the type of the block.
    """
    order = np.argsort(y, kind="stable")
    present, first = np.unique(y[order], return_index=True)
    sums = np.zeros((n_classes, block.shape[1]), dtype=block.dtype)
    sums[present] = np.add.reduceat(block[order], first, axis=0)
    return sums


def sketch(rows: Rows) -> Curvature:
    """Estimate the largest directions of scaled features from some of the rows.

    One step of randomised subspace iteration (N. Halko, P.-G. Martinsson and J. Tropp, SIAM
    Review 53, 2011), always with the same random start; used as a preconditioner, as in
    Z. Frangella, J. Tropp and M. Udell, SIAM J. Matrix Anal. Appl. 44, 2023.

    Parameters
    ----------
    rows : Rows
        Scaled features.

    Returns
    -------
    Curvature
    """
    step = -(-rows.n // SKETCH_ROWS)
    sample = np.concatenate(
        list(rows.each(lambda part, block: block[-part.start % step :: step].copy()))
    )
    rank = min(SKETCH_RANK, *sample.shape)
    start = np.random.default_rng(0).standard_normal((rows.dim, rank)).astype(sample.dtype)
    basis, _ = np.linalg.qr(sample.T @ (sample @ start))
    seen = (sample @ basis).astype(np.float64)
    spectrum, vectors = np.linalg.eigh(seen.T @ seen)
    scale = rows.n / len(sample)
    basis = basis @ vectors.astype(sample.dtype)
    return Curvature(basis, np.maximum(spectrum, 0.0) * scale, max(float(spectrum[0]), 0.0) * scale)
