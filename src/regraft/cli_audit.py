"""The command line: ``regraft audit``, which looks for what is wrong with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli_options import BackboneName, Device, Json, Photos, Seed, print_json
from regraft.errors import UserError
from regraft.options import FitOptions

_DEFAULTS = FitOptions()
_FOUND = 1

Fix = Annotated[
    Path | None,
    typer.Option(
        "--fix",
        metavar="TABLE",
        help="Write a table (CSV) without files that are there twice, and with a group for what "
        "shows the same; every command takes it. No picture is touched.",
    ),
]


def audit(
    photos: Photos,
    backbone: BackboneName = _DEFAULTS.backbone,
    fix: Fix = None,
    device: Device = _DEFAULTS.device,
    seed: Seed = _DEFAULTS.seed,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 if anything was found.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check: copies, wrong labels, shortcuts, unusable files; before you train."""
    from regraft.app_audit import audit as audit_photos
    from regraft.app_audit import write_cleaned
    from regraft.auditing.cleaned import check_place
    from regraft.terminal import watching
    from regraft.terminal_audit import show_audit

    if fix is not None:
        check_place(fix)
    with watching() as progress:
        found = audit_photos(photos, backbone=backbone, device=device, seed=seed, progress=progress)
    written = None
    try:
        if fix is not None:
            written = write_cleaned(fix, found)
    except UserError:
        if not as_json:
            show_audit(found)
        raise
    if as_json:
        table = {
            "table": None if fix is None else str(fix),
            "table_refused": (written.refused or None) if written else None,
            "columns_lost": list(written.lost) if written else [],
        }
        print_json({**found.as_dict(), **table})
    else:
        show_audit(found, fix, written)
    if strict and found.findings:
        raise typer.Exit(_FOUND)
