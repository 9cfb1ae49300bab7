"""What the advisor found: plain values, and the sentences that follow from them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regraft.advice.backbones import Comparison
from regraft.advice.control import Control
from regraft.advice.depth import DepthCurve, DepthPoint
from regraft.advice.distance import DomainDistance
from regraft.advice.growth import Growth
from regraft.advice.outcome import Entrant, Race
from regraft.advice.sentences import (
    PerClass,
    of_choice,
    of_depth,
    of_distance,
    of_size,
    of_textbook,
)
from regraft.advice.textbook import Case
from regraft.data.left_out import LeftOut
from regraft.lateness import is_late, overrun
from regraft.options import FitOptions, advised_settings
from regraft.selection import Candidate, Choice


@dataclass(frozen=True, slots=True, eq=False)
class Advice:
    """What to freeze, what to drop, what to train; and why.

    Parameters
    ----------
    options : FitOptions
        What it was measured with.
    backbone : str
        The network.
    classes : tuple of str
        Labels.
    n_train : int
        Pictures of train and of a validation part; no other was looked at.
    per_class : PerClass
        How many of each class.
    curve : DepthCurve
        How well each depth tells the classes apart.
    distance : DomainDistance or None
        How far the pictures are from those of the source; None with random weights.
    growth : Growth
        What more pictures would bring.
    case : Case
        The textbook's.
    choice : Choice
        What a head should read, with every set of features that was compared.
    depth : str or None
        The last cut that is kept, where the layers above are to be left out.
    kept : str or None
        What came of comparing a shorter network, for people; None where that was not done.
    race : Race or None
        How ways to train layers did against the frozen network; None where there was none.
    no_race : str or None
        Why there was none.
    control : Control or None
        What is advised against random weights; None where that was not asked for.
    comparison : Comparison or None
        How the network was chosen; None where it was named.
    left_out : LeftOut
        What was found and takes no part.
    notes : tuple of str
        What the owner of the pictures may want to know.
    seconds : float
        What all this took.
    """

    options: FitOptions
    backbone: str
    classes: tuple[str, ...]
    n_train: int
    per_class: PerClass
    curve: DepthCurve
    distance: DomainDistance | None
    growth: Growth
    case: Case
    choice: Choice
    depth: str | None
    kept: str | None
    race: Race | None
    no_race: str | None
    control: Control | None
    comparison: Comparison | None
    left_out: LeftOut
    notes: tuple[str, ...]
    seconds: float

    @property
    def chosen(self) -> dict[str, Any]:
        """The advised strategy and what it was measured with, as JSON values."""
        options = self.options
        measured_with = {
            "backbone": _from_anywhere(options.backbone),
            "pretrained": options.pretrained,
            "overrides": asdict(options.overrides),
            "metric": options.metric,
            "class_weight": options.class_weight,
            "precision": options.precision,
            "device": options.device,
            "test_fraction": options.test_fraction,
            "seed": options.seed,
        }
        winner = self.race.winner if self.race else None
        if self.race is not None and winner is not None:
            return {
                "strategy": winner.strategy,
                "train_from": winner.train_from,
                "epochs": self.race.passes_on_all,
                **measured_with,
            }
        return {
            "strategy": "features",
            "features": self.choice.features.name,
            "cuts": list(self.choice.features.cuts),
            "poolings": list(self.choice.features.poolings),
            "depth": self.depth,
            "head": self.choice.head,
            **measured_with,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The advised strategy as keyword arguments of `regraft.fit`."""
        return advised_settings(self.chosen)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in sentences with the numbers behind them."""
        found = [] if self.comparison is None else [self.comparison.sentence]
        whole = self.options.depth is None
        found.append(
            of_depth(self.curve, self.options.metric, whole=whole, n_classes=len(self.classes))
        )
        if self.distance is not None:
            found.append(of_distance(self.distance))
        found += [of_size(self.per_class, self.growth), of_textbook(self.case)]
        found.append(of_choice(self.choice))
        trained = self.race is not None and self.race.winner is not None
        if self.kept and not (self.depth and trained):
            found.append(self.kept)
        found += self.race.sentences if self.race else ()
        found += [self.control.sentence] if self.control else []
        budget = self.options.budget or 0.0
        control = 0.0 if self.control is None else self.control.budget
        if budget and is_late(self.seconds, budget + control):
            found.append(overrun(self.seconds, budget, control))
        return tuple(found)

    @property
    def not_tried(self) -> tuple[str, ...]:
        """What was left out, and why."""
        networks = self.comparison.untried if self.comparison else ()
        return (*networks, *self._not_trained())

    def _not_trained(self) -> tuple[str, ...]:
        if self.race is None:
            return (f"training layers: {self.no_race}",)
        return tuple(
            f"{entrant.contender.name}: {entrant.outcome.removeprefix('not tried: ')}"
            for entrant in self.race.entrants
            if not entrant.folds
        )

    def as_dict(self) -> dict[str, Any]:
        """Give all as JSON values; fractions are 0-1, intervals ``[low, high]``."""
        distance, growth = self.distance, self.growth
        return {
            "backbone": self.backbone,
            "classes": list(self.classes),
            "case": self.case.name,
            "textbook": self.case.word,
            "per_class": {
                "min": self.per_class.least,
                "median": self.per_class.typical,
                "max": self.per_class.most,
            },
            "n_train": self.n_train,
            "similarity": None if distance is None else max(0.0, 1 - distance.overall),
            "distance": None
            if distance is None
            else {
                "overall": distance.overall,
                "looks": distance.looks,
                "content": distance.content,
                "stages": [{"cut": s.cut, "distance": s.distance} for s in distance.stages],
                "n": distance.n,
                "measured_with": distance.measured_with,
                "no_photographs": distance.strange,
            },
            "depth_curve": [_point(point) for point in self.curve.points],
            "together": [_point(point) for point in self.curve.together],
            "probe": {
                "method": self.curve.method,
                "n": self.curve.n,
                "classes": self.curve.n_classes,
                "guess": self.curve.guess,
                "optimistic": True,
            },
            "in_the_way": list(self.curve.in_the_way),
            "growth": {
                "pictures": list(growth.pictures),
                "accuracy": list(growth.accuracy),
                "n": growth.n,
                "gain_of_twice": growth.gain,
                "gain_ci95": None if growth.gain_ci95 is None else list(growth.gain_ci95),
            },
            "candidates": [*map(_candidate, self.choice.evidence), *self._raced()],
            "race": None if self.race is None else self.race.as_dict(),
            "control": None if self.control is None else self.control.as_dict(),
            "backbones": [row.as_dict() for row in self.comparison.scored]
            if self.comparison
            else [],
            "chosen": self.chosen,
            "reasons": list(self.reasons),
            "not_tried": list(self.not_tried),
            **self.left_out.as_dict(),
            "notes": [*self.notes, *self.left_out.notes],
            "seconds": self.seconds,
        }

    def _raced(self) -> list[dict[str, Any]]:
        entrants = self.race.entrants if self.race else ()
        return [_raced(entrant) for entrant in entrants if entrant.folds]


def _from_anywhere(backbone: str) -> str:
    """Spell a network so that it is found from another folder too."""
    zoo, mark, file = backbone.partition("@")
    if backbone.startswith("file:"):
        return f"file:{Path(backbone.removeprefix('file:')).absolute()}"
    if mark and ":" in zoo:
        return f"{zoo}@{Path(file).absolute()}"
    return str(Path(backbone).absolute()) if os.path.isdir(backbone) else backbone  # noqa: PTH112 - never raises


def _candidate(row: Candidate) -> dict[str, Any]:
    return {
        "strategy": "features",
        "features": row.features.name,
        "accuracy": row.accuracy,
        "ci95": list(row.ci95),
        "log_loss": row.log_loss,
        "n": row.n,
        "seconds": None,
        "optimistic": True,
    }


def _raced(entrant: Entrant) -> dict[str, Any]:
    assert entrant.accuracy is not None, "who was judged has an accuracy"
    gain = entrant.gain
    return {
        "strategy": entrant.contender.name,
        "features": None,
        "accuracy": entrant.accuracy.value,
        "ci95": entrant.accuracy.ci95,
        "gain": None if gain is None else gain.mean,
        "gain_ci95": None if gain is None else list(gain.share95),
        "n": entrant.n,
        "seconds": entrant.seconds,
        "optimistic": True,
    }


def _point(point: DepthPoint) -> dict[str, Any]:
    return {
        "cut" if len(point.features.taps) == 1 else "features": point.features.name,
        "accuracy": point.accuracy.value,
        "ci95": point.accuracy.ci95,
        "log_loss": point.log_loss,
        "balanced_accuracy": point.balanced_accuracy,
    }
