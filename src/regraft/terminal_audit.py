"""What a person sees of an audit: the findings, the worst first, with some of the pictures."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from regraft.app_audit import Written
from regraft.auditing.findings import Audit, Finding, Item, counted
from regraft.terminal import result_console, safe

_MOST = 5
_SERIOUS = ("leak", "divided", "conflict", "label")


def show_audit(audit: Audit, table: Path | None = None, written: Written | None = None) -> None:
    """Print an audit and, where a table was written, what a fit says to it."""
    console = result_console()
    classes = counted(len(audit.classes), "class", "classes")
    console.print(f"{counted(audit.n_pictures, 'picture')} of {classes}")
    for finding in audit.findings:
        _show_finding(console, finding)
    if not audit.findings:
        console.print("[bold green]nothing was found[/bold green]")
    for note in audit.notes:
        console.print(f"[dim]{escape(note)}[/dim]")
    if table is not None and written is not None:
        kept = f"{len(audit.cleaned):,} of {audit.n_pictures:,} pictures"
        verdict = "`regraft fit` takes it"
        if written.refused:
            verdict = f"`regraft fit` refuses it: {written.refused}"
        console.print(f"\n{escape(str(table))}: {kept}; {escape(verdict)}", soft_wrap=True)
        if written.lost:
            lost = f"columns that a table of text cannot hold: {', '.join(written.lost)}"
            console.print(f"[dim]{escape(lost)}[/dim]", soft_wrap=True)
    elif audit.of("leak", "conflict", "copy", "burst"):
        console.print("\n[dim]--fix TABLE writes a table in which they do no harm[/dim]")
    console.print(f"[dim]{audit.seconds:.1f} s; no picture was touched[/dim]")


def _show_finding(console: Console, finding: Finding) -> None:
    colour = "red" if finding.kind in _SERIOUS else "yellow"
    console.print(f"\n[bold {colour}]{escape(finding.title)}[/bold {colour}]")
    for item in finding.items[:_MOST]:
        console.print(f"  {safe(_line(item))}", soft_wrap=True)
    if len(finding.items) > _MOST:
        console.print(f"  [dim]and {len(finding.items) - _MOST:,} more; --json lists all[/dim]")
    console.print(f"[dim]{escape(finding.why)}[/dim]")
    console.print(escape(finding.do))


def _line(item: Item) -> str:
    names = " = ".join(item.pictures[:_MOST])
    if len(item.pictures) > _MOST:
        names += f" and {len(item.pictures) - _MOST} more"
    return f"{names}: {item.detail}" if names else item.detail
