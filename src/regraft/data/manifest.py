"""Which pictures there are, and what the user calls them: folders, tables, arguments.

Nothing is decoded here. Every regular file that is not hidden is a candidate; whether it
holds a picture is found out from its content, later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from regraft.data.folders import count_folders, read_folder, walk
from regraft.data.hints import hints
from regraft.data.records import Layout, Manifest, Picture, Role, Skipped, shown
from regraft.data.table import read_table
from regraft.errors import UserError

__all__ = [
    "Layout",
    "Manifest",
    "Picture",
    "Role",
    "Skipped",
    "find_pictures",
    "read_manifest",
]


def read_manifest(source: str | Path, *, min_classes: int = 2) -> Manifest:
    """List the labelled pictures of a folder or of a CSV / Parquet table.

    Parameters
    ----------
    source : str or Path
        A folder with a folder per class; a folder with ``train`` and ``val`` (``valid``,
        ``validation``...) and/or ``test``, each with a folder per class, where a single part
        beside ``train`` may have any name; or a CSV or Parquet file with the columns ``path``,
        ``label`` and optionally ``split`` and ``group``, its paths relative to itself.
    min_classes : int
        How many classes there must be; to check a model, one is enough.

    Returns
    -------
    Manifest
        Pictures in a fixed order, and what was left out.

    Raises
    ------
    UserError
        When there is nothing to read, or too few classes, or a table is malformed; all
        problems of a table are reported together.
    """
    path = Path(source)
    if why := _trouble(path):
        raise UserError(
            f"the pictures must be in an existing folder or table, and {shown(str(path))!r} "
            f"{why}; check the spelling"
        )
    if path.is_dir():
        manifest = read_folder(path)
    elif path.is_file():
        manifest = read_table(path)
    else:
        raise UserError(
            f"the pictures must be a folder or a table, and {shown(str(path))!r} is neither"
        )
    _check_classes(manifest, path, min_classes)
    return replace(manifest, notes=manifest.notes + hints(manifest.pictures, manifest.layout))


def find_pictures(
    paths: Sequence[str | Path],
) -> tuple[list[tuple[Path, str]], list[Skipped]]:
    """List pictures that have no label: files as they are, folders with all that is in them.

    Parameters
    ----------
    paths : sequence of str or Path
        Files and folders. The files of a folder are sorted by name; hidden ones are ignored.

    Returns
    -------
    pictures : list of (Path, str)
        Each file once, with the name that the user is shown: the argument, or for the files in
        a folder the argument and the path below it.
    skipped : list of Skipped
        Broken links, loops, empty folders, devices.

    Raises
    ------
    UserError
        When an argument does not exist (all such arguments are named), or nothing was found.
    """
    missing = [f"{shown(str(path))!r} {why}" for path in paths if (why := _trouble(path))]
    if missing:
        raise UserError("every picture or folder given must exist; check the spelling", missing)
    skipped: list[Skipped] = []
    found: dict[str, None] = {}
    for path in map(str, paths):
        if Path(path).is_dir():
            below = walk(path, skipped, name=lambda file: file)
            if not below:
                skipped.append(Skipped(shown(path), "a folder without files"))
            found.update(dict.fromkeys(below))
        else:
            found[path] = None
    if not found:
        raise UserError(
            "at least one file is needed, and the folders given hold none",
            [f"{entry.path!r}: {entry.reason}" for entry in skipped],
        )
    return [(Path(file), shown(Path(file).as_posix())) for file in found], skipped


def _trouble(path: str | Path) -> str:
    """Why nothing is known about a path; empty when it is there.

    `Path.exists` and its kin raise where a folder above is closed or a name is too long.
    """
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return "is a broken link" if Path(path).is_symlink() else "does not exist"
    except (OSError, ValueError) as error:  # ValueError: a null byte
        return f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    return ""


def _check_classes(manifest: Manifest, source: Path, min_classes: int) -> None:
    classes = manifest.classes
    if len(classes) >= min_classes:
        return
    name = shown(str(source))
    if manifest.layout == "table":
        advice = "give the others rows too"
    else:
        advice = "put the pictures of each class into a folder of its own"
        inner = source / (classes[0] if classes else "")
        if classes and count_folders(str(inner)) > 1:
            advice += f"; or did you mean {shown(str(inner))!r}?"
    raise UserError(
        f"at least {min_classes} classes are needed, and {name!r} has {len(classes)}"
        f"{''.join(f' ({label!r})' for label in classes)}; {advice}"
    )
