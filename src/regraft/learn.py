"""From labelled pictures to a trained head, its evidence and its test figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.candidates import candidate_sets
from regraft.data.records import Manifest, Picture, Skipped
from regraft.data.splits import Splits, folds, split
from regraft.errors import UserError
from regraft.frozen.devices import Device, get_device
from regraft.frozen.extract import Extraction, FrozenPass
from regraft.frozen.plan import PassPlan
from regraft.frozen.precision import Parity
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore, StoreMiss
from regraft.frozen.table import StoredFeatures
from regraft.heads.linear import LinearHead
from regraft.metrics import Evaluation, evaluate_predictions
from regraft.options import FitOptions
from regraft.progress import Progress
from regraft.readable import check_readable, not_test
from regraft.selection import Choice, FeatureTable, choose, fit_head
from regraft.strategy import Strategy
from regraft.symmetry import keeps_class
from regraft.tuning import Lesson, Outcome, Studio

if TYPE_CHECKING:
    from regraft.train.report import PhaseReport

_FOLDS = 5
_MANY = 2000  # pictures of which a tenth is enough to say when to stop
_ENOUGH = 5000  # pictures that say it as well as more would
_TEST_ROWS = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A trained head with everything that led to it.

    Parameters
    ----------
    backbone : Backbone
        The network below the head: the source network, or what training made of it.
    classes : tuple of str
        Columns of the head.
    strategy : Strategy
        What was chosen.
    choice : Choice
        The evidence for it, optimistic by nature.
    head : LinearHead
        Trained on all pictures that are not test pictures.
    evaluation : Evaluation
        Figures on the test pictures.
    extraction : Extraction
        What the frozen pass did.
    parity : Parity or None
        The check that allowed or forbade bfloat16 in the network as it is now.
    reports : tuple of PhaseReport
        What each phase of training did; none where only a head was trained.
    spare : Path or None
        What an interrupted fit would go on from; of no use once the bundle is written.
    splits : Splits
        Who played which part; indices into `pictures`.
    pictures : tuple of Picture
        The readable ones.
    digests : tuple of bytes
        SHA-256 of the content of each.
    skipped : tuple of Skipped
        What could not be read, or was no candidate.
    notes : tuple of str
        What the owner of the pictures may want to know.
    frozen_seconds, head_seconds, tuning_seconds : float
        Wall time of the pass, of choice and head, and of the training of layers.
    """

    backbone: Backbone
    classes: tuple[str, ...]
    strategy: Strategy
    choice: Choice
    head: LinearHead
    evaluation: Evaluation
    extraction: Extraction
    parity: Parity | None
    reports: tuple[PhaseReport, ...]
    spare: Path | None
    splits: Splits
    pictures: tuple[Picture, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    frozen_seconds: float
    head_seconds: float
    tuning_seconds: float

    @property
    def learned_from(self) -> tuple[bytes, ...]:
        """Digests of the pictures that chose or trained something."""
        rows = np.concatenate([self.splits.train, self.splits.val])
        return tuple(self.digests[row] for row in rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Lot:
    """The readable pictures, in parts, with their features."""

    pictures: tuple[Picture, ...]
    digests: tuple[bytes, ...]
    splits: Splits
    classes: tuple[str, ...]
    y: NDArray[np.intp]
    table: StoredFeatures


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """What training came to."""

    backbone: Backbone
    strategy: Strategy
    choice: Choice
    head: LinearHead
    evaluation: Evaluation
    parity: Parity | None
    reports: tuple[PhaseReport, ...] = ()
    spare: Path | None = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a fit works with.

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
    """

    backbone: Backbone
    plan: PassPlan
    store: FeatureStore
    cache: Path
    options: FitOptions
    progress: Progress

    def learn(self, manifest: Manifest) -> Learned:
        """Run the frozen pass, split, choose, train and test.

        Raises
        ------
        UserError
            If too many pictures are unreadable, or the parts cannot be used.
        regraft.frozen.store.StoreMiss
            If rows vanished from the store meanwhile; running it again mends that.
        """
        began = time.perf_counter()
        device = self._device()
        extraction = self._extract(manifest, device)
        between = time.perf_counter()
        lot = self._lot(manifest, extraction)
        choice = self._choose(lot, tunes=self.options.tunes)
        if self.options.tunes:
            made, tuning = self._tuned(lot, choice, extraction, device)
        else:
            made, tuning = self._headed(lot, choice, extraction), 0.0
        return Learned(
            backbone=made.backbone,
            classes=lot.classes,
            strategy=made.strategy,
            choice=made.choice,
            head=made.head,
            evaluation=made.evaluation,
            extraction=extraction,
            parity=made.parity,
            reports=made.reports,
            spare=made.spare,
            splits=lot.splits,
            pictures=lot.pictures,
            digests=lot.digests,
            skipped=(*manifest.skipped, *extraction.skipped),
            notes=manifest.notes,
            frozen_seconds=between - began,
            head_seconds=time.perf_counter() - between - tuning,
            tuning_seconds=tuning,
        )

    def _lot(self, manifest: Manifest, extraction: Extraction) -> _Lot:
        """Put what could be read into parts."""
        readable = [i for i, digest in enumerate(extraction.digests) if digest is not None]
        pictures = tuple(manifest.pictures[i] for i in readable)
        digests = tuple(d for d in extraction.digests if d is not None)
        splits = split(
            pictures,
            digests,
            seed=self.options.seed,
            test_fraction=self.options.test_fraction,
            given={picture.role for picture in manifest.pictures if picture.role},
        )
        classes = tuple(sorted({pictures[row].label for row in splits.train}))
        column = {label: number for number, label in enumerate(classes)}
        y = np.array([column.get(picture.label, -1) for picture in pictures], dtype=np.intp)
        table = StoredFeatures(self.store, self.plan, extraction.spaces, digests, self.cache)
        return _Lot(pictures, digests, splits, classes, y, table)

    def _headed(self, lot: _Lot, choice: Choice, extraction: Extraction) -> _Made:
        """Train the head on all that is not test, and test it."""
        splits = lot.splits
        rows = np.sort(np.concatenate([splits.train, splits.val]))
        head = fit_head(lot.table, lot.y, len(lot.classes), rows, choice, self.progress)
        precision = extraction.precision
        strategy = Strategy("features", choice.features, head.kind, choice.strength, precision)
        evaluation = _test(lot.table, lot.y, lot.classes, splits, strategy, head)
        return _Made(self.backbone, strategy, choice, head, evaluation, extraction.parity)

    def _tuned(
        self, lot: _Lot, choice: Choice, extraction: Extraction, device: Device
    ) -> tuple[_Made, float]:
        """Train a head, then layers from there on, and test the whole; with the seconds taken."""
        train, held_out = _held_out(lot, self.options.seed)
        frozen = self._first_head(lot, choice, train)
        began = time.perf_counter()
        sources = [FileSource(p.path, p.name) for p in lot.pictures]
        precision = extraction.precision
        lesson = Lesson(
            sources=sources,
            digests=lot.digests,
            y=lot.y,
            n_classes=len(lot.classes),
            train=train,
            held_out=held_out,
            test=lot.splits.test,
            precision=precision,
            mirror=keeps_class(self.backbone, device, precision, frozen, sources, lot.y, held_out),
        )
        head = _empty(frozen) if self.options.strategy == "scratch" else frozen
        studio = Studio(self.backbone, device, self.store, self.cache, self.options, self.progress)
        tuned = studio.tune(lesson, head)
        if tuned.improved:
            made = self._judged(lot, choice, studio.test(lesson, tuned))
        else:  # the network is as it was, so more can be had from it
            made = self._headed(lot, self._choose(lot, tunes=False), extraction)
        seconds = time.perf_counter() - began
        return replace(made, reports=tuned.reports, spare=studio.checkpoint(lesson, head)), seconds

    def _first_head(self, lot: _Lot, choice: Choice, train: NDArray[np.intp]) -> LinearHead:
        """Train a head on the frozen features of the last cut, to convergence."""
        return fit_head(lot.table, lot.y, len(lot.classes), train, choice, self.progress)

    def _judged(self, lot: _Lot, choice: Choice, outcome: Outcome) -> _Made:
        """Test a network of which layers were trained."""
        test = lot.splits.test
        strategy = Strategy(
            self.options.strategy,
            choice.features,
            outcome.head.kind,
            choice.strength,
            outcome.extraction.precision,
            outcome.phases,
        )
        return _Made(
            outcome.backbone,
            strategy,
            choice,
            outcome.head,
            evaluate_predictions(
                lot.y[test], outcome.probabilities, lot.classes, lot.splits.units[test]
            ),
            outcome.extraction.parity,
        )

    def _device(self) -> Device:
        trains = self.backbone.description.trains
        return get_device(self.options.device, self.cache, trains=trains)

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

    def _choose(self, lot: _Lot, *, tunes: bool) -> Choice:
        """Choose what the head reads, where nothing else trains, and how it is penalised."""
        options, splits = self.options, lot.splits
        sets = candidate_sets([plan.cut for plan in self.plan.cuts])
        return choose(
            lot.table,
            lot.y,
            len(lot.classes),
            rows=splits.train,
            sets=sets[:1] if tunes else sets,
            folds=_folds(lot.y, splits, options.seed),
            validation=splits.val if len(splits.val) else None,
            head=options.head,
            metric=options.metric,
            balanced=options.class_weight == "balanced",
            seed=options.seed,
            units=splits.units,
            progress=self.progress,
        )


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


def _folds(y: NDArray[np.intp], splits: Splits, seed: int) -> NDArray[np.intp] | None:
    """Deal the training pictures into folds; None where a validation part was given."""
    if len(splits.val):
        return None
    return folds(y[splits.train], splits.units[splits.train], _FOLDS, seed)


def _held_out(lot: _Lot, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Set pictures aside that say when to stop: the validation part, or a fold of train."""
    splits = lot.splits
    if len(splits.val):
        return splits.train, splits.val
    plenty = max(2 * _FOLDS, len(splits.train) // _ENOUGH)
    count = _FOLDS if len(splits.train) < _MANY else plenty
    fold = folds(lot.y[splits.train], splits.units[splits.train], count, seed)
    train, held_out = splits.train[fold != 0], splits.train[fold == 0]
    if not len(held_out):
        raise UserError(
            "to train layers, every class needs two pictures or more, one of which says when to "
            "stop; add pictures, give a val/ part, or use --strategy features"
        )
    return train, held_out


def _empty(head: LinearHead) -> LinearHead:
    """Return a head of the same size that knows nothing: random weights have nothing to say."""
    return LinearHead("logistic", np.zeros_like(head.weight), np.zeros_like(head.bias))


def _test(
    table: FeatureTable,
    y: NDArray[np.intp],
    classes: Sequence[str],
    splits: Splits,
    strategy: Strategy,
    head: LinearHead,
) -> Evaluation:
    """Classify the test pictures, some thousand at a time."""
    rows = splits.test
    parts = [
        head.predict_proba(table.read(strategy.features.taps, rows[start : start + _TEST_ROWS]))
        for start in range(0, len(rows), _TEST_ROWS)
    ]
    return evaluate_predictions(y[rows], np.concatenate(parts), classes, splits.units[rows])
