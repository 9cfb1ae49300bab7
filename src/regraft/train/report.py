"""What a phase of training did, as a value and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

from regraft.strategy import Phase
from regraft.train.compute import Arithmetic
from regraft.train.rates import RateTrial
from regraft.train.teaching import Held


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What a phase did.

    Parameters
    ----------
    phase : Phase
        What was to be done, with the rate that was used: after explosions, what was left of it.
    rates : tuple of RateTrial
        What chose the rate; empty where it was given.
    history : tuple of Held
        How the network did on held-out pictures, before and after each pass.
    best : Held
        The pass whose weights were kept.
    arithmetic : Arithmetic
        How steps were computed.
    seconds : float
        Wall time, since the last interruption.
    notes : tuple of str
        What the user should hear of.
    """

    phase: Phase
    rates: tuple[RateTrial, ...]
    history: tuple[Held, ...]
    best: Held
    arithmetic: Arithmetic
    seconds: float
    notes: tuple[str, ...]

    @property
    def lowest(self) -> Held:
        """The pass with the least loss on held-out pictures, whether it is kept or not."""
        return min(self.history[1:], key=lambda held: held.log_loss, default=self.history[0])

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "train_from": self.phase.train_from,
            "what": self.phase.what,
            "still_norms": self.phase.still_norms,
            "rate": self.phase.rate,
            "rates_tried": [[trial.rate, _finite(trial.log_loss)] for trial in self.rates],
            "views": self.phase.views,
            "mirror": self.phase.mirror,
            "batch": self.phase.batch,
            "epochs": self.history[-1].epoch,
            "kept_epoch": self.best.epoch,
            "temperature": self.best.temperature,
            "held_out": [[_finite(held.log_loss), held.accuracy] for held in self.history],
            "gain": [self.lowest.gain, self.lowest.error],
            "arithmetic": asdict(self.arithmetic),
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def report_to_json(report: PhaseReport, number: int) -> dict[str, Any]:
    """Return everything as JSON values, for a checkpoint."""
    return {
        "number": number,
        "rate": report.phase.rate,
        "still_norms": report.phase.still_norms,
        "rates": [[trial.rate, trial.log_loss] for trial in report.rates],
        "history": [list(astuple(held)) for held in report.history],
        "best": list(astuple(report.best)),
        "arithmetic": asdict(report.arithmetic),
        "seconds": report.seconds,
        "notes": list(report.notes),
    }


def report_from_json(values: Mapping[str, Any], phases: Sequence[Phase]) -> PhaseReport:
    """Read back what `report_to_json` gave."""
    return PhaseReport(
        phase=replace(
            phases[values["number"]], rate=values["rate"], still_norms=values["still_norms"]
        ),
        rates=tuple(RateTrial(*trial) for trial in values["rates"]),
        history=tuple(Held(*held) for held in values["history"]),
        best=Held(*values["best"]),
        arithmetic=Arithmetic(**values["arithmetic"]),
        seconds=values["seconds"],
        notes=tuple(values["notes"]),
    )
