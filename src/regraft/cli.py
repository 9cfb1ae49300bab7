"""The command line: parses, calls, prints.

Exit codes: 0 done, 2 the user can mend it, 130 stopped with Ctrl-C, 1 anything else.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli_advise import advise
from regraft.cli_audit import audit
from regraft.cli_backbones import backbones_app
from regraft.cli_cache import cache_app
from regraft.cli_options import (
    BackboneName,
    Budget,
    Channels,
    Country,
    Crop,
    Depth,
    Device,
    Epochs,
    Head,
    Json,
    L2Sp,
    Layout,
    Mean,
    MetricName,
    Mixup,
    Photos,
    Positive,
    Precision,
    Pretrained,
    Rate,
    ReportFile,
    Reporting,
    Seed,
    Size,
    Std,
    Strategy,
    Strict,
    Tap,
    Target,
    TestFraction,
    TrainFrom,
    Views,
    Weighting,
    is_said,
    of_other_pictures,
    parse_budget,
    parse_overrides,
    parse_strategy,
    print_json,
)
from regraft.cli_show import show
from regraft.errors import MissingExtraError, RegraftError, UserError
from regraft.options import FitOptions

if TYPE_CHECKING:
    from regraft.bundle.predictions import Predictions

_INTERRUPTED = 130
_READER_WENT_AWAY = 141
_STOPPED = "stopped; the same command goes on from what is stored so far"
_LONG = 20

app = typer.Typer(
    name="regraft",
    help="Transfer learning for pictures: a folder of labelled photos in, a tested classifier out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(backbones_app, name="backbones")
app.add_typer(cache_app, name="cache")

_DEFAULTS = FitOptions()

Force = Annotated[bool, typer.Option("--force", help="Replace the model that lies there.")]
MinConfidence = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Give no class where its probability is lower."),
]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `fit` wrote.")]


@app.command()
def fit(
    context: typer.Context,
    photos: Photos,
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The folder to write.")],
    backbone: BackboneName = _DEFAULTS.backbone,
    pretrained: Pretrained = _DEFAULTS.pretrained,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    channels: Channels = None,
    crop: Crop = None,
    tap: Tap = None,
    layout: Layout = None,
    strategy: Strategy = _DEFAULTS.strategy,
    depth: Depth = None,
    train_from: TrainFrom = None,
    lr: Rate = None,
    epochs: Epochs = None,
    views: Views = None,
    mixup: Mixup = None,
    l2_sp: L2Sp = None,
    budget: Budget = None,
    head: Head = _DEFAULTS.head,
    metric: MetricName = _DEFAULTS.metric,
    class_weight: Weighting = _DEFAULTS.class_weight,
    target: Target = _DEFAULTS.target,
    positive: Positive = _DEFAULTS.positive,
    test_fraction: TestFraction = _DEFAULTS.test_fraction,
    precision: Precision = _DEFAULTS.precision,
    device: Device = _DEFAULTS.device,
    seed: Seed = _DEFAULTS.seed,
    strict: Strict = _DEFAULTS.strict,
    force: Force = False,
    report: Reporting = False,
    country: Country = None,
    as_json: Json = False,
) -> None:
    """Learn: from labelled pictures to a tested model."""
    from regraft.app import fit_with_report
    from regraft.terminal import show_fit, show_left_out, watching

    advised = parse_strategy(strategy)
    overrides = parse_overrides(size, mean, std, channels, crop, tap, layout)
    said = {
        "backbone": backbone,
        "pretrained": pretrained,
        "overrides": overrides.over(advised["overrides"]) if "overrides" in advised else overrides,
        "depth": depth,
        "train_from": train_from,
        "lr": lr,
        "epochs": epochs,
        "views": views,
        "mixup": mixup,
        "l2_sp": l2_sp,
        "budget": parse_budget(budget),
        "head": head,
        "metric": metric,
        "class_weight": class_weight,
        "target": target,
        "positive": positive,
        "precision": precision,
        "device": device,
        "test_fraction": test_fraction,
        "seed": seed,
        "strict": strict,
    }
    aloud = {k: v for k, v in said.items() if k not in advised or is_said(context, k, v)}
    options = FitOptions(**{**advised, **aloud})
    with watching() as progress:
        record = fit_with_report(
            photos, out, options, report=report, country=country, force=force, progress=progress
        ).record
    notes = [*of_other_pictures(strategy, record["classes"]), *record["notes"]]
    record = {**record, "notes": notes}
    show_left_out(record)
    if as_json:
        print_json(record)
    else:
        show_fit(record)


app.command()(advise)
app.command()(audit)


@app.command()
def predict(
    model: ModelPath,
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURES...", help="Files, or folders of them.")
    ],
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Classes to name for each picture; default 1, with --json all."),
    ] = None,
    to_csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write a table.")
    ] = None,
    min_confidence: MinConfidence = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Use: name the class of new pictures."""
    from regraft.app_use import check_confidence, predict_paths
    from regraft.bundle.model import load
    from regraft.terminal import show_predictions, show_skipped, watching

    loaded, least = load(model), min_confidence or 0.0
    check_confidence(loaded, min_confidence)
    with watching() as progress:
        predictions, left_out = predict_paths(loaded, pictures, progress, strict=strict)
    skipped = [{"path": s.path, "reason": s.reason} for s in left_out]
    if to_csv is not None:
        _write_csv(to_csv, predictions, least)
    show_skipped("skipped:", skipped)
    if as_json:
        rows = predictions.as_dicts(top, least)
        print_json({"model": str(model), "predictions": rows, "skipped": skipped})
    else:
        show_predictions(predictions.as_dicts(top or 1, least))


@app.command()
def evaluate(
    model: ModelPath,
    photos: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTOS",
            help="Labelled pictures, as for `fit`; where they have parts, the test part is used.",
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Another model, compared on the same pictures."),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Also say how accurate it is where it is so sure."),
    ] = None,
    report: ReportFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Check: compare a model with labelled pictures that it never saw."""
    from regraft import app_use
    from regraft.terminal import show_skipped, watching
    from regraft.terminal_evaluation import show_evaluation

    with watching() as progress:
        found = app_use.evaluate(
            model,
            photos,
            against=against,
            min_confidence=min_confidence,
            report=report,
            strict=strict,
            progress=progress,
        )
    record = {
        "model": str(model),
        "min_confidence": min_confidence,
        "report": None if report is None else str(report),
        **found.as_dict(),
    }
    show_skipped("skipped:", record["skipped"])
    if as_json:
        print_json(record)
    else:
        show_evaluation(record)


app.command()(show)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where pictures and model are written.")
    ] = Path("regraft-demo"),
    seed: Seed = _DEFAULTS.seed,
    as_json: Json = False,
) -> None:
    """Try it: fit scikit-learn's 1,797 handwritten digits, without any download."""
    from regraft.app import fit_with
    from regraft.demo import write_digits
    from regraft.terminal import show_fit, watching

    photos, model, options = out / "digits", out / "model", FitOptions(seed=seed)
    with watching() as progress:
        write_digits(photos)
        progress.say(f"running: regraft fit {photos} --out {model} --force")
        record = fit_with(photos, model, options, force=True, progress=progress).record
    if as_json:
        print_json(record)
    else:
        show_fit(record)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(f"regraft {metadata.version('regraft')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; mistakes of the user end with a message and exit code 2."""
    as_json = "--json" in sys.argv[1:]
    warnings.simplefilter("ignore")  # those of libraries; what the user must know is printed
    # PyTorch's threads spin while they wait for each other, which on a machine that does something
    # else too costs several times what it saves.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal can show every name
    try:
        app()
    except (UserError, MissingExtraError) as error:
        _complain(error, as_json)
        sys.exit(2)
    except RegraftError as error:
        _complain(error, as_json)
        sys.exit(1)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            print(_STOPPED, file=sys.stderr)
            if as_json:
                print_json({"error": {"message": _STOPPED, "problems": []}})
        if isinstance(end.__context__, BrokenPipeError):  # as `cat` ends where nobody reads on
            sys.exit(_READER_WENT_AWAY)
        if end.code == 2 and as_json:  # Typer has explained it on stderr
            print_json({"error": {"message": str(end.__context__), "problems": []}})
        raise


def _complain(error: RegraftError | MissingExtraError, as_json: bool) -> None:
    from regraft.terminal import show_error

    show_error(str(error))
    if isinstance(error, UserError) and len(error.problems) > _LONG:
        show_error(error.message)  # the first line has scrolled away
    if as_json:
        message = error.message if isinstance(error, UserError) else str(error)
        problems = list(error.problems) if isinstance(error, UserError) else []
        print_json({"error": {"message": message, "problems": problems}})


def _write_csv(target: Path, predictions: Predictions, least: float) -> None:
    try:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            columns = [f"p:{label}" for label in predictions.classes]
            writer.writerow(["path", "label", "probability", *columns, "unlike_training"])
            unlike = predictions.unlike
            odd = [""] * len(predictions.names) if unlike is None else unlike.tolist()
            rows = zip(
                predictions.names,
                predictions.labels,
                predictions.confidences,
                predictions.probabilities,
                odd,
                strict=True,
            )
            for name, label, sure, row, other in rows:
                called = label if sure >= least else ""
                shares = (f"{p:.6f}" for p in row)
                writer.writerow([name, called, f"{sure:.6f}", *shares, str(other).lower()])
    except OSError as error:
        raise UserError(
            f"cannot write --csv {target}: {error.strerror}; name a file in a folder that may be "
            "written to"
        ) from error
