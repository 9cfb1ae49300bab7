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

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from regraft.alike.registration import correlations
from regraft.data.splits import connected
from regraft.heads.threads import map_side_by_side

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
_COSINES, _ROWS = 1 << 24, 512  # that are held at once, on each core
_GROUP = 64
_OTHERS = -0.999  # cosines of a picture and another one; its own is set to -1


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
    held = _whole(_groups(pairs[copies], len(thumbnails)), thumbnails)
    inside = {row for group in held for row in group}
    return tuple(sorted([*held, *(group for group in certain if group[0] not in inside)]))


def _whole(
    groups: tuple[tuple[int, ...], ...], thumbnails: NDArray[np.uint8]
) -> list[tuple[int, ...]]:
    """Keep groups that are one, not chains of which only neighbours fit each other."""
    chains = [group for group in groups if len(group) > 2]
    if not chains:
        return list(groups)
    pairs, owner = [], []
    for number, group in enumerate(chains):
        places = np.unique(np.linspace(0, len(group) - 1, _TRIED).round().astype(int))
        some = [*combinations([group[place] for place in places], 2)]
        pairs += some
        owner += [number] * len(some)
    one, other = np.array(pairs).T
    fits = correlations(thumbnails[one], thumbnails[other]) >= _FITS
    held = np.bincount(owner, fits) >= _MOSTLY * np.bincount(owner)
    broken = {group for group, whole in zip(chains, held, strict=True) if not whole}
    return [group for group in groups if group not in broken]


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
        look = straight @ self._straight.T
        np.maximum(look, straight @ self._mirrored.T, out=look)
        own = np.arange(len(rows))
        alike[own, rows] = look[own, rows] = -1
        return alike, look

    def proposed(self) -> Rows:
        """Return pairs (i, j), i < j, of neighbours by features or by pixels."""

        def block(rows: Rows) -> list[Rows]:
            alike, look = self._of(rows)
            by_look = nearest(rows, look, range(_NEAREST), _LOOK_ALIKE)
            alike *= look >= _LOOK_ROUGHLY  # many times faster than to set those that are not
            return [by_look, nearest(rows, alike, range(_NEAREST), _ALIKE)]

        return self._pairs(block, np.arange(len(self._scaled)))

    def rivals(self, some: Rows) -> Rows:
        """Return pairs (i, j), i < j, of some pictures and neighbours that are further away."""

        def block(rows: Rows) -> list[Rows]:
            return [nearest(rows, measure, _RIVALS, _OTHERS) for measure in self._of(rows)]

        return self._pairs(block, some)

    def _pairs(self, block: Callable[[Rows], list[Rows]], some: Rows) -> Rows:
        at_once = min(_ROWS, max(1, _COSINES // len(self._scaled)))
        blocks = [some[start : start + at_once] for start in range(0, len(some), at_once)]
        found = [pairs for found in map_side_by_side(block, blocks) for pairs in found]
        pairs: Rows = np.concatenate([np.empty((0, 2), np.intp), *found])
        return np.unique(np.sort(pairs, axis=1), axis=0)


def nearest(rows: Rows, measure: Array, ranks: Sequence[int], least: float) -> Rows:
    """Pair rows with the columns at some ranks of them, where these are at least so near.

    The highest k of a row are in those k groups of its columns that have the highest maxima.

    Parameters
    ----------
    rows : ndarray of shape (n,), int
        What the rows are called.
    measure : ndarray of shape (n, wide), float32
        How near each column is; read only.
    ranks : sequence of int
        0 is the nearest; those beyond `wide` are left out.
    least : float
        Nearness below which a column is none.

    Returns
    -------
    ndarray of shape (n_pairs, 2), int
        Row and column.
    """
    n, wide = measure.shape
    most = min(max(ranks) + 1, wide)
    groups = -(-wide // _GROUP)
    whole = wide // groups
    tops = measure[:, : whole * groups].reshape(n, whole, groups).max(1)
    rest = measure[:, whole * groups :]
    np.maximum(tops[:, : rest.shape[1]], rest, out=tops[:, : rest.shape[1]])
    some = _highest(tops, min(most, groups))
    columns = (some[:, None, :] + groups * np.arange(whole + 1)[:, None]).reshape(n, -1)
    values = np.take_along_axis(measure, np.minimum(columns, wide - 1), axis=1)
    values[columns >= wide] = -np.inf
    top = _highest(values, most)
    values = np.take_along_axis(values, top, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, [rank for rank in ranks if rank < most]]
    near = np.take_along_axis(values, order, axis=1) >= least
    columns = np.take_along_axis(np.take_along_axis(columns, top, axis=1), order, axis=1)
    return np.stack([np.broadcast_to(rows[:, None], columns.shape)[near], columns[near]], axis=1)


def _highest(values: Array, count: int) -> Rows:
    found: Rows = np.argpartition(values, -count, axis=1)[:, -count:]
    return found


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
    label = connected(n, pairs.tolist())
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
