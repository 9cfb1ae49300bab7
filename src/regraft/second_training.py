"""Trains a network once more, on the pictures too that said when to stop.

A head is trained on all pictures in the end; a network that stopped by a fifth of them would have
learned from four fifths. How often it is worth going through the pictures is known by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from regraft.classroom import beginning, first_head, lesson_on
from regraft.familiar import Familiarity
from regraft.proof import Outcome, prove
from regraft.selection import Choice
from regraft.tuning import Lesson, OutOfTime, Studio, phases_again
from regraft.workshop import Lot, Workshop

if TYPE_CHECKING:
    from regraft.train.tune import Tuned

Scores = NDArray[np.float64]

_WORTH = 0.15
"""Part of the pictures that has to be held out for a second training: a tenth brings little."""
_EXPLODED = (
    "trained once more on the held-out pictures too, its loss exploded, so the first is kept"
)
_WORSE = (
    "trained once more on the held-out pictures too, the network told these apart worse than the "
    "first, which had not seen them, so the first is kept"
)
_NO_TIME = "time was up before the network was trained once more on the held-out pictures too"


def passes_again(train: int, held_out: int) -> float:
    """Return what a second training takes for each pass of the first; 0: there is none.

    Parameters
    ----------
    train, held_out : int
        Pictures of the first training, and those that say when to stop it.
    """
    count = train + held_out
    return count / train if held_out >= _WORTH * count else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class SecondTraining:
    """What came of it.

    Parameters
    ----------
    outcome : Outcome
        The network that goes into the bundle; `held_out` is what the first one said.
    on_all : bool
        Whether it was trained on the held-out pictures too.
    spare : tuple of Path
        What an interrupted training would go on from.
    notes : tuple of str
        What the user should hear of.
    """

    outcome: Outcome
    on_all: bool
    spare: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def train_on_all(
    shop: Workshop,
    lot: Lot,
    studio: Studio,
    lesson: Lesson,
    choice: Choice,
    tuned: Tuned,
    first: Outcome,
    over: Callable[[], bool],
) -> SecondTraining:
    """Train once more where that is worth it, and test what goes into the bundle.

    Parameters
    ----------
    shop, lot : Workshop and Lot
        The network, the settings and the pictures.
    studio : Studio
        What trains.
    lesson : Lesson
        What the first training was on.
    choice : Choice
        What the head reads.
    tuned : Tuned
        What the first training came to.
    first : Outcome
        What it says of held-out pictures.
    over : callable
        Whether time is up.
    """
    if not passes_again(len(lesson.train), len(lesson.held_out)):
        return SecondTraining(prove(studio, lesson, tuned), on_all=False)
    rows, name = np.sort(np.concatenate([lesson.train, lesson.held_out])), shop.options.strategy
    frozen = first_head(shop, lot, choice, rows)
    whole = lesson_on(
        shop, lot, frozen, choice, rows, lesson.held_out, lesson.test, name, mirror=lesson.mirror
    )
    head = beginning(frozen, name)
    spare = (studio.checkpoint(whole, head, phases_again(tuned.reports)),)
    try:
        again = studio.tune_again(whole, head, tuned.reports, over)
    except OutOfTime:
        return SecondTraining(prove(studio, lesson, tuned), False, spare, (_NO_TIME,))
    if again is None:
        return SecondTraining(prove(studio, lesson, tuned), False, spare, (_EXPLODED,))
    found = prove(studio, whole, again)
    if _worse(lesson, studio.class_weights(lesson), first.held_out, found.held_out):
        return SecondTraining(prove(studio, lesson, tuned), False, spare, (_WORSE,))
    outcome = replace(
        found,
        phases=first.phases,
        held_out=first.held_out,
        familiarity=_with_threshold(found.familiarity, first.familiarity),
    )
    return SecondTraining(outcome, True, spare)


def _worse(lesson: Lesson, class_weights: Scores | None, first: Scores, again: Scores) -> bool:
    """Whether the second network does clearly worse on what it was trained on: it went wrong."""
    from regraft.train.teaching import judged

    y, units = lesson.y[lesson.held_out], lesson.units[lesson.held_out]
    weights = np.ones(len(y)) if class_weights is None else class_weights[y]
    _, before = judged(0, first, y, weights, units)
    held, _ = judged(1, again, y, weights, units, before)
    return held.gain < -held.error


def _with_threshold(own: Familiarity | None, first: Familiarity | None) -> Familiarity | None:
    """Take what is rare from the network that had not seen the held-out pictures."""
    if own is None or first is None:
        return None
    return replace(own, threshold=first.threshold)
