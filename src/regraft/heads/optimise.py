"""L-BFGS for many smooth convex problems at once, in plain NumPy.

SciPy's L-BFGS-B does the same for one problem, after an import that takes longer than all the
fits of a small folder; and problems that differ in nothing but the strength of their penalty
share each pass over the data when they advance together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Which = NDArray[np.intp]
Objective = Callable[[Array, Which], tuple[Array, Array]]
Precondition = Callable[[Array, Which], Array]

MEMORY = 10
HALVINGS = 20
SUFFICIENT = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """Where `minimise` ended.

    Parameters
    ----------
    x : ndarray of shape (n_problems, n_parameters), float64
        The parameters.
    converged : ndarray of shape (n_problems,), bool
        Whether what a step could still gain fell below the tolerance.
    """

    x: Array
    converged: NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class _Pair:
    """One step of each problem: the change of parameters and the turn of the gradient."""

    change: Array
    turn: Array
    inverse: Array

    def only(self, keep: NDArray[np.bool_]) -> _Pair:
        return _Pair(self.change[keep], self.turn[keep], self.inverse[keep])


def minimise(
    objective: Objective,
    start: Array,
    precondition: Precondition,
    *,
    tolerance: float,
    rounding: float,
    max_evaluations: int,
) -> Minimum:
    """Minimise several convex, positive functions by preconditioned L-BFGS, all in step.

    J. Nocedal and S. Wright, *Numerical Optimization*, 2nd edition, algorithms 7.4 and 3.1; the
    initial inverse Hessian is the preconditioner, scaled by the newest curvature. A problem is
    solved when the decrease that the quadratic model promises, gradient times inverse Hessian
    times gradient, is below the tolerance relative to the value; it then leaves the batch.

    Parameters
    ----------
    objective : callable
        Maps parameters of shape (m, n_parameters) and the numbers (m,) of the problems that
        they belong to, to values (m,) and gradients (m, n_parameters).
    start : ndarray of shape (n_problems, n_parameters), float64
        Where to begin.
    precondition : callable
        Takes the same; multiplies by a positive definite estimate of the inverse Hessian.
    tolerance : float
        Relative decrease at which a problem counts as solved.
    rounding : float
        Relative error of the values, below which differences mean nothing.
    max_evaluations : int
        After how many calls of the objective to stop.

    Returns
    -------
    Minimum
    """
    result, converged = start.copy(), np.zeros(len(start), dtype=bool)
    which = np.arange(len(start))
    x, pairs = start, list[_Pair]()
    value, gradient = objective(x, which)
    evaluations = 1
    while len(which) and evaluations < max_evaluations:
        direction = -_apply_inverse(gradient, pairs, precondition, which)
        slope = _dot(gradient, direction)
        solved = -slope <= tolerance * value
        moved, new_value, new_gradient, calls, stuck = _search(
            objective, which, x, value, gradient, direction, slope, rounding
        )
        evaluations += calls
        change, turn = moved - x, new_gradient - gradient
        curvature = _dot(change, turn)
        inverse = np.divide(1.0, curvature, out=np.zeros_like(curvature), where=curvature > 0)
        pairs = [*pairs[1 - MEMORY :], _Pair(change, turn, inverse)]
        x, value, gradient = moved, new_value, new_gradient
        leave = solved | stuck
        result[which], converged[which] = x, solved
        if leave.any():
            stay = ~leave
            which, x, value, gradient = which[stay], x[stay], value[stay], gradient[stay]
            pairs = [pair.only(stay) for pair in pairs]
    return Minimum(result, converged)


def _apply_inverse(
    gradient: Array, pairs: list[_Pair], precondition: Precondition, which: Which
) -> Array:
    """Multiply the gradient by the inverse Hessian that the past steps suggest."""
    rest = gradient.copy()
    shares = []
    for pair in reversed(pairs):
        share = pair.inverse * _dot(pair.change, rest)
        rest -= share[:, None] * pair.turn
        shares.append(share)
    result = precondition(rest, which)
    if pairs:
        last = pairs[-1]
        expected = _dot(last.turn, precondition(last.turn, which))
        known = last.inverse > 0
        scale = np.divide(
            _dot(last.change, last.turn), expected, out=np.ones_like(expected), where=known
        )
        result *= scale[:, None]
    for pair, share in zip(pairs, reversed(shares), strict=True):
        result += (share - pair.inverse * _dot(pair.turn, result))[:, None] * pair.change
    return result


def _search(
    objective: Objective,
    which: Which,
    x: Array,
    value: Array,
    gradient: Array,
    direction: Array,
    slope: Array,
    rounding: float,
) -> tuple[Array, Array, Array, int, NDArray[np.bool_]]:
    """Halve each problem's step until its value falls enough; tell which never did."""
    slack = rounding * np.abs(value)
    length = np.ones(len(x))
    calls, short = 0, np.ones(len(x), dtype=bool)
    while short.any() and calls < HALVINGS:
        calls += 1
        moved = x + length[:, None] * direction
        new_value, new_gradient = objective(moved, which)
        short = ~(new_value <= value + SUFFICIENT * length * slope + slack)
        length = np.where(short, length / 2, length)
    if short.any():
        moved[short], new_value[short], new_gradient[short] = (
            x[short],
            value[short],
            gradient[short],
        )
    return moved, new_value, new_gradient, calls, short


def _dot(a: Array, b: Array) -> Array:
    product: Array = np.einsum("sp,sp->s", a, b)
    return product
