"""From labelled pictures to advice: one frozen pass, what follows from its features, a race."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from regraft.advice.advice import Advice, PerClass
from regraft.advice.backbones import Comparison
from regraft.advice.coach import StudioCoach, heats_of
from regraft.advice.contenders import contenders, starts_of
from regraft.advice.control import Control, no_control, run_control
from regraft.advice.depth import depth_curve
from regraft.advice.distance import DomainDistance, domain_distance
from regraft.advice.growth import learning_curve
from regraft.advice.outcome import Race
from regraft.advice.probe import exam_of
from regraft.advice.race import Heat, Whole, run_race
from regraft.advice.textbook import Case, textbook_case
from regraft.candidates import candidate_sets
from regraft.classroom import held_out_of
from regraft.data.records import Manifest
from regraft.data.splits import folds
from regraft.errors import UserError
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
    growth = learning_curve(exam, choice.features)
    distance = _distance(shop, lot)
    case = _case(lot, distance)
    race = None
    if shop.options.budget:
        left = shop.options.budget - (time.perf_counter() - since)
        race = race_on(shop, lot, choice, case, left)
    compared = _control(shop, lot, choice, race) if control else None
    return Advice(
        options=shop.options,
        backbone=shop.backbone.name,
        trains=shop.backbone.description.trains,
        classes=lot.classes,
        n_train=len(exam.rows),
        per_class=_per_class(lot),
        curve=curve,
        distance=distance,
        growth=growth,
        case=case,
        choice=choice,
        race=race,
        control=compared,
        comparison=comparison,
        seconds=time.perf_counter() - since,
    )


def case_of(shop: Workshop, lot: Lot) -> Case:
    """Return the textbook's case."""
    return _case(lot, _distance(shop, lot))


def race_on(
    shop: Workshop,
    lot: Lot,
    choice: Choice,
    case: Case,
    budget: float,
    *,
    follows: bool = False,
) -> Race | None:
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

    Returns
    -------
    Race or None
        None where the network cannot be trained, or no fold can be dealt.
    """
    heats, whole = _heats(shop, lot), _whole(shop, lot, follows=follows)
    if not heats or whole is None or budget <= 0:
        return None
    coach = StudioCoach(shop, lot, choice)
    race = run_race(
        coach,
        contenders(starts_of(shop.backbone), case),
        heats,
        lot.y,
        lot.splits.units,
        budget=budget,
        whole=whole,
    )
    coach.forget()
    return race


def control_on(shop: Workshop, lot: Lot, choice: Choice, race: Race) -> Control:
    """Compare what a race came to with training from random weights, as long as the race might."""
    coach = StudioCoach(shop, lot, choice)
    control = run_control(
        coach, _heats(shop, lot), race, lot.y, lot.splits.units, budget=race.budget
    )
    coach.forget()
    return control


def _control(shop: Workshop, lot: Lot, choice: Choice, race: Race | None) -> Control:
    if race is not None:
        return control_on(shop, lot, choice, race)
    if not shop.backbone.description.trains:
        return no_control("this network only runs frozen")
    return no_control("no time was left, or too few pictures to hold some back")


def _heats(shop: Workshop, lot: Lot) -> tuple[Heat, ...]:
    """Deal the folds of a race; none where nothing can be trained."""
    if not shop.backbone.description.trains:
        return ()
    rows = _not_test(lot)
    seed = shop.options.seed + _STREAM
    y = lot.y[rows]
    return heats_of(rows, y, folds(y, lot.splits.units[rows], FOLDS, seed))


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
