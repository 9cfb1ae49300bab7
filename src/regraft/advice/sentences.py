"""What an advice says of what it measured, in sentences with the numbers behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from regraft.advice.depth import DepthCurve
from regraft.advice.distance import DomainDistance
from regraft.advice.growth import Growth
from regraft.advice.textbook import Case
from regraft.selection import Choice
from regraft.strategy import Metric


@dataclass(frozen=True, slots=True)
class PerClass:
    """Training pictures of a class: of the smallest, the typical (median) and the largest one."""

    least: int
    typical: float
    most: int


def of_depth(curve: DepthCurve, metric: Metric, *, whole: bool = True, n_classes: int = 0) -> str:
    """Say which depth tells the classes apart best, and what follows from that.

    Parameters
    ----------
    curve : DepthCurve
        The probes.
    metric : {"log_loss", "balanced_accuracy"}
        What they were compared by.
    whole : bool
        Whether they go up to the last depth of the network.
    n_classes : int
        Classes of the pictures; said where not all of them took part.
    """
    best = curve.best
    if best is None:
        return "No depth could be judged: classes need two pictures or more besides the test part."
    last = curve.points[-1]
    shares = f"{best.accuracy.value:.1%} of {curve.n} pictures that were left out"
    if curve.n_classes < n_classes:
        shares += f", of {curve.n_classes} of the {n_classes} classes"
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
            f"({shares}), and better than the middle: what it was trained to tell apart serves "
            "here too."
        )
    better = "more surely"
    compared = (
        f"(log loss {best.log_loss:.3f}, {shares}) than the last depth, {last.features.name} "
        f"({last.log_loss:.3f}, {last.accuracy.value:.1%})"
    )
    if metric == "balanced_accuracy":
        better = "better"
        compared = (
            f"(balanced accuracy {best.balanced_accuracy:.1%}; {shares}) than the last depth, "
            f"{last.features.name} ({last.balanced_accuracy:.1%})"
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


def of_distance(distance: DomainDistance) -> str:
    """Say whether the pictures look like those of the source."""
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


def of_size(per_class: PerClass, growth: Growth) -> str:
    """Say how many pictures there are, and what more would bring."""
    least, most, half = per_class.least, per_class.most, math.floor(per_class.typical)
    text = f"Each class has {least} training picture{'' if least == 1 else 's'}"
    if least != most:
        text = f"Classes have {least} to {most} training pictures"
        if least < half < most:
            text += f", half of them {half} or more"
    if growth.gain is None or growth.gain_ci95 is None:
        return f"{text}; what more of them would bring could not be measured."
    low, high = growth.gain_ci95
    return (
        f"{text}; twice as many would bring about {100 * growth.gain:.1f} points more (probably "
        f"{100 * low:.1f} to {100 * high:.1f})."
    )


def of_textbook(case: Case) -> str:
    """Say what the textbook would do."""
    return f"The textbook calls that {case.size} and {case.likeness}, and would {case.word}."


def of_choice(choice: Choice) -> str:
    """Say what a head should read."""
    row = choice.chosen
    if row is None:
        return "Too few pictures to compare sets of features: a head on the last depth is advised."
    return (
        f"Of {len(choice.evidence)} sets of features, {row.features.name!r} is the simplest that "
        f"is as good as the best: log loss {row.log_loss:.3f}, {row.accuracy:.1%} right on {row.n} "
        "pictures that were held out (optimistic: it chose)."
    )
