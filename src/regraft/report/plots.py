"""Charts as SVG that takes its colours from the page, so that it is at home in light and in dark.

Drawn by matplotlib in placeholder colours, each of which then becomes a CSS variable.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.advice.growth import Growth
from regraft.assessing.calibration import Calibration
from regraft.assessing.confidence import Answered
from regraft.assessing.ranking import Ranking
from regraft.metrics import ClassReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _SOFT, _GRID = "#010101", "#020202", "#030303"
_LINES = ("#040404", "#050505", "#060606", "#070707", "#080808", "#090909")
_VARIABLES = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _GRID: "var(--line)",
    **{line: f"var(--c{number})" for number, line in enumerate(_LINES, 1)},
}
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "regraft",
    "font.size": 10,
    "font.family": "sans-serif",
    "text.parse_math": False,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_SIZE = (4.6, 3.3)
_MOST_LINES = len(_LINES)
_MOST_CLASSES = 30
_LONGEST = 28


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its words.

    Parameters
    ----------
    title : str
        What it shows.
    svg : str
        The drawing.
    alt : str
        What it says, for who does not see it.
    note : str
        How to read it.
    """

    title: str
    svg: str
    alt: str
    note: str


def roc_chart(rankings: Sequence[Ranking]) -> Chart:
    """Draw recall against false alarms, of the classes that are told apart worst."""
    with _axes("roc") as (axes, svg):
        shown = _worst(rankings)
        for line, ranking in enumerate(shown):
            axes.plot(ranking.false_positive_rate, ranking.recall, **_style(line, ranking.label))
        axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=0.8, linestyle=":")
        _unit(axes, "false alarms (share of other classes)", "found (share of the class)")
    told = "; ".join(f"{r.label}: {r.auc.value:.3f}" for r in shown)
    return Chart(
        "Found against false alarms (ROC)",
        svg[0],
        f"ROC curves; areas under them: {told}",
        "The closer a line comes to the upper left corner, the better; the dotted line is chance."
        + _left_out(rankings),
    )


def precision_recall_chart(rankings: Sequence[Ranking]) -> Chart:
    """Draw precision against recall, of the classes that are told apart worst."""
    with _axes("pr") as (axes, svg):
        shown = _worst(rankings)
        for line, ranking in enumerate(shown):
            axes.plot(ranking.recall, ranking.precision, **_style(line, ranking.label))
        _unit(axes, "found (share of the class)", "right (share of what is called so)")
    told = "; ".join(f"{r.label}: {r.average_precision.value:.3f}" for r in shown)
    return Chart(
        "Right against found (precision and recall)",
        svg[0],
        f"Precision-recall curves; average precision: {told}",
        "The closer a line stays to the upper right corner, the better." + _left_out(rankings),
    )


def calibration_chart(before: Calibration, after: Calibration) -> Chart:
    """Draw how often the model is right against how sure it is."""
    with _axes("calibration") as (axes, svg):
        axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=0.8, linestyle=":")
        x = [b.confidence for b in after.bins]
        y = [b.accuracy.value for b in after.bins]
        low = [b.accuracy.value - b.accuracy.low for b in after.bins]
        high = [b.accuracy.high - b.accuracy.value for b in after.bins]
        axes.errorbar(
            x, y, yerr=np.maximum([low, high], 0), marker="o", color=_LINES[0], label="as it is"
        )
        axes.plot(
            [b.confidence for b in before.bins],
            [b.accuracy.value for b in before.bins],
            color=_LINES[1],
            marker="s",
            markersize=3.5,
            linewidth=1,
            linestyle="--",
            label="before temperature scaling",
        )
        axes.legend(loc="upper left", fontsize=8)
        _unit(axes, "how sure it says it is", "how often it is right")
    return Chart(
        "How sure against how right (calibration)",
        svg[0],
        f"Reliability curve; expected calibration error {after.ece:.1%}, before {before.ece:.1%}",
        "On the dotted line the model is exactly as sure as it is right; below it, too sure.",
    )


def coverage_chart(rows: Sequence[Answered]) -> Chart:
    """Draw accuracy against the share of pictures that is answered."""
    found = [(row.coverage, row.accuracy) for row in rows if row.accuracy is not None]
    with _axes("coverage") as (axes, svg):
        x = [100 * coverage for coverage, _ in found]
        y = [100 * accuracy.value for _, accuracy in found]
        low = [100 * accuracy.low for _, accuracy in found]
        high = [100 * accuracy.high for _, accuracy in found]
        axes.fill_between(x, low, high, color=_LINES[0], alpha=0.15, linewidth=0)
        axes.plot(x, y, marker="o", color=_LINES[0])
        axes.set_xlabel("pictures that are answered, %")
        axes.set_ylabel("of these right, %")
        axes.invert_xaxis()
    told = "; ".join(f"{c:.0%} answered, {a.value:.1%} right" for c, a in found)
    return Chart(
        "If it may say “I do not know”",
        svg[0],
        told,
        "From left to right the model keeps silent about more of those that it is unsure of.",
    )


def class_chart(rows: Sequence[ClassReport]) -> Chart:
    """Draw recall and its interval for each class, the worst on top."""
    known = [row for row in rows if row.recall is not None]
    known.sort(key=lambda row: row.recall.value if row.recall else 0)
    shown = known[:_MOST_CLASSES]
    with _axes("classes", height=0.9 + 0.28 * max(3, len(shown))) as (axes, svg):
        places = np.arange(len(shown))[::-1]
        values = [row.recall.value for row in shown if row.recall]
        low = [row.recall.value - row.recall.low for row in shown if row.recall]
        high = [row.recall.high - row.recall.value for row in shown if row.recall]
        axes.errorbar(
            values, places, xerr=np.maximum([low, high], 0), fmt="o", color=_LINES[0], capsize=3
        )
        axes.set_yticks(places, [_short(row.label) for row in shown])
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlabel("found (share of the class)")
    told = "; ".join(f"{row.label}: {row.recall.value:.1%}" for row in shown if row.recall)
    more = f" The {len(shown)} classes with the lowest share." if len(known) > len(shown) else ""
    return Chart(
        "What it finds of each class",
        svg[0],
        f"Share of each class that is found: {told}",
        "Dots are what was seen on these pictures; the bars hold the truth 95 times in 100." + more,
    )


def growth_chart(growth: Growth) -> Chart:
    """Draw accuracy against the number of pictures, and what twice as many would bring."""
    with _axes("growth") as (axes, svg):
        axes.plot(growth.pictures, 100 * np.array(growth.accuracy), marker="o", color=_LINES[0])
        if growth.gain is not None and growth.gain_ci95 is not None:
            last, now = growth.pictures[-1], growth.accuracy[-1]
            ahead = 100 * (now + growth.gain)
            ends = (
                [100 * (growth.gain - growth.gain_ci95[0])],
                [100 * (growth.gain_ci95[1] - growth.gain)],
            )
            axes.plot([last, 2 * last], [100 * now, ahead], color=_LINES[1], linestyle="--")
            axes.errorbar([2 * last], [ahead], yerr=ends, fmt="s", color=_LINES[1], capsize=3)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_locator(_no_ticks())
        axes.set_xticks(
            [*growth.pictures, *([2 * growth.pictures[-1]] if growth.gain is not None else [])]
        )
        axes.set_xlabel("pictures that it learns from")
        axes.set_ylabel("right, %")
    gained = "nobody can say" if growth.gain is None else f"about {100 * growth.gain:+.1f} points"
    return Chart(
        "What more pictures would bring",
        svg[0],
        f"Learning curve; twice as many pictures: {gained}",
        "Measured with a quick probe on parts of your pictures, then drawn out (dashed): the "
        "mistakes are taken to fall by the same factor with each doubling.",
    )


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


@contextmanager
def _axes(name: str, height: float = _SIZE[1]) -> Iterator[tuple[Axes, list[str]]]:
    """Give axes to draw on; left, the list holds the SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawn: list[str] = []
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        yield axes, drawn
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn.append(_themed(buffer.getvalue(), name))


def _themed(svg: str, name: str) -> str:
    """Take the drawing alone, with colours of the page and names that no other drawing has."""
    drawing = svg[svg.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, variable)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'href="#', f'href="#{name}-', drawing)
    drawing = drawing.replace("url(#", f"url(#{name}-")
    drawing = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", drawing)
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    opening, rest = drawing.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", opening) + ">" + rest


def _worst(rankings: Sequence[Ranking]) -> list[Ranking]:
    """Return the classes that are told apart worst; of two one, the other is its mirror."""
    if len(rankings) == 2:
        return list(rankings[1:])
    return sorted(rankings, key=lambda ranking: ranking.auc.value)[:_MOST_LINES]


def _left_out(rankings: Sequence[Ranking]) -> str:
    if len(rankings) == 2:
        return f" “{rankings[0].label}” is its mirror image."
    if len(rankings) <= _MOST_LINES:
        return ""
    return f" The {_MOST_LINES} classes of {len(rankings)} that are told apart worst."


def _style(line: int, label: str) -> dict[str, Any]:
    return {"color": _LINES[line], "linestyle": _DASHES[line], "label": _short(label)}


def _unit(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    handles, _ = axes.get_legend_handles_labels()
    if len(handles) and axes.get_legend() is None:
        axes.legend(loc="best", fontsize=8)


def _short(label: str) -> str:
    """Cut a label that would leave no room; one that begins with "_" would be left out."""
    shown = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
    return f"\u200b{shown}" if shown.startswith("_") else shown
