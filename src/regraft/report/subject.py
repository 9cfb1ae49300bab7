"""What a report is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regraft.advice.growth import Growth
from regraft.auditing.findings import Audit
from regraft.backbones.base import Backbone
from regraft.bundle.model import Model
from regraft.evaluation import Report
from regraft.frozen.devices import Device


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model and what is known of it.

    Parameters
    ----------
    model : Model
        The model.
    backbone : Backbone
        Its network, opened from the bundle.
    device : Device
        What maps are computed on.
    report : Report
        How it does on labelled pictures.
    photos : Path
        Where these lie.
    audit : Audit or None
        What is wrong with the pictures; None where nobody looked.
    unaudited : str
        Why nobody looked; empty where somebody did.
    growth : Growth or None
        What more pictures would bring; None where that was not measured.
    seconds : float or None
        Wall time of the fit; None where it was not just made.
    stored : int
        Pictures of which it had computed the features before.
    other : Model or None
        A model that it was compared with.
    seed : int
        Decides what is drawn at random.
    """

    model: Model
    backbone: Backbone
    device: Device
    report: Report
    photos: Path
    audit: Audit | None
    unaudited: str = ""
    growth: Growth | None = None
    seconds: float | None = None
    stored: int = 0
    other: Model | None = None
    seed: int = 0
