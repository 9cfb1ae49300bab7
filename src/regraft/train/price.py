"""What a training will take, from the time of a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regraft.price import Pace, Price
from regraft.train.rates import RATES, trial_steps
from regraft.train.speed import choose_arithmetic, step_seconds
from regraft.train.tune import Tuner

# A forward pass takes about a third of a step.
_FORWARD = 1 / 3


def paces(tuner: Tuner) -> tuple[Pace, ...]:
    """Time a few steps of each phase, and forget them.

    Parameters
    ----------
    tuner : Tuner
        What to train; nothing of it is trained.
    """
    n_train = len(tuner.material.train)
    trainee = tuner.trainee()
    found = []
    for number, phase in enumerate(tuner.phases):
        teaching = tuner.teaching(trainee, phase, number)
        part = trainee.part(phase)
        arithmetic = choose_arithmetic(part, teaching, tuner.material.store)
        step, frozen = step_seconds(part, replace(teaching, arithmetic=arithmetic))
        found.append(Pace(step / min(phase.batch, n_train), frozen))
    return tuple(found)


def price(tuner: Tuner, found: Sequence[Pace]) -> Price:
    """Estimate what a tuner will take.

    Parameters
    ----------
    tuner : Tuner
        What to train; nothing of it is trained.
    found : sequence of Pace
        How fast each of its phases trains, on these pictures or on others.
    """
    n_train, n_held = len(tuner.material.train), len(tuner.material.held_out)
    fixed = passes_seconds = 0.0
    passes = 0
    for phase, pace in zip(tuner.phases, found, strict=True):
        test = n_held * pace.trained * _FORWARD
        views, kept = min(phase.views, phase.epochs), tuner.kept_views(tuner.boundary(phase))
        stored = min(views, kept) * n_train + min(1, kept) * n_held
        anew = n_train * max(0, views - kept) / views + (0 if kept else n_held)
        fixed += pace.frozen * stored + test
        if phase.rate is None:
            trial = trial_steps(n_train, phase) * min(phase.batch, n_train) * pace.trained
            fixed += len(RATES) * (trial + 2 * test)
        each = n_train * pace.trained + pace.frozen * anew + test
        passes_seconds += phase.epochs * each
        passes += phase.epochs
    return Price(fixed, passes_seconds / passes, passes)
