"""A race of ways to train, on cross-validation folds, inside a budget of time.

Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016): all contenders are trained and
judged on one fold, the better half of them on the next, until one is left. That one is judged on
one fold more, and wins where, on all its folds so far, it is better than the frozen network with
the best head by more than one standard error of the paired difference: the frozen network is
cheaper. What is advised is judged once more on a last, fresh fold, which the race did not use;
where the winner is trained on all pictures at once, its test says more than that, and the fold is
spared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from regraft.advice.coaching import Answers, Array, Coach, FailedError, Heat, Whole
from regraft.advice.contenders import Contender
from regraft.advice.outcome import FAILED, STRAIGHT, Entrant, Race
from regraft.advice.paired import Difference, paired_difference, right_answers
from regraft.advice.plan import MARGIN, Offer, Plan, lacking, plan
from regraft.clusters import design_effect
from regraft.metrics import Estimate, log_losses, wilson


@dataclass(slots=True)
class _Runner:
    """A contender on its way: its probabilities by fold."""

    contender: Contender
    offer: Offer | None = None
    share: float = 1.0
    seconds: float = 0.0
    found: dict[int, Array] = field(default_factory=dict)
    improved: bool = False
    lost: bool = False
    outcome: str = ""

    @property
    def priced(self) -> Offer:
        """What it takes."""
        assert self.offer is not None, "who takes part was priced"
        return self.offer

    @property
    def passes(self) -> int:
        """Passes on a fold, at most; 0 for who takes no part."""
        return self.offer.passes(self.share) if self.offer else 0


def run_race(
    coach: Coach,
    contenders: Sequence[Contender],
    heats: Sequence[Heat],
    y: NDArray[np.intp],
    units: NDArray[np.intp],
    *,
    budget: float,
    whole: Whole,
    weights: Array | None = None,
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
        Seconds that the race may take, and what follows it.
    whole : Whole
        What the winner is trained on afterwards. If that is at once, the race ends early enough;
        without time for a race it says who is to be trained straight away.
    weights : ndarray of shape (n,), float64, optional
        What each picture counts where ways are compared; without it, all the same.
    clock : callable
        Seconds from any beginning.
    """
    weights = np.ones(len(y)) if weights is None else weights
    return _Judge(coach, heats, y, units, weights, budget, whole, clock).run(contenders)


class _Judge:
    """Runs a race."""

    def __init__(
        self,
        coach: Coach,
        heats: Sequence[Heat],
        y: NDArray[np.intp],
        units: NDArray[np.intp],
        weights: Array,
        budget: float,
        whole: Whole,
        clock: Callable[[], float],
    ) -> None:
        self._coach, self._heats, self._y, self._units = coach, heats, y, units
        self._weights = weights
        self._budget, self._whole, self._clock = budget, whole, clock
        self._began = clock()
        self._plan = Plan()
        self._straight: _Runner | None = None
        self._frozen: dict[int, Array] = {}
        self._decided = False
        self._lacks = 0.0

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
        winner = self._decide(alive)
        judged = [runner for runner in runners if runner.found]
        self._decided = bool(alive) or (bool(judged) and not any(r.lost for r in runners))
        fresh: dict[int, Array] = {}
        if self._whole.follows:
            return self._result(runners, winner, fresh)
        if winner is None and fold and fold < len(self._heats):
            fresh[fold] = self._coach.frozen(self._heats[fold], with_held_out=True)
        elif winner is not None and winner in alive and fold < len(self._heats):
            trained = self._train(winner, fold)
            if trained is not None:
                fresh[fold] = trained.probabilities
        return self._result(runners, winner, fresh)

    def _left(self) -> float:
        return self._budget - self._plan.kept - (self._clock() - self._began)

    def _over(self) -> bool:
        return self._left() <= 0

    def _enter(self, runners: Sequence[_Runner]) -> list[_Runner]:
        """Price the contenders; who cannot be afforded does not take part."""
        priced = self._priced(runners)
        offers = [runner.priced for runner in priced]
        left = max(0.0, self._left())
        self._plan = plan(offers, left, follows=self._whole.follows)
        if not self._plan.shares:
            self._lacks = lacking(offers, left, follows=self._whole.follows)
        for place, runner in enumerate(priced):
            runner.share = self._plan.shares.get(place, 1.0)
            if place == self._plan.straight:
                self._straight, runner.share = runner, self._plan.share
                runner.outcome = STRAIGHT
            elif place not in self._plan.shares:
                cost = MARGIN * runner.priced.seconds(1.0)
                why = (
                    f"a fold takes about {cost:,.0f} s, and {left:,.0f} s were left for all folds "
                    "of a race"
                )
                if self._whole.follows:
                    why += " and for training the winner"
                runner.outcome = f"not tried: {why}"
        return [priced[place] for place in self._plan.shares]

    def _priced(self, runners: Sequence[_Runner]) -> list[_Runner]:
        """Price the contenders, up to the first for which there is no time: the next take more."""
        priced: list[_Runner] = []
        for runner in runners:
            if priced and priced[-1].priced.least(follows=self._whole.follows) > self._left():
                runner.outcome = f"not tried: it takes longer than {priced[-1].contender.name}"
                continue
            try:
                runner.offer = self._offer(runner.contender)
            except FailedError as error:
                runner.outcome = f"{FAILED}{error}"
                continue
            if runner.offer is None:
                runner.outcome = "not tried: no time was left"
            else:
                priced.append(runner)
        return priced

    def _offer(self, contender: Contender) -> Offer | None:
        whole = self._whole
        if self._over():
            return None
        fold = self._coach.price(contender, self._heats[0], self._over)
        if fold is None:
            return None
        training = replace(whole.heat, judged=whole.heat.judged[:0])
        on_all = self._coach.price(contender, training, self._over)
        if on_all is None:
            return None
        finish = self._coach.finish(whole.heat)
        on_all = replace(on_all, fixed=on_all.fixed + finish)
        return Offer(fold, on_all, whole.again, guarded=contender.strategy != "scratch")

    def _heat(self, alive: Sequence[_Runner], fold: int) -> list[_Runner]:
        """Train everyone on a fold; who finds no time stays behind."""
        stayed = []
        for runner in alive:
            found = self._train(runner, fold)
            if found is not None:
                runner.found[fold] = found.probabilities
                runner.improved |= found.improved
                stayed.append(runner)
        return stayed

    def _train(self, runner: _Runner, fold: int) -> Answers | None:
        """Train a contender on a fold, if there is time."""
        expected = runner.seconds / len(runner.found) if runner.found else 0.0
        if not runner.found:
            expected = MARGIN * runner.priced.seconds(runner.share)
        if expected > self._left():
            runner.outcome, runner.lost = _short_of_time(runner), True
            return None
        began, found = self._clock(), None
        try:
            found = self._coach.train(
                runner.contender, self._heats[fold], runner.passes, self._over
            )
            if found is None:
                runner.outcome = _short_of_time(runner)
        except FailedError as error:
            runner.outcome = f"{FAILED}{error}"
        runner.lost = found is None
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
        self,
        runner: _Runner,
        loss: Callable[[NDArray[np.intp], Array], Array],
        guess: float,
        *,
        plain: bool = False,
    ) -> Difference:
        mine, theirs, rows = [], [], []
        for fold, found in runner.found.items():
            judged = self._heats[fold].judged
            mine.append(loss(self._y[judged], found))
            theirs.append(loss(self._y[judged], self._frozen_on(fold)))
            rows.append(judged)
        first = self._heats[next(iter(runner.found))]
        judged = np.concatenate(rows)
        weights = np.ones(len(judged)) if plain else self._weights[judged]
        weights = weights / weights.mean()
        return paired_difference(
            weights * np.concatenate(mine),
            weights * np.concatenate(theirs),
            self._units[judged],
            n_train=len(first.train),
            folds=len(runner.found),
            guess=guess,
        )

    def _against_frozen(self, runner: _Runner) -> Difference:
        n_classes = next(iter(runner.found.values())).shape[1]
        return self._compared(runner, log_losses, math.log(n_classes))

    def _frozen_on(self, fold: int) -> Array:
        if fold not in self._frozen:
            self._frozen[fold] = self._coach.frozen(self._heats[fold])
        return self._frozen[fold]

    def _decide(self, alive: Sequence[_Runner]) -> _Runner | None:
        """Return who is left, if that is better than the frozen network.

        Who was not judged on the fold that decides does not win: on the others the best of
        several was picked.
        """
        for runner in alive:
            difference = self._against_frozen(runner)
            if difference.mean < -difference.error:
                runner.outcome = "won"
                return runner
            runner.outcome = "no better than the frozen network"
        return None

    def _result(
        self, runners: Sequence[_Runner], winner: _Runner | None, fresh: dict[int, Array]
    ) -> Race:
        entrants = tuple(self._entrant(runner) for runner in runners)
        estimate, n = self._accuracy(fresh)
        straight = self._straight
        chosen = winner or straight
        return Race(
            entrants=entrants,
            winner=winner.contender if winner else None,
            passes=winner.passes if winner else 0,
            fresh=estimate,
            n_fresh=n,
            seconds=self._clock() - self._began,
            budget=self._budget,
            decided=self._decided,
            straight=straight.contender if straight else None,
            passes_on_all=chosen.priced.passes_on_all(chosen.share) if chosen else 0,
            finish=self._coach.finish(self._whole.heat) if chosen else 0.0,
            lacks=self._lacks,
        )

    def _entrant(self, runner: _Runner) -> Entrant:
        accuracy, n = self._accuracy(runner.found)
        return Entrant(
            contender=runner.contender,
            folds=len(runner.found),
            n=n,
            accuracy=accuracy,
            against_frozen=self._against_frozen(runner) if n else None,
            gain=self._compared(runner, right_answers, 1.0, plain=True) if n else None,
            seconds=runner.seconds,
            passes=runner.passes,
            outcome=runner.outcome,
            improved=runner.improved,
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
