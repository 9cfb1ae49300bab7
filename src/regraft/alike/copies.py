"""Which pictures are copies of each other: resized, compressed, mirrored, slightly cropped.

Neighbours by features (which hardly change with such things) and by tiny thumbnails (for pictures
whose features do) are proposed; each pair is laid over each other. How well unrelated pictures fit
depends on what they show: photographs of flowers not at all, handwritten ones nearly. So a pair is
taken for copies where it fits well *and* far better than what else looks alike, as D. Lowe (2004)
tells matching points by the second best match.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.alike.registration import correlations

Array = NDArray[np.float32]
Rows = NDArray[np.intp]

_NEAREST = 4  # neighbours of each picture, of either kind
_TINY = 12
# Cosines of features and of tiny thumbnails: both at least so much, or the second alone.
_ALIKE, _LOOK_ROUGHLY, _LOOK_ALIKE = 0.4, 0.45, 0.8
_FITS = 0.8
_STANDS_OUT = 0.35
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
    pairs = _proposed(thumbnails, scaled)
    if not len(pairs):
        return ()
    fit = correlations(thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]])
    return _groups(pairs[_copies(pairs, fit)], len(thumbnails))


def _proposed(thumbnails: NDArray[np.uint8], scaled: Array) -> Rows:
    """Return pairs (i, j), i < j, of neighbours by features or by pixels."""
    if len(thumbnails) < 2:
        return np.empty((0, 2), np.intp)
    tiny = _tiny(thumbnails)
    straight = _units(tiny.reshape(len(tiny), -1))
    mirrored = _units(tiny[:, :, ::-1].reshape(len(tiny), -1))
    found = []
    for start in range(0, len(thumbnails), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        alike = scaled[block] @ scaled.T
        look = np.maximum(straight[block] @ straight.T, straight[block] @ mirrored.T)
        own = np.arange(len(look))
        alike[own, start + own] = look[own, start + own] = -1
        both = (alike >= _ALIKE) & (look >= _LOOK_ROUGHLY)
        for mask, measure in ((both, alike), (look >= _LOOK_ALIKE, look)):
            row, column = _nearest(mask, measure)
            found.append(np.stack([start + row, column], axis=1))
    pairs: Rows = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return pairs


def _nearest(mask: NDArray[np.bool_], measure: Array) -> tuple[Rows, Rows]:
    """Return rows and columns of the highest values of each row, among those of a mask."""
    row, column = np.nonzero(mask)
    order = np.lexsort((-measure[row, column], row))
    row, column = row[order], column[order]
    near = np.arange(len(row)) - np.searchsorted(row, row) < _NEAREST
    return row[near], column[near]


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
