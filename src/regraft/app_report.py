"""Where a report is wired together: a model and pictures in, one HTML file out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.advice.growth import Growth, learning_curve
from regraft.advice.probe import exam_of
from regraft.app_audit import audit_with
from regraft.auditing.findings import Audit
from regraft.bundle.model import Model
from regraft.data.records import Manifest
from regraft.errors import UserError
from regraft.evaluation import Report, evaluate_model
from regraft.files import storage_error
from regraft.frozen.devices import get_device
from regraft.frozen.files import cache_dir
from regraft.kept_together import Groups
from regraft.opening import open_backbone, plan_up_to
from regraft.options import FitOptions
from regraft.progress import Progress
from regraft.report.build import report_html
from regraft.report.subject import Subject
from regraft.workshop import Workshop, open_store, retried

_READABLE = 0o644
_ADVICE = "choose another place for the report"


def report_evaluation(
    path: Path,
    model: Model,
    photos: Path,
    found: Report,
    progress: Progress,
    other: Model | None = None,
) -> Path:
    """Write the report of an evaluation.

    Parameters
    ----------
    path : Path
        The file; what lies there is replaced.
    model : Model
        What was evaluated.
    photos : Path
        The pictures.
    found : Report
        What the evaluation found.
    progress : Progress
        Hears what is going on.
    other : Model, optional
        What it was compared with.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    looked, why = _audited(photos, FitOptions(), progress)
    subject = replace(_subject(model, photos, found, looked, why), other=other)
    return _write(path, subject, progress)


def report_fit(
    path: Path,
    model: Model,
    photos: Path,
    manifest: Manifest,
    options: FitOptions,
    progress: Progress,
    record: Mapping[str, Any],
    copies: Groups | None = None,
) -> Path:
    """Write the report of a fit: on its test pictures, which chose nothing.

    Parameters
    ----------
    path : Path
        The file; what lies there is replaced.
    model : Model
        What was made.
    photos : Path
        All pictures.
    manifest : Manifest
        The same, as they were read.
    options : FitOptions
        The settings of the fit.
    progress : Progress
        Hears what is going on.
    record : Mapping
        What the fit says of itself, as JSON values.
    copies : tuple of tuple of int, optional
        Groups of pictures that show the same, where these were not the network's own to say.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    tested, growth = _again(manifest, options, progress, copies)
    found = evaluate_model(model, tested, progress)
    looked, why = _audited(photos, options, progress)
    subject = replace(
        _subject(model, photos, found, looked, why),
        growth=growth,
        seconds=record["seconds"]["total"],
        stored=record["cache"]["hits"],
        seed=options.seed,
    )
    return _write(path, subject, progress)


def _again(
    manifest: Manifest, options: FitOptions, progress: Progress, copies: Groups | None
) -> tuple[Manifest, Growth]:
    """Deal the pictures as the fit did; return the test part, and what more pictures would bring.

    All features are stored by now, so it takes little.
    """
    cache = cache_dir()
    backbone = open_backbone(options, cache, progress)
    plan = plan_up_to(backbone, options.depth)
    with open_store(cache) as store:
        shop = Workshop(backbone, plan, store, cache, options, progress, copies)

        def look() -> tuple[Manifest, Growth]:
            lot = shop.gather(manifest)
            tested = tuple(
                replace(lot.pictures[row], role=None, group=f"unit {lot.splits.units[row]}")
                for row in lot.splits.test
            )
            growth = learning_curve(exam_of(shop, lot), shop.choose(lot).features)
            return replace(manifest, pictures=tested, skipped=()), growth

        return retried(look, plan)


def _audited(photos: Path, options: FitOptions, progress: Progress) -> tuple[Audit | None, str]:
    """Audit; pictures that cannot be audited are no reason to go without a report."""
    try:
        return audit_with(photos, options, progress), ""
    except UserError as error:
        return None, error.message


def _subject(model: Model, photos: Path, found: Report, looked: Audit | None, why: str) -> Subject:
    options = FitOptions(backbone=str(model.path))
    cache = cache_dir()
    backbone = open_backbone(options, cache)
    device = get_device("cpu", cache)
    return Subject(model, backbone, device, found, photos, looked, why)


def _write(path: Path, subject: Subject, progress: Progress) -> Path:
    progress.say("drawing the report")
    text = report_html(subject)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        place = Path(name)
        try:
            place.write_text(text, encoding="utf-8")
            place.chmod(_READABLE)
            place.replace(path)
        finally:
            place.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(path, error, _ADVICE) from error
    return path
