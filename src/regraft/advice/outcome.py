"""How a race went: plain values, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regraft.advice.contenders import Contender
from regraft.advice.paired import Difference
from regraft.metrics import Estimate

STRAIGHT = "trained straight away: two could not be judged on folds in the time"
"""What became of a contender for which a race was not run."""


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
        Paired difference in log loss to the frozen network.
    gain : Difference or None
        Paired difference in accuracy to the frozen network; above 0 where it is better.
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
        Accuracy of what is advised on a fold that decided nothing; None where there was no time.
    n_fresh : int
        Pictures of that fold.
    seconds, budget : float
        What it took, and what it might have taken.
    straight : Contender or None
        Who is to be trained on all pictures without a race, for which there was no time.
    passes_on_all : int
        Passes for training the winner, or that one, on all pictures, at most.
    finish : float
        Seconds that are to be left when that ends, to test and write what came of it.
    """

    entrants: tuple[Entrant, ...]
    winner: Contender | None
    passes: int
    fresh: Estimate | None
    n_fresh: int
    seconds: float
    budget: float
    straight: Contender | None = None
    passes_on_all: int = 0
    finish: float = 0.0

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
                f"straight away, with {passes} passes at most; a longer budget lets several race.",
            )
        if not judged:
            return ("No way to train layers could be tried in the time that was given.",)
        best = next((e for e in judged if e.contender == self.winner), None) or max(
            judged, key=lambda entrant: (entrant.folds, -_loss(entrant))
        )
        if not best.improved:
            name, folds = best.contender.name, best.folds
            of = "on the only fold" if folds == 1 else f"on none of {folds} folds"
            verb = "did not get better" if folds == 1 else "got better"
            return (f"Training layers did not pay: {name} {verb} {of}.", *self._told)
        gain = best.gain
        assert gain is not None, "who was judged was compared"
        low, high = gain.share95
        figures = (
            f"{100 * gain.mean:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}) and a log loss "
            f"of {_loss(best):+.3f} against the frozen network on {best.n} pictures that were held "
            "out"
        )
        name = best.contender.name
        if self.winner is None:
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
        figures = f"got {self.fresh.value:.1%} right ({low:.1%} to {high:.1%})"
        if self.winner is None:
            return (
                f"On {self.n_fresh} pictures that the race did not use, the frozen network "
                f"{figures}; what its head reads was chosen with these too, which flatters it.",
            )
        return (f"On {self.n_fresh} pictures that decided nothing, what is advised {figures}.",)

    def as_dict(self) -> dict[str, Any]:
        """Give all as JSON values."""
        fresh = None
        if self.fresh is not None:
            fresh = {"accuracy": self.fresh.value, "ci95": self.fresh.ci95, "n": self.n_fresh}
        return {
            "winner": "features" if self.winner is None else self.winner.name,
            "straight": None if self.straight is None else self.straight.name,
            "fresh": fresh,
            "entrants": [
                {
                    "strategy": entrant.contender.name,
                    "folds": entrant.folds,
                    "passes": entrant.passes,
                    "seconds": entrant.seconds,
                    "outcome": entrant.outcome,
                    "improved": entrant.improved if entrant.folds else None,
                }
                for entrant in self.entrants
            ],
            "seconds": self.seconds,
            "budget": self.budget,
        }


def _loss(entrant: Entrant) -> float:
    return entrant.against_frozen.mean if entrant.against_frozen else 0.0
