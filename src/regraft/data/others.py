"""Columns of a table that mean nothing to regraft, for tables that are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.data.records import shown
from regraft.data.table import COLUMNS, csv_rows, is_parquet

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class OtherColumns:
    """What else a table holds.

    Parameters
    ----------
    known : frozenset of str
        Those of path, label, split and group that it has.
    names : tuple of str
        Its other columns, in order.
    cells : mapping of int to tuple of str
        What they hold, by the number that `Picture.row` has.
    lost : tuple of str
        Columns that cannot be written as text.
    """

    known: frozenset[str]
    names: tuple[str, ...]
    cells: Mapping[int, tuple[str, ...]]
    lost: tuple[str, ...]


def other_columns(path: Path) -> OtherColumns:
    """Read the columns that `regraft.data.table.read_table` leaves alone.

    Raises
    ------
    OSError
        If it cannot be read any more.
    UserError
        If it is no table any more.
    """
    return _of_parquet(path) if is_parquet(path) else _of_csv(path)


def _known(header: list[str]) -> frozenset[str]:
    return frozenset(word.strip().casefold() for word in header).intersection(COLUMNS)


def _of_csv(path: Path) -> OtherColumns:
    header, rows = csv_rows(path)
    places = [at for at, word in enumerate(header) if word.strip().casefold() not in COLUMNS]
    cells = {
        number: tuple(row[at].replace("\0", "") for at in places)
        for number, row in rows
        if len(row) == len(header)
    }
    return OtherColumns(_known(header), tuple(header[at].strip() for at in places), cells, ())


def _of_parquet(path: Path) -> OtherColumns:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        header = file.schema_arrow.names
        others = [word for word in header if word.strip().casefold() not in COLUMNS]
        kept = [word for word in others if _has_text(file.schema_arrow.field(word).type)]
        table = file.read(columns=kept)
    columns = [_text(table.column(word)) for word in kept]
    cells = enumerate(zip(*columns, strict=True), start=1)
    lost = tuple(shown(word) for word in others if word not in kept)
    return OtherColumns(_known(header), tuple(kept), dict(cells), lost)


def _has_text(kind: pa.DataType) -> bool:
    """Whether the values of a type have a common way to be written."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    nested = pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return not (nested or pa.types.is_fixed_size_binary(kind))


def _text(values: pa.ChunkedArray) -> list[str]:
    """Write a column as pyarrow does; nothing where a value is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    texts = pc.cast(values, pa.large_string()).to_pylist()
    return [(text or "").replace("\0", "") for text in texts]
