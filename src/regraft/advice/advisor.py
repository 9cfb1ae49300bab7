"""From labelled pictures to advice: one frozen pass, what follows from its features, a race."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from regraft.advice.advice import Advice, PerClass
from regraft.advice.backbones import Comparison
from regraft.advice.coach import StudioCoach, heats_of
from regraft.advice.coaching import Heat, Whole
from regraft.advice.contenders import contenders, starts_of
from regraft.advice.control import Control, no_control, run_control
from regraft.advice.depth import DepthCurve, depth_curve, shorter_sets
from regraft.advice.distance import DomainDistance, domain_distance
from regraft.advice.growth import learning_curve
from regraft.advice.outcome import Race
from regraft.advice.probe import exam_of
from regraft.advice.race import run_race
from regraft.advice.textbook import Case, textbook_case
from regraft.candidates import candidate_sets
from regraft.classroom import held_out_of
from regraft.data.records import Manifest
from regraft.data.splits import folds
from regraft.errors import UserError
from regraft.heads.trials import NO_DIFFERENCE
from regraft.options import FitOptions
from regraft.second_training import passes_again
from regraft.selection import Choice
from regraft.workshop import FOLDS, Lot, Workshop

_STREAM = 17


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
    lot, choice, depth = _without_what_is_in_the_way(shop, lot, curve, choice, ends)
    growth = learning_curve(exam_of(shop, lot), choice.features)
    distance = _distance(shop, lot)
    case = _case(lot, distance)
    left = ends - time.perf_counter()
    no_race = why_no_race(shop, lot, left) if shop.options.budget else "no time was given"
    race = None if no_race else race_on(shop, lot, choice, case, left)
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
        depth=depth,
        race=race,
        no_race=no_race,
        control=compared,
        comparison=comparison,
        seconds=time.perf_counter() - since,
    )


def _measured_with(shop: Workshop, lot: Lot) -> FitOptions:
    """Name float32 where bfloat16 was refused: fewer layers might pass the check of it."""
    exact = lot.extraction.precision == "f32" and lot.extraction.parity is not None
    return replace(shop.options, precision="f32") if exact else shop.options


def without_what_is_in_the_way(
    shop: Workshop, lot: Lot, choice: Choice, ends: float
) -> tuple[Lot, Choice]:
    """Compare sets of a shorter network too, where layers are in the way; see `advise`.

    Parameters
    ----------
    shop, lot : Workshop and Lot
        The network, the settings and the pictures.
    choice : Choice
        What a head on the whole network reads.
    ends : float
        When time is up, of `time.perf_counter`.

    Returns
    -------
    lot : Lot
        With all that the choice reads.
    choice : Choice
    """
    curve = depth_curve(exam_of(shop, lot), shop.cuts, ())
    return _without_what_is_in_the_way(shop, lot, curve, choice, ends)[:2]


def _without_what_is_in_the_way(
    shop: Workshop, lot: Lot, curve: DepthCurve, choice: Choice, ends: float
) -> tuple[Lot, Choice, str | None]:
    """Compare sets of a shorter network too; one that does as well as the choice is taken.

    These are what a fit compares that is told the depth, so it makes the same of them. They take
    another pass, of the shorter network; without time for that, nothing is left out.

    Returns
    -------
    lot : Lot
        With all that the choice reads.
    choice : Choice
    depth : str or None
        The last cut that is kept; None where all are.
    """
    given = shop.options.depth
    shorter = () if given is not None else shorter_sets(curve, shop.cuts)
    if not shorter:
        return lot, choice, given
    more = shop.with_taps(lot, [tap for features in shorter for tap in features.taps], ends)
    if more is None:
        return lot, choice, None
    evidence = shop.choose(more, (*candidate_sets(shop.cuts), *shorter)).evidence
    picked = shop.choose(more, shorter)
    rows = {row.features: row for row in evidence}
    mine, its = rows.get(choice.features), rows.get(picked.features)
    if mine is None or its is None or its.n != mine.n:
        return lot, choice, None
    if its.behind > mine.behind + NO_DIFFERENCE:
        return lot, choice, None
    assert curve.best is not None, "it says what is in the way"
    return more, replace(picked, evidence=evidence), curve.best.features.name


def case_of(shop: Workshop, lot: Lot) -> Case:
    """Return the textbook's case."""
    return _case(lot, _distance(shop, lot))


def why_no_race(shop: Workshop, lot: Lot, seconds: float) -> str | None:
    """Say why ways to train layers cannot race; None where they can."""
    if not shop.backbone.description.trains:
        return "this network only runs frozen"
    if seconds <= 0:
        return "no time was left"
    if not _heats(shop, lot) or _whole(shop, lot, follows=False) is None:
        return "there are too few pictures to hold some back"
    return None


def race_on(
    shop: Workshop,
    lot: Lot,
    choice: Choice,
    case: Case,
    budget: float,
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
    budget : float
        Seconds.
    follows : bool
        Whether the winner is trained on all pictures at once, within the budget.
    """
    heats, whole = _heats(shop, lot), _whole(shop, lot, follows=follows)
    assert whole is not None, "why_no_race was asked first"
    with _forgetting(StudioCoach(shop, lot, choice)) as coach:
        return run_race(
            coach,
            contenders(starts_of(shop.backbone), case),
            heats,
            lot.y,
            lot.splits.units,
            budget=budget,
            whole=whole,
            weights=_weights(shop, lot),
        )


def control_on(shop: Workshop, lot: Lot, choice: Choice, race: Race) -> Control:
    """Compare what a race came to with training from random weights, as long as the race might."""
    with _forgetting(StudioCoach(shop, lot, choice)) as coach:
        return run_control(
            coach, _heats(shop, lot), race, lot.y, lot.splits.units, budget=race.budget
        )


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
    if race is None:
        return no_control(no_race or "no race was run")
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
        _not_test(lot),
        shop.cache,
        seed=shop.options.seed,
        progress=shop.progress,
    )


def _per_class(lot: Lot) -> PerClass:
    counts = np.bincount(lot.y[lot.splits.train], minlength=len(lot.classes))
    return PerClass(int(counts.min()), float(np.median(counts)), int(counts.max()))
