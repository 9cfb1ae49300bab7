"""A collection without what can be mended without a person."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from regraft.auditing.collection import Collection
from regraft.auditing.findings import Finding, Row
from regraft.errors import UserError

_RANK = {None: 0, "train": 0, "val": 1, "test": 2}


def cleaned(collection: Collection, findings: list[Finding]) -> tuple[Row, ...]:
    """Leave out copies, and all of what is in several classes; give bursts a group.

    Of a picture that is there several times, that of the last part stays (test before val before
    train). Probably wrong labels stay and are marked: taking out of the test part what a model
    finds wrong would make it look better than it is.

    Parameters
    ----------
    collection : Collection
        The pictures.
    findings : list of Finding
        What was found; its labels are used.
    """
    out: set[int] = set()
    for group in collection.copies:
        out.update(group)
        if len({collection.pictures[row].label for row in group}) == 1:
            out.remove(max(group, key=lambda row: (_RANK[collection.pictures[row].role], -row)))
    burst_of = {row: f"burst-{n + 1}" for n, run in enumerate(collection.bursts) for row in run}
    suspect = {
        name: item.suggestion
        for finding in findings
        for item in finding.items
        if item.suggestion
        for name in item.pictures
    }
    rows = []
    for row, picture in enumerate(collection.pictures):
        if row not in out:
            rows.append(
                Row(
                    str(picture.path),
                    picture.label,
                    picture.role or "",
                    picture.group or burst_of.get(row, ""),
                    suspect.get(picture.name, ""),
                )
            )
    return tuple(rows)


def write_table(path: Path, rows: tuple[Row, ...]) -> None:
    """Write a collection as a table that every command takes, its paths relative to it.

    Parameters
    ----------
    path : Path
        The file to write; one that exists is not touched.
    rows : tuple of Row
        The pictures.

    Raises
    ------
    UserError
        If it exists, or cannot be written.
    """
    columns = ["path", "label"]
    columns += [name for name in ("split", "group") if any(getattr(row, name) for row in rows)]
    columns.append("suspect")
    folder = os.path.realpath(path.parent)
    try:
        with path.open("x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in rows:
                place = os.path.relpath(os.path.realpath(row.path), folder)
                writer.writerow([place, *(getattr(row, name) for name in columns[1:])])
    except FileExistsError as error:
        raise UserError(f"--fix must name a new file, and {str(path)!r} exists") from error
    except (OSError, UnicodeEncodeError) as error:
        raise UserError(f"the table {str(path)!r} cannot be written: {error}") from error
