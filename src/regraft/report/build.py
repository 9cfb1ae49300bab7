"""From a model and what is known of it to the page."""

from __future__ import annotations

import datetime
import shlex
from importlib import metadata
from pathlib import Path

import numpy as np

from regraft.assessing.comparison import Paired
from regraft.auditing.findings import Audit, Finding
from regraft.report.gallery import gallery
from regraft.report.page import Block, Cell, ClassRow, Issue, Page, Tile, render
from regraft.report.plots import (
    Chart,
    calibration_chart,
    class_chart,
    coverage_chart,
    growth_chart,
    precision_recall_chart,
    roc_chart,
)
from regraft.report.subject import Subject
from regraft.report.words import (
    done,
    duration,
    energy_of_model,
    energy_words,
    listed,
    mistakes,
    sentence_of,
    verdict,
    with_interval,
)

_COLUMNS = ("found (sensitivity)", "spared (specificity)", "right (precision)", "F1", "AUC")
_MATRIX = 15
_MISTAKEN, _ROWS, _ITEMS = 12, 200, 8
_CUT = "The {shown} of {all} classes of which it finds least; all are in the JSON."


def report_html(subject: Subject) -> str:
    """Return the report as one HTML document.

    Parameters
    ----------
    subject : Subject
        The model and what is known of it.
    """
    return render(_page(subject))


def _page(subject: Subject) -> Page:
    model, report = subject.model, subject.report
    shown = gallery(subject)
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Page(
        title=f"{subject.model.path.name}: {listed(model.classes, 4)}",
        subtitle=(
            f"{report.evaluation.n:,} labelled pictures of {subject.photos.name}, "
            f"{len(model.classes)} classes"
        ),
        verdict=verdict(report),
        warnings=report.notes,
        remarks=tuple(sentence_of(note) for note in model.info["notes"]),
        tiles=_tiles(subject),
        done=done(model.info),
        blocks=_blocks(subject),
        charts=_charts(subject),
        columns=_COLUMNS,
        classes=_class_rows(subject),
        classes_words=_classes_words(subject),
        matrix=_matrix(subject),
        mistaken=_mistaken(subject),
        operating=_operating(subject),
        examples=shown.examples,
        seen=shown.seen,
        flat=shown.flat,
        audit=None if subject.audit is None else tuple(map(_issue, subject.audit.findings)),
        audit_words=_audit_words(subject.audit, subject.unaudited),
        costs=_costs(subject),
        use=_use(model.path, model.classes),
        footer=f"Made by regraft {metadata.version('regraft')} on {when}.",
    )


def _tiles(subject: Subject) -> tuple[Tile, ...]:
    figures, more = subject.report.evaluation, subject.report.assessment
    right, fair, f1 = figures.accuracy, figures.balanced_accuracy, more.macro_f1
    after = more.calibration
    chance = "no more than the" if after.ece <= after.ece_by_chance else "more than the"
    tiles = [
        Tile(
            "Accuracy",
            f"{right.value:.1%}",
            _range(right.low, right.high),
            "of the pictures named rightly",
        ),
        Tile(
            "Balanced accuracy",
            f"{fair.value:.1%}",
            _range(fair.low, fair.high),
            "the same with each class counting alike",
        ),
        Tile(
            "Macro F1",
            f"{f1.value:.3f}",
            f"{f1.low:.3f} to {f1.high:.3f}",
            "found and rightly named, mean over the classes",
        ),
        Tile(
            "Calibration error",
            f"{after.ece:.1%}",
            "",
            f"between how sure and how right it is, {chance} {after.ece_by_chance:.1%} that chance "
            "explains",
        ),
    ]
    tiles += [
        Tile(
            f"Top {k}",
            f"{top.value:.1%}",
            _range(top.low, top.high),
            f"the right class is one of its {k} first guesses",
        )
        for k, top in more.top
    ]
    if subject.report.unlike_training is not None:
        share = subject.report.unlike_training / figures.n
        tiles.append(
            Tile("Unlike training", f"{share:.1%}", "", "of the pictures; 2 % would be expected")
        )
    return tuple(tiles)


def _range(low: float, high: float) -> str:
    return f"{low:.1%} to {high:.1%}"


def _blocks(subject: Subject) -> tuple[Block, ...]:
    """Return the network from input to head, in stretches between the depths worth probing."""
    from regraft.train.network import boundary_before

    backbone, strategy = subject.backbone, subject.model.info["strategy"]
    names = [cut.name for cut in backbone.cuts]
    deepest = max(names.index(tap["cut"]) for tap in strategy["taps"])
    first_trained = len(names)
    for phase in strategy["phases"]:
        boundary = boundary_before(backbone, phase["train_from"])
        start = 0 if boundary is None else names.index(boundary.name) + 1
        first_trained = min(first_trained, start)
    shown = {cut.name for cut in backbone.probes} | set(strategy["cuts"])
    blocks = []
    for place, cut in enumerate(backbone.cuts):
        if cut.name in shown:
            state = "trained" if place >= first_trained else "frozen"
            blocks.append(
                Block(
                    cut.name,
                    " + ".join("×".join(map(str, spec.shape)) for spec in cut.tensors),
                    "removed" if place > deepest else state,  # type: ignore[arg-type]
                    cut.name in strategy["cuts"],
                )
            )
    count = len(subject.model.classes)
    return (
        *blocks,
        Block("old head", "classes of the source", "removed", False),
        Block("new head", f"{count} classes", "new", False),
    )


def _charts(subject: Subject) -> tuple[Chart, ...]:
    report = subject.report
    more, charts = report.assessment, [class_chart(report.evaluation.per_class)]
    if more.rankings:
        charts += [roc_chart(more.rankings), precision_recall_chart(more.rankings)]
    charts.append(calibration_chart(more.uncalibrated, more.calibration))
    charts.append(coverage_chart(more.answered))
    if subject.growth is not None and len(subject.growth.pictures) > 1:
        charts.append(growth_chart(subject.growth))
    return tuple(charts)


def _class_rows(subject: Subject) -> tuple[ClassRow, ...]:
    report = subject.report
    shown = list(zip(report.evaluation.per_class, report.assessment.details, strict=True))
    if len(shown) > _ROWS:
        shown.sort(key=lambda pair: 2.0 if pair[0].recall is None else pair[0].recall.value)
    return tuple(
        ClassRow(
            row.label,
            f"{row.support:,}",
            (
                with_interval(row.recall),
                with_interval(more.specificity),
                with_interval(row.precision),
                "–" if more.f1 is None else f"{more.f1:.3f}",
                "–"
                if more.auc is None
                else f"{more.auc.value:.3f} ({more.auc.low:.3f} to {more.auc.high:.3f})",
            ),
        )
        for row, more in shown[:_ROWS]
    )


def _classes_words(subject: Subject) -> str:
    count = len(subject.report.evaluation.per_class)
    return _CUT.format(shown=_ROWS, all=count) if count > _ROWS else ""


def _matrix(subject: Subject) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    found = subject.report.evaluation
    if len(found.per_class) > _MATRIX:
        return ()
    totals = np.maximum(found.confusion.sum(axis=1), 1)
    return tuple(
        (
            row.label,
            tuple(
                Cell(int(count), float(count / totals[truly]), truly == called)
                for called, count in enumerate(found.confusion[truly])
            ),
        )
        for truly, row in enumerate(found.per_class)
    )


def _mistaken(subject: Subject) -> tuple[str, ...]:
    found = mistakes(subject.report.evaluation)
    lines = [
        f"“{truly}” taken for “{called}”: {count} {'time' if count == 1 else 'times'}"
        for called, truly, count in found[:_MISTAKEN]
    ]
    if len(found) > _MISTAKEN:
        lines.append(f"and {len(found) - _MISTAKEN} other pairs")
    return tuple(lines)


def _operating(subject: Subject) -> tuple[str, ...]:
    point, compared = subject.report.operating_point, subject.report.comparison
    lines = []
    if point is not None:
        lines.append(
            f"It says “{point.positive}” from a probability of {point.threshold:.3g} on, chosen "
            f"for {point.target} on {point.n:,} pictures that were judged by models which had not "
            f"learned from them: sensitivity "
            f"{with_interval(point.sensitivity)}, specificity {with_interval(point.specificity)} "
            "there. What came of it here stands in the table."
        )
    if compared is not None:
        lines.append(_compared(compared))
    growth = subject.growth
    if growth is not None and growth.gain is not None and growth.gain_ci95 is not None:
        low, high = (100 * end for end in growth.gain_ci95)
        lines.append(
            f"Twice the pictures: about {100 * growth.gain:+.1f} points (roughly {low:+.1f} to "
            f"{high:+.1f}), if it goes on as it did so far."
        )
    return tuple(lines)


def _compared(found: Paired) -> str:
    low, high = 100 * found.accuracy.low, 100 * found.accuracy.high
    who = {"first": "this model is better", "second": "the other model is better"}
    return (
        f"Against the other model: {100 * found.accuracy.value:+.1f} points of accuracy "
        f"({low:+.1f} to {high:+.1f}); {found.only_first} pictures only this one has right, "
        f"{found.only_second} only the other (p = {found.p:.3g}): "
        f"{who.get(found.verdict, 'it cannot be told which is better')}."
    )


def _issue(finding: Finding) -> Issue:
    items = [
        ", ".join(item.pictures[:4]) + (f": {item.detail}" if item.detail else "")
        for item in finding.items
    ]
    return Issue(
        finding.title, finding.why, finding.do, tuple(items[:_ITEMS]), max(0, len(items) - _ITEMS)
    )


def _audit_words(audit: Audit | None, unaudited: str) -> str:
    if audit is None:
        return f"Nobody looked: {unaudited}"
    return (
        f"{audit.n_pictures:,} pictures were checked for copies, wrong labels, classes that can be "
        "told without looking, and files that show little; those of all parts, not only the "
        "evaluated ones. " + " ".join(f"{note}." for note in audit.notes)
    )


def _costs(subject: Subject) -> tuple[tuple[str, str], ...]:
    rows, energy = [], energy_of_model(subject.model.info)
    seconds = subject.seconds
    if seconds is None and energy is not None:
        seconds = energy.seconds
    if seconds is not None:
        before = f"; {subject.stored:,} pictures were computed before" if subject.stored else ""
        rows.append(("Making the model", duration(seconds) + before))
    rows.append(("Energy of making it", energy_words(energy)))
    if energy is not None and energy.co2_grams is not None:
        told = f"{energy.co2_grams:.3g} g, from energy and country"
        rows.append((f"CO₂ ({energy.country})", told))
    elif energy is not None:
        rows.append(("CO₂", "depends on the country: --country FRA, say"))
    if subject.other is not None:
        other = energy_of_model(subject.other.info)
        took = f", in {duration(other.seconds)}" if other else ""
        rows.append(("Energy of making the other model", energy_words(other) + took))
    size = sum(file.stat().st_size for file in subject.model.path.iterdir() if file.is_file())
    rows.append(("Size of the model", f"{size / 1e6:.1f} MB"))
    licence = subject.model.info["backbone"]["licence"]
    rows.append(("Licence of the source's weights", licence))
    return tuple(rows)


def _use(path: Path, classes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    place = shlex.quote(str(path))
    return (
        ("In a terminal", f"regraft predict {place} PICTURES"),
        (
            "In Python",
            f"import regraft\n\nmodel = regraft.load({str(path)!r})\n"
            'model.predict(["picture.jpg"])        # the class of each\n'
            f'model.predict_proba(["picture.jpg"])  # a column for each of {len(classes)} classes',
        ),
        (
            "Check it again on other pictures",
            f"regraft evaluate {place} OTHER_PICTURES --report other.html",
        ),
    )
