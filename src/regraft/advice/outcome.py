"""How a race went: plain values, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regraft.advice.contenders import Contender
from regraft.advice.paired import Difference
from regraft.metrics import Estimate

FAILED = "failed: "
"""How the outcome of a contender begins that could not be trained; the reason follows."""
STRAIGHT = "trained straight away: two could not be judged on folds in the time"
"""What became of a contender for which a race was not run."""

_MINUTES = 90.0  # seconds from which on minutes are said


@dataclass(frozen=True, slots=True)
class Entrant:
    """What became of a contender.

    Parameters
    ----------
    contender : Contender
        Who.
    folds : int
        Folds that judged it.
    n : int
        Pictures that judged it.
    accuracy : Estimate or None
        On these; None where it was not judged.
    against_frozen : Difference or None
        Paired difference in log loss to the frozen network, every class weighing the same where
        that was asked for: what decides.
    gain : Difference or None
        Paired difference in accuracy to the frozen network, over pictures as `accuracy` is; above 0
        where it is better.
    seconds : float
        What it took.
    passes : int
        Passes that it had, at most.
    outcome : str
        What became of it, for people.
    improved : bool
        Whether training improved it on any fold; else all answers are those of the frozen network.
    """

    contender: Contender
    folds: int
    n: int
    accuracy: Estimate | None
    against_frozen: Difference | None
    gain: Difference | None
    seconds: float
    passes: int
    outcome: str
    improved: bool = True


@dataclass(frozen=True, slots=True)
class Race:
    """How a race went.

    Parameters
    ----------
    entrants : tuple of Entrant
        Those that train least first.
    winner : Contender or None
        None: the frozen network with the best head on it.
    passes : int
        Passes that the winner had on a fold, at most; 0 where nobody won.
    fresh : Estimate or None
        Accuracy of what is advised on a fold that the race did not use; None without time for it.
    n_fresh : int
        Pictures of that fold.
    seconds, budget : float
        What it took, and what it might have taken.
    decided : bool
        Whether it came to an end: the last contender was judged on the fold that decides, or none
        was left for it without one that failed or found no time. False without a race, too.
    straight : Contender or None
        Who is to be trained on all pictures without a race, for which there was no time.
    passes_on_all : int
        Passes for training the winner, or that one, on all pictures, at most.
    finish : float
        Seconds that are to be left when that ends, to test and write what came of it.
    lacks : float
        Where there was no race: seconds more that would have let two race, about.
    """

    entrants: tuple[Entrant, ...]
    winner: Contender | None
    passes: int
    fresh: Estimate | None
    n_fresh: int
    seconds: float
    budget: float
    decided: bool = True
    straight: Contender | None = None
    passes_on_all: int = 0
    finish: float = 0.0
    lacks: float = 0.0

    @property
    def trained(self) -> Contender | None:
        """Who is to be trained on all pictures, if anyone is."""
        return self.winner or self.straight

    @property
    def sentences(self) -> tuple[str, ...]:
        """How it went, for people."""
        if not self.entrants:
            return ("The network has no blocks that could be trained apart from the rest.",)
        judged = [entrant for entrant in self.entrants if entrant.gain is not None]
        if self.straight is not None:
            name, passes = self.straight.name, self.passes_on_all
            return (
                f"There was no time to judge ways to train layers on folds, so {name} was trained "
                f"straight away, with {passes} passes at most; {_more(self.lacks)} there can be a "
                "race.",
            )
        if not judged:
            return (_nobody(self.entrants, self.lacks),)
        best = next((e for e in judged if e.contender == self.winner), None) or max(
            judged, key=lambda entrant: (entrant.folds, -_loss(entrant))
        )
        if not best.improved and self.decided:
            name, folds = best.contender.name, best.folds
            of = "on the only fold" if folds == 1 else f"on none of {folds} folds"
            verb = "did not get better" if folds == 1 else "got better"
            return (f"Training layers did not pay: {name} {verb} {of}.", *self._told)
        gain = best.gain
        assert gain is not None, "who was judged was compared"
        low, high = gain.share95
        figures = (
            f"{100 * gain.mean:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}) and a log loss "
            f"of {_loss(best):+.3f} (standard error {_error(best):.3f}) against the frozen network "
            f"on {best.n} pictures that were held out"
        )
        name = best.contender.name
        if not self.decided:
            verdict = (
                f"Whether training layers pays was not decided: {name} came to {figures}, and then "
                f"{best.outcome}; the network stays as it was."
            )
        elif self.winner is None:
            verdict = f"Training layers did not pay: {name} came to {figures}."
        else:
            verdict = f"Training layers paid: {name} won, with {figures} (optimistic)."
        return (verdict, *self._told)

    @property
    def _told(self) -> tuple[str, ...]:
        """What a fresh fold says."""
        if self.fresh is None:
            return ()
        low, high = self.fresh.ci95
        what = "the frozen network" if self.winner is None else "what is advised"
        return (
            f"On {self.n_fresh} pictures that the race did not use, {what} got "
            f"{self.fresh.value:.1%} right ({low:.1%} to {high:.1%}); what its head reads was "
            "chosen with these too, which flatters it.",
        )

    def as_dict(self) -> dict[str, Any]:
        """Give all as JSON values."""
        fresh = None
        if self.fresh is not None:
            fresh = {"accuracy": self.fresh.value, "ci95": self.fresh.ci95, "n": self.n_fresh}
        return {
            "winner": "features" if self.winner is None else self.winner.name,
            "straight": None if self.straight is None else self.straight.name,
            "fresh": fresh,
            "decided": self.decided,
            "entrants": [
                {
                    "strategy": entrant.contender.name,
                    "folds": entrant.folds,
                    "passes": entrant.passes,
                    "seconds": entrant.seconds,
                    "outcome": entrant.outcome,
                    "improved": entrant.improved if entrant.folds else None,
                    "log_loss_difference": _told(entrant.against_frozen),
                }
                for entrant in self.entrants
            ],
            "seconds": self.seconds,
            "budget": self.budget,
            "lacks": self.lacks,
        }


def no_entrants(budget: float) -> Race:
    """Return a race for which there was no time; what compares with it may take so many seconds."""
    return Race((), None, 0, None, 0, 0.0, budget)


def _more(seconds: float) -> str:
    """Say how much longer a budget would do."""
    if not seconds:
        return "with a longer budget"
    if seconds < _MINUTES:
        return f"with some {10 * math.ceil(seconds / 10)} s more"
    return f"with some {math.ceil(seconds / 60)} minutes more"


def _nobody(entrants: Sequence[Entrant], lacks: float) -> str:
    """Say why no way to train layers was judged."""
    failed = [entrant for entrant in entrants if entrant.outcome.startswith(FAILED)]
    if failed:
        why = failed[0].outcome.removeprefix(FAILED)
        return f"No way to train layers could be judged: {failed[0].contender.name} failed ({why})."
    return (
        f"No way to train layers could be tried in this time; {_more(lacks)} there can be a race."
    )


def _loss(entrant: Entrant) -> float:
    return entrant.against_frozen.mean if entrant.against_frozen else 0.0


def _error(entrant: Entrant) -> float:
    return entrant.against_frozen.error if entrant.against_frozen else 0.0


def _told(difference: Difference | None) -> dict[str, float] | None:
    """Give a paired difference as JSON values; below 0 is better than the frozen network."""
    if difference is None:
        return None
    return {"mean": difference.mean, "error": difference.error, "freedom": difference.freedom}
