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
from regraft.train.teaching import DivergedError, Teaching, gained

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
USUAL = 3e-4
"""What suits most trainings that begin with a head that has converged."""
_CLEARLY = 2.0  # standard errors
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
    losses : sequence of float
        That of each picture.
    """

    rate: float
    log_loss: float
    losses: Sequence[float] = ()


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
            loss = run.history[-1].log_loss
        except DivergedError:
            loss = math.inf
        exploded = run.notes or not math.isfinite(loss)
        trials.append(RateTrial(rate, math.inf if exploded else loss, run.last_losses))
        tell(trials, None)
        teaching.progress.advance(1)
    teaching.progress.finish()
    return tuple(trials)


def trial_steps(pictures: int, phase: Phase) -> int:
    """Return the steps of the trial at one rate: a tenth of those of the phase, within bounds."""
    total = phase.epochs * steps_of(pictures, phase.batch)
    return min(_MOST_STEPS, max(_LEAST_STEPS, total // 10))


def best_rate(
    trials: Sequence[RateTrial], phase: Phase, teaching: Teaching, n_classes: int
) -> float:
    """Pick a rate: `USUAL`, unless the trial at another was clearly better.

    Some dozen steps from a head that has converged say little of the end of a training: which rate
    has the least loss then changes with the order of the pictures. From random weights, where the
    loss has far to fall, the least one is taken.

    Parameters
    ----------
    trials : sequence of RateTrial
        What `find_rate` found.
    phase : Phase
        The phase that the rate is for.
    teaching : Teaching
        As for the phase.
    n_classes : int
        Number of classes.
    """
    least = min(trials, key=lambda trial: (trial.log_loss, trial.rate))
    usual = next((t for t in trials if t.rate == USUAL and math.isfinite(t.log_loss)), None)
    if not phase.guarded or usual is None:
        return least.rate
    _, few = _shortened(phase, teaching)
    held_out = few.held_out
    weights = few.weights_of(held_out.y[held_out.rows])
    before, after = np.array(usual.losses), np.array(least.losses)
    gain, error = gained(before, after, weights, held_out.units[held_out.rows], n_classes)
    return least.rate if gain > _CLEARLY * error else USUAL


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
