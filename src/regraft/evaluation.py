"""A trained model on pictures that it never saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.assessing.assessment import Assessment, assess
from regraft.assessing.comparison import Paired, compare
from regraft.bundle.model import Model
from regraft.bundle.predictions import Predictions
from regraft.data.records import Manifest, Picture, Skipped
from regraft.data.splits import units_of
from regraft.errors import UserError
from regraft.frozen.sources import FileSource
from regraft.heads.linear import softmax
from regraft.metrics import Evaluation, evaluate_predictions
from regraft.operating import OperatingPoint
from regraft.progress import Progress

Columns = NDArray[np.intp]
Probabilities = NDArray[np.float64]

_SEEN = (
    "{seen} of the {n} pictures were used to train {which}: the figures are too good; give "
    "pictures that it never saw"
)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What an evaluation found.

    Parameters
    ----------
    evaluation : Evaluation
        The figures, over the pictures of classes that the model knows.
    assessment : Assessment
        More of them.
    operating_point : OperatingPoint or None
        Where a model of two classes says yes.
    comparison : Paired or None
        This model against another one on the same pictures.
    unknown_classes : Mapping of str to int
        Pictures of classes that the model does not know, which the figures leave out.
    unlike_training : int or None
        Pictures that are unlike any that the model learned from; None where it cannot say.
    seen_in_training : int
        Pictures that the model learned from: where there are any, the figures are too good.
    skipped : tuple of Skipped
        Pictures that could not be read.
    notes : tuple of str
        What the reader has to know.
    pictures : tuple of Picture
        Those that the figures are over.
    y : ndarray of shape (n,), int
        The column of the class of each.
    predictions : Predictions
        What the model says of each.
    """

    evaluation: Evaluation
    assessment: Assessment
    operating_point: OperatingPoint | None
    comparison: Paired | None
    unknown_classes: Mapping[str, int]
    unlike_training: int | None
    seen_in_training: int
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    y: Columns
    predictions: Predictions

    def as_dict(self) -> dict[str, Any]:
        """JSON values of all but the pictures; fractions are 0-1."""
        figures, point = self.evaluation.as_dict(), self.operating_point
        figures["per_class"] = [
            {**row, **more.as_dict()}
            for row, more in zip(figures["per_class"], self.assessment.details, strict=True)
        ]
        return {
            **figures,
            **self.assessment.as_dict(),
            "operating_point": point.as_dict() if point else None,
            "comparison": self.comparison.as_dict() if self.comparison else None,
            "unlike_training": self.unlike_training,
            "optimistic": self.seen_in_training > 0,
            "seen_in_training": self.seen_in_training,
            "unknown_classes": dict(self.unknown_classes),
            "skipped": [{"path": s.path, "reason": s.reason} for s in self.skipped],
            "notes": list(self.notes),
        }


def evaluate_model(
    model: Model,
    manifest: Manifest,
    progress: Progress,
    *,
    other: Model | None = None,
    min_confidence: float | None = None,
) -> Report:
    """Classify labelled pictures and compare.

    Parameters
    ----------
    model : Model
        The model.
    manifest : Manifest
        The pictures; where they have parts, the test part is used (else the validation part).
    progress : Progress
        Hears of every picture.
    other : Model, optional
        Another model of the same classes, to be compared picture by picture.
    min_confidence : float, optional
        One more row of the table of accuracy against coverage, 0 to 1.

    Raises
    ------
    UserError
        If no picture is left to evaluate on, or the other model knows other classes.
    """
    _check(model, other, min_confidence)
    pictures, notes = _part(manifest)
    known = set(model.classes)
    unknown = Counter(p.label for p in pictures if p.label not in known)
    pictures = [picture for picture in pictures if picture.label in known]
    if not pictures:
        raise UserError(
            f"the pictures must be of classes that the model knows ({_some(model.classes)}), "
            f"got {_some(manifest.classes)}"
        )
    predictions = _answers(model, pictures, progress)
    column = {label: number for number, label in enumerate(model.classes)}
    y = np.array([column[pictures[i].label] for i in predictions.positions], dtype=np.intp)
    units = units_of([pictures[i].group for i in predictions.positions], predictions.digests)
    seen = model.count_learned_from(predictions.digests)
    missing = [label for label in model.classes if label not in {p.label for p in pictures}]
    notes += _doubts(unknown, missing, seen, len(y))
    proba, called = predictions.probabilities, predictions.columns
    raw = _raw(proba, model.temperature)
    comparison = None
    if other is not None:
        second = _in_order(_answers(other, pictures, progress), model.classes)
        comparison = compare(y, (called, proba), second, units)
        also = other.count_learned_from(predictions.digests)
        notes += [_SEEN.format(seen=also, n=len(y), which="the other model")] if also else []
    return Report(
        evaluation=evaluate_predictions(y, proba, model.classes, units, called),
        assessment=assess(y, called, proba, raw, model.classes, units, min_confidence),
        operating_point=model.operating_point,
        comparison=comparison,
        unknown_classes=unknown,
        unlike_training=None if predictions.unlike is None else int(predictions.unlike.sum()),
        seen_in_training=seen,
        skipped=(*manifest.skipped, *predictions.skipped),
        notes=tuple(notes),
        pictures=tuple(pictures[i] for i in predictions.positions),
        y=y,
        predictions=predictions,
    )


def _check(model: Model, other: Model | None, min_confidence: float | None) -> None:
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise UserError(f"min_confidence must lie in [0, 1], got {min_confidence}")
    if other is not None and set(other.classes) != set(model.classes):
        raise UserError(
            f"both models must know the same classes, got {_some(model.classes)} and "
            f"{_some(other.classes)}"
        )


def _answers(model: Model, pictures: Sequence[Picture], progress: Progress) -> Predictions:
    """Classify; half of the pictures must be readable."""
    predictions = model.run([FileSource(p.path, p.name) for p in pictures], progress)
    if 2 * len(predictions.skipped) > len(pictures):
        raise UserError(
            "at least half of the files must be readable pictures, got "
            f"{len(predictions.positions)} of {len(pictures)}; is this the right folder?",
            [f"{s.path}: {s.reason}" for s in predictions.skipped[:20]],
        )
    return predictions


def _in_order(predictions: Predictions, classes: Sequence[str]) -> tuple[Columns, Probabilities]:
    """Return what was called and how probable all is, with the columns in another order."""
    order = np.array([predictions.classes.index(label) for label in classes])
    return np.argsort(order)[predictions.columns], predictions.probabilities[:, order]


def _raw(proba: Probabilities, temperature: float) -> Probabilities:
    """Return the probabilities as they would be without the temperature."""
    return softmax(temperature * np.log(np.maximum(proba, np.finfo(np.float64).tiny)))


def _doubts(unknown: Counter[str], missing: Sequence[str], seen: int, n: int) -> list[str]:
    """Say what the figures leave out, and where they are too good."""
    notes = []
    if unknown:
        notes.append(
            f"{sum(unknown.values())} pictures of classes the model does not know are left out: "
            f"{_some(sorted(unknown))}"
        )
    if missing:
        notes.append(f"no picture of {_some(missing)}: nothing is said of its recall")
    if seen:
        notes.append(_SEEN.format(seen=seen, n=n, which="this model"))
    return notes


def _part(manifest: Manifest) -> tuple[list[Picture], list[str]]:
    for role in ("test", "val"):
        part = [picture for picture in manifest.pictures if picture.role == role]
        if part:
            return part, [f"the pictures have parts: the {role} part is used"]
    return list(manifest.pictures), []


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(map(repr, labels[:10]))
    return shown if len(labels) <= 10 else f"{shown} and {len(labels) - 10} more"
