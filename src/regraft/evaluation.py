"""A trained model on pictures that it never saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.bundle.model import Model
from regraft.data.records import Manifest, Picture, Skipped
from regraft.data.splits import units_of
from regraft.errors import UserError
from regraft.frozen.sources import FileSource
from regraft.metrics import Evaluation, evaluate_predictions
from regraft.progress import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What an evaluation found.

    Parameters
    ----------
    evaluation : Evaluation
        The figures, over the pictures of classes that the model knows.
    unknown_classes : Mapping of str to int
        Pictures of classes that the model does not know, which the figures leave out.
    seen_in_training : int
        Pictures that the model learned from: where there are any, the figures are too good.
    skipped : tuple of Skipped
        Pictures that could not be read.
    notes : tuple of str
        What the reader has to know.
    """

    evaluation: Evaluation
    unknown_classes: Mapping[str, int]
    seen_in_training: int
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON values; fractions are 0-1."""
        return {
            **self.evaluation.as_dict(),
            "optimistic": self.seen_in_training > 0,
            "seen_in_training": self.seen_in_training,
            "unknown_classes": dict(self.unknown_classes),
            "skipped": [{"path": s.path, "reason": s.reason} for s in self.skipped],
            "notes": list(self.notes),
        }


def evaluate_model(model: Model, manifest: Manifest, progress: Progress) -> Report:
    """Classify labelled pictures and compare.

    Parameters
    ----------
    model : Model
        The model.
    manifest : Manifest
        The pictures; where they have parts, the test part is used (else the validation part).
    progress : Progress
        Hears of every picture.

    Raises
    ------
    UserError
        If no picture is left to evaluate on.
    """
    pictures, notes = _part(manifest)
    known = set(model.classes)
    unknown = Counter(p.label for p in pictures if p.label not in known)
    pictures = [picture for picture in pictures if picture.label in known]
    if not pictures:
        raise UserError(
            f"the pictures must be of classes that the model knows ({_some(model.classes)}), "
            f"got {_some(manifest.classes)}"
        )
    predictions = model.run([FileSource(p.path, p.name) for p in pictures], progress)
    skipped = (*manifest.skipped, *predictions.skipped)
    if 2 * len(predictions.skipped) > len(pictures):
        raise UserError(
            "at least half of the files must be readable pictures, got "
            f"{len(predictions.positions)} of {len(pictures)}; is this the right folder?",
            [f"{s.path}: {s.reason}" for s in predictions.skipped[:20]],
        )
    column = {label: number for number, label in enumerate(model.classes)}
    y = np.array([column[pictures[i].label] for i in predictions.positions], dtype=np.intp)
    seen = model.count_learned_from(predictions.digests)
    if unknown:
        notes.append(
            f"{sum(unknown.values())} pictures of classes the model does not know are left out: "
            f"{_some(sorted(unknown))}"
        )
    if seen:
        notes.append(
            f"{seen} of the {len(y)} pictures were used to train this model: the figures are too "
            "good; give pictures that it never saw"
        )
    return Report(
        evaluation=evaluate_predictions(
            y,
            predictions.probabilities,
            model.classes,
            units_of([pictures[i].group for i in predictions.positions], predictions.digests),
        ),
        unknown_classes=unknown,
        seen_in_training=seen,
        skipped=skipped,
        notes=tuple(notes),
    )


def _part(manifest: Manifest) -> tuple[list[Picture], list[str]]:
    for role in ("test", "val"):
        part = [picture for picture in manifest.pictures if picture.role == role]
        if part:
            return part, [f"the pictures have parts: the {role} part is used"]
    return list(manifest.pictures), []


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(map(repr, labels[:10]))
    return shown if len(labels) <= 10 else f"{shown} and {len(labels) - 10} more"
