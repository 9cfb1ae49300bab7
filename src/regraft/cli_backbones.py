"""The command line: ``regraft backbones``, which lists and describes networks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from regraft.cli_options import (
    Channels,
    Crop,
    Json,
    Layout,
    Mean,
    Pretrained,
    Size,
    Std,
    Tap,
    parse_overrides,
    print_json,
)

_LIST = "list"


class _ListUnlessNamed(TyperGroup):
    """Takes what names none of its commands for a pattern of `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in (*self.commands, *ctx.help_option_names)
        if not named and not ctx.resilient_parsing:
            if len(args) > 1 and not any(arg.startswith("-") for arg in args[:2]):
                ctx.fail(
                    f"No such command {args[0]!r}. Use `regraft backbones show NAME`, or "
                    "`regraft backbones PATTERN` with one pattern, in quotes."
                )
            args = [_LIST, *args]
        return super().parse_args(ctx, args)


backbones_app = typer.Typer(
    cls=_ListUnlessNamed,
    help="The networks to build on: `regraft backbones`, `regraft backbones 'timm:resnet*'`, "
    "`regraft backbones show timm:resnet50`.",
    subcommand_metavar="[PATTERN] | show NAME",
)


@backbones_app.command(_LIST)
def list_backbones(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="PATTERN",
            help="ZOO: for all of a zoo; ZOO:NAME, or NAME for all zoos, with * and ? (in quotes), "
            "or a part of a name.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what is here, what is on this disk and what a network would fetch; or find names."""
    from regraft import catalogue
    from regraft.terminal import watching
    from regraft.terminal_backbones import show_found, show_overview

    if pattern is None:
        overview = catalogue.overview()
        if as_json:
            print_json(asdict(overview))
        else:
            show_overview(overview)
        return
    with watching() as progress:
        progress.start("reading the names of the zoos", 0)
        found = catalogue.find_networks(pattern)
    if as_json:
        print_json({"pattern": pattern, **asdict(found)})
    else:
        show_found(found)


@backbones_app.command("show")
def show_backbone(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="ZOO:NAME, ZOO:NAME@FILE, file:PATH, or the folder of a model that `fit` wrote.",
        ),
    ],
    pretrained: Pretrained = True,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    channels: Channels = None,
    crop: Crop = None,
    tap: Tap = None,
    layout: Layout = None,
    seed: Annotated[int, typer.Option(help="Decides random weights.")] = 0,
    as_json: Json = False,
) -> None:
    """Describe one network: origin, licence, input, size, and where it can be cut."""
    from regraft.catalogue import describe
    from regraft.frozen.files import cache_dir
    from regraft.terminal import watching
    from regraft.terminal_backbones import show_network

    overrides = parse_overrides(size, mean, std, channels, crop, tap, layout)
    with watching() as progress:
        progress.start(f"opening {network}", 0)
        shown = describe(
            network,
            cache_dir(),
            pretrained=pretrained,
            seed=seed,
            overrides=overrides,
            say=progress.say,
        )
    if as_json:
        print_json(shown.to_json())
    else:
        show_network(shown)
