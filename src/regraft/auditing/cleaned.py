"""A collection without what can be mended without a person."""

from __future__ import annotations

import csv
import io
import os
from itertools import count
from pathlib import Path

import numpy as np

from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Row
from regraft.data.others import OtherColumns, other_columns
from regraft.data.table import OURS
from regraft.errors import UserError

_RANK = {None: 0, "train": 0, "val": 1, "test": 2}


def cleaned(collection: Collection, findings: list[Finding]) -> tuple[Row, ...]:
    """Leave out what is there twice; give one group to what shows the same.

    Of a file that is there several times, that of the last part stays (test before val before
    train); one that is in several classes is left out. Of changed copies only those are left out
    that stand in an earlier part than another, as a fit does. The others stay, in one group, which
    every split keeps whole: whether they are copies or two pictures of one scene, of which the one
    shows a defect that the other has not, no tool can know; in several classes they are marked.
    Bursts get a group too. Probably wrong labels stay and are marked: taking out of the test part
    what a model finds wrong would make it look better than it is.

    Parameters
    ----------
    collection : Collection
        The pictures.
    findings : list of Finding
        What was found; its labels are used.
    """
    out = _left_out(collection)
    group_of = _grouped(collection, out)
    suspect = {
        name: item.suggestion
        for finding in findings
        for item in finding.items
        if item.suggestion
        for name in item.pictures
    }
    suspect |= _torn(collection)
    rows = []
    for row, picture in enumerate(collection.pictures):
        if row not in out:
            rows.append(
                Row(
                    str(picture.path),
                    picture.label,
                    picture.role or "",
                    group_of.get(row) or picture.group or "",
                    suspect.get(picture.name, ""),
                    picture.row,
                )
            )
    return tuple(rows)


def _left_out(collection: Collection) -> set[int]:
    """Return the rows of files that are there more than once, but for one of each."""
    same: dict[bytes, list[int]] = {}
    for row, digest in enumerate(collection.digests):
        same.setdefault(digest, []).append(row)
    out: set[int] = set()
    for rows in same.values():
        if len(rows) > 1:
            out.update(rows)
            if len({collection.pictures[row].label for row in rows}) == 1:
                out.remove(max(rows, key=lambda row: (_RANK[collection.pictures[row].role], -row)))
    for group in collection.copies:
        ranks = {row: _RANK[collection.pictures[row].role] for row in group}
        out.update(row for row in group if ranks[row] < max(ranks.values()))
    return out


def _torn(collection: Collection) -> dict[str, str]:
    """Name the classes that changed copies of a picture stand in, where they are several."""
    found: dict[str, str] = {}
    for group in collection.copies:
        labels = sorted({collection.pictures[row].label for row in group})
        if len(labels) > 1:
            found |= dict.fromkeys(collection.names(group), " or ".join(labels))
    return found


def _grouped(collection: Collection, out: set[int]) -> dict[int, str]:
    """Name a group for what hangs together; one that the pictures have goes on to the others."""
    taken = {picture.group for picture in collection.pictures}
    names = (name for n in count(1) if (name := f"scene-{n}") not in taken)
    group_of: dict[int, str] = {}
    units = collection.units
    order = np.argsort(units, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(units[order])) + 1):
        kept = [int(row) for row in rows if int(row) not in out]
        known = {group for row in kept if (group := collection.pictures[row].group)}
        if len(kept) > 1 and len(known) < 2:
            name = known.pop() if known else next(names)
            group_of |= dict.fromkeys(kept, name)
    whole = _whole(collection, group_of)
    return {row: name for row, name in group_of.items() if name not in whole}


def _whole(collection: Collection, group_of: dict[int, str]) -> set[str]:
    """Return the groups that are all there is of a class: it could not be tested."""
    of_class: dict[str, set[object]] = {}
    for row, picture in enumerate(collection.pictures):
        of_class.setdefault(picture.label, set()).add(group_of.get(row, row))
    return {str(name) for names in of_class.values() if len(names) == 1 for name in names}


def write_table(path: Path, rows: tuple[Row, ...], source: Path | None) -> tuple[str, ...]:
    """Write a collection as a table that every command takes, its paths relative to it.

    Parameters
    ----------
    path : Path
        The file to write; one that exists is not touched.
    rows : tuple of Row
        The pictures.
    source : Path or None
        The table that they come from, whose other columns go on (but for an older ``suspect``).

    Returns
    -------
    tuple of str
        Columns of the source that cannot be written as text, and are lost.

    Raises
    ------
    UserError
        If it exists, or cannot be written, or the source cannot be read any more.
    """
    more = _others(source)
    columns = ["path", "label"]
    columns += [
        name
        for name in ("split", "group")
        if name in more.known or any(getattr(row, name) for row in rows)
    ]
    columns.append("suspect")
    kept = [at for at, name in enumerate(more.names) if name.casefold() not in OURS]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*columns, *(more.names[at] for at in kept)])
    folder = os.path.abspath(path.parent)  # noqa: PTH100 - the names that the user knows
    # Where the folder is reached by a link, what leads out of it depends on who reads the table.
    linked = folder != os.path.realpath(folder)
    for row in rows:
        place = os.path.abspath(row.path)  # noqa: PTH100 - as above
        place = place if linked else os.path.relpath(place, folder)
        if (place, row.label) != (place.strip(), row.label.strip()):
            raise UserError(
                f"a table cannot name {row.path!r}: its path or its class ends with a blank, which "
                "tables do not keep; rename it"
            )
        others = () if row.number is None else more.cells.get(row.number, ())
        if kept and not others:
            raise UserError(f"the table {str(source)!r} was changed meanwhile; audit it again")
        cells = [*(getattr(row, name) for name in columns[1:]), *(others[at] for at in kept)]
        writer.writerow([place, *cells])
    try:
        with path.open("xb") as file:
            file.write(text.getvalue().encode("utf-8", "surrogateescape"))
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise UserError(
            f"the table {str(path)!r} cannot be written: {(error.strerror or str(error)).lower()}"
        ) from error
    return more.lost


def _others(source: Path | None) -> OtherColumns:
    if source is None:
        return OtherColumns(frozenset(), (), {}, ())
    try:
        return other_columns(source)
    except OSError as error:
        raise UserError(
            f"the table {str(source)!r} cannot be read any more: {error.strerror or error}"
        ) from error


def check_place(path: Path) -> None:
    """Complain now about what `write_table` would complain about after all the work."""
    try:
        path.lstat()
    except FileNotFoundError:
        if path.parent.is_dir() and os.access(path.parent, os.W_OK):
            return
        reason = "its folder is not there, or cannot be written to"
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    else:
        raise _exists(path)
    raise UserError(f"--fix must name a new file in a folder that is there, got {path}: {reason}")


def _exists(path: Path) -> UserError:
    return UserError(
        f"--fix must name a new file, and {str(path)!r} exists; give another name, or remove it"
    )
