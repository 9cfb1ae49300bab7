"""Lay thumbnails over each other, to see whether they show the same or a part of it.

A copy that was cropped shows the same, scaled and shifted. Scale and shift of each axis are found
by Gauss-Newton steps on the difference of normalised grey values, from coarse to fine (B. Lucas
and T. Kanade, 1981). Judged is the correlation of what varies within some pixels, where the two
overlap: broad light and dark are alike in pictures that have nothing else in common (a mole on
skin, a flower before a meadow).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.heads.threads import map_side_by_side

Array = NDArray[np.float32]

# Height and width in pixels, steps, the correlation below which a pair is not looked at closer, and
# what part of it such a pair would have at the finest level: of 60 copies of each of five kinds in
# four sets 95 % have 0.95 or more at the coarser levels, of other pairs half have 0.7 or less.
_LEVELS = ((12, 6, 0.85, 0.45), (24, 4, 0.85, 0.6), (48, 4, -1.0, 1.0))
_TURNED = 0.1  # how much better the one orientation has to be for the other not to be tried
_AT_ONCE = 256
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
        one, other = (x[rows] if fine else _smooth(_shrunk(x[rows], side)) for x in (a, b))
        grid = ((2 * np.arange(side) + 1) / side - 1).astype(np.float32)
        for _ in range(steps):
            pose += _step(one, other, pose, grid)
            pose[:, ::2] = pose[:, ::2].clip(*_SCALES)
            pose[:, 1::2] = pose[:, 1::2].clip(*_SHIFTS)
        warped, inside = _warped(one, pose, grid)
        both = _normalised(_detail(warped), inside) * _normalised(_detail(other), inside)
        result[rows] = both.sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
        hopeful = result[rows] >= hopeful_from
        result[rows[~hopeful]] *= left
        rows, pose = rows[hopeful], pose[hopeful]
        if not len(rows):
            break
    return result


def _step(one: Array, other: Array, pose: Array, grid: Array) -> Array:
    """Return the Gauss-Newton step of each pose."""
    n, side = len(one), len(grid)
    warped, inside = _warped(one, pose, grid)
    seen = _normalised(warped, inside)
    wanted = _normalised(other, inside)
    along_y, along_x = np.gradient(seen, 2 / side, axis=(1, 2))
    along_x = along_x * inside / pose[:, 0, None, None]
    along_y = along_y * inside / pose[:, 2, None, None]
    x, y = grid[None, None, :], grid[None, :, None]
    jacobian = np.stack([along_x * x, along_x, along_y * y, along_y], axis=-1).reshape(n, -1, 4)
    transposed = jacobian.transpose(0, 2, 1)
    normal = transposed @ jacobian + _DAMPING * side * side * np.eye(4, dtype=np.float32)
    pull = transposed @ (wanted - seen).reshape(n, -1, 1)
    step: Array = np.linalg.solve(normal, pull)[..., 0].clip(-_LONGEST_STEP, _LONGEST_STEP)
    return step


def _warped(image: Array, pose: Array, grid: Array) -> tuple[Array, Array]:
    """Sample pictures (n, S, S) where their poses say; and 1 where that is inside, else 0."""
    n, side = len(image), len(grid)
    u = ((pose[:, 0, None] * grid + pose[:, 1, None] + 1) * side - 1) / 2
    v = ((pose[:, 2, None] * grid + pose[:, 3, None] + 1) * side - 1) / 2
    inside_u, inside_v = ((c >= 0) & (c <= side - 1) for c in (u, v))
    inside = (inside_v[:, :, None] & inside_u[:, None, :]).astype(np.float32)
    u, v = (c.clip(0, side - 1.001) for c in (u, v))
    column, row = u.astype(np.intp), v.astype(np.intp)
    across = (u - column.astype(np.float32))[:, None, :]
    down = (v - row.astype(np.float32))[:, :, None]
    corner = (np.arange(n)[:, None, None] * side + row[:, :, None]) * side + column[:, None, :]
    flat = image.reshape(-1)
    top = flat[corner] * (1 - across) + flat[corner + 1] * across
    bottom = flat[corner + side] * (1 - across) + flat[corner + side + 1] * across
    return top * (1 - down) + bottom * down, inside


def _normalised(image: Array, inside: Array) -> Array:
    """Subtract the mean of what is inside, and divide by its standard deviation."""
    count = inside.sum((1, 2), keepdims=True) + 1e-6
    centred = (image - (image * inside).sum((1, 2), keepdims=True) / count) * inside
    spread = np.sqrt(np.square(centred).sum((1, 2), keepdims=True) / count)
    result: Array = centred / (spread + 1e-3)
    return result


def _detail(image: Array) -> Array:
    """Keep what varies within some pixels, neither noise nor broad light and dark."""
    fine = _smooth(image)
    broad = fine
    for _ in range(_BLURS):
        broad = _smooth(broad)
    return fine - broad


def _shrunk(image: Array, side: int) -> Array:
    factor = image.shape[1] // side
    blocks: Array = image.reshape(len(image), side, factor, side, factor).mean((2, 4))
    return blocks


def _smooth(image: Array) -> Array:
    """Blur with (1, 2, 1) along both axes."""
    edge: Array = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (edge[:, :-2] + 2 * edge[:, 1:-1] + edge[:, 2:]) / 4
    blurred = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    return blurred.astype(np.float32, copy=False)
