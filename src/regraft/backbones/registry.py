"""From the name that a user types to a backbone."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from functools import cache as memoised
from pathlib import Path

from regraft.backbones.base import Backbone, Description, FrozenGraph
from regraft.backbones.described import note, recall
from regraft.backbones.licences import notice
from regraft.backbones.packages import shipped_description
from regraft.backbones.spelling import (
    BUNDLE,
    FILE,
    Overrides,
    Request,
    split_spelling,
    user_path,
)
from regraft.backbones.zoos import CATALOGUES, ZOOS, get_zoo
from regraft.bundle.format import CONFIG
from regraft.errors import MissingExtraError, UserError

_CLOSEST = 8


def get_backbone(
    text: str,
    cache: Path,
    *,
    pretrained: bool = True,
    seed: int = 0,
    overrides: Overrides | None = None,
    say: Callable[[str], None] | None = None,
) -> Backbone:
    """Return the backbone of that name.

    Parameters
    ----------
    text : str
        ``ZOO:NAME``, ``ZOO:NAME@FILE``, ``file:PATH``, or the path of a bundle.
    cache : Path
        Where descriptions are kept.
    pretrained : bool
        False: the architecture alone, with random weights.
    seed : int
        Decides the random weights.
    overrides : Overrides, optional
        What the user says of the input.
    say : callable, optional
        Hears what a person should know before the network is used: its licence, a download.

    Raises
    ------
    UserError
        If the name is not known (the closest ones are listed), is in several zoos (all of them
        are listed), or its weights cannot be had.
    MissingExtraError
        If a package that it needs is not installed.
    """
    request = request_of(text, pretrained=pretrained, seed=seed, overrides=overrides)
    hear = say or _silent

    @memoised
    def opened() -> FrozenGraph:
        graph = get_zoo(request.zoo).open(request, hear)
        if described and graph.description.origin.weights_sha256 != described[0]:
            raise UserError(f"the weights of {text} were changed meanwhile; run it again")
        return graph

    description = _known(request, cache)
    described: list[str] = []
    if description is None:
        graph = opened()
        description = graph.description
        note(request, cache, description, graph.sources)
    described.append(description.origin.weights_sha256)
    licence = description.origin.licence
    own = request.checkpoint is not None or (request.zoo == BUNDLE and licence == "unknown")
    warning = None if own or not pretrained else notice(description.name, licence)
    if warning:
        hear(warning)
    return Backbone(description, opened)


def request_of(
    text: str,
    *,
    pretrained: bool = True,
    seed: int = 0,
    overrides: Overrides | None = None,
) -> Request:
    """Read what the user typed; see `get_backbone`."""
    over = overrides or Overrides()
    folder = user_path(text)
    if os.path.isfile(folder / CONFIG):  # noqa: PTH113 - Path.is_file raises for odd names
        request = Request(BUNDLE, str(folder.absolute()), overrides=over)
    else:
        zoo, name, checkpoint = split_spelling(text)
        if zoo is None:
            raise _bare(name)
        if zoo not in ZOOS or zoo == BUNDLE:
            names = [name for name in ZOOS if name != BUNDLE]
            legal = ", ".join(f"{name}:" for name in names)
            close = difflib.get_close_matches(zoo, names, 1)
            meant = f" (did you mean {close[0]}:{name}?)" if close else ""
            raise UserError(
                f"backbone must begin with one of {legal} or be the folder of a bundle, got "
                f"{text!r}{meant}; `regraft backbones` lists what there is"
            )
        request = Request(zoo, name, checkpoint, pretrained, 0 if pretrained else seed, over)
    if not pretrained and request.checkpoint is not None:
        raise UserError(
            "random weights (--no-pretrained, --strategy scratch) need no file, so leave it out of "
            f"{text!r}"
        )
    if not pretrained and request.zoo in (BUNDLE, FILE):
        raise UserError(
            "random weights (--no-pretrained, --strategy scratch) need an architecture, such as "
            "timm:resnet18, got "
            f"{text!r}"
        )
    if request.zoo != FILE and (over.tap or over.layout):
        raise UserError(f"tap and layout are for network files (file:), got them with {text!r}")
    return request


def _known(request: Request, cache: Path) -> Description | None:
    shipped = shipped_description(request)
    return recall(request, cache) if shipped is None else shipped


def _bare(name: str) -> UserError:
    """Say where a network of that name can be had."""
    wanted = name.lower()
    legal, close = [], []
    for zoo in CATALOGUES:
        try:
            names = get_zoo(zoo).names()
        except MissingExtraError:
            continue
        folded = {other.lower(): other for other in reversed(names)}
        legal += [f"{zoo}:{folded[wanted]}"] if wanted in folded else []
        close += [
            (difflib.SequenceMatcher(None, wanted, other).ratio(), f"{zoo}:{folded[other]}")
            for other in difflib.get_close_matches(wanted, folded, _CLOSEST)
        ]
    if legal:
        return UserError(
            f"backbone must name its source too, got {name!r}; these have one of that name", legal
        )
    best = [spelling for _, spelling in sorted(close, reverse=True)[:_CLOSEST]]
    return UserError(
        f"backbone must be spelled ZOO:NAME, or be the folder of a bundle, got {name!r}, which is "
        "neither; `regraft backbones` lists what there is" + ("; close are" if best else ""),
        best,
    )


def _silent(_: str) -> None:
    """Tell nobody."""
