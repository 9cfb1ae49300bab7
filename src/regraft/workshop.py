"""What a fit and an advice work with: a network, a store, settings; and pictures in parts."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.backbones.cuts import Cut
from regraft.candidates import candidate_sets
from regraft.data.records import Manifest, Picture
from regraft.data.splits import Splits, folds, split
from regraft.errors import UserError
from regraft.frozen.devices import Device, get_device
from regraft.frozen.extract import Extraction, FrozenPass
from regraft.frozen.plan import PassPlan, plan_of
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore, StoreMiss
from regraft.frozen.table import StoredFeatures
from regraft.kept_together import Groups, Together
from regraft.options import FitOptions
from regraft.progress import Progress, Silent
from regraft.readable import check_readable, not_test
from regraft.selection import Choice, HeldOut, choose, fit_head
from regraft.strategy import FeatureSet, Tap

FOLDS = 5
"""Folds of a cross-validation, of which a large collection needs fewer."""

T = TypeVar("T")

_TOO_ALIKE = (
    "of {labels} there are so many near copies of one picture that none could be tested without a "
    "copy of it in train: they were not kept together, and new pictures of it will be harder than "
    "the test; see `regraft audit`"
)
_MANY_ALIKE = (
    "{alike:,} of the {n:,} pictures look like copies of others, or the same scene, and were kept "
    "together; see `regraft audit`"
)
_WORTH_SAYING = 0.1
_NAMED = 5
_TIMED, _AT_ONCE = 128, 2048  # pictures of a pass that is given up where it takes too long


@dataclass(frozen=True, slots=True, eq=False)
class Lot:
    """The readable pictures, in parts, with their features.

    Parameters
    ----------
    pictures : tuple of Picture
        The readable ones.
    digests : tuple of bytes
        SHA-256 of the content of each.
    splits : Splits
        Who plays which part; indices into `pictures`.
    classes : tuple of str
        Labels of the training pictures, sorted: the columns of a head.
    y : ndarray of shape (number of pictures,), int
        Column of each picture's class; -1 where it is not trained.
    table : StoredFeatures
        Their features.
    extraction : Extraction
        What the frozen pass did.
    device : Device
        What it ran on.
    copies : tuple of tuple of int
        Groups of pictures that show the same.
    notes : tuple of str
        What the owner of the pictures may want to know of the parts.
    choices : dict
        What was chosen so far, by what decides it; see `Workshop.choose`.
    """

    pictures: tuple[Picture, ...]
    digests: tuple[bytes, ...]
    splits: Splits
    classes: tuple[str, ...]
    y: NDArray[np.intp]
    table: StoredFeatures
    extraction: Extraction
    device: Device
    copies: Groups
    notes: tuple[str, ...] = ()
    choices: dict[tuple[object, ...], Choice] = field(default_factory=dict)

    @property
    def sources(self) -> list[FileSource]:
        """The files."""
        return [FileSource(picture.path, picture.name) for picture in self.pictures]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a fit or an advice works with.

    Parameters
    ----------
    backbone : Backbone
        The source network.
    plan : PassPlan
        What the frozen pass takes from it.
    store : FeatureStore
        Where features are kept.
    cache : Path
        Where converted networks are kept.
    options : FitOptions
        The settings.
    progress : Progress
        Hears what is going on.
    copies : tuple of tuple of int, optional
        Groups of readable pictures that show the same, where another network has said it; networks
        that are compared need the same parts.
    """

    backbone: Backbone
    plan: PassPlan
    store: FeatureStore
    cache: Path
    options: FitOptions
    progress: Progress
    copies: Groups | None = None

    def gather(self, manifest: Manifest) -> Lot:
        """Run the frozen pass and put what can be read into parts.

        Raises
        ------
        UserError
            If too many pictures are unreadable, or the parts cannot be used.
        """
        device = get_device(
            self.options.device, self.cache, trains=self.backbone.description.trains
        )
        extraction = self._extract(manifest, device)
        readable = [i for i, digest in enumerate(extraction.digests) if digest is not None]
        pictures = tuple(manifest.pictures[i] for i in readable)
        digests = tuple(d for d in extraction.digests if d is not None)
        table = StoredFeatures(self.store, self.plan, extraction.spaces, digests, self.cache)
        near = self.copies
        if near is None:
            late = self.plan.late
            space = extraction.spaces[self.plan.cuts.index(self.plan.cut_of(late))]
            together = Together(pictures, digests, table, late, space, self.store, self.progress)
            near = together.groups()
        splits, notes = self._split(manifest, pictures, digests, near)
        classes = tuple(sorted({pictures[row].label for row in splits.train}))
        column = {label: number for number, label in enumerate(classes)}
        y = np.array([column.get(picture.label, -1) for picture in pictures], dtype=np.intp)
        return Lot(pictures, digests, splits, classes, y, table, extraction, device, near, notes)

    def with_taps(self, lot: Lot, taps: Collection[Tap], ends: float = math.inf) -> Lot | None:
        """Take more from the network, of the same pictures in the same parts.

        Parameters
        ----------
        lot : Lot
            The pictures.
        taps : collection of Tap
            What is to be read; what the plan has is there already.
        ends : float
            When time is up, of `time.perf_counter`.

        Returns
        -------
        Lot or None
            None where there is no time for a pass, as the first pictures show.

        Raises
        ------
        UserError
            If a picture is not what it was any more.
        regraft.frozen.store.StoreMiss
            If rows vanished from the store meanwhile; running it again mends that.
        """
        lacking = [tap for tap in taps if tap not in self.plan.taps]
        if not lacking:
            return lot
        plan, precision = plan_of(lacking, self.backbone.cuts), lot.extraction.precision
        frozen = FrozenPass(self.backbone, plan, self.store, lot.device, precision, Silent())
        sources, spaces = lot.sources, None
        self.progress.start("frozen pass of the shorter network", len(sources))
        for start, stop in _slices(len(sources)):
            began = time.perf_counter()
            extraction = frozen.run(sources[start:stop])
            if extraction.digests != lot.digests[start:stop]:
                raise UserError(
                    "pictures changed while they were looked at; leave them as they are during a "
                    "fit, and start it again"
                )
            spaces = extraction.spaces
            self.progress.advance(stop - start)
            now = time.perf_counter()
            rest = (len(sources) - stop) * (now - began) / (stop - start) if start else 0.0
            if stop < len(sources) and now + rest > ends:
                self.progress.finish()
                return None
        self.progress.finish()
        assert spaces is not None, "there are pictures"
        more = StoredFeatures(self.store, plan, spaces, lot.digests, self.cache)
        return replace(lot, table=replace(lot.table, beside=more), choices={})

    def _split(
        self,
        manifest: Manifest,
        pictures: Sequence[Picture],
        digests: Sequence[bytes],
        near: Sequence[Sequence[int]],
    ) -> tuple[Splits, tuple[str, ...]]:
        """Settle the parts, copies on one side wherever that leaves something to test with."""
        options = self.options
        settle = partial(
            split,
            pictures,
            digests,
            seed=options.seed,
            test_fraction=options.test_fraction,
            given={picture.role for picture in manifest.pictures if picture.role},
        )
        alike = sum(map(len, near))
        many = alike > _WORTH_SAYING * len(pictures)
        notes = [_MANY_ALIKE.format(alike=alike, n=len(pictures))] if many else []
        try:
            return settle(near_duplicates=near), tuple(notes)
        except UserError:
            if not near:
                raise
        refused = _refused(pictures, near, settle)
        kept = [group for group in near if not any(pictures[i].label in refused for i in group)]
        try:
            splits = settle(near_duplicates=kept)
        except UserError:
            refused, splits = {pictures[i].label for group in near for i in group}, settle()
        named = sorted(refused)
        labels = ", ".join(map(repr, named[:_NAMED]))
        labels += f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        return splits, (*notes, _TOO_ALIKE.format(labels=labels))

    def _extract(self, manifest: Manifest, device: Device) -> Extraction:
        precision = None if self.options.precision == "auto" else self.options.precision
        frozen = FrozenPass(self.backbone, self.plan, self.store, device, precision, self.progress)
        if precision == "bf16" and not device.supports_bf16():
            raise UserError(
                "precision must be 'auto' or 'f32' on this machine, got 'bf16', which it cannot "
                "compute in"
            )
        sources = [FileSource(p.path, p.name) for p in manifest.pictures]
        extraction = frozen.run(sources, not_test(manifest))
        check_readable(manifest, extraction, self.options.strict)
        return extraction

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The cuts that are probed, from input to output."""
        return self.plan.probes

    def choose(self, lot: Lot, sets: tuple[FeatureSet, ...] | None = None) -> Choice:
        """Choose what the head reads, and how it is penalised; asked again, it remembers.

        Parameters
        ----------
        lot : Lot
            The pictures; those of the test part choose nothing.
        sets : tuple of FeatureSet, optional
            What the head may read; see `regraft.candidates` for what it is where nothing is said.

        Raises
        ------
        regraft.frozen.store.StoreMiss
            If rows vanished from the store meanwhile; running it again mends that.
        """
        sets = sets or candidate_sets(self.cuts)
        options = self.options
        key = (sets, options.head, options.metric, options.class_weight, options.seed)
        if key not in lot.choices:
            lot.choices[key] = self._chosen(lot, sets)
        return lot.choices[key]

    def held_out(self, lot: Lot, choice: Choice) -> HeldOut | None:
        """Let a head judge pictures that it was not trained on, where a sample made the choice.

        Returns
        -------
        HeldOut or None
            None where the pictures are too few for folds.
        """
        if choice.method == "none":
            return None
        splits = lot.splits
        trains, out = splits.train, splits.val
        dealt = _folds(lot.y, splits, self.options.seed)
        if dealt is not None:
            trains, out = splits.train[dealt != 0], splits.train[dealt == 0]
        head = fit_head(lot.table, lot.y, len(lot.classes), trains, choice, self.progress)
        return HeldOut(out, head.scores(lot.table.read(choice.features.taps, out)))

    def _chosen(self, lot: Lot, sets: tuple[FeatureSet, ...]) -> Choice:
        options, splits = self.options, lot.splits
        return choose(
            lot.table,
            lot.y,
            len(lot.classes),
            rows=splits.train,
            sets=sets,
            folds=_folds(lot.y, splits, options.seed),
            validation=splits.val if len(splits.val) else None,
            head=options.head,
            metric=options.metric,
            balanced=options.class_weight == "balanced",
            seed=options.seed,
            units=splits.units,
            progress=self.progress,
        )


@contextlib.contextmanager
def open_store(cache: Path) -> Iterator[FeatureStore]:
    """Open the store; left, it is within its cap, also where what used it failed."""
    with FeatureStore(cache) as store:
        try:
            yield store
        except BaseException:
            with contextlib.suppress(Exception):
                store.trim()
            raise
        store.trim()


def retried(work: Callable[[], T], plan: PassPlan) -> T:
    """Work with stored features; where rows are gone meanwhile, again, once for each cut.

    Parameters
    ----------
    work : callable
        Computes the features that are not stored, then uses them.
    plan : PassPlan
        What it takes; the rows of each of its cuts may have been evicted or damaged.

    Raises
    ------
    regraft.frozen.store.StoreMiss
        If rows keep vanishing.
    """
    for _ in plan.cuts:
        try:
            return work()
        except StoreMiss:
            continue
    return work()


def _slices(count: int) -> Iterator[tuple[int, int]]:
    """Deal pictures into runs: one that waits for the engine, some that are timed, then many."""
    stop = 0
    for size in itertools.chain((1, _TIMED), itertools.repeat(_AT_ONCE)):
        start, stop = stop, min(count, stop + size)
        if start == stop:
            return
        yield start, stop


def _refused(
    pictures: Sequence[Picture],
    near: Sequence[Sequence[int]],
    settle: Callable[..., Splits],
) -> set[str]:
    """Name the classes whose near copies leave nothing to learn from or to test with."""
    refused = set()
    for label in sorted({pictures[i].label for group in near for i in group}):
        own = [group for group in near if any(pictures[i].label == label for i in group)]
        try:
            settle(near_duplicates=own)
        except UserError:
            refused.add(label)
    return refused


def _folds(y: NDArray[np.intp], splits: Splits, seed: int) -> NDArray[np.intp] | None:
    """Deal the training pictures into folds; None where a validation part was given."""
    if len(splits.val):
        return None
    return folds(y[splits.train], splits.units[splits.train], FOLDS, seed)
