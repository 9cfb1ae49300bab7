"""Descriptions of networks, kept on disk so that nobody opens a framework to ask for a name.

A description holds as long as the files that it was made from (weights, by size and time of
change) and the packages that read them (by version) are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from regraft.backbones.base import Description
from regraft.backbones.spelling import Request
from regraft.backbones.zoos import packages_of

# Raise when the cuts of a network are named or chosen otherwise than before.
_SCHEME = 2


def recall(request: Request, cache: Path) -> Description | None:
    """Return what was noted of a network, if that still holds."""
    try:
        noted = json.loads(_place(request, cache).read_bytes())
        if noted["files"] != _state([Path(path) for path, *_ in noted["files"]]):
            return None
        return Description.from_json(noted["description"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note(request: Request, cache: Path, description: Description, files: Sequence[Path]) -> None:
    """Note what a network is. A cache that cannot be written costs only time."""
    place = _place(request, cache)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        content = {"files": _state(files), "description": description.to_json()}
        descriptor, temporary = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(temporary, place)  # noqa: PTH105 - both are in one folder


def _place(request: Request, cache: Path) -> Path:
    parts = [
        _SCHEME,
        asdict(request),
        [(name, _version(name)) for name in packages_of(request.zoo)],
    ]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return cache / "descriptions" / f"{key}.json"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _state(files: Sequence[Path]) -> list[list[str | int]]:
    """Path, size, times of change and identity of every file."""
    return [
        [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        for path in files
        if (status := os.stat(path))  # noqa: PTH116 - a broken path must raise OSError
    ]
