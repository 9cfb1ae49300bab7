"""Which pictures show the same, and so have to be on one side of any split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regraft.alike.near import LOOK_SCHEME, Shown, near_copies
from regraft.data.records import Picture
from regraft.frozen.store import FeatureStore
from regraft.frozen.table import StoredFeatures
from regraft.progress import Progress
from regraft.strategy import Tap

Groups = tuple[tuple[int, ...], ...]

_NEAR, _REMEMBERED = "near-copies", 16  # the note of the store, and collections that it knows


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """Looks for near copies, and remembers what it found among the same pictures before.

    Parameters
    ----------
    pictures : sequence of Picture
        The readable ones.
    digests : sequence of bytes
        SHA-256 of the content of each.
    table : StoredFeatures
        Their features.
    late : Tap
        The average of a late map of the network.
    space : str
        Name of the space that they lie in: other features, other copies.
    store : FeatureStore
        Remembers.
    progress : Progress
        Hears of a search.
    """

    pictures: Sequence[Picture]
    digests: Sequence[bytes]
    table: StoredFeatures
    late: Tap
    space: str
    store: FeatureStore
    progress: Progress

    def groups(self) -> Groups:
        """Find groups of pictures that show the same.

        Pictures of a test part that the user made have no say in what is the same among the
        others: those are compared with each other, and then with the test part, which says what
        has to leave train because a copy of it is tested.
        """
        tested = _tested(self.pictures)
        rows = np.arange(len(self.pictures), dtype=np.intp)
        shown: dict[Path, Shown] = {}
        if not tested.any():
            return self._among(rows, shown)
        across = (group for group in self._among(rows, shown) if tested[list(group)].any())
        return (*self._among(rows[~tested], shown), *across)

    def _among(self, rows: NDArray[np.intp], shown: dict[Path, Shown]) -> Groups:
        found = hashlib.sha256(json.dumps([LOOK_SCHEME, self.space]).encode())
        found.update(b"".join(self.digests[row] for row in rows))
        key, before = found.hexdigest(), self.store.note(_NEAR) or []
        known = next((entry["groups"] for entry in before if entry["key"] == key), None)
        if known is None:
            self.progress.start("looking for copies", 0)
            paths = [self.pictures[row].path for row in rows]
            features = self.table.read([self.late], rows)
            known = [list(group) for group in near_copies(paths, features, shown)]
            self.progress.finish()
            entry = {"key": key, "groups": known}
            self.store.set_note(_NEAR, [entry, *before][:_REMEMBERED])
        return tuple(tuple(int(rows[place]) for place in group) for group in known)


def _tested(pictures: Sequence[Picture]) -> NDArray[np.bool_]:
    """Mark the test part that the user made: the second part, where it has another name."""
    roles = [picture.role for picture in pictures]
    last = next((role for role in ("test", "val") if role in roles), None)
    return np.array([last is not None and role == last for role in roles], dtype=bool)
