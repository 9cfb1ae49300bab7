"""Pictures with the places that spoke for an answer; what each depth sees; the map."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.data.images import PictureError
from regraft.errors import MissingExtraError
from regraft.familiar import some
from regraft.frozen.engine import run_all
from regraft.frozen.sources import FileSource
from regraft.report.activations import looker
from regraft.report.depths import Channel, Depth, first_filters, see, shown_cuts
from regraft.report.evidence import Evidence, evidence
from regraft.report.gradients import grad_cam, sources_of
from regraft.report.images import (
    Pixels,
    data_uri,
    enlarged,
    filter_mosaic,
    heat,
    mosaic,
)
from regraft.report.page import (
    DepthRow,
    Example,
    Examples,
    ExcitedChannel,
    Flat,
    Point,
    Seen,
)
from regraft.report.space import flat_map
from regraft.report.subject import Subject
from regraft.strategy import Tap

Rows = NDArray[np.intp]
Maps = list[NDArray[np.float64]]

_MISTAKES, _DOUBTFUL = 12, 6
_SIDE, _SMALL, _TILE = 224, 56, 80
_LOOKED_AT = 160
_ON_THE_MAP = 400
_COLOURS = 10
_MAP_SIDE, _MAP_COLUMNS = 88, 8
_FILTER_SIDE, _FILTER_COLUMNS = 36, 16
_EXACT = (
    "Beside each picture: where the model saw what speaks for its answer and against the other "
    "class in question (orange), and what speaks the other way (violet). The colours are no "
    "estimate: they add up to the score. What has no place, such as the constant of each "
    "class{how}, is spread evenly over the picture."
)
_WHOLE = " and what the head reads of the whole picture"
_GRADIENTS = (
    "Beside each picture: where the model saw what speaks for its answer (orange), estimated by "
    "Grad-CAM, because its head reads what stands for the whole picture."
)
_NO_PLACES = "No places can be shown for this model: {why}."


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Everything on the page that shows pictures."""

    examples: Examples
    seen: Seen | None
    flat: Flat | None


def gallery(subject: Subject) -> Gallery:
    """Look at the pictures."""
    report = subject.report
    columns, sure = report.predictions.columns, report.predictions.confidences
    right = columns == report.y
    wrong, hits = np.flatnonzero(~right), np.flatnonzero(right)
    mistakes = wrong[np.argsort(-sure[wrong], kind="stable")][:_MISTAKES]
    doubtful = hits[np.argsort(sure[hits], kind="stable")][:_DOUBTFUL]
    return Gallery(
        examples=_examples(subject, mistakes, doubtful),
        seen=_seen(subject, hits[np.argsort(-sure[hits], kind="stable")]),
        flat=_flat(subject),
    )


def _pixels(subject: Subject, rows: Rows) -> tuple[Rows, Pixels]:
    """Prepare pictures as the model sees them, without those that went away meanwhile."""
    preprocess = subject.model.preprocess
    kept, found = [], []
    for row in rows:
        picture = subject.report.pictures[row]
        with contextlib.suppress(PictureError):
            found.append(FileSource(picture.path, picture.name).load().prepare(preprocess))
            kept.append(row)
    pixels = np.stack(found) if found else np.empty((0, *preprocess.size, 3), np.uint8)
    return np.array(kept, dtype=np.intp), pixels


def _examples(subject: Subject, mistakes: Rows, doubtful: Rows) -> Examples:
    rows, pixels = _pixels(subject, np.concatenate([mistakes, doubtful]))
    maps, words = _heats(subject, rows, pixels)
    made = [
        _example(subject, int(row), picture, shown)
        for row, picture, shown in zip(rows, pixels, maps, strict=True)
    ]
    wrong = int(np.isin(rows, mistakes).sum())
    return Examples(tuple(made[:wrong]), tuple(made[wrong:]), words)


def _example(
    subject: Subject, row: int, pixels: Pixels, shown: NDArray[np.float64] | None
) -> Example:
    report = subject.report
    classes, called = subject.model.classes, int(report.predictions.columns[row])
    sure = report.predictions.confidences[row]
    caption = f"called “{classes[called]}” ({sure:.0%} sure)"
    if called != report.y[row]:
        caption += f", filed under “{classes[report.y[row]]}”"
    return Example(
        name=report.pictures[row].name,
        picture=data_uri(pixels, _SIDE),
        heat="" if shown is None else data_uri(heat(pixels, shown), _SIDE),
        caption=caption,
    )


def _heats(
    subject: Subject, rows: Rows, pixels: Pixels
) -> tuple[list[NDArray[np.float64] | None], str]:
    """Show where each answer came from, and say how that is known."""
    if not len(rows):
        return [], ""
    called, other = _in_question(subject, rows)
    found = _taken_apart(subject, pixels, called, other)
    if any(one.maps for one in found):
        size = (pixels.shape[1], pixels.shape[2])
        how = _WHOLE if _reads_the_whole(subject) else ""
        return [one.on(size) for one in found], _EXACT.format(how=how)
    maps, why = _by_gradients(subject, pixels, called)
    if maps is None:
        return [None] * len(rows), _NO_PLACES.format(why=why)
    return list(maps), _GRADIENTS


def _in_question(subject: Subject, rows: Rows) -> tuple[Rows, Rows]:
    """Return the class that was called, and the true one or, of hits, the next probable one."""
    report = subject.report
    called, truly = report.predictions.columns[rows], report.y[rows]
    others = report.predictions.probabilities[rows].copy()
    others[np.arange(len(rows)), called] = -1
    return called, np.where(called != truly, truly, others.argmax(axis=1))


def _taps(subject: Subject) -> tuple[Tap, ...]:
    return tuple(Tap(t["cut"], t["pooling"]) for t in subject.model.info["strategy"]["taps"])


def _reads_the_whole(subject: Subject) -> bool:
    named = {cut.name: cut for cut in subject.backbone.cuts}
    return any(
        spec.places == 1 or spec.grid is None
        for tap in _taps(subject)
        for spec in named[tap.cut].tensors
    )


def _taken_apart(subject: Subject, pixels: Pixels, called: Rows, other: Rows) -> list[Evidence]:
    taps, model = _taps(subject), subject.model
    named = {cut.name: cut for cut in subject.backbone.cuts}
    eyes = looker(subject.backbone, subject.device, model.precision, [tap.cut for tap in taps])
    weights, bias = model.head.weight, model.head.bias
    return [
        evidence(
            weights[yes] - (weights[no] if yes != no else 0),
            float(bias[yes] - (bias[no] if yes != no else 0)),
            taps,
            named,
            tensors,
        )
        for yes, no, tensors in zip(called, other, eyes.all(pixels), strict=True)
    ]


def _by_gradients(subject: Subject, pixels: Pixels, called: Rows) -> tuple[Maps | None, str]:
    taps = _taps(subject)
    if not subject.backbone.description.trains:
        return None, "its head reads what has no place, and the network is no PyTorch network"
    sources = sources_of(subject.backbone, taps)
    try:
        found = grad_cam(subject.backbone, subject.model.head, taps, sources, pixels, called)
    except MissingExtraError as error:
        return None, str(error)
    if not found:
        return None, "what its head reads depends on no map of the network"
    size = (pixels.shape[1], pixels.shape[2])
    return [enlarged(one, size).astype(np.float64) for one in found], ""


def _seen(subject: Subject, hits: Rows) -> Seen | None:
    cuts = shown_cuts(subject.backbone)
    n = len(subject.report.pictures)
    if not cuts or not n:
        return None
    rows = some(np.arange(n, dtype=np.intp), _LOOKED_AT, subject.seed)
    example = int(hits[0]) if len(hits) else int(rows[0])
    rows = np.concatenate([[example], rows[rows != example]]).astype(np.intp)
    rows, pixels = _pixels(subject, rows)
    if not len(rows):
        return None
    eyes = looker(
        subject.backbone, subject.device, subject.model.precision, [cut.name for cut in cuts]
    )
    depths = see(eyes, pixels, 0)
    filters = first_filters(subject.backbone)
    shown = (
        "" if filters is None else data_uri(filter_mosaic(filters, _FILTER_SIDE, _FILTER_COLUMNS))
    )
    names = [subject.report.pictures[row].name for row in rows]
    return Seen(
        picture=data_uri(pixels[0], _SIDE),
        name=names[0],
        filters=shown,
        depths=tuple(_depth_row(depth, pixels, names) for depth in depths),
    )


def _depth_row(depth: Depth, pixels: Pixels, names: Sequence[str]) -> DepthRow:
    height, width = depth.grid
    return DepthRow(
        cut=depth.cut,
        words=f"{depth.channels:,} maps of {height} × {width} places",
        maps=data_uri(mosaic(depth.maps, _MAP_SIDE, _MAP_COLUMNS)),
        channels=tuple(_excited(channel, pixels, names) for channel in depth.excited),
    )


def _excited(channel: Channel, pixels: Pixels, names: Sequence[str]) -> ExcitedChannel:
    size = (pixels.shape[1], pixels.shape[2])
    shown = []
    for row, found in zip(channel.pictures, channel.maps, strict=True):
        strength = np.maximum(enlarged(found - np.median(found), size), 0)
        shown.append((data_uri(heat(pixels[row], strength), _TILE), names[row]))
    return ExcitedChannel(channel.number, tuple(shown))


def _flat(subject: Subject) -> Flat | None:
    report, classes = subject.report, subject.model.classes
    n = len(report.pictures)
    rows, pixels = _pixels(subject, some(np.arange(n, dtype=np.intp), _ON_THE_MAP, subject.seed))
    if not len(rows):
        return None
    places = flat_map(run_all(subject.model.engine, pixels), subject.seed)
    if places is None:
        return None
    called = report.predictions.columns[rows]
    points = tuple(
        Point(
            x=round(100 * x, 1),
            y=round(100 * y, 1),
            colour=int(truly) % _COLOURS,
            right=bool(told == truly),
            picture=data_uri(picture, _SMALL),
            words=_told(report.pictures[row].name, classes[truly], classes[told]),
        )
        for row, (x, y), truly, told, picture in zip(
            rows, places, report.y[rows], called, pixels, strict=True
        )
    )
    drawn = f"{len(rows)} of them, drawn at random" if len(rows) < n else "all of them"
    repeated = (
        f" There are more than {_COLOURS} classes, so colours come again."
        if len(classes) > _COLOURS
        else ""
    )
    words = (
        f"The evaluated pictures ({drawn}) as the model's head sees them: neighbours look alike to "
        "it. Distances between far groups mean little (t-SNE). A mark in the middle of another "
        f"class is worth a look: it may be filed under the wrong one.{repeated}"
    )
    return Flat(points, tuple(classes), words)


def _told(name: str, truly: str, called: str) -> str:
    if truly == called:
        return f"{name}: “{truly}”"
    return f"{name}: filed under “{truly}”, called “{called}”"
