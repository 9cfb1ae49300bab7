"""What several commands take and print: common options, numbers in words, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.errors import UserError
from regraft.options import (
    ChannelOrder,
    ClassWeight,
    DeviceName,
    InputLayout,
    Overrides,
    PrecisionChoice,
    Triple,
    advised_settings,
)
from regraft.strategy import STRATEGY_NAMES, HeadKind, Metric

SCHEMA_VERSION = 1
"""Raised when a key of the JSON output changes its meaning or goes away."""

NETWORK_PANEL = "The network"

Reporting = Annotated[
    bool,
    typer.Option("--report", help="Also write report.html into the model, to show to colleagues."),
]
Country = Annotated[
    str | None,
    typer.Option(
        metavar="CODE",
        help="With --report: where the electricity comes from (FRA, USA), for CO2.",
    ),
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Also write a report (HTML) for colleagues."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, all else on stderr.")
]
Photos = Annotated[
    Path,
    typer.Argument(
        metavar="PHOTOS",
        help="A folder per class; or train/ with val/ and/or test/; or a CSV or Parquet table "
        "with columns path,label[,split][,group].",
    ),
]
BackboneName = Annotated[
    str,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="One of `regraft backbones`. To learn or to ask also several, with commas between, "
        "or auto for all on this disk: the best of them, frozen, is taken.",
        rich_help_panel=NETWORK_PANEL,
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail when a picture cannot be read.")]
Seed = Annotated[int, typer.Option(help="Decides the held-out part, the folds and random weights.")]
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained/--no-pretrained",
        help="Its weights, or random ones.",
        rich_help_panel=NETWORK_PANEL,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="PIXELS",
        help="224, or HEIGHTxWIDTH.",
        rich_help_panel=NETWORK_PANEL,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="M[,M,M]",
        help="Of red, green, blue in 0..1.",
        rich_help_panel=NETWORK_PANEL,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        metavar="S[,S,S]", help="Their standard deviation.", rich_help_panel=NETWORK_PANEL
    ),
]
Tap = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Network file: what gives the features.",
        rich_help_panel=NETWORK_PANEL,
    ),
]
Layout = Annotated[
    InputLayout | None,
    typer.Option(metavar="AXES", help="Network file: NCHW or NHWC.", rich_help_panel=NETWORK_PANEL),
]

Channels = Annotated[
    ChannelOrder | None,
    typer.Option(metavar="ORDER", help="RGB or BGR.", rich_help_panel=NETWORK_PANEL),
]
Crop = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Of the shorter side, such as 0.875; or squash.",
        rich_help_panel=NETWORK_PANEL,
    ),
]

TRAINS_PANEL = "What trains"

Strategy = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="auto: features or, with --budget, what wins the race; features: a head alone; "
        "partial: layers from --train-from on; gradual: the last layers, then more; full: all; "
        "scratch: all, from random weights; norm: normalisations and biases; lora: adapters "
        "(transformers). Or a file that `regraft advise --json` wrote.",
        rich_help_panel=TRAINS_PANEL,
    ),
]
Depth = Annotated[
    str | None,
    typer.Option(
        metavar="CUT", help="features: leave out what comes after.", rich_help_panel=TRAINS_PANEL
    ),
]
TrainFrom = Annotated[
    str | None,
    typer.Option(
        metavar="CUT",
        help="partial: all before it is frozen; by default the last three depths that are tried "
        "train.",
        rich_help_panel=TRAINS_PANEL,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option("--lr", help="Learning rate; found by trial.", rich_help_panel=TRAINS_PANEL),
]
Epochs = Annotated[int | None, typer.Option(help="Passes, at most.", rich_help_panel=TRAINS_PANEL)]
Views = Annotated[
    int | None,
    typer.Option(help="Of each picture, the plain one included.", rich_help_panel=TRAINS_PANEL),
]
Mixup = Annotated[
    float | None,
    typer.Option(help="Train on mixed pairs; 0.2 is usual.", rich_help_panel=TRAINS_PANEL),
]
L2Sp = Annotated[
    float | None,
    typer.Option("--l2-sp", help="Pull to the source network.", rich_help_panel=TRAINS_PANEL),
]

_LEARNS, _RUNS = "How it learns", "How it runs"

Head = Annotated[HeadKind, typer.Option(help="The classifier on top.", rich_help_panel=_LEARNS)]
MetricName = Annotated[
    Metric,
    typer.Option(help="What features and strength are chosen by.", rich_help_panel=_LEARNS),
]
Weighting = Annotated[
    ClassWeight | None,
    typer.Option(help="Let rare classes weigh as much as frequent ones.", rich_help_panel=_LEARNS),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT=SHARE",
        help="Of two classes: sensitivity=0.95 or specificity=0.95. Sets the threshold so that the "
        "lower end of the interval meets it, on held-out pictures.",
        rich_help_panel=_LEARNS,
    ),
]
Positive = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS",
        help="With --target: the class to find; the rarer one by default.",
        rich_help_panel=_LEARNS,
    ),
]
TestFraction = Annotated[
    float,
    typer.Option(
        help="Held out as test where no test part is given, 0 to 1.", rich_help_panel=_LEARNS
    ),
]
Precision = Annotated[
    PrecisionChoice, typer.Option(help="Arithmetic of the frozen pass.", rich_help_panel=_RUNS)
]
Device = Annotated[
    DeviceName,
    typer.Option(help="Where it runs; cpu keeps all on the processor.", rich_help_panel=_RUNS),
]

Budget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Such as 90s, 10m or 1h: all that it may take; ways to train layers race in it. "
        "0: no race. `advise` takes 5m where nothing is said.",
        rich_help_panel=TRAINS_PANEL,
    ),
]

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_SIZE = re.compile(r"(\d{1,6})(?:[x×](\d{1,6}))?")


def parse_overrides(
    size: str | None,
    mean: str | None,
    std: str | None,
    channels: ChannelOrder | None,
    crop: str | None,
    tap: str | None,
    layout: InputLayout | None,
) -> Overrides:
    """Read what was typed of a network's input.

    Raises
    ------
    UserError
        If a value breaks its rule; all of them are named.
    """
    found: dict[str, Any] = {"channels": channels, "tap": tap, "layout": layout}
    problems = []
    for name, parse, text in (
        ("size", _size, size),
        ("mean", _triple, mean),
        ("std", _triple, std),
        ("crop", _crop, crop),
    ):
        if text is not None:
            try:
                found[name] = parse(text)
            except ValueError as error:
                problems.append(f"--{name} must be {error}, got {text!r}")
    if problems:
        raise UserError("; ".join(problems))
    return Overrides(**found)


def parse_strategy(text: str) -> dict[str, Any]:
    """Read the name of a strategy, or a file with an advice, as settings of a fit.

    Raises
    ------
    UserError
        If it is neither.
    """
    if text in STRATEGY_NAMES:
        return {"strategy": text}
    names = ", ".join(map(repr, STRATEGY_NAMES))
    try:
        advice = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--strategy must be one of {names}, or a file that `regraft advise --json` wrote, got "
            f"{text!r}"
        ) from error
    except ValueError as error:
        raise UserError(
            f"--strategy {text} is not JSON: {error}; write it again with `regraft advise PHOTOS "
            f"--json > {text}`"
        ) from error
    if not isinstance(advice, dict):
        raise UserError(f"--strategy {text} must hold a JSON object, the output of regraft advise")
    return advised_settings(advice)


def of_other_pictures(text: str, classes: Sequence[str]) -> list[str]:
    """Say that an advice was measured on other classes than those that were trained."""
    if text in STRATEGY_NAMES:
        return []
    advised = json.loads(Path(text).read_text(encoding="utf-8")).get("classes")
    if advised is None or advised == list(classes):
        return []
    return [f"the advice {text} was measured on pictures of other classes; ask for one of these"]


def is_said(context: typer.Context, name: str, value: Any) -> bool:
    """Whether a setting was given on the command line: that beats what an advice says."""
    if name == "overrides":  # those of an advice are among them
        return True
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def parse_budget(text: str | None) -> float | None:
    """Read a time as seconds.

    Raises
    ------
    UserError
        If it is none.

    Examples
    --------
    >>> parse_budget("1.5m")
    90.0
    """
    if text is None:
        return None
    match = _TIME.fullmatch(text.strip().lower())
    if match is None:
        raise UserError(f"--budget must be a time such as 90s, 10m or 1h, got {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def print_json(record: Mapping[str, Any]) -> None:
    """Print the one object on stdout."""
    print(json.dumps({"schema_version": SCHEMA_VERSION, **record}))


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a number of pixels such as 224, or HEIGHTxWIDTH such as 224x320")
    return int(match[1]), int(match[2] or match[1])


def _crop(text: str) -> float | str:
    if text == "squash":
        return text
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError("a share of the shorter side such as 0.875, or squash")
    return share


def _triple(text: str) -> Triple:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise ValueError(
            "a number such as 0.5, or one each for red, green and blue such as 0.485,0.456,0.406"
        )
    red, green, blue = values * 3 if len(values) == 1 else values
    return red, green, blue
