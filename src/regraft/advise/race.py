"""A race of ways to train, on cross-validation folds, inside a budget of time.

Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016): all contenders are trained and
judged on one fold, the better half of them on the next, until one is left. That one meets the
frozen network with the best head on it on further folds, which eliminated nobody. It wins only
where it is better by more than one standard error of the paired difference: the frozen network
is cheaper.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from regraft.advise.contenders import Contender
from regraft.advise.outcome import Entrant, Race
from regraft.advise.paired import Difference, paired_difference, right_answers
from regraft.clusters import design_effect
from regraft.metrics import Estimate, log_losses, wilson

FRESH = 2
"""Folds on which the last contender is judged once nobody is eliminated any more."""
MARGIN = 1.2
"""What is allowed for beyond the estimate of a price."""
LEAST_PASSES = 3
"""Fewer passes than this are no training."""
_ROUNDS = 3  # trainings of the same contender that there should be time for

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One fold: who trains, who says when to stop, who is judged."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]
    judged: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Price:
    """What a contender costs on a fold.

    Parameters
    ----------
    fixed : float
        Seconds whatever the number of passes: the trial of rates, the frozen part, the judging.
    per_pass : float
        Seconds of a pass.
    passes : int
        Passes that its recipe has, at most.
    """

    fixed: float
    per_pass: float
    passes: int

    def seconds(self, passes: int) -> float:
        """Seconds of so many passes."""
        return self.fixed + passes * self.per_pass


class Coach(Protocol):
    """Trains: the seam between the race and the networks."""

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
            alive = self._heat(alive, fold)
            alive = self._better_half(alive, fold)
            fold += 1
        fresh: list[int] = []
        while alive and fold < len(self._heats) and len(fresh) < FRESH:
            alive = self._heat(alive[:1], fold)
            if alive:
                fresh.append(fold)
                alive = self._better_half(alive, fold)
            fold += 1
        return self._result(runners, fresh)

    def _left(self) -> float:
        return self._budget - self._for_all - (self._clock() - self._began)

    def _over(self) -> bool:
        return self._left() <= 0

    def _enter(self, runners: Sequence[_Runner]) -> list[_Runner]:
        """Price the contenders; who cannot be afforded does not take part."""
        heat, entered = self._heats[0], []
        everyone = len(heat.train) + len(heat.held_out) + len(heat.judged)
        more = everyone / max(1, len(heat.train) + len(heat.held_out))
        for runner in runners:
            if self._over():
                runner.outcome = "not tried: no time was left"
                continue
            price = runner.price = self._coach.price(runner.contender, heat)
            limits = [self._left() / MARGIN / _ROUNDS]
            if self._for_all:
                limits.append(self._for_all / MARGIN / more)
            affordable = int(min((limit - price.fixed) / price.per_pass for limit in limits))
            if affordable < min(LEAST_PASSES, price.passes):
                cost = MARGIN * price.seconds(price.passes)
                runner.outcome = f"not tried: a fold takes about {cost:,.0f} s"
                continue
            runner.passes = min(price.passes, affordable)
            entered.append(runner)
        return entered

    def _heat(self, alive: Sequence[_Runner], fold: int) -> list[_Runner]:
        """Train everyone on a fold; who finds no time stays behind."""
        stayed = []
        for runner in alive:
            assert runner.price is not None, "who is alive was priced"
            needed = max(
                MARGIN * runner.price.seconds(runner.passes) if not runner.found else 0.0,
                runner.seconds / max(1, len(runner.found)),
            )
            if needed > self._left():
                runner.outcome = runner.outcome or _short_of_time(runner)
                continue
            began = self._clock()
            found = self._coach.train(
                runner.contender, self._heats[fold], runner.passes, self._over
            )
            runner.seconds += self._clock() - began
            if found is None:
                runner.outcome = _short_of_time(runner)
                continue
            runner.found[fold] = found
            stayed.append(runner)
        return stayed

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
        self, runner: _Runner, loss: Callable[[NDArray[np.intp], Array], Array]
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
        )

    def _against_frozen(self, runner: _Runner) -> Difference:
        return self._compared(runner, log_losses)

    def _standing(self, runner: _Runner) -> tuple[int, float]:
        return -len(runner.found), self._against_frozen(runner).mean

    def _frozen_on(self, fold: int) -> Array:
        if fold not in self._frozen:
            self._frozen[fold] = self._coach.frozen(self._heats[fold])
        return self._frozen[fold]

    def _result(self, runners: Sequence[_Runner], fresh: Sequence[int]) -> Race:
        judged = [runner for runner in runners if runner.found]
        winner = None
        for runner in sorted(judged, key=self._standing)[:1]:
            difference = self._against_frozen(runner)
            if difference.mean < -difference.error:
                winner, runner.outcome = runner, "won"
            else:
                runner.outcome = runner.outcome or "no better than the frozen network"
        by_fold = {k: self._frozen_on(k) if winner is None else winner.found[k] for k in fresh}
        estimate, n = self._accuracy(by_fold)
        return Race(
            entrants=tuple(self._entrant(runner) for runner in runners),
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
            gain=self._compared(runner, right_answers) if n else None,
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


def _short_of_time(runner: _Runner) -> str:
    if not runner.found:
        return "not judged: time was up"
    return f"time was up after {len(runner.found)} folds"
