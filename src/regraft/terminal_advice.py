"""What a person sees of an advice: the depth curve as a small chart, figures, and the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from regraft.terminal import print_table, result_console, safe

_BAR, _BESIDE = 24, 56  # columns of a full bar, and of what stands beside it
_ROOMY, _WIDE = 60, 90  # columns from which on intervals are shown
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
    for line in record["notes"]:
        console.print(f"[dim]note: {escape(line)}[/dim]")
    for line in record["not_tried"]:
        console.print(f"[dim]not tried: {escape(line)}[/dim]")
    console.print(f"[dim]{record['seconds']:.1f} s; the test part was not looked at[/dim]")


def _show_curve(console: Console, record: Mapping[str, Any]) -> None:
    probe, distance = record["probe"], record["distance"]
    far = {} if distance is None else {s["cut"]: s["distance"] for s in distance["stages"]}
    points = [*record["depth_curve"], *record["together"]]
    low = min(probe["guess"], *(point["accuracy"] for point in points))
    console.print(
        f"\n[dim]depth, from input to head: accuracy of a probe on {probe['n']} pictures "
        f"({probe['method']}); the largest class alone: {probe['guess']:.1%}; bars go "
        f"from {low:.0%} to all right[/dim]"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    roomy = console.width >= _ROOMY
    for name in ("features", "accuracy", "95 % interval", "", "distance"):
        if roomy or name not in ("95 % interval", ""):
            right = name in ("accuracy", "distance")
            fold = name == "features" and not roomy
            table.add_column(
                name, justify="right" if right else "left", no_wrap=not fold, overflow="fold"
            )
    full = max(4, min(_BAR, console.width - _BESIDE))
    for point in points:
        low_end, high_end = point["ci95"]
        name = point.get("cut") or f"{point['features']} *"
        known = far.get(point.get("cut", ""))
        beside = [
            f"{low_end:.1%} to {high_end:.1%}",
            _bar(point["accuracy"], low, full),
        ]
        table.add_row(
            safe(name),
            f"{point['accuracy']:.1%}",
            *(beside if roomy else []),
            "" if known is None else f"{known:.2f}",
        )
    print_table(console, table)
    console.print("[dim]* several depths or poolings together[/dim]")


def _bar(share: float, low: float, full: int) -> str:
    """Draw a share as a bar that begins at `low` and is full, so many columns, at 1."""
    eighths = round(8 * full * (share - low) / max(1 - low, 1e-9))
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
    raced = any(row["strategy"] != "features" for row in candidates)
    most = max((row["n"] for row in candidates if row["strategy"] == "features"), default=0)
    gain = "; gain: points against the frozen network on the same pictures" if raced else ""
    console.print(f"\n[dim]candidates, on held-out pictures (what chose is optimistic){gain}[/dim]")
    names = ["", "strategy", "log loss", "accuracy", "95 % interval", "gain", "pictures", "time"]
    hidden = set() if console.width >= _WIDE else {"95 % interval", "pictures", "time"}
    hidden |= set() if raced else {"gain", "time"}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        if name not in hidden:
            left = name in ("", "strategy", "95 % interval")
            table.add_column(
                name,
                justify="left" if left else "right",
                no_wrap=name != "strategy",
                min_width=1,
                overflow="fold",
            )
    winner = (record["race"] or {}).get("winner", "features")
    for row in candidates:
        frozen = row["strategy"] == "features"
        best = row["features"] == chosen.get("features") if frozen else row["strategy"] == winner
        cells = dict(zip(names, _cells(row, best=best), strict=True))
        left_early = frozen and row["n"] < most
        shown = [cell for name, cell in cells.items() if name not in hidden]
        table.add_row(*shown, style="dim" if left_early else None)
    print_table(console, table)
    early = [row["n"] for row in candidates if row["strategy"] == "features" and row["n"] < most]
    if early:
        console.print(
            f"[dim]{len(early)} of them left after {max(early)} pictures: clearly behind there, or "
            "more complex than what is as good[/dim]"
        )


def _cells(row: Mapping[str, Any], *, best: bool) -> list[str]:
    """Write a candidate, a cell for each column."""
    frozen, (low, high) = row["strategy"] == "features", row["ci95"]
    return [
        "→" if best else "",
        safe(f"features: {row['features']}" if frozen else row["strategy"]),
        f"{row['log_loss']:.3f}" if frozen else "",
        f"{row['accuracy']:.1%}",
        f"{low:.1%} to {high:.1%}",
        "" if frozen else f"{100 * row['gain']:+.1f}",
        str(row["n"]),
        "" if frozen else f"{row['seconds']:.0f} s",
    ]
