"""The command line: ``regraft advise``, which says what to freeze, drop and train, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from regraft.cli_options import (
    TRAINS_PANEL,
    BackboneName,
    Budget,
    Channels,
    Crop,
    Depth,
    Device,
    Head,
    Json,
    Layout,
    Mean,
    MetricName,
    Photos,
    Precision,
    Pretrained,
    Seed,
    Size,
    Std,
    Strict,
    Tap,
    TestFraction,
    Weighting,
    parse_budget,
    parse_overrides,
    print_json,
)
from regraft.options import FitOptions, advice_budget

_DEFAULTS = FitOptions()

Control = Annotated[
    bool,
    typer.Option(
        "--control",
        help="Did transfer help? Also train from random weights; takes as long again.",
        rich_help_panel=TRAINS_PANEL,
    ),
]


def advise(
    photos: Photos,
    backbone: BackboneName = _DEFAULTS.backbone,
    pretrained: Pretrained = _DEFAULTS.pretrained,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    channels: Channels = None,
    crop: Crop = None,
    tap: Tap = None,
    layout: Layout = None,
    depth: Depth = None,
    budget: Budget = None,
    head: Head = _DEFAULTS.head,
    metric: MetricName = _DEFAULTS.metric,
    class_weight: Weighting = _DEFAULTS.class_weight,
    test_fraction: TestFraction = _DEFAULTS.test_fraction,
    precision: Precision = _DEFAULTS.precision,
    device: Device = _DEFAULTS.device,
    seed: Seed = _DEFAULTS.seed,
    strict: Strict = _DEFAULTS.strict,
    control: Control = False,
    as_json: Json = False,
) -> None:
    """Ask: what to freeze, what to drop, what to train, measured on your pictures."""
    from regraft.app import advise_with
    from regraft.terminal import show_left_out, watching
    from regraft.terminal_advice import show_advice

    options = FitOptions(
        backbone=backbone,
        pretrained=pretrained,
        overrides=parse_overrides(size, mean, std, channels, crop, tap, layout),
        depth=depth,
        budget=advice_budget(parse_budget(budget), depth),
        head=head,
        metric=metric,
        class_weight=class_weight,
        precision=precision,
        device=device,
        test_fraction=test_fraction,
        seed=seed,
        strict=strict,
    )
    with watching() as progress:
        record = advise_with(photos, options, control=control, progress=progress).as_dict()
    show_left_out(record)
    if as_json:
        print_json(record)
    else:
        show_advice(record)
