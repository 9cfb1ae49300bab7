"""What a person sees of networks: what there is, and all about one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from regraft.backbones.cuts import Cut, TensorSpec
from regraft.backbones.preprocess import Preprocess
from regraft.catalogue import Found, Overview, Shown
from regraft.terminal import error_console, print_table, result_console, safe

_MOST_ON_DISK = 6
_MARK = "*"
_YOUR_OWN = (
    ("ZOO:NAME@FILE", "a network with the weights of a file"),
    ("file:PATH", "a network file: ONNX, TFLite, ..."),
    ("PATH", "the folder of a model that regraft trained"),
)


def show_overview(found: Overview) -> None:
    """Print what is here, what is on this disk, and what a network would fetch."""
    console = result_console()
    here = [(package.spelling, package.install or "here") for package in found.embedded]
    cached = [(spelling, f"{size / 1e6:,.0f} MB") for spelling, size in found.on_disk.items()]
    if len(cached) > _MOST_ON_DISK:
        rest = len(cached) - _MOST_ON_DISK
        cached = [*cached[:_MOST_ON_DISK], (f"and {rest} more", "all of them with --json")]
    zoos = [
        (
            f"{source.zoo}:NAME",
            "" if source.networks is None else f"{source.networks:,} networks",
            source.install or f"regraft backbones {source.zoo}:",
        )
        for source in found.sources
    ]
    _show_rows(console, "with weights from a package", here)
    _show_rows(console, "weights on this disk", cached or [("none yet", "")])
    _show_rows(console, "zoos, whose weights a network fetches", zoos)
    _show_rows(console, "your own", _YOUR_OWN)
    console.print("all about one: regraft backbones show NAME", style="dim")


def _show_rows(console: Console, title: str, rows: Sequence[Sequence[str]]) -> None:
    console.print(title, style="bold")
    table = _plain_table(len(rows[0]))
    for row in rows:
        table.add_row(*(" " * 2 * (not n) + safe(cell) for n, cell in enumerate(row)))
    print_table(console, table)


def show_found(found: Found) -> None:
    """Print names, one a line; in a terminal also which have weights on this disk."""
    console = result_console()
    for network in found.networks:
        if console.is_terminal:
            console.print(safe(network.spelling) + _here(network.spelling, network.on_disk))
        else:
            print(network.spelling)
    for reason in found.missing.values():
        error_console().print(f"[yellow]not searched: {safe(reason)}[/yellow]", soft_wrap=True)


def show_network(shown: Shown) -> None:
    """Print all about a network."""
    console = result_console()
    found, origin = shown.description, shown.description.origin
    table = _plain_table(2)
    table.columns[0].style = "dim"
    table.add_row("network", f"[bold]{safe(found.name)}[/bold]")
    table.add_row("from", safe(f"{origin.zoo}, architecture {origin.architecture}"))
    table.add_row("weights", _weights(shown))
    if shown.pretrained:
        table.add_row("SHA-256", origin.weights_sha256)
        table.add_row("licence", _licence(shown))
        table.add_row("trained on", safe(origin.trained_on))
    table.add_row("input", _input(found.preprocess))
    table.add_row("pictures", _pictures(found.preprocess))
    table.add_row("values", _values(found.preprocess))
    table.add_row("parameters", f"{found.parameters:,}")
    if found.multiply_adds is not None:
        table.add_row(
            "GFLOPs",
            f"{found.multiply_adds / 1e9:.3g} a picture (a multiplication with its addition "
            "counts as one, as in papers)",
        )
    table.add_row("trains", "yes" if found.trains else "no: it only runs, frozen")
    print_table(console, table)
    _show_cuts(console, found.cuts, found.probes)


def _show_cuts(console: Console, cuts: tuple[Cut, ...], probes: tuple[str, ...]) -> None:
    console.print(
        f"\n{len(cuts)} cuts, from input to head; {_MARK} those whose features `fit` tries",
        style="dim",
    )
    table = _plain_table(3)
    for cut in cuts:
        mark = _MARK if cut.name in probes else ""
        table.add_row(mark, safe(cut.name), " and ".join(map(_tensor, cut.tensors)))
    print_table(console, table)


def _plain_table(columns: int) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(columns):
        table.add_column(overflow="fold")
    return table


def _here(name: str, on_disk: tuple[str, ...]) -> str:
    if not on_disk:
        return ""
    which = [full.removeprefix(name)[1:] for full in on_disk if full != name]
    return "  [green]on this disk" + (f": {safe(', '.join(which))}" if which else "") + "[/green]"


def _weights(shown: Shown) -> str:
    if shown.missing is not None:
        why = str(shown.missing).partition("\n")[0].removesuffix("; what to do:")
        return f"[yellow]none: {safe(why)}[/yellow]"
    return safe(shown.description.origin.weights)


def _licence(shown: Shown) -> str:
    if shown.notice is None:
        return safe(shown.description.origin.licence)
    words = shown.notice.removeprefix(f"{shown.description.name}: ")
    return f"[bold yellow]{safe(words)}[/bold yellow]"


def _input(preprocess: Preprocess) -> str:
    height, width = preprocess.size
    return f"{height} x {width} pixels (height x width), {preprocess.channels}"


def _pictures(preprocess: Preprocess) -> str:
    if preprocess.crop_pct is None:
        return f"squeezed to that size whatever their shape, {preprocess.interpolation}"
    return (
        f"resized ({preprocess.interpolation}), then the centre is cropped: "
        f"{preprocess.crop_pct:.1%} of the shorter side"
    )


def _values(preprocess: Preprocess) -> str:
    mean, std = (
        ", ".join(f"{value:.4g}" for value in values)
        for values in (preprocess.mean, preprocess.std)
    )
    return f"scaled to 0..1, minus {mean}, divided by {std} (red, green, blue)"


def _tensor(spec: TensorSpec) -> str:
    extra = f" (extra tokens: {spec.prefix})" if spec.prefix else ""
    return " x ".join(map(str, spec.shape)) + f" {spec.layout[1:]}{extra}"
