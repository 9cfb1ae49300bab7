"""The frozen pass over a set of pictures: each picture once, then from the store for ever."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.data.images import PictureError
from regraft.data.records import Skipped
from regraft.frozen.devices import Device
from regraft.frozen.engine import Engine, run_all
from regraft.frozen.pipeline import Batcher, Failed, Known, Outcome, Prepared, Reader
from regraft.frozen.plan import PassPlan, space_key
from regraft.frozen.precision import (
    Parity,
    Verdict,
    check_positions,
    compare,
    recall_verdict,
    remember_verdict,
)
from regraft.frozen.sources import Source
from regraft.frozen.store import FeatureStore
from regraft.progress import Progress
from regraft.strategy import Precision, Tap

# Rows go to the disk in one transaction a second or so: a killed run loses at most that.
_COMMIT_SECONDS = 1.0
_COMMIT_PICTURES = 256


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a frozen pass found out.

    Parameters
    ----------
    digests : tuple of (bytes or None)
        SHA-256 of each picture's content, in the order of the sources; None: skipped.
    skipped : tuple of Skipped
        The pictures that could not be used, with the reason.
    precision : {"bf16", "f32"}
        Arithmetic of the pass.
    parity : Parity or None
        The check that allowed or forbade bfloat16; None where none was needed.
    spaces : tuple of str
        For each cut of the plan, the key under which its rows lie in the store.
    hits, misses : int
        Pictures found in the store (or copies of others), and computed now.
    """

    digests: tuple[bytes | None, ...]
    skipped: tuple[Skipped, ...]
    precision: Precision
    parity: Parity | None
    spaces: tuple[str, ...]
    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class FrozenPass:
    """Runs pictures through the frozen part of a backbone, by way of the store.

    Parameters
    ----------
    backbone : Backbone
        The source network.
    plan : PassPlan
        What is taken from it.
    store : FeatureStore
        Where features are kept.
    device : Device
        What it runs on.
    precision : {"bf16", "f32"} or None
        None takes bfloat16 where the device has it and the pictures pass the check of
        `regraft.frozen.precision`.
    progress : Progress
        Hears of every picture.
    """

    backbone: Backbone
    plan: PassPlan
    store: FeatureStore
    device: Device
    precision: Precision | None
    progress: Progress

    def run(self, sources: Sequence[Source], checkable: Sequence[int] | None = None) -> Extraction:
        """Make sure that the features of all readable pictures are in the store.

        Parameters
        ----------
        sources : sequence of Source
            The pictures; the same content twice is computed once.
        checkable : sequence of int, optional
            Positions of the pictures that may decide on the precision; all by default.

        Raises
        ------
        regraft.errors.UserError
            If the store cannot be written.
        """
        candidates = range(len(sources)) if checkable is None else checkable
        names = [sources[position].name for position in candidates]
        checked = [candidates[number] for number in check_positions(names)]
        verdict = self._settled(sources, checked)
        intake = _Intake(self, len(sources))
        if verdict is not None:
            intake.settle(self._spaces(verdict.precision))
        first = set(checked)
        order = [*checked, *(i for i in range(len(sources)) if i not in first)]
        self.progress.start("frozen pass", len(sources))
        with Reader(sources, order, self.backbone.preprocess, intake.is_known) as reader:
            outcomes = iter(reader)
            early: list[Outcome] = []
            engine = None
            if verdict is None:
                early = _until_seen(outcomes, first)
                verdict, engine = self._check(early, first)
                intake.settle(self._spaces(verdict.precision))
            intake.consume(itertools.chain(early, outcomes), verdict.precision, engine)
        self.progress.finish()
        return intake.extraction(sources, verdict)

    def _spaces(self, precision: Precision) -> tuple[str, ...]:
        return tuple(
            space_key(self.backbone, plan, precision, self.device.name) for plan in self.plan.cuts
        )

    def _verdict_key(self) -> str:
        return f"precision:{space_key(self.backbone, self.plan.last, 'bf16', self.device.name)}"

    def _settled(self, sources: Sequence[Source], checked: Sequence[int]) -> Verdict | None:
        """Return the precision that was asked for, or that an earlier check of these settled."""
        if self.precision is not None:
            return Verdict(self.precision, None, ())
        digests = []
        for position in checked:
            try:
                digests.append(sources[position].load().digest)
            except PictureError:
                continue
        return recall_verdict(self.store, self._verdict_key(), digests)

    def _check(self, early: Sequence[Outcome], first: set[int]) -> tuple[Verdict, Engine | None]:
        """Decide on bfloat16 by the user's own pictures; an engine that was made can be used."""
        pictures = [o for o in early if isinstance(o, Prepared) and o.index in first]
        if not pictures:
            return Verdict("f32", None, ()), None
        pictures.sort(key=lambda picture: picture.index)
        parity, engine = None, None
        if self.device.supports_bf16():
            pixels = np.stack([picture.pixels for picture in pictures])
            cuts, last = self.plan.cuts, self.plan.last
            average = Tap(last.cut.name, "avg")
            before = sum(plan.width for plan in cuts[: cuts.index(last)])
            start = before + last.columns(average).start
            columns = slice(start, start + self.plan.tap_width(average))
            engine = self.device.engine(self.backbone, self.plan.taps, "bf16")
            exact = self.device.engine(self.backbone, (average,), "f32")
            parity = compare(run_all(exact, pixels), run_all(engine, pixels)[:, columns])
        passed = parity is not None and parity.passed
        digests = tuple(picture.digest for picture in pictures)
        verdict = Verdict("bf16" if passed else "f32", parity, digests)
        remember_verdict(self.store, self._verdict_key(), verdict)
        return verdict, engine if passed else None


class _Intake:
    """Takes the reader's outcomes one by one and fills the store."""

    def __init__(self, frozen: FrozenPass, count: int) -> None:
        self._frozen = frozen
        self._spaces: tuple[str, ...] = ()
        self._known: set[bytes] = set()
        self._digests: list[bytes | None] = [None] * count
        self._failures: dict[int, Failed] = {}
        self._digests_done: list[bytes] = []
        self._features: list[NDArray[np.float32]] = []
        self._committed_at = time.monotonic()
        self._hits = self._misses = 0

    def is_known(self, digest: bytes) -> bool:
        """Whether the features are stored; nothing is, until the precision is settled."""
        return digest in self._known

    def settle(self, spaces: tuple[str, ...]) -> None:
        """From now on, rows of these spaces count as known."""
        self._spaces = spaces
        store = self._frozen.store
        self._known = set.intersection(*(store.known(space) for space in spaces))

    def consume(
        self, outcomes: Iterable[Outcome], precision: Precision, engine: Engine | None
    ) -> None:
        """Run what has to be run; what was finished is stored even if this is interrupted."""
        frozen = self._frozen
        batcher: Batcher | None = None
        try:
            with contextlib.ExitStack() as stack:
                for outcome in outcomes:
                    picture = self._to_compute(outcome)
                    if picture is None:
                        frozen.progress.advance(1)
                        continue
                    if batcher is None:
                        engine = engine or self._engine(precision)
                        batcher = stack.enter_context(Batcher(engine, self._collect))
                    batcher.add(picture)
                if batcher is not None:
                    batcher.finish()
        finally:
            self._commit()

    def _to_compute(self, outcome: Outcome) -> Prepared | None:
        """Note an outcome; return the picture if its features are not stored."""
        if isinstance(outcome, Failed):
            self._failures[outcome.index] = outcome
            return None
        self._digests[outcome.index] = outcome.digest
        if isinstance(outcome, Known) or outcome.digest in self._known:
            self._hits += 1
            return None
        return outcome

    def _engine(self, precision: Precision) -> Engine:
        return self._frozen.device.engine(self._frozen.backbone, self._frozen.plan.taps, precision)

    def _collect(self, pictures: Sequence[Known], features: NDArray[np.float32]) -> None:
        self._digests_done.extend(picture.digest for picture in pictures)
        self._features.append(features)
        self._misses += len(pictures)
        self._frozen.progress.advance(len(pictures))
        late = time.monotonic() - self._committed_at > _COMMIT_SECONDS
        if late or len(self._digests_done) >= _COMMIT_PICTURES:
            self._commit()

    def _commit(self) -> None:
        if self._features:
            features = np.concatenate(self._features)
            starts = np.cumsum([0, *(plan.width for plan in self._frozen.plan.cuts)])
            self._frozen.store.put_batches(
                (space, self._digests_done, features[:, start:stop])
                for space, start, stop in zip(self._spaces, starts, starts[1:], strict=False)
            )
        self._digests_done, self._features = [], []
        self._committed_at = time.monotonic()

    def extraction(self, sources: Sequence[Source], verdict: Verdict) -> Extraction:
        """Sum up; a copy of a picture that failed has failed too."""
        reasons = {f.digest: f.reason for f in self._failures.values() if f.digest is not None}
        for index, digest in enumerate(self._digests):
            if digest is not None and digest in reasons:
                self._failures[index] = Failed(index, digest, reasons[digest])
                self._digests[index] = None
                self._hits -= 1
        skipped = [
            Skipped(sources[index].name, self._failures[index].reason)
            for index in sorted(self._failures)
        ]
        return Extraction(
            digests=tuple(self._digests),
            skipped=tuple(skipped),
            precision=verdict.precision,
            parity=verdict.parity,
            spaces=self._spaces,
            hits=self._hits,
            misses=self._misses,
        )


def _until_seen(outcomes: Iterable[Outcome], wanted: set[int]) -> list[Outcome]:
    """Take outcomes until all wanted positions were among them."""
    missing = set(wanted)
    taken = []
    for outcome in outcomes:
        taken.append(outcome)
        missing.discard(outcome.index)
        if not missing:
            break
    return taken
