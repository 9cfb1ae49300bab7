"""A trained model, ready to use: needs NumPy, a decoder and OpenVINO, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from regraft.backbones.ancestry import Ancestor, ancestors_of
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.recorded import recorded_preprocess
from regraft.bundle.compose import SEEN_BYTES
from regraft.bundle.fields import Fields
from regraft.bundle.format import (
    CONFIG,
    FAMILIAR,
    GRAPH,
    GRAPH_WEIGHTS,
    HEAD,
    BundleFiles,
    open_bundle,
)
from regraft.bundle.predictions import Predictions
from regraft.data.records import Skipped
from regraft.errors import UserError
from regraft.familiar import NEAREST, Familiarity
from regraft.frozen.engine import OpenVinoEngine
from regraft.frozen.pipeline import Batcher, Failed, Known, Prepared, Reader
from regraft.frozen.sources import FileSource, MemorySource, Source
from regraft.heads.linear import LinearHead
from regraft.metrics import Estimate
from regraft.operating import OperatingPoint, decision_of
from regraft.progress import Progress, Silent
from regraft.strategy import HEAD_KINDS, PRECISIONS, Precision
from regraft.target import PROMISES, parse_target

_HOTTEST = 100.0


class Model:
    """A classifier that regraft trained, loaded from its bundle with `regraft.load`.

    Parameters
    ----------
    files : BundleFiles
        The opened bundle; everything that is read from it is verified.

    Attributes
    ----------
    path : Path
        The bundle.
    classes : tuple of str
        The labels, in the order of the probabilities.
    preprocess : Preprocess
        How pictures are prepared.
    precision : {"bf16", "f32"}
        Arithmetic of the frozen pass in training.
    operating_point : OperatingPoint or None
        Where a model of two classes says yes; None where the most probable class is called.
    temperature : float
        What the scores of the head have been divided by already.

    Raises
    ------
    UserError
        If a field is missing or does not fit the others.
    """

    def __init__(self, files: BundleFiles) -> None:
        settings = files.settings
        self._files = files
        self.path: Path = files.path
        self.classes: tuple[str, ...] = settings.texts("classes")
        self.preprocess: Preprocess = recorded_preprocess(settings.child("preprocess"), files.path)
        strategy = settings.child("strategy")
        self.precision: Precision = strategy.choice("precision", PRECISIONS)
        self._head_kind = strategy.choice("head", HEAD_KINDS)
        self.operating_point: OperatingPoint | None = _point(settings, self.classes)
        self.temperature: float = _temperature(settings)

    @property
    def info(self) -> Mapping[str, Any]:
        """Everything that the bundle records: strategy, metrics, provenance, licence."""
        values: Mapping[str, Any] = self._files.config["regraft"]
        return values

    @property
    def ancestors(self) -> tuple[Ancestor, ...]:
        """What it descends from, oldest first, and last itself."""
        return ancestors_of(self._files)

    @cached_property
    def head(self) -> LinearHead:
        """The trained head."""
        tensors = self._files.tensors(HEAD)
        weight, bias = tensors.get("weight"), tensors.get("bias")
        count = len(self.classes)
        if (
            weight is None
            or bias is None
            or weight.ndim != 2
            or (len(weight), bias.shape) != (count, (count,))
        ):
            raise UserError(
                f"{self.path / HEAD} must hold weight (n, dim) and bias (n) for the {count} "
                "classes of config.json; the bundle was put together by hand: train it again"
            )
        return LinearHead(self._head_kind, weight.astype(np.float32), bias.astype(np.float32))

    @cached_property
    def familiarity(self) -> Familiarity | None:
        """What tells a picture that is unlike those of training; older models have none."""
        if FAMILIAR not in self._files.sums:
            return None
        tensors = self._files.tensors(FAMILIAR)
        references, threshold = tensors.get("references"), tensors.get("threshold")
        width = self.head.weight.shape[1]
        if (
            references is None
            or threshold is None
            or references.ndim != 2
            or not len(references) >= NEAREST
            or not 0 < references.shape[1] <= width
            or threshold.shape != (1,)
        ):
            raise UserError(
                f"{self.path / FAMILIAR} must hold references (n, up to {width}) and a threshold; "
                "the bundle was put together by hand: train it again"
            )
        return Familiarity(references.astype(np.float32), float(threshold[0]))

    @cached_property
    def engine(self) -> OpenVinoEngine:
        """The frozen graph, compiled for this processor.

        A processor without bfloat16 runs a model that was trained with it in float32: its
        features differ by the 4 % that the check at training time allowed.
        """
        self._files.verify([GRAPH, GRAPH_WEIGHTS])
        try:
            engine = OpenVinoEngine(self._files.file(GRAPH), self.precision)
        except RuntimeError as error:
            raise UserError(
                f"OpenVINO cannot read {self.path / GRAPH}, though its sum is right: "
                f"{str(error).splitlines()[-1].strip()}; train the model again"
            ) from error
        if engine.size != self.preprocess.size:
            raise UserError(
                f"{self.path / GRAPH} takes pictures of {engine.size} pixels, but config.json "
                f"prepares them at {self.preprocess.size}; the bundle was put together by hand"
            )
        if engine.width != self.head.weight.shape[1]:
            raise UserError(
                f"{self.path / GRAPH} must give {self.head.weight.shape[1]} features, which the "
                f"head reads, got {engine.width}; the bundle was put together by hand"
            )
        return engine

    def predict(self, pictures: Sequence[Any]) -> list[str]:
        """Name the class of each picture: the most probable, or what the threshold says.

        Parameters
        ----------
        pictures : sequence
            Paths, PIL images, or a uint8 array of shape (N, H, W, 3).

        Returns
        -------
        list of str

        Raises
        ------
        UserError
            If a picture cannot be read: every one of them is named.
        """
        return self._all(pictures).labels

    def predict_proba(self, pictures: Sequence[Any]) -> NDArray[np.float64]:
        """Give the probability of each class; see `predict`.

        Returns
        -------
        ndarray of shape (N, n_classes), float64
            Columns in the order of `classes`; each row sums to 1.
        """
        return self._all(pictures).probabilities

    def _all(self, pictures: Sequence[Any]) -> Predictions:
        predictions = self.run(as_sources(pictures))
        if predictions.skipped:
            raise UserError(
                f"{len(predictions.skipped)} of {len(pictures)} pictures cannot be read",
                [f"{skipped.path}: {skipped.reason}" for skipped in predictions.skipped],
            )
        return predictions

    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Predictions:
        """Classify any number of pictures; unreadable ones are listed.

        Memory grows with the probabilities alone, never with pictures or features.

        Parameters
        ----------
        sources : sequence of Source
            The pictures.
        progress : Progress, optional
            Hears of every picture.
        """
        progress = progress or Silent()
        progress.start("classifying", len(sources))
        tally = _Tally(self, len(sources), progress)
        reader = Reader(sources, range(len(sources)), self.preprocess, lambda _: False)
        with reader, Batcher(self.engine, tally.collect) as batcher:
            for outcome in reader:
                if isinstance(outcome, Prepared):
                    batcher.add(outcome)
                else:
                    tally.note(outcome)
            batcher.finish()
        progress.finish()
        return tally.predictions(sources)

    def count_learned_from(self, digests: Sequence[bytes]) -> int:
        """Count the pictures, by SHA-256, that the model was trained on."""
        table = self._files.tensors(HEAD).get("learned_from", np.empty((0, SEEN_BYTES), np.uint8))
        learned = {row.tobytes() for row in table}
        return sum(digest[:SEEN_BYTES] in learned for digest in digests)


class _Tally:
    """Probabilities and failures, filled in as they arrive."""

    def __init__(self, model: Model, count: int, progress: Progress) -> None:
        self._model = model
        self._progress = progress
        self._proba = np.zeros((count, len(model.classes)))
        self._unlike = None if model.familiarity is None else np.zeros(count, dtype=bool)
        self._digests: list[bytes] = [b""] * count
        self._failed: dict[int, Failed] = {}
        self._copies: list[Known] = []

    def collect(self, pictures: Sequence[Known], features: NDArray[np.float32]) -> None:
        # One by one: a product of matrices rounds a row by where in the batch it stands, and the
        # batches are made of whatever was decoded first.
        for picture, row in zip(pictures, features, strict=True):
            self._proba[picture.index] = self._model.head.predict_proba(row[np.newaxis])[0]
            self._digests[picture.index] = picture.digest
            if self._unlike is not None and self._model.familiarity is not None:
                self._unlike[picture.index] = self._model.familiarity.unlike(row[np.newaxis])[0]
        self._progress.advance(len(pictures))

    def note(self, outcome: Known | Failed) -> None:
        if isinstance(outcome, Known):
            self._copies.append(outcome)
        else:
            self._failed[outcome.index] = outcome
        self._progress.advance(1)

    def predictions(self, sources: Sequence[Source]) -> Predictions:
        reasons = {f.digest: f.reason for f in self._failed.values() if f.digest is not None}
        original = {digest: index for index, digest in enumerate(self._digests) if digest}
        for copy in self._copies:
            if copy.digest in reasons:
                self._failed[copy.index] = Failed(copy.index, copy.digest, reasons[copy.digest])
            else:
                self._proba[copy.index] = self._proba[original[copy.digest]]
                if self._unlike is not None:
                    self._unlike[copy.index] = self._unlike[original[copy.digest]]
                self._digests[copy.index] = copy.digest
        good = [index for index in range(len(sources)) if index not in self._failed]
        return Predictions(
            classes=self._model.classes,
            names=tuple(sources[index].name for index in good),
            positions=np.array(good, dtype=np.intp),
            digests=tuple(self._digests[index] for index in good),
            probabilities=self._proba if not self._failed else self._proba[good],
            skipped=tuple(
                Skipped(sources[index].name, self._failed[index].reason)
                for index in sorted(self._failed)
            ),
            decision=decision_of(self._model.operating_point, self._model.classes),
            unlike=None if self._unlike is None else self._unlike[good],
        )


def _point(settings: Fields, classes: tuple[str, ...]) -> OperatingPoint | None:
    """Read where a model of two classes says yes; models of older versions do not."""
    if not settings.is_set("operating_point"):
        return None
    found = settings.child("operating_point")
    shares, threshold = {}, found.number("threshold")
    for name in PROMISES:
        ends = found.numbers(f"{name}_ci95")
        if len(ends) != 2:
            raise _edited(f"{name}_ci95 must have two numbers, got {len(ends)}")
        shares[name] = Estimate(found.number(name), *ends)
    if len(classes) != 2 or not 0 <= threshold <= np.nextafter(1, 2):
        raise _edited(
            f"operating_point needs two classes and a threshold from 0 to 1, got {len(classes)} "
            f"classes and {threshold}"
        )
    return OperatingPoint(
        positive=found.choice("positive", classes),
        target=parse_target(found.text("target")),
        threshold=threshold,
        n=found.integer("n"),
        **shares,
    )


def _temperature(settings: Fields) -> float:
    """Read what the scores of the head were divided by; models of older versions do not say."""
    if not settings.is_set("calibration"):
        return 1.0
    temperature = settings.child("calibration").number("temperature")
    if not 0 < temperature < _HOTTEST:
        raise _edited(f"calibration must have a temperature above 0, got {temperature}")
    return temperature


def _edited(problem: str) -> UserError:
    return UserError(f"{CONFIG}: {problem}; the bundle was edited: train it again")


def load(path: str | Path) -> Model:
    """Load a model from its bundle.

    Parameters
    ----------
    path : str or Path
        The folder that ``regraft fit`` wrote.

    Raises
    ------
    UserError
        If it is no bundle, was made by a newer regraft, or was cut short or edited.
    """
    return Model(open_bundle(path))


def as_sources(pictures: Sequence[Any]) -> list[Source]:
    """Wrap paths, PIL images or arrays, any of them in one sequence.

    Raises
    ------
    UserError
        If a single path or picture is given instead of a sequence, or a table.
    """
    if isinstance(pictures, str | Path | Image.Image):
        raise UserError(
            "pictures must be a sequence of paths, images or arrays, got the single one "
            f"{pictures!r}; put it into a list"
        )
    axes = getattr(pictures, "ndim", 1)
    if axes not in (1, 4):
        raise UserError(
            "pictures must be a sequence of paths, images or arrays, or an array of shape "
            f"(N, H, W, 3), got {axes} axes; put a single picture into a list, and pass one "
            "column of a table"
        )
    return [
        FileSource(Path(picture), str(picture))
        if isinstance(picture, str | Path)
        else MemorySource(picture, f"picture {number}")
        for number, picture in enumerate(pictures)
    ]
