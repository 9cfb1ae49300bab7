"""From a trained head on frozen features to a network of which layers are trained."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone, backbone_key
from regraft.backbones.cuts import Cut
from regraft.candidates import candidate_sets
from regraft.data.images import DECODER
from regraft.data.views import VIEWS
from regraft.errors import UserError
from regraft.familiar import REFERENCES, Familiarity, familiarity, some
from regraft.frozen.activations import spread
from regraft.frozen.devices import Device
from regraft.frozen.extract import Extraction, FrozenPass
from regraft.frozen.files import size_cap, training_folder
from regraft.frozen.plan import plan_of
from regraft.frozen.sources import Source
from regraft.frozen.store import FeatureStore
from regraft.frozen.table import StoredFeatures
from regraft.heads.linear import LinearHead, softmax
from regraft.options import FitOptions
from regraft.price import Price
from regraft.progress import Progress
from regraft.strategy import FeatureSet, Phase, Precision
from regraft.train.reading import Reading

if TYPE_CHECKING:
    from regraft.train.tune import Tuned, Tuner

# Part of the cache that activations may take.
_BUDGET = 0.5
_CHECKED = 32
# Largest difference of a probability between the trained network and the graph of the bundle.
_EXACT = 5e-3
_AGREEMENT = 0.95
# Two classes so close that bfloat16 may swap them.
_NEAR_TIE = 0.05
# Raise when a training goes otherwise than before: it must not go on from an older checkpoint.
_SCHEME = 10


class OutOfTime(Exception):  # noqa: N818 - it is no error
    """Time was up before a training was done; a checkpoint has been saved."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a network is trained on.

    Parameters
    ----------
    sources : sequence of Source
        All pictures.
    digests : sequence of bytes
        SHA-256 of the content of each.
    y : ndarray of shape (n,), int
        Columns of the classes; -1 for a class that is not trained.
    units : ndarray of shape (n,), int
        Pictures with the same number depend on each other.
    n_classes : int
        Number of classes.
    train, held_out, test : ndarray of int
        Which pictures train, decide when to stop, and are touched when all is done.
    precision : {"bf16", "f32"}
        Arithmetic of the frozen part.
    reading : Reading
        What the head reads.
    mirror : bool
        Whether mirrored pictures show the same class.
    """

    sources: Sequence[Source]
    digests: Sequence[bytes]
    y: NDArray[np.intp]
    units: NDArray[np.intp]
    n_classes: int
    train: NDArray[np.intp]
    held_out: NDArray[np.intp]
    test: NDArray[np.intp]
    precision: Precision
    reading: Reading
    mirror: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A trained network, tested with the graph that goes into the bundle.

    Parameters
    ----------
    backbone : Backbone
        The network with its new weights.
    head : LinearHead
        Its head.
    phases : tuple of Phase
        What was done, rates included.
    held_out, test : ndarray of shape (number of pictures, n_classes), float64
        Scores that the graph of the bundle gives the pictures which decided when to stop, and the
        test pictures.
    familiarity : Familiarity or None
        What tells a picture that is unlike those of training.
    extraction : Extraction
        How the graph computes, and the check of its precision.
    """

    backbone: Backbone
    head: LinearHead
    phases: tuple[Phase, ...]
    held_out: NDArray[np.float64]
    test: NDArray[np.float64]
    familiarity: Familiarity | None
    extraction: Extraction


@dataclass(frozen=True, slots=True)
class Studio:
    """What training works with.

    Parameters
    ----------
    backbone : Backbone
        The source network.
    device : Device
        What frozen parts run on.
    store : FeatureStore
        Where activations are kept.
    cache : Path
        Where checkpoints are kept.
    options : FitOptions
        The settings.
    progress : Progress
        Hears what is going on.
    """

    backbone: Backbone
    device: Device
    store: FeatureStore
    cache: Path
    options: FitOptions
    progress: Progress

    def tune(
        self, lesson: Lesson, head: LinearHead, over: Callable[[], bool] = lambda: False
    ) -> Tuned:
        """Train what the strategy says.

        Parameters
        ----------
        lesson : Lesson
            What to train on.
        head : LinearHead
            Where the head begins: trained on the frozen features of the training pictures.
        over : callable
            Whether time is up.

        Raises
        ------
        UserError
            If the settings do not suit the network or the pictures, or nothing can be learned.
        OutOfTime
            If time is up.
        KeyboardInterrupt
            If somebody stopped it; the same call goes on.
        """
        from regraft.train.teaching import DivergedError, Stopped

        with asked_to_stop() as stop:
            tuner = self._tuner(lesson, head, lambda: stop() or over())
            try:
                return tuner.run()
            except Stopped as stopped:
                if stop():
                    raise
                raise OutOfTime from stopped
            except DivergedError as error:
                raise UserError(f"{error}; give a lower --lr, or --strategy features") from error

    def price(self, lesson: Lesson, head: LinearHead) -> Price:
        """Estimate what `tune` takes, from the time of a few steps."""
        from regraft.train.price import price

        return price(self._tuner(lesson, head, lambda: False))

    def _tuner(self, lesson: Lesson, head: LinearHead, stop: Callable[[], bool]) -> Tuner:
        from regraft.train.checkpoint import Checkpoint
        from regraft.train.tune import Material, Tuner

        budget = int(_BUDGET * size_cap())
        material = Material(
            lesson.sources,
            lesson.digests,
            lesson.y,
            lesson.units,
            lesson.train,
            lesson.held_out,
            self.device,
            self._torch_device(),
            lesson.precision,
            self.store,
            budget,
        )
        return Tuner(
            self.backbone,
            head,
            self._phases(lesson, budget),
            material,
            self.class_weights(lesson),
            self.options.seed,
            Checkpoint(self.checkpoint(lesson, head)),
            self.progress,
            stop,
            lesson.reading,
        )

    def sets(self, cuts: Sequence[Cut]) -> tuple[FeatureSet, ...]:
        """Return what a head of a network that trains may read of the cuts that were probed.

        All of it has to lie behind what is frozen, throughout the training, and the last cut
        belongs to it. From scratch it is the average of the last, as is usual: what suits the
        source network says nothing of random weights.
        """
        from regraft.train.network import boundary_before
        from regraft.train.recipes import recipe

        options = self.options
        if options.strategy == "scratch":
            return candidate_sets(cuts)[:1]
        phases = recipe(options.strategy, self.backbone.probes, 1, train_from=options.train_from)
        found = [boundary_before(self.backbone, phase.train_from) for phase in phases]
        order = [None, *self.backbone.cuts]
        least = max(order.index(cut) for cut in found)
        behind = [cut for cut in cuts if order.index(cut) >= least]
        return tuple(s for s in candidate_sets(behind) if cuts[-1].name in s.cuts)

    def _torch_device(self) -> str:
        from regraft.train.compute import training_device

        only = self.options.device == "cpu"
        return training_device(self.device.torch_device, processor_only=only)

    def checkpoint(self, lesson: Lesson, head: LinearHead) -> Path:
        """Return the file that an interrupted training goes on from."""
        phases = self._phases(lesson, int(_BUDGET * size_cap()))
        return training_folder(self.cache) / f"{self._key(lesson, head, phases)}.safetensors"

    def _phases(self, lesson: Lesson, budget: int) -> tuple[Phase, ...]:
        from regraft.frozen.activations import Boundary
        from regraft.train.network import boundary_before
        from regraft.train.recipes import recipe, views_within

        options, count = self.options, len(lesson.train)

        def made(views: int) -> tuple[Phase, ...]:
            return recipe(
                options.strategy,
                self.backbone.probes,
                count,
                train_from=options.train_from,
                rate=options.lr,
                epochs=options.epochs,
                views=views,
                mirror=lesson.mirror,
            )

        phases = made(options.views or 1)
        if options.views is not None:
            return phases
        cuts = [boundary_before(self.backbone, phase.train_from) for phase in phases]
        widest = max(Boundary(self.backbone, cut, lesson.precision).row_bytes for cut in cuts)
        return made(views_within(count, widest, budget))

    def class_weights(self, lesson: Lesson) -> NDArray[np.float64] | None:
        """Return what a picture of each class counts in the loss; None: all the same."""
        if self.options.class_weight is None:
            return None
        counts = np.bincount(lesson.y[lesson.train], minlength=lesson.n_classes)
        return len(lesson.train) / (lesson.n_classes * np.maximum(counts, 1))

    def _key(self, lesson: Lesson, head: LinearHead, phases: Sequence[Phase]) -> str:
        """Name everything that decides the training."""
        import torch

        found = hashlib.sha256()
        parts = {
            "backbone": backbone_key(self.backbone, self.backbone.cuts),
            "phases": [asdict(phase) for phase in phases],
            "precision": lesson.precision,
            "taps": [asdict(tap) for tap in lesson.reading.taps],
            "penalty": lesson.reading.penalty,
            "seed": self.options.seed,
            "class_weight": self.options.class_weight,
            "versions": [_SCHEME, VIEWS, DECODER, torch.__version__, self.device.name],
            "computed_on": [self._torch_device(), torch.get_num_threads()],
        }
        found.update(json.dumps(parts, sort_keys=True).encode())
        for rows in (lesson.train, lesson.held_out):
            for row in rows:
                found.update(lesson.digests[row] + int(lesson.y[row]).to_bytes(4, "little"))
            found.update(b"|")
        _, units = np.unique(lesson.units[lesson.held_out], return_inverse=True)
        found.update(units.astype("<i8").tobytes())
        found.update(head.weight.tobytes() + head.bias.tobytes())
        return found.hexdigest()

    def test(self, lesson: Lesson, tuned: Tuned) -> Outcome:
        """Build the graph of the bundle, check it against the network, and test with it.

        Raises
        ------
        UserError
            If the two say different things.
        """
        plan = plan_of(lesson.reading.taps, self.backbone.cuts)
        asked: Precision | None = (
            None if self.options.precision == "auto" else self.options.precision
        )
        checked = spread(lesson.train, _CHECKED)
        known = some(lesson.train, REFERENCES, self.options.seed)
        parts = [checked, known, lesson.held_out, lesson.test]
        rows, ends = np.concatenate(parts), np.cumsum([len(part) for part in parts])
        sources = [lesson.sources[row] for row in rows]
        frozen = FrozenPass(tuned.backbone, plan, self.store, self.device, asked, self.progress)
        extraction = frozen.run(sources, range(len(checked)))
        digests = tuple(lesson.digests[row] for row in rows)
        table = StoredFeatures(self.store, plan, extraction.spaces, digests, self.cache)
        features = table.read(lesson.reading.taps, np.arange(len(rows), dtype=np.intp))
        scores = tuned.head.scores(features)
        pixels = np.stack(
            [source.load().prepare(self.backbone.preprocess) for source in sources[: len(checked)]]
        )
        _check(softmax(scores[: ends[0]]), softmax(tuned.scores(pixels)), extraction.precision)
        deepest = features[:, -table.dim(lesson.reading.taps[-1]) :]
        return Outcome(
            backbone=tuned.backbone,
            head=tuned.head,
            phases=tuple(report.phase for report in tuned.reports),
            held_out=scores[ends[1] : ends[2]],
            test=scores[ends[2] :],
            familiarity=familiarity(
                deepest[ends[0] : ends[1]],
                deepest[ends[1] : ends[2]],
                lesson.units[known],
                lesson.units[lesson.held_out],
            ),
            extraction=extraction,
        )


def _check(ours: NDArray[np.float64], theirs: NDArray[np.float64], precision: Precision) -> None:
    """Compare the graph of the bundle with the network that was trained."""
    differences = np.abs(ours - theirs).max(1)
    difference = float(differences.max())
    same = (ours.argmax(1) == theirs.argmax(1)) | (differences < _NEAR_TIE)
    agreement = float(np.mean(same))
    right = difference <= _EXACT if precision == "f32" else agreement >= _AGREEMENT
    if not (right and np.isfinite(ours).all()):
        raise UserError(
            f"the graph of the bundle differs from the network that was trained (probabilities by "
            f"up to {difference:.3f}, the same class for {agreement:.0%} of pictures, "
            f"{precision}); try --precision f32, and report this network to regraft"
        )


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C ask for an orderly stop instead of breaking in; the second time it breaks in."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
