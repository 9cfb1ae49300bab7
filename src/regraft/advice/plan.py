"""How a budget is spent: on a race of contenders, or on training one of them straight away.

A race judges each contender on a fold, the better half on the next, and so on; whoever wins is
trained on all pictures after it. Where there is no time for that with two contenders or more, the
same time trains one of them on all pictures at once, often a deeper one than a race could afford:
the pictures that say when to stop then also say whether the frozen network is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from regraft.price import Price

MARGIN = 1.2
"""What is allowed for beyond the estimate of a price."""
LEAST_PASSES = 3
"""Fewer passes than this are no training."""
# Part of its passes that everyone in a race should have time for, else fewer take part: what is
# trained on all pictures afterwards gets no more either, and one could be trained in full instead.
_WORTH, _WORTH_IF_FOLLOWED = 0.5, 0.8
_DEEPEST = 2  # of the contenders that train least, so many may train straight away
_SHARES = 20  # so many shares of the planned passes are tried


@dataclass(frozen=True, slots=True)
class Offer:
    """What a contender takes.

    Parameters
    ----------
    fold : Price
        A training on a fold, its judging included.
    on_all : Price
        The training on all pictures that follows if it wins, its test included.
    again : float
        Passes of training once more, on the pictures too that said when to stop, for each pass of
        `on_all`, in units of that pass; 0 where that is not done.
    guarded : bool
        Whether its training keeps the frozen network unless held-out pictures get better.
    """

    fold: Price
    on_all: Price
    again: float = 0.0
    guarded: bool = True

    def least(self, *, follows: bool) -> float:
        """Return the fewest seconds in which anything of it can be done; see `plan`."""
        if follows:
            return MARGIN * self.seconds_on_all(0.0, again=False)
        return MARGIN * self.seconds(0.0)

    def passes(self, share: float) -> int:
        """Return the passes on a fold, with a share of what is planned."""
        return _part(self.fold.passes, share)

    def passes_on_all(self, share: float) -> int:
        """Return those on all pictures."""
        return _part(self.on_all.passes, share)

    def seconds(self, share: float) -> float:
        """Return the seconds of a fold."""
        return self.fold.seconds(self.passes(share))

    def seconds_on_all(self, share: float, *, again: bool = True) -> float:
        """Return the seconds of what follows a victory."""
        passes = self.passes_on_all(share)
        more = self.again * passes * self.on_all.per_pass if again else 0.0
        return self.on_all.seconds(passes) + more


@dataclass(frozen=True, slots=True)
class Plan:
    """How to spend a budget.

    Parameters
    ----------
    shares : mapping of int to float
        Who races, by position, and the part of its planned passes that it gets.
    straight : int or None
        Who is trained without a race.
    share : float
        The part of its planned passes that it gets.
    kept : float
        Seconds that a race leaves for what follows it.
    """

    shares: Mapping[int, float] = field(default_factory=dict)
    straight: int | None = None
    share: float = 1.0
    kept: float = 0.0


def plan(offers: Sequence[Offer], seconds: float, *, follows: bool) -> Plan:
    """Let as many race as there is time for, or one of them train straight away.

    Parameters
    ----------
    offers : sequence of Offer
        Those that train least first.
    seconds : float
        What there is.
    follows : bool
        Whether the winner is trained on all pictures within these seconds, and tested there. Else
        it is judged on one fold more, and one that races alone is better than nobody.
    """
    within = seconds / MARGIN
    cheapest = sorted(range(len(offers)), key=lambda place: offers[place].seconds(1.0))
    alone = 1 if not follows or len(offers) == 1 else 2
    for count in range(len(offers), alone - 1, -1):
        racing = [offers[place] for place in cheapest[:count]]
        least = _WORTH_IF_FOLLOWED if follows else _WORTH if count > 1 else 0.0
        for share in _shares(least):
            after = max(o.seconds_on_all(share) for o in racing) if follows else 0.0
            if _race(racing, share, fresh=not follows) + after <= within:
                shares = dict.fromkeys(sorted(cheapest[:count]), share)
                return Plan(shares, kept=MARGIN * after)
    return _straight(offers, within) if follows else Plan()


def lacking(offers: Sequence[Offer], seconds: float, *, follows: bool) -> float:
    """Return how many seconds more would let two contenders race, about: those that take least.

    Where one alone was priced, the other one takes more than that.
    """
    if not offers:
        return 0.0
    racing = sorted(offers, key=lambda offer: offer.seconds(1.0))[:2]
    racing = racing if len(racing) == 2 else racing * 2
    share = _WORTH_IF_FOLLOWED if follows else _WORTH
    after = max(offer.seconds_on_all(share) for offer in racing) if follows else 0.0
    return max(0.0, MARGIN * (_race(racing, share, fresh=not follows) + after) - seconds)


def _straight(offers: Sequence[Offer], within: float) -> Plan:
    """Choose the second of those that train least if there is time for it, else the first.

    What trains more takes nearly twice as long and brought nothing more wherever it was measured.
    """
    guarded = [place for place, offer in enumerate(offers) if offer.guarded][:_DEEPEST]
    tries = [(place, _WORTH_IF_FOLLOWED) for place in reversed(guarded)]
    for place, least in [*tries, *((place, 0.0) for place in guarded)]:
        for share, again in [(1.0, True), *((share, False) for share in _shares(least))]:
            if offers[place].seconds_on_all(share, again=again) <= within:
                return Plan(straight=place, share=share)
    return Plan()


def _race(racing: Sequence[Offer], share: float, *, fresh: bool) -> float:
    """Return the seconds of a race in which the costly ones stay longest."""
    costs = sorted((offer.seconds(share) for offer in racing), reverse=True)
    count, total = len(costs), 0.0
    while count > 1:
        total += sum(costs[:count])
        count = (count + 1) // 2
    return total + (2 if fresh else 1) * costs[0]


def _shares(least: float) -> list[float]:
    """Return shares of the planned passes, all of them first; the last is `least` or above."""
    return [n / _SHARES for n in range(_SHARES, math.ceil(least * _SHARES) - 1, -1) if n]


def _part(passes: int, share: float) -> int:
    return max(min(LEAST_PASSES, passes), int(share * passes))
