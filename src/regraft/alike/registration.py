"""Lay thumbnails over each other, to see whether they show the same or a part of it.

A copy that was cropped shows the same, scaled and shifted. Scale and shift of each axis are found
by Gauss-Newton steps on the difference of normalised grey values, from coarse to fine (B. Lucas
and T. Kanade, 1981). Judged is the correlation of what varies within some pixels, where the two
overlap: broad light and dark are alike in pictures that have nothing else in common (a mole on
skin, a flower before a meadow).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from regraft.heads.threads import map_side_by_side

Array = NDArray[np.float32]

# Height and width in pixels, steps, the correlation below which a pair is not looked at closer, and
# what part of it such a pair would have at the finest level: of 60 copies of each of five kinds in
# four sets 95 % have 0.95 or more at the coarser levels, of other pairs half have 0.7 or less.
_LEVELS = ((12, 6, 0.85, 0.45), (24, 4, 0.85, 0.6), (48, 2, -1.0, 1.0))
_TURNED = 0.1  # how much better the one orientation has to be for the other not to be tried
_AT_ONCE = 512
_DAMPING = 0.01
_LONGEST_STEP = 0.1
_SCALES, _SHIFTS = (0.75, 1.34), (-0.3, 0.3)
_BLURS = 5


def correlations(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Array:
    """Lay pictures over each other, mirrored or not, and correlate them.

    Parameters
    ----------
    a, b : ndarray of shape (n, S, S), uint8
        Pairs of thumbnails; S is 48.

    Returns
    -------
    ndarray of shape (n,), float32
        Correlation, -1 to 1, of each pair where they overlap best.
    """

    def block(start: int) -> Array:
        stop = start + _AT_ONCE
        return _best(a[start:stop].astype(np.float32), b[start:stop].astype(np.float32))

    starts = range(0, len(a), _AT_ONCE)
    if len(starts) < 2:
        return block(0) if starts else np.empty(0, np.float32)
    return np.concatenate([*map_side_by_side(block, starts)])


def _best(one: Array, other: Array) -> Array:
    """Correlate pairs as they lie and mirrored, where the one is not clearly better."""
    mirrored = np.ascontiguousarray(other[:, :, ::-1])
    straight, turned = _unmoved(one, other), _unmoved(one, mirrored)
    best = np.full(len(one), -1, np.float32)
    for ahead, shown in ((straight - turned, other), (turned - straight, mirrored)):
        rows = np.flatnonzero(ahead >= -_TURNED)
        if len(rows):
            best[rows] = np.maximum(best[rows], _registered(one[rows], shown[rows]))
    return best


def _unmoved(a: Array, b: Array) -> Array:
    """Correlate coarse pictures as they lie."""
    flat = [_shrunk(x, _LEVELS[0][0]).reshape(len(x), -1) for x in (a, b)]
    one, other = (x - x.mean(1, keepdims=True) for x in flat)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Array = (one * other).sum(1) / (lengths + 1e-6)
    return found


def _registered(a: Array, b: Array) -> Array:
    """Correlate pairs under the scale and shift that suit them best."""
    result = np.full(len(a), -1, np.float32)
    rows = np.arange(len(a))
    pose = np.tile(np.array([1, 0, 1, 0], np.float32), (len(a), 1))  # scale, shift; x, then y
    for side, steps, hopeful_from, left in _LEVELS:
        fine = side == a.shape[1]
        one, other = (x[rows] if fine else _blurred(_shrunk(x[rows], side), 1) for x in (a, b))
        for _ in range(steps):
            pose += _step(one, other, pose)
            pose[:, ::2] = pose[:, ::2].clip(*_SCALES)
            pose[:, 1::2] = pose[:, 1::2].clip(*_SHIFTS)
        warped, inside = _warped(one, pose)
        both = _normalised(_detail(warped), inside), _normalised(_detail(other), inside)
        result[rows] = _products(*both) / (_sums(inside) + 1e-6)
        hopeful = result[rows] >= hopeful_from
        result[rows[~hopeful]] *= left
        rows, pose = rows[hopeful], pose[hopeful]
        if not len(rows):
            break
    return result


def _step(one: Array, other: Array, pose: Array) -> Array:
    """Return the Gauss-Newton step of each pose.

    The Jacobian has the columns (x gx, gx, y gy, gy), with gx and gy the gradient over the scale
    of its axis. It is never made: what is needed are moments of products of gradients.
    """
    warped, inside = _warped(one, pose)
    seen = _normalised(warped, inside)
    missing = _normalised(other, inside)
    missing -= seen
    along_x, along_y = _gradients(seen)
    along_x *= inside
    along_y *= inside
    grid = _grid(one.shape[1])
    linear = np.stack([grid, np.ones_like(grid)])
    square = np.stack([grid * grid, grid, np.ones_like(grid)])
    xx = np.einsum("nyx,nyx->nx", along_x, along_x) @ square.T
    yy = np.einsum("nyx,nyx->ny", along_y, along_y) @ square.T
    xy = (linear @ (along_x * along_y)) @ linear.T  # y, then x
    normal = np.empty((len(one), 4, 4), np.float32)
    normal[:, :2, :2] = xx[:, [[0, 1], [1, 2]]]
    normal[:, 2:, 2:] = yy[:, [[0, 1], [1, 2]]]
    normal[:, 2:, :2] = xy
    normal[:, :2, 2:] = xy.transpose(0, 2, 1)
    pull = np.empty((len(one), 4), np.float32)
    pull[:, :2] = np.einsum("nyx,nyx->nx", along_x, missing) @ linear.T
    pull[:, 2:] = np.einsum("nyx,nyx->ny", along_y, missing) @ linear.T
    per = 1 / pose[:, [0, 0, 2, 2]]
    normal *= per[:, :, None] * per[:, None, :]
    normal += _DAMPING * len(grid) ** 2 * np.eye(4, dtype=np.float32)
    step: Array = np.linalg.solve(normal, (pull * per)[..., None])[..., 0]
    return step.clip(-_LONGEST_STEP, _LONGEST_STEP)


def _gradients(image: Array) -> tuple[Array, Array]:
    """Slopes (n, S, S) along x and y, where a picture is two units wide; see `numpy.gradient`."""
    side = image.shape[1]
    along_x, along_y = np.empty_like(image), np.empty_like(image)
    for slope, values in (
        (along_x.transpose(0, 2, 1), image.transpose(0, 2, 1)),
        (along_y, image),
    ):
        np.subtract(values[:, 2:], values[:, :-2], out=slope[:, 1:-1])
        slope[:, 0] = 2 * (values[:, 1] - values[:, 0])
        slope[:, -1] = 2 * (values[:, -1] - values[:, -2])
        slope *= side / 4
    return along_x, along_y


def _warped(image: Array, pose: Array) -> tuple[Array, Array]:
    """Sample pictures (n, S, S) where their poses say; and 1 where that is inside, else 0.

    Scale and shift of the axes are apart, so that linear interpolation is a product with one
    matrix for the columns and one for the rows.
    """
    side = image.shape[1]
    grid, places = _grid(side), np.arange(side, dtype=np.float32)
    u, v = (((pose[:, k, None] * grid + pose[:, k + 1, None] + 1) * side - 1) / 2 for k in (0, 2))
    inside_u, inside_v = (((c >= 0) & (c <= side - 1)).astype(np.float32) for c in (u, v))
    columns, rows = (_hats(c.clip(0, side - 1)[:, :, None] - places) for c in (u, v))
    warped: Array = rows @ (image @ columns.transpose(0, 2, 1))
    return warped, inside_v[:, :, None] * inside_u[:, None, :]


def _hats(away: Array) -> Array:
    """Weights of linear interpolation for distances in pixels, in their place."""
    np.abs(away, out=away)
    np.subtract(1, away, out=away)
    return np.maximum(away, 0, out=away)


def _normalised(image: Array, inside: Array) -> Array:
    """Subtract the mean of what is inside, and divide by its standard deviation."""
    count = _sums(inside) + 1e-6
    result = image - (_products(image, inside) / count)[:, None, None]
    result *= inside
    spread = np.sqrt(_products(result, result) / count)
    result *= (1 / (spread + 1e-3))[:, None, None]
    return result


def _products(a: Array, b: Array) -> Array:
    """Inner product of each pair of pictures (n, S, S)."""
    found: Array = np.einsum("np,np->n", a.reshape(len(a), -1), b.reshape(len(b), -1))
    return found


def _sums(image: Array) -> Array:
    found: Array = image.reshape(len(image), -1).sum(1)
    return found


def _detail(image: Array) -> Array:
    """Keep what varies within some pixels, neither noise nor broad light and dark."""
    return _blurred(image, 1) - _blurred(image, 1 + _BLURS)


def _shrunk(image: Array, side: int) -> Array:
    """Average blocks of pixels, to so many along each axis."""
    along = _averages(image.shape[1], side)
    blocks: Array = along @ (image @ along.T)
    return blocks


@cache
def _averages(wide: int, side: int) -> Array:
    factor = wide // side
    return np.kron(np.eye(side), np.full(factor, 1 / factor)).astype(np.float32)


def _blurred(image: Array, times: int) -> Array:
    """Blur with (1, 2, 1) / 4 along both axes so many times; edges go on as they are."""
    along = _blur(image.shape[1], times)
    blurred: Array = along @ (image @ along.T)
    return blurred


@cache
def _blur(side: int, times: int) -> Array:
    """Matrix (side, side) that blurs a column of pixels so many times."""
    once = 2 * np.eye(side) + np.eye(side, k=1) + np.eye(side, k=-1)
    once[0, 0] += 1
    once[-1, -1] += 1
    return np.asarray(np.linalg.matrix_power(once / 4, times), np.float32)


@cache
def _grid(side: int) -> Array:
    """Places of the pixels' middles along an axis, -1 to 1."""
    return ((2 * np.arange(side) + 1) / side - 1).astype(np.float32)
