"""Which learning rate: a few short trainings tell, on activations that are stored anyway."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from regraft.progress import Silent
from regraft.strategy import Phase
from regraft.train.batches import Pictures, steps_of
from regraft.train.checkpoint import Saved
from regraft.train.loop import PhaseRun
from regraft.train.network import Part
from regraft.train.teaching import DivergedError, Teaching

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
# Steps at each rate: a tenth of those of the phase, within these bounds.
_LEAST_STEPS, _MOST_STEPS = 12, 48
_HELD_OUT = 512


@dataclass(frozen=True, slots=True)
class RateTrial:
    """What a short training at a rate came to.

    Parameters
    ----------
    rate : float
        Learning rate of the head at its peak.
    log_loss : float
        On held-out pictures; infinite where the training exploded.
    """

    rate: float
    log_loss: float


def find_rate(
    make_part: Callable[[], Part],
    phase: Phase,
    teaching: Teaching,
    known: Sequence[RateTrial] = (),
    under_way: Saved | None = None,
    tell: Callable[[Sequence[RateTrial], Saved | None], None] = lambda _trials, _run: None,
) -> tuple[RateTrial, ...]:
    """Train a little at each rate, from the same weights.

    Parameters
    ----------
    make_part : callable
        Returns the part as it is before training; called for each rate.
    phase : Phase
        The phase that the rate is for.
    teaching : Teaching
        As for the phase; its rate is not used.
    known : sequence of RateTrial
        Trials of before an interruption.
    under_way : Saved, optional
        A checkpoint of the trial that was interrupted.
    tell : callable
        Gets all trials that are done, and a checkpoint of the one under way, if any: after each
        trial, and whenever one saves.

    Returns
    -------
    tuple of RateTrial
        Lowest rate first; `best_rate` picks one.
    """
    short, few = _shortened(phase, teaching)
    trials = list(known)
    teaching.progress.start("finding the learning rate", len(RATES))
    teaching.progress.advance(len(trials))
    for rate in RATES[len(trials) :]:
        saving = replace(few, rate=rate, save=lambda run: tell(trials, run))
        run = PhaseRun(make_part(), short, saving, under_way)
        under_way = None
        try:
            run.run()
            loss = min(held.log_loss for held in run.history[1:])
        except DivergedError:
            loss = math.inf
        exploded = run.notes or not math.isfinite(loss)
        trials.append(RateTrial(rate, math.inf if exploded else loss))
        tell(trials, None)
        teaching.progress.advance(1)
    teaching.progress.finish()
    return tuple(trials)


def trial_steps(pictures: int, phase: Phase) -> int:
    """Return the steps of the trial at one rate: a tenth of those of the phase, within bounds."""
    total = phase.epochs * steps_of(pictures, phase.batch)
    return min(_MOST_STEPS, max(_LEAST_STEPS, total // 10))


def best_rate(trials: tuple[RateTrial, ...]) -> float:
    """Return the rate with the least loss; the lowest of those that are equal."""
    return min(trials, key=lambda trial: (trial.log_loss, trial.rate)).rate


def _shortened(phase: Phase, teaching: Teaching) -> tuple[Phase, Teaching]:
    """Cut a phase down to some dozen steps on the plain view."""
    generator = np.random.default_rng([*teaching.seed, 1])
    steps = trial_steps(len(teaching.train.rows), phase)

    def some(pictures: Pictures, most: int) -> Pictures:
        rows = pictures.rows
        chosen = np.sort(generator.permutation(len(rows))[:most])
        return replace(pictures, rows=rows[chosen])

    few = replace(
        teaching,
        train=some(teaching.train, steps * phase.batch),
        held_out=some(teaching.held_out, _HELD_OUT),
        progress=Silent(),
    )
    passes = steps // steps_of(len(few.train.rows), phase.batch)
    epochs = max(1, min(passes, phase.epochs))
    return replace(phase, epochs=epochs, patience=epochs, views=1), few
