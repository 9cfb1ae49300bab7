"""What a person sees of an advice: the depth curve as a small chart, figures, and the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from regraft.terminal import print_table, result_console, safe

_BAR, _BESIDE = 24, 56  # columns of a full bar, and of what stands beside it
_WIDE = 90
_PARTS = " ▏▎▍▌▋▊▉█"


def show_advice(record: Mapping[str, Any]) -> None:
    """Print an advice."""
    console = result_console()
    advised, network = safe(_advised(record)), safe(record["backbone"])
    console.print(f"[bold]advised:[/bold] {advised}; network {network}")
    for reason in record["reasons"]:
        console.print(f"- {escape(reason)}")
    if record["depth_curve"]:
        _show_curve(console, record)
    _show_candidates(console, record)
    for line in record["not_tried"]:
        console.print(f"[dim]not tried: {escape(line)}[/dim]")
    console.print(f"[dim]{record['seconds']:.1f} s; the test part was not looked at[/dim]")


def _show_curve(console: Console, record: Mapping[str, Any]) -> None:
    probe, distance = record["probe"], record["distance"]
    far = {} if distance is None else {s["cut"]: s["distance"] for s in distance["stages"]}
    console.print(
        f"\n[dim]depth, from input to head: accuracy of a probe on {probe['n']} pictures "
        f"({probe['method']}); the largest class alone: {probe['guess']:.1%}[/dim]"
    )
    points = [*record["depth_curve"], *record["together"]]
    low = 0.9 * min(point["accuracy"] for point in points)
    best = max(point["accuracy"] for point in points)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("features", "accuracy", "95 % interval", "", "distance"):
        table.add_column(name, justify="right" if name in ("accuracy", "distance") else "left")
    full = max(4, min(_BAR, console.width - _BESIDE))
    for point in points:
        low_end, high_end = point["ci95"]
        name = point.get("cut") or f"{point['features']} *"
        known = far.get(point.get("cut", ""))
        table.add_row(
            safe(name),
            f"{point['accuracy']:.1%}",
            f"{low_end:.1%} to {high_end:.1%}",
            _bar(point["accuracy"], low, best, full),
            "" if known is None else f"{known:.2f}",
        )
    print_table(console, table)
    console.print("[dim]* several depths or poolings together[/dim]")


def _bar(share: float, low: float, high: float, full: int) -> str:
    """Draw a share as a bar that begins at `low` and is full, so many columns, at `high`."""
    eighths = round(8 * full * (share - low) / max(high - low, 1e-9))
    return "█" * (eighths // 8) + _PARTS[eighths % 8].strip()


def _advised(record: Mapping[str, Any]) -> str:
    chosen = record["chosen"]
    if chosen["strategy"] == "features":
        cuts = ", ".join(chosen["cuts"])
        return f"a {chosen['head']} head on {chosen['features']} features ({cuts}), nothing trains"
    layers = f" from {chosen['train_from']} on" if chosen["train_from"] else ""
    return f"--strategy {chosen['strategy']}{layers}, {chosen['epochs']} passes at most"


def _show_candidates(console: Console, record: Mapping[str, Any]) -> None:
    candidates, chosen = record["candidates"], record["chosen"]
    if not candidates:
        return
    console.print(
        "\n[dim]candidates, on held-out pictures (what chose is optimistic); gain: points against "
        "the frozen network on the same pictures[/dim]"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    wide = console.width >= _WIDE
    for name in ("", "strategy", "accuracy", "95 % interval", "gain", "pictures", "time"):
        left = name in ("", "strategy", "95 % interval")
        if wide or name not in ("95 % interval", "pictures"):
            table.add_column(name, justify="left" if left else "right", no_wrap=True)
    winner = (record["race"] or {}).get("winner", "features")
    for row in candidates:
        low, high = row["ci95"]
        frozen = row["strategy"] == "features"
        best = row["features"] == chosen.get("features") if frozen else row["strategy"] == winner
        cells = [
            "→" if best else "",
            safe(f"features: {row['features']}" if frozen else row["strategy"]),
            f"{row['accuracy']:.1%}",
            f"{low:.1%} to {high:.1%}",
            "" if frozen else f"{100 * row['gain']:+.1f}",
            str(row["n"]),
            "" if frozen else f"{row['seconds']:.0f} s",
        ]
        table.add_row(*(cells if wide else [*cells[:3], cells[4], cells[6]]))
    print_table(console, table)
