"""Which network: the same probes on each, on the same pictures, and LogME."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from regraft.advice.logme import logme
from regraft.advice.probe import exam_of, probe
from regraft.backbones.base import Backbone
from regraft.data.records import Manifest
from regraft.errors import MissingExtraError, UserError
from regraft.frozen.store import FeatureStore
from regraft.heads.trials import Trial
from regraft.kept_together import Groups
from regraft.metrics import Estimate
from regraft.opening import open_backbone, plan_up_to
from regraft.options import AUTO, FitOptions
from regraft.progress import Progress
from regraft.strategy import Tap
from regraft.tuning import check_trains
from regraft.workshop import Workshop, retried

_SHARE = 0.5  # part of the budget that looking for a network may take


@dataclass(frozen=True, slots=True)
class Scored:
    """How a network does, frozen.

    Parameters
    ----------
    name : str
        The network.
    features : str
        The set of features that a head would read.
    accuracy : Estimate or None
        Of a ridge probe on that set, on pictures that were left out; None where none could be.
    log_loss : float or None
        The same, of its probabilities.
    behind, behind_se : float
        Mean of the paired difference to the best network, in the metric that chooses, and its
        standard error.
    logme : float
        Evidence for a linear model on the last depth; higher is better.
    multiply_adds : int or None
        What a picture costs.
    seconds : float
        What looking at it took.
    pass_seconds : float
        Part of that, for reading the pictures and running the network.
    """

    name: str
    features: str
    accuracy: Estimate | None
    log_loss: float | None
    behind: float
    behind_se: float
    logme: float
    multiply_adds: int | None
    seconds: float
    pass_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Give all as JSON values."""
        return {
            "name": self.name,
            "features": self.features,
            "accuracy": None if self.accuracy is None else self.accuracy.value,
            "ci95": None if self.accuracy is None else self.accuracy.ci95,
            "log_loss": self.log_loss,
            "behind": self.behind,
            "behind_se": self.behind_se,
            "logme": self.logme,
            "multiply_adds": self.multiply_adds,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks against each other.

    Parameters
    ----------
    scored : tuple of Scored
        The cheapest first.
    chosen : str
        Of those that are not more than one standard error behind the best one, the one with the
        highest LogME.
    not_tried : mapping of str to str
        Which were left out, and why.
    copies : tuple of tuple of int, optional
        Groups of pictures that show the same, as the first of them says: all are compared, and the
        chosen one is trained, on the same parts.
    """

    scored: tuple[Scored, ...]
    chosen: str
    not_tried: Mapping[str, str]
    copies: Groups | None = None

    @property
    def untried(self) -> tuple[str, ...]:
        """Which were left out, and why, for people."""
        return tuple(f"{name}: {why}" for name, why in self.not_tried.items())

    @property
    def seconds(self) -> float:
        """What looking at all of them took."""
        return sum(row.seconds for row in self.scored)

    @property
    def sentence(self) -> str:
        """What came of it, for people."""
        found = {row.name: row for row in self.scored}
        accuracy = found[self.chosen].accuracy
        share = "" if accuracy is None else f" ({accuracy.value:.1%} right)"
        level = sum(row.behind <= row.behind_se for row in self.scored)
        why = "is the best" if level == 1 else f"has the highest LogME of the {level} that are best"
        return f"Of {len(self.scored)} networks, {self.chosen} {why}, frozen{share}."


def names_of(text: str) -> list[str]:
    """Return the networks that a setting names: a list with commas, ``"auto"``, or one.

    Raises
    ------
    UserError
        If a name is missing between commas, or ``"auto"`` is one of several.
    """
    if text == AUTO:
        from regraft.catalogue import overview

        there = overview()
        embedded = [entry.spelling for entry in there.embedded if entry.installed]
        return [*embedded, *there.on_disk]
    if "," not in text or os.path.exists(text.removeprefix("file:")):  # noqa: PTH110 - never raises
        return [text]
    names = [name.strip() for name in text.split(",")]
    if not all(names) or AUTO in names:
        raise UserError(
            "backbone must be a name, several with commas between, or 'auto' alone, got "
            f"{text!r}; `regraft backbones` lists the names"
        )
    return list(dict.fromkeys(names))


def compare_backbones(
    names: Sequence[str],
    manifest: Manifest,
    options: FitOptions,
    store: FeatureStore,
    cache: Path,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Comparison:
    """Look at every network, frozen, and choose one.

    Parameters
    ----------
    names : sequence of str
        The networks; with a budget, those that half of it does not reach are not tried.
    manifest : Manifest
        The pictures; those of the test part choose nothing.
    options : FitOptions
        The settings, whose backbone is not read.
    store : FeatureStore
        Where features are kept.
    cache : Path
        Where descriptions of networks are kept.
    progress : Progress
        Hears what is going on.
    clock : callable
        Seconds from any beginning.

    Raises
    ------
    UserError
        If no network could be looked at.
    """
    began = clock()
    looked: list[tuple[Scored, Trial | None]] = []
    copies: Groups | None = None
    not_tried: dict[str, str] = {}
    last: Exception | None = None
    ends = began + _SHARE * (options.budget or np.inf)
    for name in names:
        own = replace(options, backbone=name)
        try:
            backbone = None if looked and clock() > ends else open_backbone(own, cache, progress)
            foretold = _foretold(backbone, [row for row, _ in looked]) if backbone else 0.0
            if backbone is None or (looked and clock() + foretold > ends):
                takes = f", which takes some {foretold:.0f} s" if foretold else ""
                not_tried[name] = f"no time was left for it{takes}"
                continue
            progress.say(f"looking at {name}")
            if own.tunes:
                check_trains(backbone, own)
            plan = plan_up_to(backbone, options.depth)
            shop = Workshop(backbone, plan, store, cache, own, progress, copies)
            scored, trial, copies = retried(partial(_look, shop, manifest, clock), shop.plan)
        except (UserError, MissingExtraError, RuntimeError, MemoryError) as error:
            not_tried[name] = str(error).splitlines()[0] if str(error) else repr(error)
            last = error
            continue
        looked.append((scored, trial))
    if not looked:
        if last is not None and len(set(not_tried.values())) == 1:
            raise last  # it is not the networks
        reasons = [f"{name}: {reason}" for name, reason in not_tried.items()]
        raise UserError("none of the networks can be used", reasons)
    return replace(_chosen(looked, not_tried), copies=copies)


def _foretold(backbone: Backbone, looked: Sequence[Scored]) -> float:
    """Foretell what looking at a network takes, in seconds, by the others and what they cost."""
    cost = backbone.description.multiply_adds
    found = []
    for row in looked:
        times = cost / row.multiply_adds if cost and row.multiply_adds else 1.0
        found.append(row.seconds + max(0.0, times - 1) * row.pass_seconds)
    return max(found, default=0.0)


def _look(
    shop: Workshop, manifest: Manifest, clock: Callable[[], float]
) -> tuple[Scored, Trial | None, Groups]:
    began = clock()
    lot = shop.gather(manifest)
    gathered = clock()
    choice = shop.choose(lot)
    exam = exam_of(shop, lot).sampled()
    trials, _ = probe(exam, [choice.features])
    last = lot.table.read([Tap(shop.cuts[-1].name)], exam.rows)
    trial = trials[0] if trials else None
    scored = Scored(
        name=shop.options.backbone,
        features=choice.features.name,
        accuracy=trial.accuracy if trial else None,
        log_loss=float(trial.log_loss.mean()) if trial else None,
        behind=0.0,
        behind_se=0.0,
        logme=logme(last, exam.y[exam.rows], exam.n_classes),
        multiply_adds=shop.backbone.description.multiply_adds,
        seconds=clock() - began,
        pass_seconds=gathered - began,
    )
    return scored, trial, lot.copies


def _chosen(
    looked: Sequence[tuple[Scored, Trial | None]], not_tried: Mapping[str, str]
) -> Comparison:
    """Order by cost; of those that the probe cannot tell from the best, let LogME choose."""
    ordered = sorted(looked, key=lambda pair: pair[0].multiply_adds or np.inf)
    judged = [trial for _, trial in ordered if trial is not None]
    if not judged:
        rows = tuple(row for row, _ in ordered)
        return Comparison(rows, max(rows, key=lambda row: row.logme).name, not_tried)
    best = min(judged, key=lambda trial: trial.mean)
    compared = []
    for row, trial in ordered:
        behind, error = (np.inf, 0.0) if trial is None else trial.behind(best)
        compared.append(replace(row, behind=behind, behind_se=error))
    level = [row for row in compared if row.behind <= row.behind_se]
    return Comparison(tuple(compared), max(level, key=lambda row: row.logme).name, not_tried)
