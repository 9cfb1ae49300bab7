"""What is written down of a fit: what was measured, how the model came about, and notes."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from regraft.energy import Energy
from regraft.learn import Learned
from regraft.metrics import Estimate
from regraft.options import FitOptions

if TYPE_CHECKING:
    from regraft.train.report import PhaseReport

_DEFAULTS = FitOptions()
_ROUGHLY = 0.02
_FEW_OF_A_CLASS = 20
_FEW_TO_RACE = 23  # pictures; of fewer none can be held back to judge ways to train layers


def fit_record(
    learned: Learned, options: FitOptions, energy: Energy | None = None
) -> dict[str, Any]:
    """Gather what was measured and how the model came about, for the bundle and the JSON.

    Parameters
    ----------
    learned : Learned
        What the fit came to.
    options : FitOptions
        Its settings.
    energy : Energy, optional
        What it took, where that was measured.
    """
    splits, parity = learned.splits, learned.parity
    return {
        "counts": {
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "skipped": len(learned.skipped),
        },
        "selection": learned.choice.as_dict(),
        "race": None if learned.race is None else learned.race.as_dict(),
        "training": [report.as_dict() for report in learned.reports],
        "trained_on_all": learned.on_all,
        "against_frozen": learned.against_frozen and learned.against_frozen.as_dict(),
        "test": learned.evaluation.as_dict(),
        "calibration": learned.calibrated.as_dict(),
        "operating_point": _operating_point(learned),
        "energy": energy and energy.as_dict(),
        "parity": parity.as_dict() if parity else None,
        "provenance": {
            "regraft": metadata.version("regraft"),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seed": options.seed,
            "metric": options.metric,
            "class_weight": options.class_weight,
            "test_part": "held out by regraft" if splits.drawn else "given",
        },
        "notes": _notes(learned, options),
    }


def _operating_point(learned: Learned) -> dict[str, Any] | None:
    """Say where a model of two classes says yes, and what came of it on the test pictures."""
    point = learned.calibrated.point
    if point is None:
        return None
    found = {row.label: row.recall for row in learned.evaluation.per_class}
    sensitivity = found.pop(point.positive)
    (specificity,) = found.values()
    test = {"sensitivity": sensitivity, "specificity": specificity}
    told = {k: v for name, e in test.items() if e for k, v in _figures(name, e).items()}
    return {**point.as_dict(), "test": told}


def _figures(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_ci95": estimate.ci95}


def _notes(learned: Learned, options: FitOptions) -> list[str]:
    splits = learned.splits
    notes = list(learned.notes)
    if splits.drawn:
        share = len(splits.test) / (len(splits.test) + len(splits.train))
        why = (
            ""
            if abs(share - options.test_fraction) < _ROUGHLY
            else (f" (not {options.test_fraction:.0%}: classes or groups are too few to cut finer)")
        )
        notes.append(
            f"no test part was given: {len(splits.test)} of the pictures, {share:.0%}{why}, were "
            "held out as test, stratified"
        )
    elif options.test_fraction != _DEFAULTS.test_fraction:
        notes.append("test_fraction was not used: the pictures have a test part of their own")
    notes += _of_held_out(learned)
    notes += [note for report in learned.reports for note in report.notes]
    notes += _of_race(learned, options)
    if not all(report.phase.mirror for report in learned.reports):
        notes.append("mirrored pictures are taken for other classes, so none were trained on")
    if learned.reports and not learned.strategy.phases:
        against = learned.against_frozen
        why = _in_vain(learned.reports) if against is None else str(against)
        notes.append(
            f"strategy {options.strategy}: {why}, so the network stays as it was, with the best "
            "head on it"
        )
    notes += learned.left_out.notes
    notes += _of_metric(learned, options)
    if not learned.head.converged:
        notes.append("the training of the head stopped before it converged: expect rough figures")
    return notes


def _of_metric(learned: Learned, options: FitOptions) -> tuple[str, ...]:
    """Say where balanced accuracy chose by a handful of pictures."""
    if options.metric == "log_loss":
        return ()
    counts = Counter(learned.pictures[row].label for row in learned.splits.train)
    label, least = min(counts.items(), key=itemgetter(1))
    if least >= _FEW_OF_A_CLASS:
        return ()
    pictures = "1 training picture" if least == 1 else f"{least} training pictures"
    return (
        f"{label!r} has {pictures}, by which balanced accuracy can hardly tell candidates apart; "
        "--class-weight balanced without --metric goes by log loss, which can",
    )


def _of_held_out(learned: Learned) -> tuple[str, ...]:
    """Say what became of the pictures that chose, or said when to stop."""
    if learned.on_all:
        return (
            "when it was known how many passes are best, the network was trained once more, on the "
            "pictures too that had said so; how sure it is, its threshold and what is unlike "
            "training were measured with the first one",
        )
    if not len(learned.splits.val):
        return ()
    if learned.strategy.phases:
        return ("the validation part said when to stop, and was not trained on",)
    return ("chosen on the validation part, then trained on train and validation part",)


def _in_vain(reports: Sequence[PhaseReport]) -> str:
    """Say how little training brought."""
    best = max((report.lowest for report in reports), key=lambda held: held.gain)
    if best.gain <= 0:
        return "no pass lowered the loss on held-out pictures"
    return (
        "no pass lowered the loss on held-out pictures by more than chance could (the best by "
        f"{best.gain:.3f}, with a standard error of {best.error:.3f})"
    )


def _of_race(learned: Learned, options: FitOptions) -> tuple[str, ...]:
    """Say how a race went, or what one might bring."""
    if learned.race is not None:
        return learned.race.sentences
    if options.strategy != "auto" or not learned.backbone.description.trains:
        return ()
    if options.budget:
        return (f"no way to train layers was tried: {learned.no_race}",) if learned.no_race else ()
    if len(learned.splits.train) + len(learned.splits.val) < _FEW_TO_RACE:
        return ()
    return (
        "only heads were compared; --budget 10m also tries to train layers, and `regraft advise` "
        "says whether that may pay",
    )
