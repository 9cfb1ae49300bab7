"""What a person sees of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from regraft.terminal import (
    operating_line,
    percent,
    print_table,
    result_console,
    safe,
    show_figures,
    with_interval,
)

_SURE = 0.9
_MOST_CLASSES = 30
_BETTER = {"first": "this model is better", "second": "the other model is better"}


def show_evaluation(record: Mapping[str, Any]) -> None:
    """Print the result of an evaluation, what casts doubt on it first."""
    console = result_console()
    for note in record["notes"]:
        console.print(f"[yellow]note: {escape(note)}[/yellow]")
    show_figures(record, "training and other" if record["optimistic"] else "test")
    _show_classes(record["per_class"])
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("macro F1", with_interval(record["macro_f1"], record["macro_f1_ci95"]))
    for row in record["top_k"]:
        table.add_row(f"top {row['k']}", with_interval(row["accuracy"], row["ci95"]))
    table.add_row("calibration", _calibration(record["calibration"]))
    for row in record["coverage"]:
        if row["min_confidence"] in (_SURE, record["min_confidence"]):
            table.add_row(f"if {100 * row['min_confidence']:.6g}% sure", _coverage(row))
    if record["unlike_training"] is not None:
        share = record["unlike_training"] / record["n"]
        told = f"{record['unlike_training']} of the pictures, {share:.1%} (2 % expected)"
        table.add_row("unlike training", told)
    if record["operating_point"]:
        table.add_row("threshold", operating_line(record["operating_point"]))
    if record["comparison"]:
        table.add_row("compared", _comparison(record["comparison"]))
    if record["report"]:
        table.add_row("report", safe(record["report"]))
    print_table(console, table)


def _show_classes(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("class", "specificity", "F1", "AUC"):
        table.add_column(name, justify="left" if name == "class" else "right", overflow="fold")
    if len(rows) > _MOST_CLASSES:
        rows = sorted(rows, key=lambda row: 2.0 if row["recall"] is None else row["recall"])
        result_console().print(f"[dim]the {_MOST_CLASSES} classes with the lowest recall:[/dim]")
    for row in rows[:_MOST_CLASSES]:
        auc = "–" if row["auc"] is None else f"{row['auc']:.3f}"
        figures = percent(row["specificity"]), percent(row["f1"]), auc
        table.add_row(safe(row["class"]), *figures)
    print_table(result_console(), table)


def _calibration(found: Mapping[str, Any]) -> str:
    after = found["after"]
    chance = "within" if after["ece"] <= after["ece_by_chance"] else "beyond"
    return (
        f"error {after['ece']:.1%}, {chance} the {after['ece_by_chance']:.1%} that chance alone "
        f"explains; Brier score {after['brier']:.3f}"
    )


def _coverage(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return "none of the pictures"
    return (
        f"{with_interval(row['accuracy'], row['accuracy_ci95'])} right, of {row['coverage']:.1%} "
        "of the pictures"
    )


def _comparison(found: Mapping[str, Any]) -> str:
    low, high = (100 * end for end in found["accuracy_difference_ci95"])
    return (
        f"{100 * found['accuracy_difference']:+.1f} points of accuracy against the other model "
        f"({low:+.1f} to {high:+.1f}): {found['only_first_right']} pictures only this one has "
        f"right, {found['only_second_right']} only the other, p = {found['p']:.3g}; "
        f"{_BETTER.get(found['better'], 'cannot tell which is better')}"
    )
