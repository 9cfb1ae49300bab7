"""What a person sees of a model: how good it is, how it was made, and its ancestry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from regraft.backbones.ancestry import Ancestor
from regraft.terminal import print_table, result_console, safe, show_figures, training_line


def show_model(record: Mapping[str, Any], ancestors: Sequence[Ancestor]) -> None:
    """Print a model."""
    console = result_console()
    show_figures(record["test"])
    source, strategy, made = record["backbone"], record["strategy"], record["provenance"]
    counts = record["counts"]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("model", safe(record["model"]))
    table.add_row("made", safe(f"{made['created']} with regraft {made['regraft']}"))
    table.add_row(
        "pictures", f"{counts['train']} train, {counts['val']} val, {counts['test']} test"
    )
    first = ancestors[0].name if ancestors else source["name"]
    table.add_row("network", safe(f"{first}, licence {source['licence']}"))
    table.add_row("strategy", safe(strategy["name"]))
    for phase in record.get("training", ()):
        kept = bool(strategy["phases"])
        table.add_row("trained" if kept else "tried", safe(training_line(phase)))
    table.add_row(
        "head",
        safe(f"{strategy['head']} on {strategy['features']} features, {strategy['precision']}"),
    )
    print_table(console, table)
    _show_ancestry(console, ancestors)


def _show_ancestry(console: Console, ancestors: Sequence[Ancestor]) -> None:
    console.print("\nancestry, oldest first", style="dim")
    for depth, ancestor in enumerate(ancestors):
        lead = "  " * depth + ("└ " if depth else "")
        console.print(f"{lead}[bold]{safe(ancestor.name)}[/bold]: {safe(_told(ancestor))}")


def _told(ancestor: Ancestor) -> str:
    if ancestor.strategy is None:
        return f"trained on {ancestor.task}"
    how = (
        f"its layers trained ({ancestor.strategy})"
        if ancestor.changed_the_network
        else "a new head, the network as before"
    )
    share = "" if ancestor.accuracy is None else f", {ancestor.accuracy:.1%} of its test pictures"
    when = "" if ancestor.created is None else f", {ancestor.created[:10]}"
    return f"{ancestor.task}; {how}{share}{when}"
