"""Where the parts are wired together: pictures in, a tested model out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.bundle.compose import Trained, bundle_files, strategy_record
from regraft.bundle.format import REPORT
from regraft.bundle.model import Model, load
from regraft.bundle.writing import check_target, write_bundle
from regraft.data.manifest import read_manifest
from regraft.data.records import Manifest
from regraft.errors import RegraftError, UserError
from regraft.frozen.files import cache_dir, forget_checkpoint
from regraft.frozen.network import converted_network, feature_graph, is_converted
from regraft.frozen.store import FeatureStore
from regraft.kept_together import Groups
from regraft.lateness import is_late, overrun
from regraft.learn import learn
from regraft.metrics import Evaluation
from regraft.opening import open_backbone, plan_up_to
from regraft.operating import check_classes
from regraft.options import (
    AUTO,
    ClassWeight,
    DeviceName,
    FitOptions,
    Overrides,
    PrecisionChoice,
    advice_budget,
)
from regraft.progress import Progress, Silent
from regraft.record import fit_record
from regraft.strategy import HeadKind, Metric, StrategyName
from regraft.workshop import Workshop, open_store, retried

if TYPE_CHECKING:
    from regraft.advice.advice import Advice
    from regraft.advice.backbones import Comparison
    from regraft.energy import Meter

_DEFAULTS = FitOptions()


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
    copies : tuple of tuple of int, optional
        Groups of pictures that show the same, where several networks were compared: they decided
        the parts.
    """

    path: Path
    evaluation: Evaluation
    record: Mapping[str, Any]
    copies: Groups | None = None

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
    mixup: float | None = _DEFAULTS.mixup,
    l2_sp: float | None = _DEFAULTS.l2_sp,
    budget: float | None = _DEFAULTS.budget,
    head: HeadKind = _DEFAULTS.head,
    metric: Metric = _DEFAULTS.metric,
    class_weight: ClassWeight | None = _DEFAULTS.class_weight,
    target: str | None = _DEFAULTS.target,
    positive: str | None = _DEFAULTS.positive,
    precision: PrecisionChoice = _DEFAULTS.precision,
    device: DeviceName = _DEFAULTS.device,
    test_fraction: float = _DEFAULTS.test_fraction,
    seed: int = _DEFAULTS.seed,
    strict: bool = _DEFAULTS.strict,
    force: bool = False,
    report: bool = False,
    country: str | None = None,
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
    backbone, pretrained, overrides, strategy, depth, train_from, lr, epochs, views, mixup, \
    l2_sp, budget, head, metric, class_weight, target, positive, precision, device, \
    test_fraction, seed, strict
        See `regraft.options.FitOptions`.
    force : bool
        Replace a bundle that lies at `out`.
    report : bool
        Also write ``report.html`` into the bundle, and measure energy (with ``regraft[report]``).
    country : str, optional
        With `report`: where the electricity comes from (ISO 3166, three letters), for carbon
        dioxide.
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
        mixup=mixup,
        l2_sp=l2_sp,
        budget=budget,
        head=head,
        metric=metric,
        class_weight=class_weight,
        target=target,
        positive=positive,
        precision=precision,
        device=device,
        test_fraction=test_fraction,
        seed=seed,
        strict=strict,
    )
    progress = progress or Silent()
    return fit_with_report(
        photos, out, options, report=report, country=country, force=force, progress=progress
    )


def fit_with_report(
    photos: str | Path,
    out: str | Path,
    options: FitOptions,
    *,
    report: bool,
    country: str | None,
    force: bool,
    progress: Progress,
) -> FitResult:
    """Do what `fit` does, with the settings as one value."""
    if not report:
        if country is not None:
            raise UserError(
                f"country belongs to a report, got {country!r} without one: add report, or leave "
                "country out"
            )
        return fit_with(photos, out, options, force=force, progress=progress)
    from regraft.app_report import report_fit
    from regraft.energy import check_country, metered

    check_country(country)
    with metered(country) as meter:
        result = fit_with(photos, out, options, force=force, progress=progress, meter=meter)
    record = result.record
    try:
        written = report_fit(
            result.path / REPORT,
            result.model,
            Path(photos),
            read_manifest(photos),
            replace(options, backbone=str(record["strategy"]["backbone"])),
            progress,
            record,
            result.copies,
        )
    except RegraftError as error:  # the model is there all the same
        note = f"the model was written, but no report of it: {error}"
        return replace(result, record={**record, "notes": [*record["notes"], note]})
    return replace(result, record={**record, "report": str(written)})


def fit_with(
    photos: str | Path,
    out: str | Path,
    options: FitOptions,
    *,
    force: bool,
    progress: Progress,
    meter: Meter | None = None,
) -> FitResult:
    """Do what `fit` does without a report."""
    began = time.perf_counter()
    target = _checked_target(Path(out), Path(photos), force)
    manifest = read_manifest(photos)
    if options.target is not None:
        check_classes(tuple(manifest.classes), options.positive)
    cache = cache_dir()
    with open_store(cache) as store:
        options, comparison = _with_network(manifest, options, store, cache, progress)
        backbone = open_backbone(options, cache, progress)
        if not is_converted(backbone, cache):
            progress.say(f"{backbone.name} is new on this machine and is converted once (seconds)")
        plan = plan_up_to(backbone, options.depth)
        copies = comparison.copies if comparison else None
        shop = Workshop(backbone, plan, store, cache, options, progress, copies)
        learned = retried(lambda: learn(shop, manifest, began), shop.plan)
        record = fit_record(learned, options, meter.read() if meter else None)
        taps = learned.strategy.features.taps
        trained = Trained(
            backbone=learned.backbone,
            network=converted_network(learned.backbone, taps, cache).folder,
            graph=feature_graph(learned.backbone, taps, cache),
            classes=learned.classes,
            strategy=learned.strategy,
            head=learned.head,
            familiarity=learned.familiarity,
            learned_from=learned.learned_from,
            record=record,
        )
        write_bundle(target, bundle_files(trained), force=force)
        for spare in learned.spare:
            forget_checkpoint(spare)
    result = {
        "model": str(target),
        "classes": list(learned.classes),
        "strategy": {"backbone": backbone.name, **strategy_record(learned.strategy)},
        **record,
        "backbones": [row.as_dict() for row in comparison.scored] if comparison else [],
        "not_tried": list(comparison.untried) if comparison else [],
        **learned.left_out.as_dict(),
        "seconds": {
            "total": time.perf_counter() - began,
            "frozen": learned.frozen_seconds,
            "head": learned.head_seconds,
            "training": learned.tuning_seconds,
        },
        "cache": {"hits": learned.extraction.hits, "misses": learned.extraction.misses},
        "report": None,
    }
    result["notes"] = [*record["notes"], *result["not_tried"], *_late(result, options)]
    return FitResult(target, learned.evaluation, result, copies)


def _late(record: dict[str, Any], options: FitOptions) -> list[str]:
    """Say so where a fit took clearly longer than it might."""
    seconds, budget = record["seconds"]["total"], options.budget
    return [overrun(seconds, budget)] if budget and is_late(seconds, budget) else []


def advise(
    photos: str | Path,
    *,
    backbone: str = _DEFAULTS.backbone,
    pretrained: bool = _DEFAULTS.pretrained,
    overrides: Overrides = _DEFAULTS.overrides,
    depth: str | None = _DEFAULTS.depth,
    budget: float | None = _DEFAULTS.budget,
    head: HeadKind = _DEFAULTS.head,
    metric: Metric = _DEFAULTS.metric,
    class_weight: ClassWeight | None = _DEFAULTS.class_weight,
    precision: PrecisionChoice = _DEFAULTS.precision,
    device: DeviceName = _DEFAULTS.device,
    test_fraction: float = _DEFAULTS.test_fraction,
    seed: int = _DEFAULTS.seed,
    strict: bool = _DEFAULTS.strict,
    control: bool = False,
    progress: Progress | None = None,
) -> Advice:
    """Measure what to freeze, what to drop and what to train; nothing is written.

    Parameters
    ----------
    photos : str or Path
        As for `fit`. The test part takes no part in the advice.
    backbone, pretrained, overrides, depth, head, metric, class_weight, precision, device, \
    test_fraction, seed, strict
        See `regraft.options.FitOptions`.
    budget : float, optional
        Seconds that everything may take; five minutes where nothing is said, 0 for no race.
    control : bool
        Also train from random weights, as long as the budget is, and say whether transfer helped.
    progress : Progress, optional
        Hears what is going on.

    Returns
    -------
    regraft.advice.advice.Advice

    Raises
    ------
    UserError
        If anything that was given cannot be used; the message says what to do.
    """
    options = FitOptions(
        backbone=backbone,
        pretrained=pretrained,
        overrides=overrides,
        depth=depth,
        budget=advice_budget(budget, depth),
        head=head,
        metric=metric,
        class_weight=class_weight,
        precision=precision,
        device=device,
        test_fraction=test_fraction,
        seed=seed,
        strict=strict,
    )
    return advise_with(photos, options, control=control, progress=progress or Silent())


def advise_with(
    photos: str | Path, options: FitOptions, *, control: bool, progress: Progress
) -> Advice:
    """Do what `advise` does, with the settings as one value."""
    from regraft.advice.advisor import advise as advise_on

    if control and not (options.pretrained and options.budget):
        raise UserError(
            "control compares the weights of a training with random ones in a race: it needs "
            "pretrained weights, a budget above 0 and no depth, got pretrained "
            f"{options.pretrained}, budget {options.budget}, depth {options.depth!r}"
        )
    began = time.perf_counter()
    manifest = read_manifest(photos)
    cache = cache_dir()
    with open_store(cache) as store:
        options, comparison = _with_network(manifest, options, store, cache, progress)
        backbone = open_backbone(options, cache, progress)
        plan = plan_up_to(backbone, options.depth)
        copies = comparison.copies if comparison else None
        shop = Workshop(backbone, plan, store, cache, options, progress, copies)
        return retried(
            lambda: advise_on(shop, manifest, began, control=control, comparison=comparison), plan
        )


def _with_network(
    manifest: Manifest, options: FitOptions, store: FeatureStore, cache: Path, progress: Progress
) -> tuple[FitOptions, Comparison | None]:
    """Choose the network, where several are named."""
    if options.backbone != AUTO and "," not in options.backbone:
        return options, None
    from regraft.advice.backbones import compare_backbones, names_of

    names = names_of(options.backbone)
    if names == [options.backbone]:
        return options, None
    comparison = compare_backbones(names, manifest, options, store, cache, progress)
    progress.say(comparison.sentence)
    return replace(options, backbone=comparison.chosen), comparison


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
