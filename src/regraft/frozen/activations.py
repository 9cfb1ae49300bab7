"""What the frozen part hands to what trains: whole maps at a cut, of several views of each picture.

They lie in the feature store like all that a frozen network said, one row for each picture and
view, in the bytes of `regraft.frozen.rows`. Where nothing is frozen, the rows are the prepared
pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.backbones.cuts import Cut
from regraft.data.views import View
from regraft.errors import UserError
from regraft.frozen.blocks import bytes_on_disk
from regraft.frozen.devices import Device
from regraft.frozen.engine import Engine
from regraft.frozen.pipeline import Batcher, Failed, Known, Prepared, Reader
from regraft.frozen.plan import CutPlan, space_key
from regraft.frozen.rows import ROWS, Rows, encoded, row_bytes
from regraft.frozen.sources import Pixels, Source, Viewed
from regraft.frozen.store import FeatureStore, StoreMiss
from regraft.strategy import Precision, Tap

_WORD = 4
_COMMIT_SECONDS = 1.0
_COMMIT_BYTES = 32 << 20
_JUDGED = 16  # rows that are read back to learn how long that takes


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where the frozen part ends and training begins.

    Parameters
    ----------
    backbone : Backbone
        The source network.
    cut : Cut or None
        The last cut of the frozen part; None where nothing is frozen.
    precision : {"bf16", "f32"}
        Arithmetic of the frozen part.
    """

    backbone: Backbone
    cut: Cut | None
    precision: Precision

    @property
    def row_bytes(self) -> int:
        """Bytes of a row: see `regraft.frozen.rows`, or one for each value of a pixel."""
        height, width = self.backbone.preprocess.size
        return 3 * height * width if self.cut is None else row_bytes(self.cut.tensors)

    @property
    def bytes_on_disk(self) -> int:
        """Bytes that a row takes in the store."""
        return bytes_on_disk(-(-self.row_bytes // _WORD) * _WORD)

    def space(self, device: Device, view: View) -> str:
        """Name where the rows of a view lie in the store."""
        if self.cut is None:
            plan, engine = CutPlan(Cut("", ()), ()), "pixels"
        else:
            plan, engine = CutPlan(self.cut, ("map",)), f"{device.name}, rows {ROWS}"
        return space_key(self.backbone, plan, self.precision, engine, view.name)


class Activations:
    """The rows of a set of pictures at a boundary.

    Parameters
    ----------
    boundary : Boundary
        Where the frozen part ends.
    device : Device
        What it runs on.
    store : FeatureStore
        Where rows are kept.
    sources : sequence of Source
        The pictures.
    digests : sequence of bytes
        SHA-256 of the content of each.
    kept_views : int
        Views that are stored: those with a lower number. The others are computed each time, and
        so are all where the disk turns out to be slower than the engine.
    """

    def __init__(
        self,
        boundary: Boundary,
        device: Device,
        store: FeatureStore,
        sources: Sequence[Source],
        digests: Sequence[bytes],
        kept_views: int,
    ) -> None:
        self.boundary = boundary
        self._device = device
        self._store = store
        self._sources = sources
        self._digests = digests
        self._kept_views = kept_views
        self._pending: dict[str, dict[bytes, Rows]] = {}
        self._flushed_at = time.monotonic()
        self._computed, self._computing_seconds = 0, 0.0
        self._judged = False

    @cached_property
    def engine(self) -> Engine:
        """The frozen part, compiled when it is first needed."""
        cut = self.boundary.cut
        if cut is None:
            return _Pixels()
        taps = (Tap(cut.name, "map"),)
        return self._device.engine(self.boundary.backbone, taps, self.boundary.precision)

    def read(self, view: View, rows: Sequence[int]) -> Rows:
        """Read one view of some pictures, in that order; what is not stored is computed now.

        What was computed is stored a second's worth at a time, and by `flush`.

        Returns
        -------
        ndarray of shape (len(rows), row_bytes), uint8

        Raises
        ------
        UserError
            If a picture cannot be read any more, or the store cannot be written.
        """
        space = self.boundary.space(self._device, view)
        wanted = [self._digests[row] for row in rows]
        found = dict(self._pending.get(space, {}))
        while True:
            rest = [digest for digest in dict.fromkeys(wanted) if digest not in found]
            try:
                stored = self._plain(self._store.read(space, rest)) if rest else ()
            except StoreMiss as miss:
                lacking = set(miss.digests)
                fresh = self._compute(view, [r for r in rows if self._digests[r] in lacking])
                found.update(fresh)
                if view.number < self._kept_views:
                    self._shelve(space, fresh)
                continue
            found.update(zip(rest, stored, strict=True))
            return np.stack([found[digest] for digest in wanted])

    def flush(self) -> None:
        """Store what was computed and is not stored yet."""
        if self._pending:
            batches = [
                (space, list(rows), as_words(np.stack(list(rows.values()))))
                for space, rows in self._pending.items()
            ]
            self._store.put_batches(batches, scattered=True)
            space, digests, _ = max(batches, key=lambda batch: len(batch[1]))
            self._judge(space, digests[:_JUDGED])
        self._pending = {}
        self._flushed_at = time.monotonic()

    def _judge(self, space: str, digests: Sequence[bytes]) -> None:
        """Store nothing more where reading a row back is slower than computing it again."""
        if self._judged or len(digests) < _JUDGED:
            return
        self._judged = True
        reading = self._store.cold_read_seconds(space, digests) / len(digests)
        if reading > self._computing_seconds / max(1, self._computed):
            self._kept_views = 0

    def _shelve(self, space: str, fresh: Mapping[bytes, Rows]) -> None:
        self._pending.setdefault(space, {}).update(fresh)
        count = sum(len(rows) for rows in self._pending.values())
        late = time.monotonic() - self._flushed_at > _COMMIT_SECONDS
        if late or count * self.boundary.row_bytes > _COMMIT_BYTES:
            self.flush()

    def _plain(self, words: NDArray[np.float32]) -> Rows:
        return words.view(np.uint8)[:, : self.boundary.row_bytes]

    def _compute(self, view: View, rows: Sequence[int]) -> dict[bytes, Rows]:
        found: dict[bytes, Rows] = {}
        self.engine  # noqa: B018 - compiling is not computing
        began = time.perf_counter()

        def collect(pictures: Sequence[Known], values: NDArray[Any]) -> None:
            digests = (picture.digest for picture in pictures)
            found.update(zip(digests, self._encoded(values), strict=True))

        self._run(view, rows, collect)
        self._computed += len(found)
        self._computing_seconds += time.perf_counter() - began
        return found

    def _encoded(self, values: NDArray[Any]) -> Rows:
        cut = self.boundary.cut
        return values if cut is None else encoded(values, cut.tensors)

    def _run(
        self,
        view: View,
        rows: Sequence[int],
        collect: Callable[[Sequence[Known], NDArray[Any]], None],
    ) -> None:
        preparation = Viewed(self.boundary.backbone.preprocess, view)
        reader = Reader(self._sources, rows, preparation, lambda _: False)
        with reader, Batcher(self.engine, collect) as batcher:
            for outcome in reader:
                if outcome.digest != self._digests[outcome.index]:
                    why = outcome.reason if isinstance(outcome, Failed) else "has changed"
                    raise UserError(
                        f"{self._sources[outcome.index].name} {why}, after it had been read "
                        "before; leave the pictures as they are during a fit, and start it again"
                    )
                if isinstance(outcome, Prepared):
                    batcher.add(outcome)
            batcher.finish()


class _Pixels:
    """The engine of a network of which nothing is frozen; see `regraft.frozen.engine.Engine`."""

    batch = 8

    def start(self, pixels: Pixels, done: Callable[[Any], None]) -> None:
        """Give the pixels themselves, uint8 (n, H * W * 3)."""
        done(pixels.reshape(len(pixels), -1))

    def wait(self) -> None:
        """Return at once."""


def as_words(rows: Rows) -> NDArray[np.float32]:
    """Fill rows up to a multiple of four bytes: the store keeps words."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % _WORD))).view(np.float32)


def spread(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return at most so many of some rows, evenly spread: they may be sorted by class."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.intp)
    return rows[np.unique(places)]
