"""Tables of pictures: CSV or Parquet with the columns path, label, split and group."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
import re
import stat
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.data.folders import PARTS
from regraft.data.labels import refusal
from regraft.data.records import Manifest, Picture, Skipped, shown
from regraft.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMNS = ("path", "label", "split", "group")
OURS = ("suspect",)
"""Columns that an audit writes, and that mean nothing when they are read."""
MAX_PROBLEMS = 20
"""So many problems are spelt out; the others are counted."""

SAMPLE = 1000
"""So many rows are looked at to tell columns of flags."""

_RULE = "a table of pictures has the columns path, label and optionally split and group"
_NUMERIC_FLAGS = frozenset({"0", "1", "0.0", "1.0", "true", "false", ""})


@dataclass(frozen=True, slots=True)
class _Row:
    """One row as text; `number` is what the user finds it by."""

    number: int
    path: str
    label: str
    split: str
    group: str


@dataclass(frozen=True, slots=True)
class _Table:
    """A table whose columns are known to be right."""

    unit: str
    has_split: bool
    rows: tuple[_Row, ...]
    problems: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]


def read_table(path: Path) -> Manifest:
    """List the pictures of a CSV or Parquet file, told apart by content.

    Raises
    ------
    UserError
        When it cannot be read, its columns are not the right ones, its labels are no classes,
        or any row is wrong. All wrong rows are reported together.
    """
    name = shown(str(path))
    try:
        table = _read_parquet(path) if is_parquet(path) else _read_csv(path)
    except OSError as error:
        raise UserError(f"the table {name!r} cannot be read: {error.strerror or error}") from error
    problems = list(table.problems)
    pictures, skipped = _pictures(path.parent, table, problems)
    _report(name, table, problems)
    if not pictures:
        raise UserError(f"the table {name!r} has no rows; give one row per picture")
    return Manifest(path.parent, "table", tuple(pictures), tuple(skipped), table.notes)


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _report(name: str, table: _Table, problems: list[tuple[int, str]]) -> None:
    problems.sort()
    lines = [f"{table.unit} {number}: {text}" for number, text in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS} more")
    why = refusal([row.label for row in table.rows])
    if why:
        raise UserError(f"the labels of {name!r} cannot be used: {why}", lines)
    if lines:
        count = "1 row needs" if len(problems) == 1 else f"{len(problems)} rows need"
        raise UserError(f"{count} mending in the table {name!r}", lines)


def _pictures(
    root: Path, table: _Table, problems: list[tuple[int, str]]
) -> tuple[list[Picture], list[Skipped]]:
    """Turn rows into pictures; what is wrong is added to `problems`."""
    pictures: list[Picture] = []
    skipped: list[Skipped] = []
    seen: dict[str, _Row] = {}
    base = str(root)
    for row in table.rows:
        wrong = _row_problems(row, table.has_split)
        # Text, not Path.__truediv__: a table may have some hundred thousand rows.
        full = os.path.normpath(row.path if row.path[:1] == "/" else f"{base}/{row.path}")
        place = Path(full)
        if row.path and (missing := _file_problem(place, row.path)):
            wrong.append(missing)
        earlier = seen.setdefault(full, row) if row.path else row
        if earlier is not row and (clash := _clash(row, earlier, table.unit)):
            wrong.append(clash)
        problems += ((row.number, text) for text in wrong)
        if wrong:
            continue
        if earlier is not row:
            skipped.append(
                Skipped(shown(row.path), f"the same row as {table.unit} {earlier.number}")
            )
            continue
        role = PARTS[row.split.casefold()] if table.has_split else None
        group = row.group or None
        pictures.append(Picture(place, shown(row.path), row.label, role, group, row.number))
    return pictures, skipped


def _row_problems(row: _Row, has_split: bool) -> list[str]:
    wrong = [f"{column} is empty" for column in ("path", "label") if not getattr(row, column)]
    if shown(row.label) != row.label:
        wrong.append(f"label {shown(row.label)!r} is not UTF-8; save the table as UTF-8")
    if not has_split:
        return wrong
    if not row.split:
        wrong.append("split is empty, and must be given for all rows or none")
    elif row.split.casefold() not in PARTS:
        wrong.append(f"split must be one of {', '.join(PARTS)}, got {shown(row.split)!r}")
    return wrong


def _file_problem(place: Path, written: str) -> str | None:
    try:
        mode = place.stat().st_mode
    except (OSError, ValueError) as error:
        name = repr(shown(written))
        hint = "; write / for \\" if "\\" in written else ""
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return f"path {name} does not exist{hint}"
        return f"path {name} cannot be opened: {getattr(error, 'strerror', None) or error}{hint}"
    if stat.S_ISREG(mode):
        return None
    kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
    return f"path {shown(written)!r} is {kind}"


def _clash(row: _Row, earlier: _Row, unit: str) -> str | None:
    name = repr(shown(row.path))
    for column, rule in (
        ("label", "a picture must have one label"),
        ("split", "a picture must be in one part"),
        ("group", "a picture must be in one group"),
    ):
        new, old = getattr(row, column), getattr(earlier, column)
        if new != old:
            return (
                f"{rule}, and {name} has {shown(new)!r} here and {shown(old)!r} in {unit} "
                f"{earlier.number}"
            )
    return None


def _misspelt(word: str, where: Collection[str]) -> str | None:
    """Return the missing column that a strange one was probably meant to be."""
    missing = [column for column in COLUMNS if column not in where]
    near = [] if word in COLUMNS else difflib.get_close_matches(word, missing, n=1, cutoff=0.7)
    return near[0] if near else None


def _unused(header: Sequence[str]) -> tuple[str, ...]:
    strange = [word for word in header if word.strip().casefold() not in {*COLUMNS, *OURS}]
    named = ", ".join(map(shown, strange[:MAX_PROBLEMS]))
    if len(strange) > MAX_PROBLEMS:
        named += f" and {len(strange) - MAX_PROBLEMS} more"
    return (f"columns that are not used: {named}",) if strange else ()


def _columns(
    name: str, header: Sequence[str], rows: Iterable[Sequence[object]] = ()
) -> dict[str, int]:
    """Where each known column stands; raises when the header is not a right one."""
    words = [word.strip().casefold() for word in header]
    where = {column: words.index(column) for column in COLUMNS if column in words}
    doubles = sorted({word for word in words if words.count(word) > 1})
    slips = [(w, near) for w in header if (near := _misspelt(w.strip().casefold(), where))]
    problems = [
        f"the column {column!r} is missing" for column in COLUMNS[:2] if column not in where
    ]
    if problems and (strange := _unused(header)):
        problems += strange
    problems += [f"the column {word!r} is there more than once" for word in doubles]
    problems += [f"the column {shown(w)!r} looks like a misspelt {near!r}" for w, near in slips]
    if not problems:
        return where
    if words.count("label") > 1 or _is_one_hot(words, rows):
        raise UserError(
            f"the table {name!r} gives a picture several labels (a column per label); regraft "
            "learns one class per picture: write one column 'label' with the name of the class",
            problems[:MAX_PROBLEMS],
        )
    more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    raise UserError(f"{_RULE}; mend the first line of {name!r}", [*problems[:MAX_PROBLEMS], *more])


def _is_one_hot(words: Sequence[str], rows: Iterable[Sequence[object]]) -> bool:
    """Whether two or more unknown columns hold only 0 and 1."""
    flags = [index for index, word in enumerate(words) if word not in COLUMNS]
    sample = [row for row in rows if len(row) == len(words)]
    columns = ([str(row[index]).strip().casefold() for row in sample] for index in flags)
    return bool(sample) and sum(_NUMERIC_FLAGS.issuperset(cells) for cells in columns) >= 2


def _read_csv(path: Path) -> _Table:
    header, lines = csv_rows(path)
    found = list(lines)
    where = _columns(shown(str(path)), header, (cells for _, cells in found[:SAMPLE]))
    rows, problems = [], []
    for number, cells in found:
        if len(cells) == len(header):
            rows.append(_row(number, cells, where))
        else:
            problems.append((number, f"has {len(cells)} cells, the first line {len(header)}"))
    return _Table("line", "split" in where, tuple(rows), tuple(problems), _unused(header))


def csv_rows(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Give the first line of a CSV file, and the others with the number of the line.

    Raises
    ------
    OSError
        If it cannot be read.
    UserError
        If it is no CSV file in UTF-8, or empty.
    """
    name = shown(str(path))
    data = path.read_bytes()
    if b"\0" in data[:4096]:
        raise UserError(
            f"the table {name!r} is neither CSV in UTF-8 nor Parquet; save it as one of these"
        )
    # Paths may have bytes that are not UTF-8; labels may not, and are checked.
    lines = _csv_lines(name, data.decode("utf-8-sig", "surrogateescape"))
    _, header = next(lines, (1, []))
    if not header:
        raise UserError(f"the table {name!r} is empty; {_RULE}")
    return header, lines


def _csv_lines(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the number of the line where each begins."""
    first = re.sub('"[^"]*"', "", text.split("\n", 1)[0])  # what is quoted tells nothing
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"the table {name!r} is malformed CSV: {error}, in the row that begins in line "
            f"{begin}; check its quotation marks"
        ) from error


def _row(number: int, cells: Sequence[str], where: dict[str, int]) -> _Row:
    path, label, split, group = (
        cells[where[column]].strip() if column in where else "" for column in COLUMNS
    )
    return _Row(number, path, unicodedata.normalize("NFC", label), split, group)


def _read_parquet(path: Path) -> _Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = shown(str(path))
    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
            where = _columns(name, header, _sample(file))
            table = file.read(columns=[header[index] for index in where.values()])
    except (pa.ArrowException, OSError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"the table {name!r} cannot be read as Parquet: {why}") from error
    columns = [_cells(name, column, table.column(header[index])) for column, index in where.items()]
    positions = {column: position for position, column in enumerate(where)}
    cells = enumerate(zip(*columns, strict=True), start=1)
    rows = tuple(_row(number, row, positions) for number, row in cells)
    return _Table("row", "split" in where, rows, (), _unused(header))


def _sample(file: pq.ParquetFile) -> Iterator[tuple[object, ...]]:
    """First rows, read when asked for."""
    for batch in file.iter_batches(batch_size=SAMPLE):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        return


def _cells(name: str, column: str, values: pa.ChunkedArray) -> list[str]:
    """Text of a Parquet column; empty where a value is missing."""
    import pyarrow as pa

    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        raise UserError(
            f"the column {column!r} of {name!r} holds lists; regraft learns one class per "
            "picture: write one label a picture"
        )
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [os.fsdecode(value or b"") for value in values.to_pylist()]
    if pa.types.is_floating(kind):
        return [_number(value) for value in values.to_pylist()]
    text = (pa.types.is_string(kind), pa.types.is_large_string(kind), pa.types.is_string_view(kind))
    if (
        any(text)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        return ["" if value is None else str(value) for value in values.to_pylist()]
    raise UserError(
        f"the column {column!r} of {name!r} must hold text or whole numbers, and holds {kind}"
    )


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() else repr(value)
