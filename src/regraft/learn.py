"""From labelled pictures to a trained head, its evidence and its test figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.candidates import candidate_sets
from regraft.data.records import Manifest, Picture, Skipped
from regraft.data.splits import Splits, folds, split
from regraft.errors import UserError
from regraft.frozen.devices import get_device
from regraft.frozen.extract import Extraction, FrozenPass
from regraft.frozen.plan import PassPlan
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore, StoreMiss
from regraft.frozen.table import StoredFeatures
from regraft.heads.linear import LinearHead
from regraft.metrics import Evaluation, evaluate_predictions
from regraft.options import FitOptions
from regraft.progress import Progress
from regraft.selection import Choice, FeatureTable, choose, fit_head
from regraft.strategy import Strategy

_FOLDS = 5
_MOST_UNREADABLE = 0.5
_MOST_LISTED = 20
_TEST_ROWS = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A trained head with everything that led to it.

    Parameters
    ----------
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
    frozen_seconds, head_seconds : float
        Wall time of the pass, and of choice and training.
    """

    classes: tuple[str, ...]
    strategy: Strategy
    choice: Choice
    head: LinearHead
    evaluation: Evaluation
    extraction: Extraction
    splits: Splits
    pictures: tuple[Picture, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    frozen_seconds: float
    head_seconds: float

    @property
    def learned_from(self) -> tuple[bytes, ...]:
        """Digests of the pictures that chose or trained something."""
        rows = np.concatenate([self.splits.train, self.splits.val])
        return tuple(self.digests[row] for row in rows)


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
        extraction = self._extract(manifest)
        between = time.perf_counter()
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
        choice, head = self._train(table, y, classes, splits)
        strategy = Strategy(
            "features", choice.features, head.kind, choice.strength, extraction.precision
        )
        evaluation = _test(table, y, classes, splits, strategy, head)
        return Learned(
            classes=classes,
            strategy=strategy,
            choice=choice,
            head=head,
            evaluation=evaluation,
            extraction=extraction,
            splits=splits,
            pictures=pictures,
            digests=digests,
            skipped=(*manifest.skipped, *extraction.skipped),
            notes=manifest.notes,
            frozen_seconds=between - began,
            head_seconds=time.perf_counter() - between,
        )

    def _extract(self, manifest: Manifest) -> Extraction:
        precision = None if self.options.precision == "auto" else self.options.precision
        trains = self.backbone.description.trains
        device = get_device(self.options.device, self.cache, trains=trains)
        frozen = FrozenPass(self.backbone, self.plan, self.store, device, precision, self.progress)
        if precision == "bf16" and not device.supports_bf16():
            raise UserError(
                "precision must be 'auto' or 'f32' on this machine, got 'bf16', which it cannot "
                "compute in"
            )
        sources = [FileSource(p.path, p.name) for p in manifest.pictures]
        extraction = frozen.run(sources, _not_test(manifest))
        _check_readable(manifest, extraction, self.options.strict)
        return extraction

    def _train(
        self,
        table: FeatureTable,
        y: NDArray[np.intp],
        classes: Sequence[str],
        splits: Splits,
    ) -> tuple[Choice, LinearHead]:
        options = self.options
        choice = choose(
            table,
            y,
            len(classes),
            rows=splits.train,
            sets=candidate_sets([plan.cut for plan in self.plan.cuts]),
            folds=_folds(y, splits, options.seed),
            validation=splits.val if len(splits.val) else None,
            head=options.head,
            metric=options.metric,
            balanced=options.class_weight == "balanced",
            seed=options.seed,
            units=splits.units,
            progress=self.progress,
        )
        rows = np.sort(np.concatenate([splits.train, splits.val]))
        return choice, fit_head(table, y, len(classes), rows, choice, self.progress)


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


def _not_test(manifest: Manifest) -> list[int]:
    """Positions of the pictures that may decide something: where there are parts, train."""
    pictures = manifest.pictures
    return [i for i, picture in enumerate(pictures) if picture.role in (None, "train")]


def _check_readable(manifest: Manifest, extraction: Extraction, strict: bool) -> None:
    """Refuse a collection of which too little can be read."""
    unread, count = extraction.skipped, len(manifest.pictures)
    listed = [f"{s.path}: {s.reason}" for s in (*manifest.skipped, *unread)]
    if listed and strict:
        raise UserError(f"{len(listed)} files cannot be used, and strict was asked for", listed)
    listed = [f"{s.path}: {s.reason}" for s in unread[:_MOST_LISTED]]
    if len(unread) > _MOST_LISTED:
        listed.append(f"... and {len(unread) - _MOST_LISTED} more")
    if len(unread) > _MOST_UNREADABLE * count:
        raise UserError(
            f"at least half of the files must be readable pictures, got {count - len(unread)} "
            f"of {count}; is this the right folder?",
            listed,
        )
    pairs = zip(manifest.pictures, extraction.digests, strict=True)
    left = {picture.label for picture, digest in pairs if digest is not None}
    lost = [label for label in manifest.classes if label not in left]
    if lost:
        raise UserError(
            f"every class needs pictures that can be read, got none for "
            f"{', '.join(map(repr, lost[:_MOST_LISTED]))}; mend the files or take the class out",
            listed,
        )


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
