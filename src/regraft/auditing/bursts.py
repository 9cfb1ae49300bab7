"""Pictures of one scene, taken one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from regraft.alike.looks import Look
from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Item, counted

_APART = timedelta(seconds=2)
_ALIKE = 0.5  # cosine of features, after each was scaled over the collection


def find_bursts(looks: Sequence[Look], scaled: NDArray[np.float32]) -> tuple[tuple[int, ...], ...]:
    """Find runs of pictures by one camera, seconds apart, that look alike.

    Parameters
    ----------
    looks : sequence of Look
        What the pictures look like; those without camera and time by EXIF belong to no burst.
    scaled : ndarray of shape (n, D), float32
        What `regraft.alike.copies.scaled_features` makes of the averages of a late map.
    """
    known = [i for i, look in enumerate(looks) if look.camera and look.taken]
    known.sort(key=lambda i: (looks[i].camera, looks[i].taken))
    if len(known) < 2:
        return ()
    cosine = np.sum(scaled[known[1:]] * scaled[known[:-1]], axis=1)
    runs: list[list[int]] = [[known[0]]]
    for before, after, alike in zip(known, known[1:], cosine, strict=False):
        one, other = looks[before], looks[after]
        assert one.taken is not None, "the time is known"
        assert other.taken is not None, "the time is known"
        near = one.camera == other.camera and other.taken - one.taken <= _APART
        if near and alike >= _ALIKE:
            runs[-1].append(after)
        else:
            runs.append([after])
    return tuple(tuple(sorted(run)) for run in runs if len(run) > 1)


def burst_findings(collection: Collection) -> list[Finding]:
    """Report bursts whose pictures have no group in common."""
    items = []
    for run in collection.bursts:
        groups = {collection.pictures[row].group for row in run}
        if len(groups) > 1 or None in groups:
            look = collection.looks[run[0]]
            detail = f"{look.camera}, {look.taken:%Y-%m-%d %H:%M:%S}"
            items.append(Item(collection.names(run), detail))
    if not items:
        return []
    return [
        Finding(
            "burst",
            f"{counted(len(items), 'burst')} of pictures of one scene",
            tuple(items),
            "Pictures of one scene are hardly more than one: on both sides of a split they make "
            "the figures too good.",
            "Give them a group (a table with the column 'group'; --fix writes one).",
        )
    ]
