"""From labelled pictures to advice: one frozen pass, what follows from its features, a race."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from regraft.advice.advice import Advice
from regraft.advice.backbones import Comparison
from regraft.advice.coach import StudioCoach, heats_of
from regraft.advice.coaching import Heat, Whole
from regraft.advice.contenders import contenders, starts_of
from regraft.advice.control import Control, no_control, run_control
from regraft.advice.depth import depth_curve
from regraft.advice.distance import MOST, DomainDistance, domain_distance
from regraft.advice.growth import learning_curve
from regraft.advice.outcome import Race, no_entrants
from regraft.advice.probe import exam_of
from regraft.advice.race import run_race
from regraft.advice.sentences import PerClass
from regraft.advice.shorten import shortened
from regraft.advice.textbook import Case, textbook_case
from regraft.candidates import candidate_sets
from regraft.classroom import held_out_of
from regraft.data.left_out import LeftOut
from regraft.data.records import Manifest
from regraft.data.splits import folds
from regraft.errors import UserError
from regraft.frozen.activations import spread
from regraft.options import FitOptions
from regraft.second_training import passes_again
from regraft.selection import Choice
from regraft.workshop import FOLDS, Lot, Workshop

_STREAM = 17
_FEWEST, _EACH_SECOND = 32, 2  # pictures compared with the source: of a second of the budget


def advise(
    shop: Workshop,
    manifest: Manifest,
    since: float,
    *,
    control: bool = False,
    comparison: Comparison | None = None,
) -> Advice:
    """Measure what the choice of a strategy depends on; the test part takes no part in it.

    Parameters
    ----------
    shop : Workshop
        The network and the settings; its budget is what everything together may take.
    manifest : Manifest
        The pictures.
    since : float
        When everything began, of `time.perf_counter`: the budget counts from there.
    control : bool
        Whether to compare with random weights; that may take as long as the race.
    comparison : Comparison, optional
        How the network was chosen, where it was.

    Raises
    ------
    UserError
        If too many pictures are unreadable, or the parts cannot be used.
    regraft.frozen.store.StoreMiss
        If rows vanished from the store meanwhile; running it again mends that.
    """
    lot = shop.gather(manifest)
    choice = shop.choose(lot)
    cuts = shop.cuts
    exam = exam_of(shop, lot)
    curve = depth_curve(exam, cuts, candidate_sets(cuts))
    ends = since + (shop.options.budget or math.inf)
    kept = shortened(shop, lot, choice, ends, curve)
    lot, choice = kept.lot, kept.choice
    growth = learning_curve(exam_of(shop, lot), choice.features)
    distance = _distance(shop, lot)
    case = _case(lot, distance)
    no_race = why_no_race(shop, lot, ends)
    if no_race is None and not shop.options.budget:
        no_race = "no time was given"
    race = None if no_race else race_on(shop, lot, choice, case, ends)
    compared = _control(shop, lot, choice, race, no_race) if control else None
    return Advice(
        options=_measured_with(shop, lot),
        backbone=shop.backbone.name,
        classes=lot.classes,
        n_train=len(exam.rows),
        per_class=_per_class(lot),
        curve=curve,
        distance=distance,
        growth=growth,
        case=case,
        choice=choice,
        depth=kept.depth,
        kept=kept.sentence,
        race=race,
        no_race=no_race,
        control=compared,
        comparison=comparison,
        left_out=LeftOut.of((*manifest.skipped, *lot.extraction.skipped), lot.splits),
        notes=(*manifest.notes, *lot.notes),
        seconds=time.perf_counter() - since,
    )


def _measured_with(shop: Workshop, lot: Lot) -> FitOptions:
    """Name float32 where bfloat16 was refused: fewer layers might pass the check of it."""
    exact = lot.extraction.precision == "f32" and lot.extraction.parity is not None
    return replace(shop.options, precision="f32") if exact else shop.options


def case_of(shop: Workshop, lot: Lot) -> Case:
    """Return the textbook's case."""
    return _case(lot, _distance(shop, lot))


def why_no_race(shop: Workshop, lot: Lot, ends: float) -> str | None:
    """Say why ways to train layers cannot race until a time of `time.perf_counter`, if so."""
    if not shop.backbone.description.trains:
        return "this network only runs frozen"
    if not _can_judge(shop, lot):
        return "there are too few pictures to hold some back"
    return "too little time was left" if time.perf_counter() >= ends else None


def _can_judge(shop: Workshop, lot: Lot) -> bool:
    return bool(_heats(shop, lot)) and _whole(shop, lot, follows=False) is not None


def race_on(
    shop: Workshop,
    lot: Lot,
    choice: Choice,
    case: Case,
    ends: float,
    *,
    follows: bool = False,
) -> Race:
    """Let ways to train layers race against the frozen network; see `regraft.advice.race`.

    Parameters
    ----------
    shop : Workshop
        The network and the settings.
    lot : Lot
        The pictures; those of the test part are not used.
    choice : Choice
        What the head of the frozen network reads.
    case : Case
        Says who takes part.
    ends : float
        When time is up, of `time.perf_counter`.
    follows : bool
        Whether the winner is trained on all pictures at once, within the time.
    """
    heats, whole = _heats(shop, lot), _whole(shop, lot, follows=follows)
    assert whole is not None, "why_no_race was asked first"
    starters = contenders(starts_of(shop.backbone), case)  # opens the network, if nobody has yet
    with _forgetting(StudioCoach(shop, lot, choice)) as coach:
        return run_race(
            coach,
            starters,
            heats,
            lot.y,
            lot.splits.units,
            budget=max(0.0, ends - time.perf_counter()),
            whole=whole,
            weights=_weights(shop, lot),
        )


def control_on(shop: Workshop, lot: Lot, choice: Choice, race: Race) -> Control:
    """Compare what a race came to with training from random weights, as long as the race might."""
    with _forgetting(StudioCoach(shop, lot, choice)) as coach:
        found = run_control(
            coach, _heats(shop, lot), race, lot.y, lot.splits.units, budget=race.budget
        )
    return replace(found, budget=race.budget)


@contextlib.contextmanager
def _forgetting(coach: StudioCoach) -> Iterator[StudioCoach]:
    """Leave no checkpoints, unless somebody stopped it: the same command goes on from them."""
    try:
        yield coach
    except KeyboardInterrupt:
        raise
    except BaseException:
        coach.forget()
        raise
    coach.forget()


def _control(
    shop: Workshop, lot: Lot, choice: Choice, race: Race | None, no_race: str | None
) -> Control:
    """Compare with random weights; where no time was left for a race, the frozen network."""
    if race is None:
        if not (shop.backbone.description.trains and _can_judge(shop, lot)):
            return no_control(no_race or "no race was run")
        race = no_entrants(shop.options.budget or 0.0)
    return control_on(shop, lot, choice, race)


def _heats(shop: Workshop, lot: Lot) -> tuple[Heat, ...]:
    """Deal the folds of a race; none where the pictures are too few."""
    rows = _not_test(lot)
    seed = shop.options.seed + _STREAM
    y, units = lot.y[rows], lot.splits.units[rows]
    return heats_of(rows, y, folds(y, units, FOLDS, seed), units)


def _weights(shop: Workshop, lot: Lot) -> NDArray[np.float64] | None:
    """Return what each picture counts in a race: every class the same, where that is asked for."""
    options = shop.options
    if options.class_weight is None and options.metric != "balanced_accuracy":
        return None
    counts = np.bincount(lot.y[_not_test(lot)], minlength=len(lot.classes))
    found: NDArray[np.float64] = 1.0 / np.maximum(counts, 1)[lot.y]
    return found


def _whole(shop: Workshop, lot: Lot, *, follows: bool) -> Whole | None:
    """Return what `fit` trains the winner of a race on; None where no picture can be spared."""
    try:
        train, held_out = held_out_of(lot, shop.options.seed)
    except UserError:
        return None
    again = passes_again(len(train), len(held_out))
    return Whole(Heat(train, held_out, lot.splits.test), again, follows)


def _case(lot: Lot, distance: DomainDistance | None) -> Case:
    """Judge likeness by distance; random weights have no source that could be alike."""
    alike = distance is not None and distance.alike
    return textbook_case(_per_class(lot).typical, alike=alike)


def _not_test(lot: Lot) -> NDArray[np.intp]:
    return np.sort(np.concatenate([lot.splits.train, lot.splits.val]))


def _distance(shop: Workshop, lot: Lot) -> DomainDistance | None:
    if not shop.options.pretrained:
        return None
    return domain_distance(
        shop.backbone,
        lot.sources,
        spread(_not_test(lot), _enough_for(shop.options.budget)),
        shop.cache,
        seed=shop.options.seed,
        progress=shop.progress,
    )


def _enough_for(budget: float | None) -> int:
    """Return how many pictures say how far they are from the source; fewer where time is short."""
    return MOST if not budget else int(min(MOST, max(_FEWEST, _EACH_SECOND * budget)))


def _per_class(lot: Lot) -> PerClass:
    counts = np.bincount(lot.y[lot.splits.train], minlength=len(lot.classes))
    return PerClass(int(counts.min()), float(np.median(counts)), int(counts.max()))
