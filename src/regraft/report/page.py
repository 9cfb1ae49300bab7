"""The page as values, and its rendering; everything in it is text or a ``data:`` address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from regraft.report.plots import Chart

_CLASS_COLOURS = 10


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure that stands out.

    Parameters
    ----------
    name, value, interval, meaning : str
        What it is, how large, between which ends it lies, and what that means.
    """

    name: str
    value: str
    interval: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the network in the drawing.

    Parameters
    ----------
    name : str
        Its last module, in the source network's own names.
    shape : str
        What comes out of it.
    state : {"frozen", "trained", "removed", "new"}
        What became of it.
    read : bool
        Whether the head reads it.
    """

    name: str
    shape: str
    state: Literal["frozen", "trained", "removed", "new"]
    read: bool


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A row of the table of classes, as text."""

    label: str
    pictures: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the confusion matrix: its count, its share of the row, and what it says."""

    count: int
    share: float
    right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A picture with what was said of it.

    Parameters
    ----------
    name : str
        The file.
    picture, heat : str
        Addresses; the latter is empty where nothing can be shown.
    caption : str
        What was called, what it is, and how sure the model was.
    """

    name: str
    picture: str
    heat: str
    caption: str


@dataclass(frozen=True, slots=True)
class ExcitedChannel:
    """A channel with the pictures that excite it most."""

    number: int
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DepthRow:
    """What one depth sees: its name, what it holds, a mosaic of maps, some channels."""

    cut: str
    words: str
    maps: str
    channels: tuple[ExcitedChannel, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """The section on what each depth sees."""

    picture: str
    name: str
    filters: str
    depths: tuple[DepthRow, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A picture on the map: where (0 to 100), its class's colour, its small picture, its words."""

    x: float
    y: float
    colour: int
    right: bool
    picture: str
    words: str


@dataclass(frozen=True, slots=True)
class Flat:
    """The map of the pictures, and the classes in the order of their colours."""

    points: tuple[Point, ...]
    legend: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Issue:
    """A finding of the audit."""

    title: str
    why: str
    do: str
    items: tuple[str, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Examples:
    """Pictures with heat maps, and how these were made."""

    mistakes: tuple[Example, ...]
    doubtful: tuple[Example, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on the page.

    Parameters
    ----------
    title, subtitle : str
        Of the page.
    verdict : tuple of str
        Two sentences.
    warnings : tuple of str
        What casts doubt on the figures.
    tiles : tuple of Tile
        The figures that matter most.
    done : tuple of str
        What was done and why, a sentence each.
    remarks : tuple of str
        What the fit noted besides.
    blocks : tuple of Block
        The network from input to head.
    charts : tuple of Chart
        Drawings of the figures.
    columns : tuple of str
        Heads of the table of classes, after the class and its pictures.
    classes : tuple of ClassRow
        Its rows.
    classes_words : str
        Which they are, where not all are shown.
    matrix : tuple of (str, tuple of Cell)
        The confusion matrix by true class; empty where there are too many classes.
    mistaken : tuple of str
        The most frequent mistakes, a line each.
    operating : tuple of str
        Where a model of two classes says yes, and a comparison with another model.
    examples : Examples
        Mistakes and uncertain hits.
    seen : Seen or None
        What each depth sees.
    flat : Flat or None
        The map.
    audit : tuple of Issue or None
        What is wrong with the pictures; None where nobody looked.
    audit_words : str
        What was looked at.
    costs : tuple of (str, str)
        Time, energy and CO2.
    use : tuple of (str, str)
        How to use the model: what for, and the commands.
    footer : str
        What made the page.
    """

    title: str
    subtitle: str
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    tiles: tuple[Tile, ...]
    done: tuple[str, ...]
    remarks: tuple[str, ...]
    blocks: tuple[Block, ...]
    charts: tuple[Chart, ...]
    columns: tuple[str, ...]
    classes: tuple[ClassRow, ...]
    classes_words: str
    matrix: tuple[tuple[str, tuple[Cell, ...]], ...]
    mistaken: tuple[str, ...]
    operating: tuple[str, ...]
    examples: Examples
    seen: Seen | None
    flat: Flat | None
    audit: tuple[Issue, ...] | None
    audit_words: str
    costs: tuple[tuple[str, str], ...]
    use: tuple[tuple[str, str], ...]
    footer: str


def render(page: Page) -> str:
    """Return the page as one HTML document that asks for nothing else."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("regraft.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(page=page, colours=_CLASS_COLOURS)
