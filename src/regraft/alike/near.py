"""Copies among the pictures of a fit, without a look at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regraft.alike.copies import find_copies, scaled_features
from regraft.alike.looks import SIDE, on_every_core, thumbnail
from regraft.data.images import PictureError, decode, read_picture

Array = NDArray[np.float32]
Shown = NDArray[np.uint8] | None
"""A thumbnail; None where the file cannot be read any more."""

LOOK_SCHEME = 2
"""Raise when other pictures are taken for copies than before: what was found is remembered."""

# Read are those with a neighbour that is so much alike by features (nearly all copies of
# photographs are, and few others), and of the rest so many, the most alike first.
_ALIKE, _LEAST, _SHARE = 0.7, 200, 0.1
_AT_ONCE = 1024


def near_copies(
    paths: Sequence[Path], features: Array, shown: dict[Path, Shown]
) -> tuple[tuple[int, ...], ...]:
    """Find groups of pictures that show the same; of many, those most alike by features are read.

    An audit looks at all of them, so it may find a few more, and rule a few out that stand out
    only from what is read here; see `regraft.alike.copies`.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    features : ndarray of shape (n, D), float32
        Averages of a late map of a network.
    shown : dict of Path to ndarray or None
        What was read of files before; what is read now is added to it.

    Returns
    -------
    tuple of tuple of int
        Each group ascending, two pictures or more; groups by their first picture.
    """
    scaled = scaled_features(features)
    nearest = _nearest(scaled)
    most = max(_LEAST, round(_SHARE * len(paths)), int(np.sum(nearest >= _ALIKE)))
    rows = np.sort(np.argsort(-nearest, kind="stable")[:most]).tolist()
    fresh = [paths[row] for row in rows if paths[row] not in shown]
    with closing(on_every_core(_look, fresh)) as looks:
        shown.update(zip(fresh, looks, strict=True))
    seen = [(row, look) for row in rows if (look := shown[paths[row]]) is not None]
    if len(seen) < 2:
        return ()
    kept = [row for row, _ in seen]
    groups = find_copies(np.stack([look for _, look in seen]), scaled[kept])
    return tuple(tuple(kept[place] for place in group) for group in groups)


def _nearest(scaled: Array) -> Array:
    """Return the cosine of each picture and the one that is most alike."""
    found = np.full(len(scaled), -1, np.float32)
    for start in range(0, len(scaled), _AT_ONCE):
        cosine = scaled[start : start + _AT_ONCE] @ scaled.T
        own = np.arange(len(cosine))
        cosine[own, start + own] = -1
        found[start : start + len(cosine)] = cosine.max(1)
    return found


def _look(path: Path) -> Shown:
    try:
        return thumbnail(decode(read_picture(path), (2 * SIDE, 2 * SIDE)))
    except PictureError:  # gone meanwhile
        return None
