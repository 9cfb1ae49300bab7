"""From labelled pictures to a trained head, its evidence and its test figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from regraft.against_frozen import AgainstFrozen, against_frozen
from regraft.backbones.base import Backbone
from regraft.calibrated import Calibrated, calibrate, check_target
from regraft.classroom import beginning, first_head, held_out_of, lesson_on, studio_of
from regraft.data.left_out import LeftOut
from regraft.data.records import Manifest, Picture, Skipped
from regraft.data.splits import Splits
from regraft.errors import UserError
from regraft.familiar import JUDGES, REFERENCES, Familiarity, familiarity, some
from regraft.frozen.extract import Extraction
from regraft.frozen.files import forget_checkpoint
from regraft.frozen.precision import Parity
from regraft.heads.linear import LinearHead, softmax
from regraft.heads.tables import FeatureTable
from regraft.metrics import Evaluation, evaluate_predictions
from regraft.operating import Decision
from regraft.proof import Outcome, prove
from regraft.second_training import train_on_all
from regraft.selection import Choice, HeldOut, fit_head
from regraft.strategy import Strategy
from regraft.tuning import OutOfTime, check_trains
from regraft.workshop import Lot, Workshop

if TYPE_CHECKING:
    from regraft.advice.outcome import Race
    from regraft.train.report import PhaseReport

_TEST_ROWS = 4096
_NAMED = 5
_TO_OPEN = 8.0  # seconds to open a network in PyTorch and to see what pictures are like
_NO_TIME = "time was up before layers were trained on all pictures, so the network stays as it was"
_FAILED = "training layers on all pictures failed ({reason}), so the network stays as it was"


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
    calibrated : Calibrated
        How sure the head is made to be and, if a target was named, when it says yes.
    familiarity : Familiarity or None
        What tells a picture that is unlike those of training.
    extraction : Extraction
        What the frozen pass did.
    parity : Parity or None
        The check that allowed or forbade bfloat16 in the network as it is now.
    reports : tuple of PhaseReport
        What each phase of training did; none where only a head was trained.
    on_all : bool
        Whether layers were trained on those pictures too that said when to stop.
    spare : tuple of Path
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
    race : Race or None
        How ways to train layers did; None where none were tried.
    no_race : str or None
        Why none were, where there was a budget for it.
    against_frozen : AgainstFrozen or None
        How the trained network did beside the best head on the frozen one; None where none was
        trained, or training brought nothing.
    frozen_seconds, head_seconds, tuning_seconds : float
        Wall time of the pass, of choice and head, and of the training of layers.
    """

    backbone: Backbone
    classes: tuple[str, ...]
    strategy: Strategy
    choice: Choice
    head: LinearHead
    evaluation: Evaluation
    calibrated: Calibrated
    familiarity: Familiarity | None
    extraction: Extraction
    parity: Parity | None
    reports: tuple[PhaseReport, ...]
    on_all: bool
    spare: tuple[Path, ...]
    splits: Splits
    pictures: tuple[Picture, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    race: Race | None
    no_race: str | None
    against_frozen: AgainstFrozen | None
    frozen_seconds: float
    head_seconds: float
    tuning_seconds: float

    @property
    def left_out(self) -> LeftOut:
        """What takes no part."""
        return LeftOut.of(self.skipped, self.splits)

    @property
    def learned_from(self) -> tuple[bytes, ...]:
        """Digests of the pictures that chose or trained something."""
        rows = np.concatenate([self.splits.train, self.splits.val])
        return tuple(self.digests[row] for row in rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """What training came to."""

    backbone: Backbone
    strategy: Strategy
    choice: Choice
    head: LinearHead
    evaluation: Evaluation
    calibrated: Calibrated
    familiarity: Familiarity | None
    parity: Parity | None
    reports: tuple[PhaseReport, ...] = ()
    on_all: bool = False
    spare: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    race: Race | None = None
    no_race: str | None = None
    against_frozen: AgainstFrozen | None = None


def learn(shop: Workshop, manifest: Manifest, since: float) -> Learned:
    """Run the frozen pass, split, choose, train and test.

    Parameters
    ----------
    shop : Workshop
        The network and the settings.
    manifest : Manifest
        The pictures.
    since : float
        When everything began, of `time.perf_counter`: a budget counts from there.

    Raises
    ------
    UserError
        If too many pictures are unreadable, or the parts or the settings cannot be used.
    MissingExtraError
        If the strategy needs a package that is not installed.
    regraft.frozen.store.StoreMiss
        If rows vanished from the store meanwhile; running it again mends that.
    """
    if shop.options.tunes:
        check_trains(shop.backbone, shop.options)
    began = time.perf_counter()
    lot = shop.gather(manifest)
    between = time.perf_counter()
    if shop.options.tunes:
        made, tuning = _tuned(shop, lot)
    else:
        choice = shop.choose(lot)
        if shop.options.budget:
            made, tuning = _raced(shop, lot, choice, since)
        else:
            made, tuning = _headed(shop, lot, choice), 0.0
    return Learned(
        backbone=made.backbone,
        classes=lot.classes,
        strategy=made.strategy,
        choice=made.choice,
        head=made.head,
        evaluation=made.evaluation,
        calibrated=made.calibrated,
        familiarity=made.familiarity,
        extraction=lot.extraction,
        parity=made.parity,
        reports=made.reports,
        on_all=made.on_all,
        spare=made.spare,
        splits=lot.splits,
        pictures=lot.pictures,
        digests=lot.digests,
        skipped=(*manifest.skipped, *lot.extraction.skipped),
        notes=(*manifest.notes, *lot.notes, *made.notes),
        race=made.race,
        no_race=made.no_race,
        against_frozen=made.against_frozen,
        frozen_seconds=between - began,
        head_seconds=time.perf_counter() - between - tuning,
        tuning_seconds=tuning,
    )


def _headed(shop: Workshop, lot: Lot, choice: Choice) -> _Made:
    """Train the head on all that is not test, and test it."""
    splits = lot.splits
    rows = np.sort(np.concatenate([splits.train, splits.val]))
    head = fit_head(lot.table, lot.y, len(lot.classes), rows, choice, shop.progress)
    held_out = choice.held_out
    if held_out is None and shop.options.target is not None:
        held_out = shop.held_out(lot, choice)
    found = calibrate(held_out, lot.y, splits.units, lot.classes, shop.options)
    head = head.tempered(found.temperature)
    precision = lot.extraction.precision
    strategy = Strategy("features", choice.features, head.kind, choice.strength, precision)
    evaluation = _test(lot.table, lot.y, lot.classes, splits, strategy, head, found.decision)
    known = _familiarity(lot, choice, rows, shop.options.seed)
    parity = lot.extraction.parity
    return _Made(shop.backbone, strategy, choice, head, evaluation, found, known, parity)


def _familiarity(lot: Lot, choice: Choice, rows: NDArray[np.intp], seed: int) -> Familiarity | None:
    """Learn what pictures of training are like; each is judged by those of other units."""
    judges = some(rows, JUDGES, seed)
    known = some(np.arange(len(judges), dtype=np.intp), REFERENCES, seed)
    features = lot.table.read(choice.features.taps[-1:], judges)
    units = lot.splits.units[judges]
    return familiarity(features[known], features, units[known], units)


def _raced(shop: Workshop, lot: Lot, choice: Choice, since: float) -> tuple[_Made, float]:
    """Compare a shorter network, and ways to train layers; with the seconds."""
    from regraft.advice.shorten import shortened

    start, ends = time.perf_counter(), since + (shop.options.budget or 0.0)
    kept = shortened(shop, lot, choice, ends)
    made = _trained_until(shop, kept.lot, kept.choice, ends)
    if kept.sentence and (kept.depth is None or made.strategy.name == "features"):
        made = replace(made, notes=(*made.notes, kept.sentence))
    return made, time.perf_counter() - start


def _trained_until(shop: Workshop, lot: Lot, choice: Choice, ends: float) -> _Made:
    """Let ways to train layers race, then train the winner or who is to be."""
    from regraft.advice.advisor import case_of, race_on, why_no_race
    from regraft.advice.coach import FAILURES, options_of, why_of

    if why := why_no_race(shop, lot, ends - _TO_OPEN) or _no_target(shop, lot):
        return replace(_headed(shop, lot, choice), no_race=why)
    race = race_on(shop, lot, choice, case_of(shop, lot), ends, follows=True)
    if race.trained is None:
        return replace(_headed(shop, lot, choice), race=race)
    winning = replace(shop, options=options_of(shop.options, race.trained, race.passes_on_all))
    try:
        made, _ = _tuned(winning, lot, lambda: time.perf_counter() > ends - race.finish, choice)
        return replace(made, race=race)
    except OutOfTime:
        why = _NO_TIME
    except FAILURES as error:
        why = _FAILED.format(reason=why_of(error))
    made = replace(_headed(shop, lot, choice), notes=(why,))  # what the error held is free by now
    return replace(made, race=race)


def _no_target(shop: Workshop, lot: Lot) -> str | None:
    """Say why the pictures that would say when to stop cannot keep to a target, if they cannot."""
    if shop.options.target is None:
        return None
    try:
        _, stops = held_out_of(lot, shop.options.seed)
        check_target(shop.options, lot.classes, lot.y, lot.splits.units, stops)
    except UserError as error:
        return f"of the pictures that would say when to stop, {error.message}"
    return None


def _tuned(
    shop: Workshop,
    lot: Lot,
    over: Callable[[], bool] = lambda: False,
    headed: Choice | None = None,
) -> tuple[_Made, float]:
    """Train a head, then layers from there on, and test the whole; with the seconds taken.

    In vain, or where the best head on the network as it was does better, it is that head: the one
    that was chosen before, if one was.
    """
    train, held_out = held_out_of(lot, shop.options.seed)
    check_target(shop.options, lot.classes, lot.y, lot.splits.units, held_out)
    studio, name = studio_of(shop, lot), shop.options.strategy
    choice = shop.choose(lot, studio.sets(shop.cuts))
    frozen = first_head(shop, lot, choice, train)
    began = time.perf_counter()
    lesson = lesson_on(shop, lot, frozen, choice, train, held_out, lot.splits.test, name)
    head = beginning(frozen, name)
    try:
        tuned = studio.tune(lesson, head, over)
    except OutOfTime:
        forget_checkpoint(studio.checkpoint(lesson, head))  # nobody goes on from there
        raise
    best = headed or shop.choose(lot)
    rival, made = None, None
    if tuned.improved:
        first = prove(studio, replace(lesson, test=np.empty(0, np.intp)), tuned)
        weights = studio.class_weights(lesson)
        rival = against_frozen(shop, lot, best, train, held_out, first.held_out, weights)
        if not rival.behind or (name == "scratch" and headed is None):
            last = train_on_all(shop, lot, studio, lesson, choice, tuned, first, over)
            made = _judged(shop, lot, choice, held_out, last.outcome)
            made = replace(made, on_all=last.on_all, spare=last.spare, notes=last.notes)
    made = made or _headed(shop, lot, best)
    made = replace(
        made,
        against_frozen=rival,
        reports=tuned.reports,
        spare=(studio.checkpoint(lesson, head), *made.spare),
        notes=(*made.notes, *_never_held_out(lot, held_out)),
    )
    return made, time.perf_counter() - began


def _judged(
    shop: Workshop, lot: Lot, choice: Choice, held_out: NDArray[np.intp], outcome: Outcome
) -> _Made:
    """Test a network of which layers were trained."""
    test, units = lot.splits.test, lot.splits.units
    said = HeldOut(held_out, outcome.held_out)
    found = calibrate(said, lot.y, units, lot.classes, shop.options)
    proba = softmax(outcome.test / found.temperature)
    strategy = Strategy(
        shop.options.strategy,
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
        outcome.head.tempered(found.temperature),
        evaluate_predictions(
            lot.y[test], proba, lot.classes, units[test], found.decision.columns(proba)
        ),
        found,
        outcome.familiarity,
        outcome.extraction.parity,
    )


def _never_held_out(lot: Lot, held_out: NDArray[np.intp]) -> tuple[str, ...]:
    """Name the classes of which no picture says when to stop."""
    seen = set(lot.y[held_out].tolist())
    unseen = [label for column, label in enumerate(lot.classes) if column not in seen]
    if not unseen:
        return ()
    named = ", ".join(map(repr, unseen[:_NAMED]))
    more = f" and {len(unseen) - _NAMED} more" if len(unseen) > _NAMED else ""
    return (
        f"no picture of {named}{more} could be held out (too few of them), so the training was "
        "stopped by how it did on the other classes",
    )


def _test(
    table: FeatureTable,
    y: NDArray[np.intp],
    classes: Sequence[str],
    splits: Splits,
    strategy: Strategy,
    head: LinearHead,
    decision: Decision,
) -> Evaluation:
    """Classify the test pictures, some thousand at a time."""
    rows = splits.test
    parts = [
        head.predict_proba(table.read(strategy.features.taps, rows[start : start + _TEST_ROWS]))
        for start in range(0, len(rows), _TEST_ROWS)
    ]
    proba = np.concatenate(parts)
    called = decision.columns(proba)
    return evaluate_predictions(y[rows], proba, classes, splits.units[rows], called)
