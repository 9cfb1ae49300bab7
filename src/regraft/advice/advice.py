"""What the advisor found: plain values, and the sentences that follow from them."""

from __future__ import annotations

import math
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
from regraft.advice.textbook import Case
from regraft.options import FitOptions, advised_settings
from regraft.selection import Candidate, Choice
from regraft.strategy import Metric

_LATE = 1.1


@dataclass(frozen=True, slots=True)
class PerClass:
    """Training pictures of a class: of the smallest, the typical (median) and the largest one."""

    least: int
    typical: float
    most: int


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
        Training pictures; no other was looked at.
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
    race : Race or None
        How ways to train layers did against the frozen network; None where there was none.
    no_race : str or None
        Why there was none.
    control : Control or None
        What is advised against random weights; None where that was not asked for.
    comparison : Comparison or None
        How the network was chosen; None where it was named.
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
    race: Race | None
    no_race: str | None
    control: Control | None
    comparison: Comparison | None
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
        found.append(_of_depth(self.curve, self.options.metric, whole=whole))
        if self.distance is not None:
            found.append(_of_distance(self.distance))
        found += [_of_size(self.per_class, self.growth), _of_textbook(self.case)]
        shorter = self.depth is not None and self.options.depth is None
        found.append(_of_choice(self.choice, shorter=shorter))
        trained = self.race is not None and self.race.winner is not None
        if shorter and not trained:
            found.append(
                f"So the network is kept up to {self.depth} and what lies above is left out: a "
                "head on that does at least as well, and it takes less to run."
            )
        found += self.race.sentences if self.race else ()
        found += [self.control.sentence] if self.control else []
        budget = self.options.budget or 0.0
        allowed = budget + self._for_control
        if budget and self.seconds > _LATE * allowed + 1:
            control = self._for_control
            more = f" and {control:.0f} s for the control" if control else ""
            found.append(
                f"All took {self.seconds:.0f} s, longer than the {budget:g} s that were given"
                f"{more}. Never cut short: the frozen pass, the comparison of features, a fold "
                "that is being judged."
            )
        return tuple(found)

    @property
    def _for_control(self) -> float:
        """Seconds that the control might take, as long as the race; 0 where there was none."""
        return 0.0 if self.control is None or self.race is None else self.race.budget

    @property
    def not_tried(self) -> tuple[str, ...]:
        """What was left out, and why."""
        networks = self.comparison.not_tried if self.comparison else {}
        return (*(f"{name}: {why}" for name, why in networks.items()), *self._not_trained())

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
                "guess": self.curve.guess,
                "optimistic": True,
            },
            "in_the_way": list(self.curve.in_the_way),
            "growth": {
                "pictures": list(growth.pictures),
                "accuracy": list(growth.accuracy),
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
    }


def _of_depth(curve: DepthCurve, metric: Metric, *, whole: bool = True) -> str:
    best = curve.best
    if best is None:
        return "No depth could be judged: classes need two pictures or more besides the test part."
    last = curve.points[-1]
    shares = f"{best.accuracy.value:.1%} of {curve.n} pictures that were left out"
    if not curve.tells:
        return (
            f"No depth tells the classes apart clearly better than a guess ({best.features.name}: "
            f"{shares}; the largest class alone: {curve.guess:.1%}): the pictures are too few, or "
            "the labels do not go by what can be seen."
        )
    if best is last and not whole:
        return (
            f"The last depth of those that are kept, {last.features.name}, tells the classes apart "
            f"as well as any of them ({shares})."
        )
    if best is last and not curve.climbs:
        return (
            f"The last depth, {last.features.name}, tells the classes apart as well as any "
            f"({shares}), but is not shown to be better than the middle of the network: whether "
            "the task that it was trained on is alike cannot be told from that."
        )
    if best is last:
        return (
            f"The last depth, {last.features.name}, tells the classes apart as well as any "
            f"({shares}): the task that the network was trained on is alike."
        )
    better = "more surely" if metric == "log_loss" else "better, by balanced accuracy"
    compared = (
        f"(log loss {best.log_loss:.3f}, {shares}) than the last depth, {last.features.name} "
        f"({last.log_loss:.3f}, {last.accuracy.value:.1%})"
    )
    if curve.in_the_way:
        return (
            f"{best.features.name} tells the classes apart {better} {compared}: the layers "
            "above it are in the way."
        )
    return (
        f"{best.features.name} tells the classes apart {better} {compared}, by less than can be "
        "told from chance."
    )


def _of_distance(distance: DomainDistance) -> str:
    figures = (
        f"distance {distance.overall:.2f} (0: as the source, 1: as far as noise; looks "
        f"{distance.looks:.2f}, content {distance.content:.2f}; {distance.n} pictures, by the "
        f"statistics of {distance.measured_with})"
    )
    if distance.strange:
        return f"They look like no photographs at all: {figures}."
    if distance.alike:
        return f"The pictures are like those that the network was trained on: {figures}."
    return f"The pictures are unlike those that the network was trained on: {figures}."


def _of_size(per_class: PerClass, growth: Growth) -> str:
    least, most, half = per_class.least, per_class.most, math.floor(per_class.typical)
    text = f"Each class has {least} training picture{'' if least == 1 else 's'}"
    if least != most:
        text = f"Classes have {least} to {most} training pictures, half of them {half} or more"
    if growth.gain is None or growth.gain_ci95 is None:
        return f"{text}; what more of them would bring could not be measured."
    low, high = growth.gain_ci95
    return (
        f"{text}; twice as many would bring about {100 * growth.gain:.1f} points more (probably "
        f"{100 * low:.1f} to {100 * high:.1f})."
    )


def _of_textbook(case: Case) -> str:
    return f"The textbook calls that {case.size} and {case.likeness}, and would {case.word}."


def _of_choice(choice: Choice, *, shorter: bool) -> str:
    row = choice.chosen
    if row is None:
        return "Too few pictures to compare sets of features: a head on the last depth is advised."
    why = "is the simplest that is as good as the best"
    if shorter:
        why = "is the simplest on a shorter network that does as well as the best choice on all"
    return (
        f"Of {len(choice.evidence)} sets of features, {row.features.name!r} {why}: "
        f"log loss {row.log_loss:.3f}, {row.accuracy:.1%} right on {row.n} pictures that were "
        "held out (optimistic: it chose)."
    )
