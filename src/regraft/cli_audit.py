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
        help="Write a table (CSV) of the pictures without copies and contradictions, which every "
        "command takes. No picture is touched.",
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
    from regraft.auditing.cleaned import write_table
    from regraft.terminal import watching
    from regraft.terminal_audit import show_audit

    if fix is not None and fix.exists():
        raise UserError(f"--fix must name a new file, and {str(fix)!r} exists")
    with watching() as progress:
        found = audit_photos(photos, backbone=backbone, device=device, seed=seed, progress=progress)
    if fix is not None:
        write_table(fix, found.cleaned)
    if as_json:
        print_json({**found.as_dict(), "table": None if fix is None else str(fix)})
    else:
        show_audit(found, fix)
    if strict and found.findings:
        raise typer.Exit(_FOUND)
