"""A race of ways to train, on cross-validation folds, inside a budget of time.

Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016): all contenders are trained and
judged on one fold, the better half of them on the next, until one is left. That one is judged on
one fold more, and wins where, on all its folds so far, it is better than the frozen network with
the best head by more than one standard error of the paired difference: the frozen network is
cheaper. What is advised is judged once more on a last, fresh fold, which decided nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from regraft.advice.contenders import Contender
from regraft.advice.outcome import Entrant, Race
from regraft.advice.paired import Difference, paired_difference, right_answers
from regraft.clusters import design_effect
from regraft.metrics import Estimate, log_losses, wilson
from regraft.price import Price

MARGIN = 1.2
"""What is allowed for beyond the estimate of a price."""
LEAST_PASSES = 3
"""Fewer passes than this are no training."""
_LAST = 2  # folds on which the last contender is judged: one decides, one is fresh
_WORTH = 0.5  # part of its passes that everyone should have time for; else fewer take part
_MORE = 2.5  # what training on all pictures, in part twice, takes against training on a fold

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One fold: who trains, who says when to stop, who is judged."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]
    judged: NDArray[np.intp]


class FailedError(Exception):
    """A contender could not be trained; the others go on."""


class Coach(Protocol):
    """Trains: the seam between the race and the networks; raises `FailedError` for a contender."""

    def price(self, contender: Contender, heat: Heat) -> Price:
        """Estimate what it costs."""

    def train(
        self, contender: Contender, heat: Heat, passes: int, over: Callable[[], bool]
    ) -> Array | None:
        """Train and judge a contender.

        Parameters
        ----------
        contender : Contender
            What to train.
        heat : Heat
            The pictures.
        passes : int
            Passes, at most.
        over : callable
            Whether time is up.

        Returns
        -------
        ndarray of shape (len(heat.judged), n_classes), float64, or None
            Probabilities; those of the frozen network where training did not improve it. None
            where time was up before it was done.
        """

    def frozen(self, heat: Heat) -> Array:
        """Probabilities that the frozen network with the best head gives."""


@dataclass(slots=True)
class _Runner:
    """A contender on its way: its probabilities by fold."""

    contender: Contender
    price: Price | None = None
    passes: int = 0
    seconds: float = 0.0
    found: dict[int, Array] = field(default_factory=dict)
    outcome: str = ""


def run_race(
    coach: Coach,
    contenders: Sequence[Contender],
    heats: Sequence[Heat],
    y: NDArray[np.intp],
    units: NDArray[np.intp],
    *,
    budget: float,
    share_for_all: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> Race:
    """Let contenders race.

    Parameters
    ----------
    coach : Coach
        Trains them.
    contenders : sequence of Contender
        Those that train least first.
    heats : sequence of Heat
        The folds, two or more; no picture is judged twice.
    y : ndarray of shape (n,), int
        Column of each picture's class.
    units : ndarray of shape (n,), int
        Pictures with the same number depend on each other.
    budget : float
        Seconds that the race may take.
    share_for_all : float
        Part of the budget that is kept for training the winner on all pictures: who costs more
        than that does not take part, and the race ends early enough.
    clock : callable
        Seconds from any beginning.
    """
    return _Judge(coach, heats, y, units, budget, share_for_all, clock).run(contenders)


class _Judge:
    """Runs a race."""

    def __init__(
        self,
        coach: Coach,
        heats: Sequence[Heat],
        y: NDArray[np.intp],
        units: NDArray[np.intp],
        budget: float,
        share_for_all: float,
        clock: Callable[[], float],
    ) -> None:
        self._coach, self._heats, self._y, self._units = coach, heats, y, units
        self._budget, self._clock = budget, clock
        self._for_all = share_for_all * budget
        self._began = clock()
        self._frozen: dict[int, Array] = {}

    def run(self, contenders: Sequence[Contender]) -> Race:
        runners = [_Runner(contender) for contender in contenders]
        alive, fold = self._enter(runners), 0
        while len(alive) > 1 and fold < len(self._heats) - 1:
            alive = self._better_half(self._heat(alive, fold), fold)
            fold += 1
        for runner in alive[1:]:
            runner.outcome = "no fold was left to judge it on"
        alive = alive[:1]
        if alive and fold < len(self._heats):
            alive, fold = self._heat(alive, fold), fold + 1
        winner = self._decide(runners)
        fresh: dict[int, Array] = {}
        if winner is None and alive and fold < len(self._heats):
            fresh[fold] = self._frozen_on(fold)
        elif winner is not None and winner in alive and fold < len(self._heats):
            trained = self._train(winner, fold)
            if trained is not None:
                fresh[fold] = trained
        return self._result(runners, winner, fresh)

    def _left(self) -> float:
        return self._budget - self._for_all - (self._clock() - self._began)

    def _over(self) -> bool:
        return self._left() <= 0

    def _enter(self, runners: Sequence[_Runner]) -> list[_Runner]:
        """Price the contenders; who cannot be afforded does not take part."""
        priced = []
        for runner in runners:
            if self._over():
                runner.outcome = "not tried: no time was left"
                continue
            try:
                runner.price = self._coach.price(runner.contender, self._heats[0])
            except FailedError as error:
                runner.outcome = f"failed: {error}"
                continue
            priced.append(runner)
        entered = self._affordable(priced)
        for runner in priced:
            if runner not in entered:
                price = _price_of(runner)
                cost = MARGIN * price.seconds(price.passes)
                runner.outcome = f"not tried: a fold takes about {cost:,.0f} s"
        return entered

    def _affordable(self, priced: Sequence[_Runner]) -> list[_Runner]:
        """Let as many take part as there is time for, those that train least first."""
        for count in range(len(priced), 0, -1):
            limits = [self._left() / MARGIN / _trainings(count)]
            if self._for_all:
                limits.append(self._for_all / MARGIN / _MORE)
            worth = _WORTH if count > 1 else 0.0
            entered: list[_Runner] = []
            for runner in priced:
                price = _price_of(runner)
                passes = int((min(limits) - price.fixed) / price.per_pass)
                least = max(min(LEAST_PASSES, price.passes), worth * price.passes)
                if passes >= least and len(entered) < count:
                    runner.passes = min(price.passes, passes)
                    entered.append(runner)
            if len(entered) == count:
                return entered
        return []

    def _heat(self, alive: Sequence[_Runner], fold: int) -> list[_Runner]:
        """Train everyone on a fold; who finds no time stays behind."""
        stayed = []
        for runner in alive:
            found = self._train(runner, fold)
            if found is not None:
                runner.found[fold] = found
                stayed.append(runner)
        return stayed

    def _train(self, runner: _Runner, fold: int) -> Array | None:
        """Train a contender on a fold, if there is time."""
        expected = runner.seconds / len(runner.found) if runner.found else 0.0
        if not runner.found:
            expected = MARGIN * _price_of(runner).seconds(runner.passes)
        if expected > self._left():
            runner.outcome = _short_of_time(runner)
            return None
        began, found = self._clock(), None
        try:
            found = self._coach.train(
                runner.contender, self._heats[fold], runner.passes, self._over
            )
            if found is None:
                runner.outcome = _short_of_time(runner)
        except FailedError as error:
            runner.outcome = f"failed: {error}"
        runner.seconds += self._clock() - began
        return found

    def _better_half(self, alive: Sequence[_Runner], fold: int) -> list[_Runner]:
        """Keep the better half, and of that whom the frozen network does not beat clearly."""
        ranked = sorted(alive, key=lambda runner: self._against_frozen(runner).mean)
        kept = []
        for place, runner in enumerate(ranked):
            difference = self._against_frozen(runner)
            if difference.mean > 2 * difference.error:
                runner.outcome = f"behind the frozen network after fold {fold + 1}"
            elif place >= (len(alive) + 1) // 2:
                runner.outcome = f"eliminated after fold {fold + 1}"
            else:
                kept.append(runner)
        return kept

    def _compared(
        self, runner: _Runner, loss: Callable[[NDArray[np.intp], Array], Array], guess: float
    ) -> Difference:
        mine, theirs, rows = [], [], []
        for fold, found in runner.found.items():
            judged = self._heats[fold].judged
            mine.append(loss(self._y[judged], found))
            theirs.append(loss(self._y[judged], self._frozen_on(fold)))
            rows.append(judged)
        first = self._heats[next(iter(runner.found))]
        return paired_difference(
            np.concatenate(mine),
            np.concatenate(theirs),
            self._units[np.concatenate(rows)],
            n_train=len(first.train),
            folds=len(runner.found),
            guess=guess,
        )

    def _against_frozen(self, runner: _Runner) -> Difference:
        n_classes = next(iter(runner.found.values())).shape[1]
        return self._compared(runner, log_losses, math.log(n_classes))

    def _standing(self, runner: _Runner) -> tuple[int, float]:
        return -len(runner.found), self._against_frozen(runner).mean

    def _frozen_on(self, fold: int) -> Array:
        if fold not in self._frozen:
            self._frozen[fold] = self._coach.frozen(self._heats[fold])
        return self._frozen[fold]

    def _decide(self, runners: Sequence[_Runner]) -> _Runner | None:
        """Return who is better than the frozen network, if anyone is."""
        judged = sorted((runner for runner in runners if runner.found), key=self._standing)
        if not judged:
            return None
        difference = self._against_frozen(judged[0])
        if difference.mean < -difference.error:
            judged[0].outcome = "won"
            return judged[0]
        judged[0].outcome = judged[0].outcome or "no better than the frozen network"
        return None

    def _result(
        self, runners: Sequence[_Runner], winner: _Runner | None, fresh: dict[int, Array]
    ) -> Race:
        entrants = tuple(self._entrant(runner) for runner in runners)
        estimate, n = self._accuracy(fresh)
        return Race(
            entrants=entrants,
            winner=winner.contender if winner else None,
            passes=winner.passes if winner else 0,
            fresh=estimate,
            n_fresh=n,
            seconds=self._clock() - self._began,
            budget=self._budget,
        )

    def _entrant(self, runner: _Runner) -> Entrant:
        accuracy, n = self._accuracy(runner.found)
        return Entrant(
            contender=runner.contender,
            folds=len(runner.found),
            n=n,
            accuracy=accuracy,
            against_frozen=self._against_frozen(runner) if n else None,
            gain=self._compared(runner, right_answers, 1.0) if n else None,
            seconds=runner.seconds,
            passes=runner.passes,
            outcome=runner.outcome,
        )

    def _accuracy(self, by_fold: dict[int, Array]) -> tuple[Estimate | None, int]:
        if not by_fold:
            return None, 0
        rows = np.concatenate([self._heats[fold].judged for fold in by_fold])
        found = np.concatenate(list(by_fold.values()))
        right = right_answers(self._y[rows], found)
        plain = np.ones(len(right))
        effect = design_effect(right, plain * right.mean(), plain, self._units[rows])
        total = float(right.sum())
        return Estimate(total / len(right), *wilson(total / effect, len(right) / effect)), len(rows)


def _price_of(runner: _Runner) -> Price:
    assert runner.price is not None, "who takes part was priced"
    return runner.price


def _trainings(count: int) -> int:
    """Return how many trainings a race of so many takes, if everyone has the time."""
    total = _LAST
    while count > 1:
        total += count
        count = (count + 1) // 2
    return total


def _short_of_time(runner: _Runner) -> str:
    if not runner.found:
        return "not judged: time was up"
    return f"time was up after {len(runner.found)} folds"
