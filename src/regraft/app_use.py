"""A trained model on pictures: named one by one, or compared with labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from regraft.bundle.model import Model, load
from regraft.bundle.predictions import Predictions
from regraft.data.manifest import find_pictures, read_manifest
from regraft.data.records import Skipped
from regraft.errors import UserError
from regraft.evaluation import Report, evaluate_model
from regraft.frozen.sources import FileSource
from regraft.progress import Progress, Silent

REPORT_MARK = b'<meta name="generator" content="regraft">'
_HEAD = 1024


def evaluate(
    model: str | Path | Model,
    photos: str | Path,
    *,
    against: str | Path | Model | None = None,
    min_confidence: float | None = None,
    report: str | Path | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Check a model on labelled pictures that it never saw.

    Parameters
    ----------
    model : str, Path or Model
        A bundle, or a model that was loaded from one.
    photos : str or Path
        As for `fit`. Where it has parts, the test part is used.
    against : str, Path or Model, optional
        Another model of the same classes, to be compared picture by picture.
    min_confidence : float, optional
        Also say how accurate the model is where it is so sure, 0 to 1.
    report : str or Path, optional
        Also write one HTML file for colleagues: figures, plots, pictures with the places that
        spoke for an answer, an audit of the pictures.
    strict : bool
        A picture that cannot be read is an error instead of a listed skip.
    progress : Progress, optional
        Hears of every picture.

    Returns
    -------
    regraft.evaluation.Report

    Raises
    ------
    UserError
        If the bundle or the pictures cannot be used.
    """
    place = None if report is None else check_report(Path(report), Path(photos))
    loaded = model if isinstance(model, Model) else load(model)
    other = against if isinstance(against, Model | None) else load(against)
    manifest = read_manifest(photos, min_classes=1)
    for one in (loaded, other):
        check_confidence(one, min_confidence)
    progress = progress or Silent()
    found = evaluate_model(loaded, manifest, progress, other=other, min_confidence=min_confidence)
    if strict:
        _refuse(found.skipped)
    if place is not None:
        from regraft.app_report import report_evaluation

        report_evaluation(place, loaded, Path(photos), found, progress, other)
    return found


def check_report(path: Path, photos: Path) -> Path:
    """Refuse a file that cannot be a report, before anything is computed.

    Raises
    ------
    UserError
        If it is a folder, or lies in none that exists and may be written to; if it lies among the
        pictures; if it is no HTML by its name, or a file is there that is no report.
    """
    if path.is_dir():
        raise UserError(f"report must be a file, such as {path / 'report.html'}, got a folder")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"report must end in .html, got {path}")
    if not path.parent.is_dir():
        raise UserError(f"report must lie in a folder that exists, got {path}; make it first")
    if photos.is_dir() and photos.resolve() in path.resolve().parents:
        raise UserError(f"report must lie outside the pictures, got {path} in {photos}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"report must lie in a folder that may be written to, got {path}")
    if path.exists() and REPORT_MARK not in path.read_bytes()[:_HEAD]:
        raise UserError(f"report must not replace another file, got {path}; give another name")
    return path


def check_confidence(model: Model | None, min_confidence: float | None) -> None:
    """Complain about abstaining with a model that has promised how much of a class it finds."""
    if model is not None and model.operating_point is not None and min_confidence is not None:
        raise UserError(
            f"min_confidence must be left out with {str(model.path)!r}: it was made for "
            f"{model.operating_point.target}, and a picture without an answer is not found"
        )


def predict_paths(
    model: Model, paths: Sequence[str | Path], progress: Progress, *, strict: bool = False
) -> tuple[Predictions, tuple[Skipped, ...]]:
    """Classify files and all pictures in folders.

    Returns
    -------
    Predictions, tuple of Skipped
        The second also lists what could not even be opened.

    Raises
    ------
    UserError
        If a path does not exist, or no picture can be read.
    """
    found, skipped = find_pictures(paths)
    predictions = model.run([FileSource(path, name) for path, name in found], progress)
    skipped = [*skipped, *predictions.skipped]
    if strict:
        _refuse(skipped)
    if not predictions.names:
        raise UserError(f"none of the {len(skipped)} files can be read", _reasons(skipped))
    return predictions, tuple(skipped)


def _refuse(skipped: Sequence[Skipped]) -> None:
    if skipped:
        raise UserError(
            f"{len(skipped)} files cannot be used, and strict was asked for; mend or remove them, "
            "or leave strict out",
            _reasons(skipped),
        )


def _reasons(skipped: Sequence[Skipped]) -> list[str]:
    return [f"{entry.path}: {entry.reason}" for entry in skipped]
