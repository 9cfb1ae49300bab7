"""What a training will take, from the time of a few steps."""

from __future__ import annotations

from dataclasses import replace

from regraft.price import Price
from regraft.train.rates import RATES, trial_steps
from regraft.train.speed import choose_arithmetic, step_seconds
from regraft.train.tune import Tuner

# A forward pass takes about a third of a step.
_FORWARD = 1 / 3


def price(tuner: Tuner) -> Price:
    """Estimate what a tuner will take; a few steps of each phase are timed and forgotten.

    Parameters
    ----------
    tuner : Tuner
        What to train; nothing of it is trained.
    """
    material = tuner.material
    n_train, n_held = len(material.train), len(material.held_out)
    trainee = tuner.trainee()
    fixed = passes_seconds = 0.0
    passes = 0
    for number, phase in enumerate(tuner.phases):
        teaching = tuner.teaching(trainee, phase, number)
        part = trainee.part(phase)
        arithmetic = choose_arithmetic(part, teaching, material.store)
        step, frozen = step_seconds(part, replace(teaching, arithmetic=arithmetic))
        one = step / min(phase.batch, n_train)
        test = n_held * one * _FORWARD
        stored = min(phase.views, phase.epochs) * n_train + n_held
        fixed += frozen * stored + test
        if phase.rate is None:
            trial = trial_steps(n_train, phase) * step
            fixed += len(RATES) * (trial + 2 * test)
        passes_seconds += phase.epochs * (n_train * one + test)
        passes += phase.epochs
    return Price(fixed, passes_seconds / passes, passes)
