"""The command line: ``regraft show``, which tells what a model is and what it descends from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli_options import Json, print_json


def show(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `fit` wrote.")],
    as_json: Json = False,
) -> None:
    """Tell all about a model: how good it is, how it was made, and what it descends from."""
    from regraft.backbones.ancestry import ancestors_to_json
    from regraft.bundle.model import load
    from regraft.terminal_models import show_model

    loaded = load(model)
    record = {
        "model": str(model),
        **loaded.info,
        "ancestors": ancestors_to_json(loaded.ancestors),
    }
    if as_json:
        print_json(record)
    else:
        show_model(record, loaded.ancestors)
