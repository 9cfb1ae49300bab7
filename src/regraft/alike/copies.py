"""Which pictures are copies of each other: resized, compressed, mirrored, slightly cropped.

Neighbours by features (which hardly change with such things) and by tiny thumbnails (for pictures
whose features do) are proposed; each pair is laid over each other. How well unrelated pictures fit
depends on what they show: photographs of flowers not at all, handwritten ones nearly. So a pair is
taken for copies where it fits well *and* far better than what else looks alike, as D. Lowe (2004)
tells matching points by the second best match. What passes is compared once more, with rivals that
are further away: where everything looks alike, the next best was a neighbour that nobody proposed.
Of a group most pairs have to fit: of simple shapes each is a little like the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from regraft.alike.registration import correlations

Array = NDArray[np.float32]
Rows = NDArray[np.intp]

_NEAREST = 4  # neighbours of each picture, of either kind
_RIVALS = (6, 12, 24)  # ranks of those that a pair which passed has to stand out from as well
_TINY = 12
# Cosines of features and of tiny thumbnails: both at least so much, or the second alone.
_ALIKE, _LOOK_ROUGHLY, _LOOK_ALIKE = 0.4, 0.45, 0.8
_FITS = 0.8
_STANDS_OUT = 0.35
_TRIED, _MOSTLY = 12, 0.7  # of a group so many are compared, and so many pairs have to fit
_SAME = 0.9995  # however many look the same
_AT_ONCE = 1024


def scaled_features(features: Array) -> Array:
    """Scale features (n, D) over a collection, so that products of rows say how alike they are."""
    if not len(features):
        return features
    spread = features.std(0)
    return _units((features - features.mean(0)) / (spread + 1e-3 * spread.mean() + 1e-12))


def find_copies(thumbnails: NDArray[np.uint8], scaled: Array) -> tuple[tuple[int, ...], ...]:
    """Find groups of pictures that show the same.

    Parameters
    ----------
    thumbnails : ndarray of shape (n, S, S), uint8
        Whole pictures in grey; see `regraft.alike.looks.thumbnail`.
    scaled : ndarray of shape (n, D), float32
        What `scaled_features` makes of the averages of a late map of a network.

    Returns
    -------
    tuple of tuple of int
        Each group ascending, two pictures or more; groups by their first picture.
    """
    if len(thumbnails) < 2:
        return ()
    nearness = _Nearness(thumbnails, scaled)
    pairs = nearness.proposed()
    if not len(pairs):
        return ()
    fit = correlations(thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]])
    passed = _copies(pairs, fit)
    rivals = nearness.rivals(np.unique(pairs[passed]))
    pairs, first = np.unique(np.concatenate([pairs, rivals]), axis=0, return_index=True)
    more = correlations(thumbnails[rivals[:, 0]], thumbnails[rivals[:, 1]])
    fit = np.concatenate([fit, more])[first]
    copies = _copies(pairs, fit)
    certain = _groups(pairs[copies & (fit >= _SAME)], len(thumbnails))
    held = [g for g in _groups(pairs[copies], len(thumbnails)) if _holds(g, thumbnails)]
    inside = {row for group in held for row in group}
    return tuple(sorted([*held, *(group for group in certain if group[0] not in inside)]))


def _holds(group: Sequence[int], thumbnails: NDArray[np.uint8]) -> bool:
    """Say whether a group is one, not a chain of which only neighbours fit each other."""
    some = [group[i] for i in np.unique(np.linspace(0, len(group) - 1, _TRIED).round().astype(int))]
    pairs = np.array(list(combinations(some, 2)))
    fit = correlations(thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]])
    return float(np.mean(fit >= _FITS)) >= _MOSTLY


class _Nearness:
    """How alike pictures are, by features and by tiny thumbnails, some rows at a time."""

    def __init__(self, thumbnails: NDArray[np.uint8], scaled: Array) -> None:
        tiny = _tiny(thumbnails)
        self._scaled = scaled
        self._straight = _units(tiny.reshape(len(tiny), -1))
        self._mirrored = _units(tiny[:, :, ::-1].reshape(len(tiny), -1))

    def _of(self, rows: Rows) -> tuple[Array, Array]:
        """Return cosines of features and of thumbnails, of some rows and all."""
        alike = self._scaled[rows] @ self._scaled.T
        straight = self._straight[rows]
        look = np.maximum(straight @ self._straight.T, straight @ self._mirrored.T)
        own = np.arange(len(rows))
        alike[own, rows] = look[own, rows] = -1
        return alike, look

    def proposed(self) -> Rows:
        """Return pairs (i, j), i < j, of neighbours by features or by pixels."""
        found = []
        for rows in self._blocks(np.arange(len(self._scaled))):
            alike, look = self._of(rows)
            both = (alike >= _ALIKE) & (look >= _LOOK_ROUGHLY)
            for mask, measure in ((both, alike), (look >= _LOOK_ALIKE, look)):
                row, column = _nearest(np.where(mask, measure, -1), range(_NEAREST))
                found.append(np.stack([rows[row], column], axis=1))
        return _unique(found)

    def rivals(self, some: Rows) -> Rows:
        """Return pairs (i, j), i < j, of some pictures and neighbours that are further away."""
        found = [np.empty((0, 2), np.intp)]
        for rows in self._blocks(some):
            for measure in self._of(rows):
                row, column = _nearest(measure, _RIVALS)
                found.append(np.stack([rows[row], column], axis=1))
        return _unique(found)

    @staticmethod
    def _blocks(rows: Rows) -> list[Rows]:
        return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]


def _unique(pairs: list[Rows]) -> Rows:
    found: Rows = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
    return found


def _nearest(measure: Array, ranks: Sequence[int]) -> tuple[Rows, Rows]:
    """Return rows and columns of what stands at some ranks, where it is above -1; 0 is highest."""
    most = min(max(ranks) + 1, measure.shape[1])
    top = np.argpartition(measure, -most, axis=1)[:, -most:]
    order = np.argsort(-np.take_along_axis(measure, top, axis=1), axis=1, kind="stable")
    top = np.take_along_axis(top, order, axis=1)[:, [rank for rank in ranks if rank < most]]
    row = np.repeat(np.arange(len(measure)), top.shape[1])
    column = top.reshape(-1)
    there = measure[row, column] > -1
    return row[there], column[there]


def _copies(pairs: Rows, fit: Array) -> NDArray[np.bool_]:
    """Say of each pair whether it stands out for both of its pictures."""
    ends = np.concatenate([pairs[:, 0], pairs[:, 1]])
    fits, number = np.tile(fit, 2), np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((-fits, ends))
    ends, fits, number = ends[order], fits[order], number[order]
    out = np.zeros(len(pairs), np.intp)
    starts = np.flatnonzero(np.r_[True, ends[1:] != ends[:-1]])
    for start, stop in zip(starts, [*starts[1:], len(ends)], strict=True):
        out[number[start : start + _standing_out(fits[start:stop])]] += 1
    both: NDArray[np.bool_] = (out == 2) | (fit >= _SAME)
    return both


def _standing_out(fits: Array) -> int:
    """Count the best of a picture's fits, descending, that stand out from the next one."""
    misfit = 1 - np.append(fits, 0.0)
    gaps = (fits >= _FITS) & (misfit[:-1] <= _STANDS_OUT * misfit[1:])
    found = np.flatnonzero(gaps)
    return int(found[-1]) + 1 if len(found) else 0


def _groups(pairs: Rows, n: int) -> tuple[tuple[int, ...], ...]:
    """Put together what hangs together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), bool)
    _, label = connected_components(coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(n, n)))
    rows = np.unique(pairs)
    order = rows[np.argsort(label[rows], kind="stable")]
    _, first = np.unique(label[order], return_index=True)
    groups = (tuple(map(int, np.sort(part))) for part in np.split(order, first[1:]))
    return tuple(sorted(group for group in groups if len(group) > 1))


def _tiny(thumbnails: NDArray[np.uint8]) -> Array:
    n, side = len(thumbnails), thumbnails.shape[1]
    factor = side // _TINY
    blocks = thumbnails.reshape(n, _TINY, factor, _TINY, factor)
    tiny: Array = blocks.mean((2, 4), dtype=np.float32)
    return tiny


def _units(vectors: Array) -> Array:
    """Centre each vector and scale it to length one."""
    centred = vectors - vectors.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    units: Array = (centred / np.maximum(length, 1e-6)).astype(np.float32)
    return units
