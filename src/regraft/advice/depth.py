"""The depth curve: how well each depth of the frozen network tells the classes apart.

Where accuracy climbs up to the last depth, the task that the network was trained on is alike. Where
one in the middle is better, the layers above it are in the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.advice.probe import Exam, ProbeMethod, probe
from regraft.backbones.cuts import Cut
from regraft.candidates import candidate_sets
from regraft.clusters import mean_error, with_two_made
from regraft.heads.fitting import class_weights
from regraft.heads.trials import NO_DIFFERENCE, Trial
from regraft.metrics import Estimate
from regraft.strategy import FeatureSet, Tap

_SURE = 2.0
# More than that: the best of some depths and strengths is the luckiest.
_TELLS = 3.0
# Pictures; among fewer, some depth tells the classes apart by chance.
_FEWEST = 30


@dataclass(frozen=True, slots=True)
class DepthPoint:
    """How a ridge probe on some features does on pictures that it was not trained on.

    Parameters
    ----------
    features : FeatureSet
        A single depth, or several together.
    accuracy : Estimate
        Of pictures that were left out.
    log_loss : float
        The same, of their probabilities.
    balanced_accuracy : float
        The same, mean over the classes.
    behind, behind_se : float
        Mean of the paired difference to the best single depth, in the metric that chose, and its
        standard error; both 0 for that one.
    """

    features: FeatureSet
    accuracy: Estimate
    log_loss: float
    balanced_accuracy: float
    behind: float
    behind_se: float


@dataclass(frozen=True, slots=True)
class DepthCurve:
    """Probes at every depth.

    Parameters
    ----------
    points : tuple of DepthPoint
        One for each depth, from input to head; none where too few pictures could be left out.
    together : tuple of DepthPoint
        Sets that combine depths or poolings, simplest first.
    method : {"leave-one-out", "leave-group-out", "cross-validation", "none"}
        How pictures were left out.
    n : int
        Pictures that were left out, each once.
    guess : float
        Share of these that are of the largest class.
    tells : bool
        Whether the best depth is clearly better than guessing by how frequent the classes are.
    n_classes : int
        Classes of these pictures: of very many, some are looked at.
    """

    points: tuple[DepthPoint, ...]
    together: tuple[DepthPoint, ...]
    method: ProbeMethod
    n: int
    guess: float = 0.0
    tells: bool = False
    n_classes: int = 0

    @property
    def best(self) -> DepthPoint | None:
        """The deepest point that is not more than one standard error behind the best one."""
        near = [p for p in self.points if p.behind <= max(p.behind_se, NO_DIFFERENCE)]
        if not near:
            return None
        return self.points[-1] if self.points[-1].behind <= near[-1].behind else near[-1]

    @property
    def climbs(self) -> bool:
        """Whether the last depth is as good as any, and clearly better than the middle one."""
        if self.best is None or self.best is not self.points[-1]:
            return False
        middle, last = self.points[(len(self.points) - 1) // 2], self.points[-1]
        least = max(_SURE * max(middle.behind_se, last.behind_se), NO_DIFFERENCE)
        return self.tells and middle.behind - last.behind > least

    @property
    def in_the_way(self) -> tuple[str, ...]:
        """The depths above the best one, where the last is clearly worse than that."""
        if self.best is None or not self.tells:
            return ()
        last = self.points[-1]
        if last.behind <= max(_SURE * last.behind_se, NO_DIFFERENCE):
            return ()
        return tuple(p.features.name for p in self.points[self.points.index(self.best) + 1 :])


def shorter_sets(curve: DepthCurve, cuts: Sequence[Cut]) -> tuple[FeatureSet, ...]:
    """Name the sets that a network up to the best depth could read, simplest first.

    Parameters
    ----------
    curve : DepthCurve
        Says which depth that is; there are none where it is the last, where none tells the
        classes apart, or where the pictures are too few to say.
    cuts : sequence of Cut
        The depths, from input to head.
    """
    if curve.best is None or not curve.tells or curve.n < _FEWEST:
        return ()
    if curve.best is curve.points[-1]:
        return ()
    depth = curve.best.features.name
    kept = cuts[: [cut.name for cut in cuts].index(depth) + 1]
    return tuple(
        FeatureSet(f"{features.name}, up to {depth}", features.taps)
        for features in candidate_sets(kept)
    )


def depth_curve(exam: Exam, cuts: Sequence[Cut], sets: Sequence[FeatureSet]) -> DepthCurve:
    """Probe every depth, and some sets of several.

    Parameters
    ----------
    exam : Exam
        The pictures; its table has the average of every cut, and what the sets read.
    cuts : sequence of Cut
        The depths, from input to head.
    sets : sequence of FeatureSet
        What else to probe; those of a single tap are left out.
    """
    singles = [FeatureSet(cut.name, (Tap(cut.name),)) for cut in cuts]
    several = [features for features in sets if len(features.taps) > 1]
    exam = exam.sampled()
    trials, method = probe(exam, [*singles, *several])
    if not trials:
        return DepthCurve((), (), "none", 0)
    depth = len(singles)
    best = min(trials[:depth], key=lambda trial: trial.mean)
    points = tuple(
        DepthPoint(
            features,
            t.accuracy,
            float(t.log_loss.mean()),
            float(t.recall.mean()),
            *t.behind(best),
        )
        for features, t in zip([*singles, *several], trials, strict=True)
    )
    y = exam.y[exam.rows][best.rows]
    shares = np.bincount(y, minlength=exam.n_classes) / len(y)
    return DepthCurve(
        points=points[:depth],
        together=points[depth:],
        method=method,
        n=len(y),
        guess=float(shares.max()),
        tells=_better_than_a_guess(best, y, shares, balanced=exam.balanced),
        n_classes=int(np.count_nonzero(shares)),
    )


def _better_than_a_guess(
    best: Trial, y: NDArray[np.intp], shares: NDArray[np.float64], *, balanced: bool
) -> bool:
    """Whether the loss is clearly below that of a guess by the shares of the classes.

    Where these count alike, it guesses among those of which a picture is judged: the probe hardly
    ever names another.
    """
    weights = class_weights(y, len(shares), balanced=balanced)
    evenly = np.full(len(y), 1 / np.count_nonzero(shares))
    guess = -np.log(evenly if balanced else shares[y])
    difference = best.log_loss - weights * guess
    mean = float(difference.mean())
    units = np.arange(len(y)) if best.units is None else best.units
    values, witnesses = with_two_made(difference - mean, float(guess.mean()), units)
    return mean < -_TELLS * mean_error(values, witnesses)
