"""Train a head of any kind on a feature matrix: the one entrance to this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from regraft.errors import UserError
from regraft.heads.linear import LinearHead
from regraft.heads.logistic import logistic_path
from regraft.heads.prototype import prototype_model
from regraft.heads.ridge import ridge_path
from regraft.heads.rows import (
    ROTATE_UP_TO,
    ROTATED_VALUES,
    Curvature,
    Rows,
    rotate,
    scaled,
    sketch,
    whole,
)
from regraft.heads.scaling import Scaling, scaling_of
from regraft.heads.threads import one_thread_each, processors
from regraft.progress import Progress, Silent
from regraft.strategy import HEAD_KINDS, HeadKind

Array = NDArray[np.float64]

STRENGTHS: Mapping[HeadKind, tuple[float, ...]] = {
    "logistic": tuple(float(10.0**power) for power in np.linspace(4 / 3, -4, 9)),
    "ridge": tuple(float(10.0**power) for power in np.linspace(2.5, -1.5, 9)),
    "prototype": (0.0,),
}
"""The strengths that a choice looks at, strongest first."""

DEFAULT_STRENGTH: Mapping[HeadKind, float] = {"logistic": 1e-2, "ridge": 1.0, "prototype": 0.0}
"""Strength where the pictures are too few to choose one."""

DEFAULT_TEMPERATURE: Mapping[HeadKind, float] = {"logistic": 1.0, "ridge": 0.2, "prototype": 0.1}
"""Divisor of the scores where the pictures are too few to measure one."""

EXACT, ROUGH = 1e-10, 1e-2
"""Tolerances: of a head that is kept (as far as its arithmetic allows), and of one that is
only compared."""
COPIED_VALUES = 1 << 25
"""Features up to this number are scaled once and kept; beyond it anew in each pass."""


def class_weights(y: NDArray[np.intp], n_classes: int, *, balanced: bool) -> Array:
    """Weight of each picture: 1, or such that every class weighs the same in sum.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    balanced : bool
        Whether to weigh by ``n / (classes present * pictures of the class)``.

    Returns
    -------
    ndarray of shape (n,), float64
        They add up to n.
    """
    if not balanced:
        return np.ones(len(y))
    counts = np.bincount(y, minlength=n_classes)
    weights: Array = len(y) / (np.count_nonzero(counts) * counts[y])
    return weights


def fit_path(
    kind: HeadKind,
    rows: Rows,
    y: NDArray[np.intp],
    n_classes: int,
    *,
    curvature: Curvature | None,
    weights: Array,
    strengths: Sequence[float],
    tolerance: float,
    progress: Progress,
) -> tuple[Array, NDArray[np.bool_]]:
    """Train a head of one kind on scaled features, once per strength.

    Parameters
    ----------
    kind : {"logistic", "ridge", "prototype"}
        What to train.
    rows : Rows
        Scaled features of n pictures.
    y : ndarray of shape (n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    curvature : Curvature or None
        Where known; else it is estimated when needed.
    weights : ndarray of shape (n,), float64
        Weight of each picture; prototypes have no use for it.
    strengths : sequence of float
        See the module of the kind; above 0 except for prototypes.
    tolerance : float
        See `logistic_path`.
    progress : Progress
        Hears of every pass of an iterative fit.

    Returns
    -------
    models : ndarray of shape (n_strengths, n_classes, dim + 1), float64
        Weights on the scaled features; the last column is the bias.
    converged : ndarray of shape (n_strengths,), bool
        Whether the fit reached the tolerance; those in closed form do.
    """
    values = np.asarray(strengths, dtype=np.float64)
    done = np.ones(len(values), dtype=bool)
    if kind == "prototype":
        return np.repeat(prototype_model(rows, y, n_classes), len(values), axis=0), done
    if kind == "ridge":
        return ridge_path(rows, y, n_classes, weights=weights, strengths=values), done
    return logistic_path(
        rows,
        y,
        n_classes,
        curvature=curvature or sketch(rows),
        weights=weights,
        strengths=values,
        tolerance=tolerance,
        progress=progress,
    )


def fit_linear(
    kind: HeadKind,
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    n_classes: int,
    *,
    strength: float,
    temperature: float = 1.0,
    balanced: bool = False,
    widths: Sequence[int] | None = None,
    tolerance: float = EXACT,
    progress: Progress | None = None,
) -> LinearHead:
    """Train a head on raw features.

    Parameters
    ----------
    kind : {"logistic", "ridge", "prototype"}
        What to train.
    X : ndarray or memmap of shape (n, dim), float
        Raw features; read in chunks and copied only where that is small.
    y : ndarray of shape (n,), int
        Columns of the classes.
    n_classes : int
        Number of classes.
    strength : float
        Weight of the penalty; see the module of the kind for its unit.
    temperature : float
        The scores are divided by it before they become probabilities.
    balanced : bool
        Whether every class weighs the same in sum, however many pictures it has.
    widths : sequence of int, optional
        Columns of each tap, in order; one tap by default.
    tolerance : float
        See `logistic_path`; `ROUGH` for a head that is not kept.
    progress : Progress, optional
        Hears of every pass of an iterative fit.

    Returns
    -------
    LinearHead
        Its `converged` says whether the fit came to its end.

    Raises
    ------
    UserError
        Where a parameter is outside its range.
    """
    _check(kind, X, y, strength, temperature)
    with one_thread_each():
        scaling = scaling_of(X, widths or (X.shape[1],))
        rows, basis, curvature = _prepare(X, scaling)
        path, converged = fit_path(
            kind,
            rows,
            y,
            n_classes,
            curvature=curvature,
            weights=class_weights(y, n_classes, balanced=balanced),
            strengths=(strength,),
            tolerance=tolerance,
            progress=progress or Silent(),
        )
    model = path[0] / temperature
    weight = model[:, :-1] if basis is None else model[:, :-1] @ basis.T
    return LinearHead(kind, *scaling.unfold(weight, model[:, -1]), bool(converged[0]))


def _prepare(
    X: NDArray[np.floating], scaling: Scaling
) -> tuple[Rows, Array | None, Curvature | None]:
    """Scaled features in the form that is best for their size: rotated, copied or streamed."""
    n, small = len(X), min(X.shape)
    if small <= ROTATE_UP_TO and n * small <= ROTATED_VALUES:
        rows, basis, spectrum = rotate(scaling.apply(X).astype(np.float64))
        return whole(rows), basis, Curvature(None, spectrum, 0.0)
    if X.size <= COPIED_VALUES:
        return whole(scaling.apply(X), processors()), None, None
    return scaled(X, scaling, processors()), None, None


def _check(
    kind: HeadKind,
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    strength: float,
    temperature: float,
) -> None:
    problems = []
    if kind not in HEAD_KINDS:
        problems.append(f"head must be one of {', '.join(HEAD_KINDS)}, got {kind!r}")
    if X.ndim != 2 or len(X) != len(y) or len(y) == 0:
        problems.append(f"X must have one row per label, got shape {X.shape} for {len(y)} labels")
    if kind != "prototype" and not 0 < strength < np.inf:
        problems.append(f"strength must be a finite number above 0, got {strength}")
    if not 0 < temperature < np.inf:
        problems.append(f"temperature must be a finite number above 0, got {temperature}")
    if problems:
        raise UserError("the head cannot be trained", problems)
