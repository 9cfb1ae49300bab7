"""Did transfer help? The same architecture from random weights, on the same pictures and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from regraft.advice.coaching import Array, Coach, FailedError, Heat
from regraft.advice.contenders import Contender
from regraft.advice.outcome import Race
from regraft.advice.paired import Difference, paired_difference, right_answers
from regraft.advice.plan import LEAST_PASSES, MARGIN
from regraft.energy import Energy, energy_of, metered

Verdict = Literal["helped", "hurt", "cannot tell"]

SCRATCH = Contender("scratch")
_NO_TIME = "there was no time to train from random weights"
_TIME_UP = "time was up before a fold was trained both ways"


class Metering(Protocol):
    """Measures energy from its beginning until it is read."""

    def read(self) -> Energy | None:
        """Say what was taken; None where it cannot be known."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """Seconds and energy of a stretch of work."""

    seconds: float
    joules: float | None
    measured: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """A fold on which both sides were trained: what they say of it, and what each took."""

    heat: Heat
    mine: Array
    theirs: Array
    own: _Cost
    cost: _Cost


@dataclass(frozen=True, slots=True)
class Control:
    """Transfer against random weights, on the same held-out pictures.

    Parameters
    ----------
    verdict : {"helped", "hurt", "cannot tell"}
        By whether the 95 % interval of the difference lies above, below or around 0.
    transferred, scratch : float or None
        Accuracy of what is advised (of the frozen network, where random weights won the race or
        there was no time for one), and of the control; None where there is no comparison.
    difference : Difference or None
        Paired difference in accuracy; above 0 where transfer helped.
    n, folds : int
        Pictures that judged both, and the folds that they are of.
    seconds, scratch_seconds : float
        What training took, on these folds; without any, `scratch_seconds` is what the attempt
        took.
    passes : int
        Passes that the control had, at most.
    why_not : str
        Why there is no comparison; empty where there is one.
    joules, scratch_joules : float or None
        Energy of the machine meanwhile; None where codecarbon is not installed.
    measured : bool
        Whether that is by the processor's counters; else it is estimated.
    budget : float
        Seconds that it might take.
    """

    verdict: Verdict
    transferred: float | None
    scratch: float | None
    difference: Difference | None
    n: int
    folds: int
    seconds: float
    scratch_seconds: float
    passes: int
    why_not: str = ""
    joules: float | None = None
    scratch_joules: float | None = None
    measured: bool = False
    budget: float = 0.0

    @property
    def _how(self) -> str:
        return "measured" if self.measured else "estimated"

    @property
    def sentence(self) -> str:
        """What came of it, for people."""
        if self.difference is None or self.transferred is None or self.scratch is None:
            return f"Whether transfer helped cannot be told: {self.why_not}."
        low, high = self.difference.share95
        figures = (
            f"{self.transferred:.1%} right against {self.scratch:.1%} from random weights on "
            f"{self.n} held-out pictures, {100 * self.difference.mean:+.1f} points "
            f"({100 * low:+.1f} to {100 * high:+.1f}), in {self.seconds:.0f} s against "
            f"{self.scratch_seconds:.0f} s"
        )
        if self.joules is not None and self.scratch_joules is not None:
            figures += (
                f" and {energy_of(self.joules)} against {energy_of(self.scratch_joules)} "
                f"({self._how})"
            )
        return {
            "helped": f"Transfer helped: {figures}.",
            "hurt": (
                f"Transfer HURT: {figures}. Train from random weights (--strategy scratch), or "
                "from a network whose pictures are more like yours."
            ),
            "cannot tell": f"Whether transfer helped cannot be told: {figures}.",
        }[self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """Give all as JSON values."""
        difference = self.difference
        return {
            "verdict": self.verdict,
            "transferred": self.transferred,
            "scratch": self.scratch,
            "difference": None if difference is None else difference.mean,
            "ci95": None if difference is None else list(difference.share95),
            "n": self.n,
            "folds": self.folds,
            "seconds": self.seconds,
            "scratch_seconds": self.scratch_seconds,
            "passes": self.passes,
            "why_not": self.why_not,
            "joules": self.joules,
            "scratch_joules": self.scratch_joules,
            "energy": None if self.joules is None else "measured" if self.measured else "estimated",
        }


def run_control(
    coach: Coach,
    heats: Sequence[Heat],
    race: Race,
    y: NDArray[np.intp],
    units: NDArray[np.intp],
    *,
    budget: float,
    clock: Callable[[], float] = time.monotonic,
    meter: Callable[[], AbstractContextManager[Metering]] = metered,
) -> Control:
    """Train from random weights, and compare with what is advised.

    The control may take as long as the race might, on as many of the folds as there is time for;
    what won the race, or the frozen network (also where random weights won), is trained on the
    same folds for the comparison, and that is part of the time.

    Parameters
    ----------
    coach : Coach
        Trains.
    heats : sequence of Heat
        The folds of the race; the last ones first, which eliminated nobody.
    race : Race
        What is advised.
    y, units : ndarray of shape (n,), int
        As for `regraft.advice.race.run_race`.
    budget : float
        Seconds that the control may take.
    clock : callable
        Seconds from any beginning.
    meter : callable
        Measures the energy of a stretch of work.
    """
    began = clock()

    def gone() -> float:
        return clock() - began

    def over() -> bool:
        return gone() > budget

    try:
        price = coach.price(SCRATCH, heats[-1], over)
        advised = _seconds(coach, race, heats[-1], over)
    except FailedError as error:
        return no_control(_failed(error), gone())
    if price is None or advised is None:
        return no_control(_NO_TIME, gone())
    left = (budget - gone()) / MARGIN - advised
    passes = min(price.passes, int((left - price.fixed) / price.per_pass))
    folds: list[_Fold] = []
    why = _NO_TIME
    if passes >= min(LEAST_PASSES, price.passes):
        start, needed = gone(), MARGIN * (price.seconds(passes) + advised)
        for heat in reversed(heats):
            if gone() + needed > budget:
                break
            try:
                fold = _fold(coach, race, heat, passes, over, partial(_account, clock, meter))
            except FailedError as error:
                why = _failed(error)
                break
            if fold is None:
                why = _TIME_UP
                break
            folds.append(fold)
            needed = (gone() - start) / len(folds)
    return _compared(folds, y, units, passes) if folds else no_control(why, gone())


def no_control(why: str, seconds: float = 0.0) -> Control:
    """Return a comparison that could not be made."""
    return Control("cannot tell", None, None, None, 0, 0, 0.0, seconds, 0, why)


def _fold(
    coach: Coach,
    race: Race,
    heat: Heat,
    passes: int,
    over: Callable[[], bool],
    account: Callable[[Callable[[], Array | None]], tuple[Array | None, _Cost]],
) -> _Fold | None:
    """Train both ways on a fold; None where time is up."""
    theirs, cost = account(partial(_trained, coach, SCRATCH, heat, passes, over))
    if theirs is None:
        return None
    winner = _transferred(race)
    if winner is None:
        mine, own = account(partial(coach.frozen, heat))
    else:
        mine, own = account(partial(_trained, coach, winner, heat, race.passes, over))
    return None if mine is None else _Fold(heat, mine, theirs, own, cost)


def _trained(
    coach: Coach, contender: Contender, heat: Heat, passes: int, over: Callable[[], bool]
) -> Array | None:
    answers = coach.train(contender, heat, passes, over)
    return None if answers is None else answers.probabilities


def _transferred(race: Race) -> Contender | None:
    """Return what stands for the transfer: who won, or the frozen network where scratch did."""
    return None if race.winner == SCRATCH else race.winner


def _failed(error: FailedError) -> str:
    return f"a training failed ({error})"


def _seconds(coach: Coach, race: Race, heat: Heat, over: Callable[[], bool]) -> float | None:
    """Return what training what is advised on a fold takes; None without time to know."""
    winner = _transferred(race)
    if winner is None:
        return 0.0
    price = coach.price(winner, heat, over)
    return None if price is None else price.seconds(race.passes)


def _compared(
    folds: Sequence[_Fold],
    y: NDArray[np.intp],
    units: NDArray[np.intp],
    passes: int,
) -> Control:
    rows = np.concatenate([fold.heat.judged for fold in folds])
    mine = right_answers(y[rows], np.concatenate([fold.mine for fold in folds]))
    theirs = right_answers(y[rows], np.concatenate([fold.theirs for fold in folds]))
    heat = folds[0].heat
    difference = paired_difference(
        mine, theirs, units[rows], n_train=len(heat.train), folds=len(folds), guess=1.0
    )
    own, cost = _total(fold.own for fold in folds), _total(fold.cost for fold in folds)
    low, high = difference.share95
    verdict: Verdict = "helped" if low > 0 else "hurt" if high < 0 else "cannot tell"
    return Control(
        verdict=verdict,
        transferred=float(mine.mean()),
        scratch=float(theirs.mean()),
        difference=difference,
        n=len(rows),
        folds=len(folds),
        seconds=own.seconds,
        scratch_seconds=cost.seconds,
        passes=passes,
        joules=own.joules,
        scratch_joules=cost.joules,
        measured=own.measured and cost.measured,
    )


def _total(costs: Iterable[_Cost]) -> _Cost:
    listed = list(costs)
    joules = [cost.joules for cost in listed if cost.joules is not None]
    known = len(joules) == len(listed)
    return _Cost(
        sum(cost.seconds for cost in listed),
        sum(joules) if known else None,
        known and all(cost.measured for cost in listed),
    )


def _account(
    clock: Callable[[], float],
    meter: Callable[[], AbstractContextManager[Metering]],
    work: Callable[[], Array | None],
) -> tuple[Array | None, _Cost]:
    """Do work, and say what it took; setting the meter up is no part of it."""
    with meter() as running:
        began = clock()
        found = work()
        seconds = clock() - began
        energy = running.read()
    if energy is None:
        return found, _Cost(seconds, None, False)
    return found, _Cost(seconds, energy.joules, energy.measured)
