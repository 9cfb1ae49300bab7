"""Where the parts are wired together: pictures in, a tested model out."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from regraft.bundle.compose import Trained, bundle_files, strategy_record
from regraft.bundle.model import Model, Predictions, load
from regraft.bundle.writing import check_target, write_bundle
from regraft.data.manifest import find_pictures, read_manifest
from regraft.data.records import Skipped
from regraft.errors import UserError
from regraft.evaluation import Report, evaluate_model
from regraft.frozen.files import cache_dir, forget_checkpoint
from regraft.frozen.network import converted_network, feature_graph, is_converted
from regraft.frozen.plan import default_plan
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore
from regraft.learn import Learned, Workshop, retried
from regraft.metrics import Evaluation
from regraft.opening import open_backbone, probes_up_to
from regraft.options import ClassWeight, DeviceName, FitOptions, Overrides, PrecisionChoice
from regraft.progress import Progress, Silent
from regraft.strategy import HeadKind, Metric, StrategyName

_DEFAULTS = FitOptions()
_ROUGHLY = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """What ``fit`` did and found.

    Parameters
    ----------
    path : Path
        The bundle.
    evaluation : Evaluation
        Figures on the test pictures, which chose nothing.
    record : Mapping
        Everything, as the JSON values of ``regraft fit --json``.
    """

    path: Path
    evaluation: Evaluation
    record: Mapping[str, Any]

    @property
    def model(self) -> Model:
        """The trained model, loaded from the bundle."""
        return load(self.path)


def fit(
    photos: str | Path,
    out: str | Path,
    *,
    backbone: str = _DEFAULTS.backbone,
    pretrained: bool = _DEFAULTS.pretrained,
    overrides: Overrides = _DEFAULTS.overrides,
    strategy: StrategyName = _DEFAULTS.strategy,
    depth: str | None = _DEFAULTS.depth,
    train_from: str | None = _DEFAULTS.train_from,
    lr: float | None = _DEFAULTS.lr,
    epochs: int | None = _DEFAULTS.epochs,
    views: int | None = _DEFAULTS.views,
    head: HeadKind = _DEFAULTS.head,
    metric: Metric = _DEFAULTS.metric,
    class_weight: ClassWeight | None = _DEFAULTS.class_weight,
    precision: PrecisionChoice = _DEFAULTS.precision,
    device: DeviceName = _DEFAULTS.device,
    test_fraction: float = _DEFAULTS.test_fraction,
    seed: int = _DEFAULTS.seed,
    strict: bool = _DEFAULTS.strict,
    force: bool = False,
    progress: Progress | None = None,
) -> FitResult:
    """Learn a classifier from labelled pictures and write it as a bundle.

    Parameters
    ----------
    photos : str or Path
        A folder per class; or ``train/`` with ``val/`` and/or ``test/``; or a CSV or Parquet
        table with columns ``path,label[,split][,group]``.
    out : str or Path
        The folder to write.
    backbone, pretrained, overrides, strategy, depth, train_from, lr, epochs, views, head, metric, \
    class_weight, precision, device, test_fraction, seed, strict
        See `regraft.options.FitOptions`.
    force : bool
        Replace a bundle that lies at `out`.
    progress : Progress, optional
        Hears what is going on.

    Returns
    -------
    FitResult

    Raises
    ------
    UserError
        If anything that was given cannot be used; the message says what to do.
    """
    options = FitOptions(
        backbone=backbone,
        pretrained=pretrained,
        overrides=overrides,
        strategy=strategy,
        depth=depth,
        train_from=train_from,
        lr=lr,
        epochs=epochs,
        views=views,
        head=head,
        metric=metric,
        class_weight=class_weight,
        precision=precision,
        device=device,
        test_fraction=test_fraction,
        seed=seed,
        strict=strict,
    )
    return fit_with(photos, out, options, force=force, progress=progress or Silent())


def fit_with(
    photos: str | Path, out: str | Path, options: FitOptions, *, force: bool, progress: Progress
) -> FitResult:
    """Do what `fit` does, with the settings as one value."""
    began = time.perf_counter()
    target = _checked_target(Path(out), Path(photos), force)
    manifest = read_manifest(photos)
    cache = cache_dir()
    backbone = open_backbone(options, cache, progress)
    if not is_converted(backbone, cache):
        progress.say(f"{backbone.name} is new on this machine and is converted once (seconds)")
    with FeatureStore(cache) as store:
        plan = default_plan(probes_up_to(backbone, options.depth))
        shop = Workshop(backbone, plan, store, cache, options, progress)
        learned = retried(lambda: shop.learn(manifest), shop.plan)
        record = _record(learned, options)
        taps = learned.strategy.features.taps
        trained = Trained(
            backbone=learned.backbone,
            network=converted_network(learned.backbone, taps, cache).folder,
            graph=feature_graph(learned.backbone, taps, cache),
            classes=learned.classes,
            strategy=learned.strategy,
            head=learned.head,
            learned_from=learned.learned_from,
            record=record,
        )
        write_bundle(target, bundle_files(trained), force=force)
        if learned.spare is not None:
            forget_checkpoint(learned.spare)
        store.trim()
    result = {
        "model": str(target),
        "classes": list(learned.classes),
        "strategy": {"backbone": backbone.name, **strategy_record(learned.strategy)},
        **record,
        "skipped": _listed(learned.skipped),
        "dropped": _listed(learned.splits.dropped),
        "conflicts": [
            {"paths": list(c.paths), "labels": list(c.labels)} for c in learned.splits.conflicts
        ],
        "seconds": {
            "total": time.perf_counter() - began,
            "frozen": learned.frozen_seconds,
            "head": learned.head_seconds,
            "training": learned.tuning_seconds,
        },
        "cache": {"hits": learned.extraction.hits, "misses": learned.extraction.misses},
    }
    return FitResult(target, learned.evaluation, result)


def evaluate(
    model: str | Path | Model,
    photos: str | Path,
    *,
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
    loaded = model if isinstance(model, Model) else load(model)
    manifest = read_manifest(photos, min_classes=1)
    report = evaluate_model(loaded, manifest, progress or Silent())
    if strict:
        _refuse(report.skipped)
    return report


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
            f"{len(skipped)} files cannot be used, and strict was asked for", _reasons(skipped)
        )


def _reasons(skipped: Sequence[Skipped]) -> list[str]:
    return [f"{entry.path}: {entry.reason}" for entry in skipped]


def _checked_target(target: Path, photos: Path, force: bool) -> Path:
    """Refuse an output that would be taken for pictures, or that cannot be written."""
    if os.path.isdir(photos):  # noqa: PTH112 - Path.is_dir raises where the name is too long
        inside, root = target.resolve(), photos.resolve()
        if inside == root or root in inside.parents:
            raise UserError(
                f"out must lie outside the pictures, got {target} in {photos}; regraft writes "
                "nothing into your pictures"
            )
    check_target(target, force)
    return target


def _listed(skipped: Sequence[Skipped]) -> list[dict[str, str]]:
    return [{"path": s.path, "reason": s.reason} for s in skipped]


def _record(learned: Learned, options: FitOptions) -> dict[str, Any]:
    """Gather what was measured and how the model came about, for the bundle and the JSON."""
    splits, parity = learned.splits, learned.parity
    return {
        "counts": {
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "skipped": len(learned.skipped),
        },
        "selection": learned.choice.as_dict(),
        "training": [report.as_dict() for report in learned.reports],
        "test": learned.evaluation.as_dict(),
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
    if len(splits.val) and learned.strategy.phases:
        notes.append("the validation part said when to stop, and was not trained on")
    elif len(splits.val):
        notes.append("chosen on the validation part, then trained on train and validation part")
    notes += [note for report in learned.reports for note in report.notes]
    if not all(report.phase.mirror for report in learned.reports):
        notes.append("mirrored pictures are taken for other classes, so none were trained on")
    if learned.reports and not learned.strategy.phases:
        notes.append(
            f"strategy {options.strategy}: no pass lowered the loss on held-out pictures, so the "
            "network stays as it was, with the best head on it"
        )
    if splits.dropped:
        notes.append(
            f"{len(splits.dropped)} pictures were dropped: they, or others of their group, also "
            "stand in a later part"
        )
    if splits.conflicts:
        notes.append(f"{len(splits.conflicts)} pictures stand under more than one label")
    if not learned.head.converged:
        notes.append("the training of the head stopped before it converged: expect rough figures")
    return notes
