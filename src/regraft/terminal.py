"""What a person sees: progress bars in a terminal, plain lines elsewhere, and the result."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_PLAIN_EVERY_SECONDS = 5.0
_MOST_LISTED = 10
_MOST_CLASSES = 30
_UNWRAPPED = 1000


def error_console() -> Console:
    """Return the console for everything that is not the result."""
    return Console(stderr=True, highlight=False)


def result_console() -> Console:
    """Return the console for results: as wide as the terminal, unwrapped where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNWRAPPED)


def print_table(console: Console, table: Table) -> None:
    """Print a table; in files and pipes without the blanks that fill up its last column."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    for line in drawn.get().splitlines():
        console.out(line.rstrip(), highlight=False)


class TerminalProgress:
    """A live bar with rate and time left; see `regraft.progress.Progress`."""

    def __init__(self) -> None:
        self._console = error_console()
        self._bars: Progress | None = None

    def start(self, task: str, total: int) -> None:
        """Show a new bar (a spinner where the total is unknown)."""
        self.finish()
        columns = [SpinnerColumn(), TextColumn("{task.description}")]
        if total:
            columns += [
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
            ]
        else:
            columns.append(TextColumn("{task.fields[rate]}"))
        self._bars = Progress(*columns, console=self._console, transient=True, expand=bool(total))
        self._task = self._bars.add_task(task, total=total or None, rate="")
        self._began = time.monotonic()
        self._bars.start()

    def advance(self, steps: int) -> None:
        """Move the bar."""
        if self._bars is not None:
            done = self._bars.tasks[0].completed + steps
            rate = done / max(time.monotonic() - self._began, 1e-3)
            count = "" if self._bars.tasks[0].total else f"{done:,.0f} steps, "
            self._bars.update(self._task, advance=steps, rate=count + _rate(rate))

    def finish(self) -> None:
        """Take the bar away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(escape(text))


class PlainProgress:
    """A line every few seconds, for logs and pipes; see `regraft.progress.Progress`."""

    def __init__(self) -> None:
        self._task, self._total, self._done = "", 0, 0
        self._began = self._told = time.monotonic()
        self._timer = threading.Timer(0, self._tell)

    def start(self, task: str, total: int) -> None:
        """Begin to count; the task is named when it lasts."""
        self.finish()
        self._task, self._total, self._done = task, total, 0
        self._began = self._told = time.monotonic()
        self._timer = threading.Timer(_PLAIN_EVERY_SECONDS, self._tell)
        self._timer.daemon = True
        self._timer.start()

    def advance(self, steps: int) -> None:
        """Count, and say so from time to time."""
        self._done += steps
        if time.monotonic() - self._told >= _PLAIN_EVERY_SECONDS:
            self._timer.cancel()
            self._tell()

    def finish(self) -> None:
        """End the count."""
        self._timer.cancel()
        self._total = 0

    def _tell(self) -> None:
        self._told = now = time.monotonic()
        rate = self._done / max(now - self._began, 1e-3)
        text = self._task
        if self._total and rate:
            left = (self._total - self._done) / rate
            text += f": {self._done} of {self._total}, {_rate(rate)}, {left:,.0f} s left"
        elif self._done:
            text += f": {self._done} steps, {_rate(rate)}"
        self.say(text)

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def watching() -> Iterator[TerminalProgress | PlainProgress]:
    """Give bars where a person is watching, lines elsewhere; a bar is gone when the block ends."""
    progress = TerminalProgress() if sys.stderr.isatty() else PlainProgress()
    try:
        yield progress
    finally:
        progress.finish()


def show_skipped(verb: str, skipped: Sequence[Mapping[str, str]]) -> None:
    """List what was left out, on stderr."""
    if not skipped:
        return
    console = error_console()
    what = "file was" if len(skipped) == 1 else "files were"
    console.print(f"[yellow]{len(skipped)} {what} {verb}[/yellow]")
    for entry in skipped[:_MOST_LISTED]:
        console.print(f"  {safe(entry['path'])}: {escape(entry['reason'])}", soft_wrap=True)
    if len(skipped) > _MOST_LISTED:
        console.print(f"  and {len(skipped) - _MOST_LISTED} more (all of them with --json)")


def show_left_out(record: Mapping[str, Any]) -> None:
    """List what takes no part, and pictures that stand under several labels, on stderr."""
    show_skipped("skipped:", record["skipped"])
    show_skipped("dropped:", record["dropped"])
    _show_conflicts(record["conflicts"])


def _show_conflicts(conflicts: Sequence[Mapping[str, Sequence[str]]]) -> None:
    console = error_console()
    if conflicts:
        what = "picture stands" if len(conflicts) == 1 else "pictures stand"
        console.print(f"[yellow]{len(conflicts)} {what} under several labels:[/yellow]")
    for conflict in conflicts[:_MOST_LISTED]:
        console.print("  " + " = ".join(safe(path) for path in conflict["paths"]), soft_wrap=True)
    if len(conflicts) > _MOST_LISTED:
        console.print(f"  and {len(conflicts) - _MOST_LISTED} more (all of them with --json)")


def show_fit(record: Mapping[str, Any]) -> None:
    """Print the result of a fit."""
    console = result_console()
    counts, strategy, seconds = record["counts"], record["strategy"], record["seconds"]
    selection, cache = record["selection"], record["cache"]
    show_figures(record["test"])
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "pictures", f"{counts['train']} train, {counts['val']} val, {counts['test']} test"
    )
    table.add_row(
        "chosen",
        f"{strategy['head']} head on {strategy['features']} of {strategy['backbone']} "
        f"(strength {strategy['strength']:g}, {strategy['precision']})",
    )
    table.add_row("by", _selection(selection, len(record["classes"])))
    for phase in record["training"]:
        kept = bool(strategy["phases"])
        table.add_row("trained" if kept else "tried", training_line(phase))
    if record["operating_point"]:
        table.add_row("threshold", operating_line(record["operating_point"]))
    table.add_row(
        "time",
        f"{seconds['total']:.1f} s (frozen pass {seconds['frozen']:.1f}, "
        f"head {seconds['head']:.1f}"
        + (f", training {seconds['training']:.1f})" if record["training"] else ")")
        + f"; {cache['hits']} pictures from the store, {cache['misses']} computed",
    )
    table.add_row("model", safe(record["model"]))
    if record["report"]:
        table.add_row("report", safe(record["report"]))
    print_table(console, table)
    for note in record["notes"]:
        console.print(f"[dim]note: {escape(note)}[/dim]")


def operating_line(point: Mapping[str, Any]) -> str:
    """Say where a model of two classes says yes, what that was chosen for, what came of it."""
    line = (
        f"{safe(point['positive'])} from a probability of {point['threshold']:.4g} on, chosen for "
        f"{point['target']} on {point['n']} held-out pictures ({_both(point)})"
    )
    return f"{line}; on test pictures {_both(point['test'])}" if "test" in point else line


def _both(shares: Mapping[str, Any]) -> str:
    """Sensitivity and specificity, as far as they are known."""
    return ", ".join(
        f"{name} {with_interval(shares[name], shares[f'{name}_ci95'])}"
        for name in ("sensitivity", "specificity")
        if name in shares
    )


def with_interval(value: float, ci95: Sequence[float]) -> str:
    """Write a share with its interval."""
    return f"{value:.1%} ({ci95[0]:.1%} to {ci95[1]:.1%})"


def training_line(phase: Mapping[str, Any]) -> str:
    """Say what a phase of training did."""
    layers = f"layers from {phase['train_from']} on" if phase["train_from"] else "all layers"
    what = {
        "all": layers,
        "norm": "normalisations and biases",
        "lora": f"low-rank adapters of {layers}",
    }[phase["what"]]
    before, after = phase["held_out"][0], phase["held_out"][phase["kept_epoch"]]
    return (
        f"{what}, {phase['epochs']} passes at rate {phase['rate']:g}, kept after pass "
        f"{phase['kept_epoch']}: held-out log loss {before[0]:.3f} to {after[0]:.3f}, accuracy "
        f"{before[1]:.1%} to {after[1]:.1%} (optimistic: it chose)"
    )


def _selection(selection: Mapping[str, Any], n_classes: int) -> str:
    if selection["accuracy"] is None:
        return "fixed defaults: too few pictures to choose"
    method, pictures = selection["method"], f"{selection['n']:,} pictures"
    if selection["folds"] < selection["of_folds"]:
        method += f", {selection['folds']} of {selection['of_folds']} folds,"
    if selection["n_classes"] < n_classes:
        pictures += f" of {selection['n_classes']:,} of {n_classes:,} classes"
    return (
        f"{method} on {pictures}: log loss {selection['log_loss']:.3f}, "
        f"accuracy {selection['accuracy']:.1%} (optimistic: it chose)"
    )


def show_figures(figures: Mapping[str, Any], what: str = "test") -> None:
    """Print accuracy with its interval, and the classes."""
    console = result_console()
    low, high = figures["ci95"]
    balanced_low, balanced_high = figures["balanced_accuracy_ci95"]
    console.print(
        f"[bold]{figures['accuracy']:.1%}[/bold] of {figures['n']} {what} pictures right "
        f"(95 % interval {low:.1%} to {high:.1%}); balanced accuracy "
        f"{figures['balanced_accuracy']:.1%} ({balanced_low:.1%} to {balanced_high:.1%}), log loss "
        f"{figures['log_loss']:.3f}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("class", "pictures", "recall", "precision"):
        table.add_column(name, justify="left" if name == "class" else "right", overflow="fold")
    rows = figures["per_class"]
    if len(rows) > _MOST_CLASSES:
        rows = sorted(rows, key=lambda row: 2.0 if row["recall"] is None else row["recall"])
        console.print(f"[dim]the {_MOST_CLASSES} classes with the lowest recall:[/dim]")
    for row in rows[:_MOST_CLASSES]:
        table.add_row(
            safe(row["class"]),
            str(row["support"]),
            percent(row["recall"]),
            percent(row["precision"]),
        )
    print_table(console, table)


def show_cache(record: Mapping[str, Any]) -> None:
    """Print what the store holds."""
    console = result_console()
    console.print(f"store: {safe(record['path'])}", soft_wrap=True)
    console.print(
        f"{record['bytes'] / 1e6:,.1f} MB of at most {record['cap_bytes'] / 1e9:,.1f} GB; features "
        f"of {record['pictures']:,} pictures, {record['networks']} converted networks"
    )


def show_error(text: str) -> None:
    """Print what went wrong, on stderr."""
    error_console().print(f"[red]error:[/red] {escape(text)}", soft_wrap=True)


def show_predictions(predictions: Sequence[Mapping[str, Any]]) -> None:
    """Print the class that is called for each picture, then its most probable classes."""
    console = result_console()
    for entry in predictions:
        shares = entry["probabilities"]
        best = ", ".join(f"{safe(label)} {share:.1%}" for label, share in shares.items())
        if entry["label"] is None:
            best = f"not sure enough ({best})"
        elif entry["label"] != next(iter(shares)):
            best = f"{safe(entry['label'])} by its threshold ({best})"
        if entry["unlike_training"]:
            best += " [yellow]unlike anything in training[/yellow]"
        console.print(f"{safe(entry['path'])}: {best}", soft_wrap=True)


def _rate(steps: float) -> str:
    return f"{steps:,.0f}/s" if steps >= 1 else f"{steps:.2f}/s"


def percent(share: float | None) -> str:
    """Write a share, or a dash where there is none."""
    return "–" if share is None else f"{share:.1%}"


def safe(text: str) -> str:
    """Make a name fit for a terminal: no markup, no control characters."""
    return escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))
