"""The sentences of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regraft.energy import Energy, energy_of
from regraft.evaluation import Report
from regraft.metrics import Estimate, Evaluation

_FEW = 100
_HEADS = {
    "logistic": "a linear classifier (logistic regression)",
    "ridge": "a linear classifier (ridge regression)",
    "prototype": "a classifier by the nearest class mean",
}


def verdict(report: Report) -> tuple[str, str]:
    """Say in two sentences what the model can do, and where it is weak."""
    found = report.evaluation
    right, n = found.accuracy, found.n
    first = (
        f"Of 100 pictures like these, the model names about {_of_100(right.value)} rightly: it was "
        f"right on {right.value:.1%} of {n:,} pictures, and 95 times in 100 the truth lies between "
        f"{right.low:.1%} and {right.high:.1%}."
    )
    return first, _weakness(found)


def _weakness(found: Evaluation) -> str:
    counts = found.confusion.sum(axis=1)
    labels = [row.label for row in found.per_class]
    most = int(counts.argmax())
    if np.count_nonzero(counts) > 1 and found.accuracy.low <= counts[most] / found.n:
        return (
            f"That is not shown to be better than always answering “{labels[most]}”, which "
            f"would be right on {counts[most] / found.n:.1%}: do not rely on it."
        )
    if not mistakes(found):
        return f"It made no mistake among these {found.n:,}; others it will make."
    rough = f"With only {found.n} pictures this is a rough figure; it" if found.n < _FEW else "It"
    shares = [(row.recall.value, row.label) for row in found.per_class if row.recall is not None]
    share, worst = min(shares)
    if share == max(shares)[0]:
        called, truly, count = mistakes(found)[0]
        times = "once" if count == 1 else f"{count} times"
        return f"{rough} most often takes “{truly}” for “{called}” ({times})."
    of_class = found.confusion[labels.index(worst)].copy()
    of_class[labels.index(worst)] = 0
    taken = labels[int(of_class.argmax())]
    return (
        f"{rough} is weakest at “{worst}”, of which it finds about {_of_100(share)} in "
        f"100, and which it most often takes for “{taken}”."
    )


def mistakes(found: Evaluation) -> list[tuple[str, str, int]]:
    """List what was called, what it truly was and how often, the most frequent first."""
    labels = [row.label for row in found.per_class]
    wrong = found.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")
    places = [np.unravel_index(place, wrong.shape) for place in order if wrong.flat[place]]
    return [(labels[called], labels[truly], int(wrong[truly, called])) for truly, called in places]


def _of_100(share: float) -> str:
    rounded = round(100 * share)
    if rounded == 100 and share < 1:
        return "99"
    return str(rounded)


def with_interval(found: Estimate | None) -> str:
    """Write a share with its interval; a dash for none."""
    if found is None:
        return "–"
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def done(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what was done and why, from what the bundle records."""
    strategy, counts, selection = info["strategy"], info["counts"], info["selection"]
    found = [
        f"{_source(info)} Its old answers were cut off, and {_HEADS[strategy['head']]} for your "
        "classes was put in their place.",
        f"It learned from {_learned(info):,} pictures. {counts['test']:,} others were kept aside "
        "and chose nothing.",
        _layers(info),
    ]
    if selection["accuracy"] is not None and strategy["name"] != "scratch":
        found.append(
            f"What the new head reads ({', '.join(strategy['cuts'])}) was chosen among "
            f"{len(selection['candidates'])} possibilities by {selection['method']} on "
            f"{selection['n']:,} training pictures: the simplest that was not clearly worse than "
            f"the best (right on {selection['accuracy']:.1%} of them; that figure is flattered, "
            "because it chose)."
        )
    against = info.get("against_frozen")
    if against:
        found.append(
            f"Beside it a head on the untouched network was tried: log loss "
            f"{against['frozen_log_loss']:.3f} against {against['log_loss']:.3f} of the trained "
            f"one on {against['n']:,} pictures that neither had learned from then (less is better)."
            + (" It was kept all the same, as a control." if strategy["name"] == "scratch" else "")
        )
    calibration = info.get("calibration")
    if calibration and calibration["n"]:
        found.append(
            f"How sure it says it is was adjusted on {calibration['n']:,} pictures, judged by "
            f"models that had not learned from them (temperature {calibration['temperature']:.2f})."
        )
    return tuple(found)


def sentence_of(note: str) -> str:
    """Make a sentence of a note."""
    return f"{note[:1].upper()}{note[1:]}."


def _source(info: Mapping[str, Any]) -> str:
    backbone, random = info["backbone"], info["strategy"]["name"] == "scratch"
    if random or backbone["trained_on"].startswith("nothing"):
        return f"The model has the structure of {backbone['architecture']}, with random weights."
    return (
        f"The model builds on {backbone['architecture']}, a network that learned from "
        f"{backbone['trained_on']}."
    )


def _learned(info: Mapping[str, Any]) -> int:
    """Count the pictures that the weights come from."""
    everyone: int = info["counts"]["train"] + info["counts"]["val"]
    against = info.get("against_frozen")
    if not info["strategy"]["phases"] or info.get("trained_on_all") or not against:
        return everyone
    return everyone - int(against["n"])


def _layers(info: Mapping[str, Any]) -> str:
    if not info["strategy"]["phases"]:
        return (
            "All layers of the network stayed as they were (frozen), so every picture went through "
            "them just once."
        )
    phases = info["strategy"]["phases"]
    if info["strategy"]["name"] == "scratch":
        return "All layers were trained on your pictures from random weights, as a control."
    what = {"all": "", "norm": "the normalisations and biases of ", "lora": "small additions to "}
    trained = what[phases[-1]["what"]]
    starts = [phase["train_from"] for phase in phases]
    if None in starts:
        said = f"{trained}all layers"
        return f"{said[0].upper()}{said[1:]} were trained further on your pictures, at a low rate."
    said = f"{trained}the layers from {starts[-1]} on"
    return (
        f"{said[0].upper()}{said[1:]} were trained further on your pictures; those before stayed "
        "as they were (frozen), bit for bit."
    )


def energy_of_model(info: Mapping[str, Any]) -> Energy | None:
    """Return what a bundle records of its making; None where it was not measured."""
    values = info.get("energy")
    return Energy.from_dict(values) if values else None


def energy_words(energy: Energy | None) -> str:
    """Say how much energy it took, and how that is known."""
    if energy is None:
        return "not measured: fit --report does, with pip install 'regraft[report]'"
    how = "measured by the processor's counters" if energy.measured else "estimated, not measured"
    return f"{energy_of(energy.joules)}, {how}"


def duration(seconds: float) -> str:
    """Write a time."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min"


def listed(names: Sequence[str], most: int = 3) -> str:
    """List some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
