"""From a trained head on frozen features to a network of which layers are trained."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone, backbone_key
from regraft.backbones.cuts import Cut
from regraft.candidates import candidate_sets
from regraft.data.images import DECODER
from regraft.data.views import VIEWS
from regraft.errors import UserError
from regraft.frozen.devices import Device
from regraft.frozen.files import size_cap, training_folder
from regraft.frozen.sources import Source
from regraft.frozen.store import FeatureStore
from regraft.heads.linear import LinearHead
from regraft.interrupts import asked_to_stop
from regraft.options import FitOptions
from regraft.price import Pace, Price
from regraft.progress import Progress
from regraft.strategy import FeatureSet, Phase, Precision
from regraft.train.reading import Reading

if TYPE_CHECKING:
    from regraft.train.report import PhaseReport
    from regraft.train.tune import Tuned, Tuner

# Part of the cache that activations may take.
_BUDGET = 0.5
# Raise when a training goes otherwise than before: it must not go on from an older checkpoint.
_SCHEME = 14


class OutOfTime(Exception):  # noqa: N818 - it is no error
    """Time was up before a training was done; a checkpoint has been saved."""


def check_trains(backbone: Backbone, options: FitOptions) -> None:
    """Say what is wrong with a training, before any picture is read.

    Parameters
    ----------
    backbone : Backbone
        The source network.
    options : FitOptions
        The settings, with a strategy that trains layers.

    Raises
    ------
    UserError
        If the network only runs, has no such cut, or no layers that the strategy trains.
    MissingExtraError
        If the strategy needs a package that is not installed.
    """
    from regraft.train.lora import layers_for_adapters
    from regraft.train.network import boundary_before
    from regraft.train.recipes import recipe

    if options.strategy == "lora" or not backbone.description.trains:
        chain = backbone.chain()
        if options.strategy == "lora":
            layers_for_adapters(chain.root, chain.trunk([backbone.probes[-1].name]))
    for phase in recipe(options.strategy, backbone.probes, 1, train_from=options.train_from):
        boundary_before(backbone, phase.train_from)


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
        from regraft.train.teaching import DivergedError, NoNumberError

        try:
            return self._run(lambda stop: self._tuner(lesson, head, stop), over)
        except DivergedError as error:
            raise UserError(f"{error}; give a lower --lr, or --strategy features") from error
        except NoNumberError as error:
            raise UserError(f"{error}; give --precision f32, or another --backbone") from error

    def tune_again(
        self,
        lesson: Lesson,
        head: LinearHead,
        found: Sequence[PhaseReport],
        over: Callable[[], bool] = lambda: False,
    ) -> Tuned | None:
        """Train as often as it proved best before, on more pictures than before.

        Parameters
        ----------
        lesson : Lesson
            What to train on, those pictures included that said when to stop.
        head : LinearHead
            Where the head begins: trained on the frozen features of the training pictures.
        found : sequence of PhaseReport
            What the first training came to.
        over : callable
            Whether time is up.

        Returns
        -------
        Tuned or None
            None where the loss explodes.

        Raises
        ------
        OutOfTime
            If time is up.
        KeyboardInterrupt
            If somebody stopped it; the same call goes on.
        """
        from regraft.train.teaching import DivergedError, NoNumberError

        temperature = found[-1].best.temperature

        def made(stop: Callable[[], bool]) -> Tuner:
            plain = self._tuner(lesson, head, stop, phases_again(found))
            return replace(plain, temperature=temperature)

        try:
            return self._run(made, over)
        except (DivergedError, NoNumberError):
            return None

    def _run(self, made: Callable[[Callable[[], bool]], Tuner], over: Callable[[], bool]) -> Tuned:
        from regraft.train.teaching import Stopped

        with asked_to_stop() as stop:
            try:
                return made(lambda: stop() or over()).run()
            except Stopped as stopped:
                if stop():
                    raise
                raise OutOfTime from stopped

    def paces(
        self, lesson: Lesson, head: LinearHead, over: Callable[[], bool] = lambda: False
    ) -> tuple[Pace, ...]:
        """Time a few steps of each phase of what `tune` does.

        Raises
        ------
        OutOfTime
            If time is up.
        """
        from regraft.train.price import paces
        from regraft.train.teaching import Stopped

        try:
            return paces(self._tuner(lesson, head, over))
        except Stopped as stopped:
            raise OutOfTime from stopped

    def price(self, lesson: Lesson, head: LinearHead, found: Sequence[Pace]) -> Price:
        """Estimate what `tune` takes, from paces that it or another lesson showed."""
        from regraft.train.price import price

        return price(self._tuner(lesson, head, lambda: False), found)

    def _tuner(
        self,
        lesson: Lesson,
        head: LinearHead,
        stop: Callable[[], bool],
        phases: tuple[Phase, ...] | None = None,
    ) -> Tuner:
        from regraft.train.checkpoint import Checkpoint
        from regraft.train.tune import Material, Tuner

        phases = phases or self._phases(lesson)
        # What is stored has no say in what comes of it; how many views there are has.
        budget = min(_activation_bytes(), shutil.disk_usage(self.cache).free // 2)
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
            phases,
            material,
            self.class_weights(lesson),
            self.options.seed,
            Checkpoint(self.checkpoint(lesson, head, phases)),
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

    def checkpoint(
        self, lesson: Lesson, head: LinearHead, phases: tuple[Phase, ...] | None = None
    ) -> Path:
        """Return the file that an interrupted training goes on from."""
        phases = phases or self._phases(lesson)
        return training_folder(self.cache) / f"{self._key(lesson, head, phases)}.safetensors"

    def _phases(self, lesson: Lesson) -> tuple[Phase, ...]:
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
                mixup=options.mixup or 0.0,
                pull=options.l2_sp or 0.0,
                mirror=lesson.mirror,
            )

        phases = made(options.views or 1)
        if options.views is not None:
            return phases
        cuts = [boundary_before(self.backbone, phase.train_from) for phase in phases]
        widest = max(Boundary(self.backbone, cut, lesson.precision).bytes_on_disk for cut in cuts)
        places = len({phase.train_from for phase in phases})
        return made(views_within(count, widest, _activation_bytes() // places))

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


def phases_again(found: Sequence[PhaseReport]) -> tuple[Phase, ...]:
    """Return the phases of a training that are worth doing again, and how long each took."""
    return tuple(
        replace(report.phase, passes=report.best.epoch) for report in found if report.best.epoch
    )


def _activation_bytes() -> int:
    """Return what activations may take of the cache."""
    return int(_BUDGET * size_cap())
