"""Carry out the phases of a strategy: from a source network and a head to a trained network."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.frozen.activations import Activations, Boundary
from regraft.frozen.devices import Device
from regraft.frozen.sources import Source
from regraft.frozen.store import FeatureStore
from regraft.heads.linear import LinearHead
from regraft.progress import Progress
from regraft.strategy import Phase, Precision
from regraft.train.batches import Pictures
from regraft.train.checkpoint import Checkpoint, Saved
from regraft.train.compute import Arithmetic, own_random_numbers
from regraft.train.loop import PhaseRun
from regraft.train.network import Part, Trainee, boundary_before
from regraft.train.rates import RateTrial, best_rate, find_rate
from regraft.train.reading import Reading
from regraft.train.report import PhaseReport, report_from_json, report_to_json
from regraft.train.speed import choose_arithmetic
from regraft.train.statistics import moves
from regraft.train.teaching import Stopped, Teaching

_NET = "net."
_RUN = "run."


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is trained on, and with.

    Parameters
    ----------
    sources : sequence of Source
        All pictures.
    digests : sequence of bytes
        SHA-256 of the content of each.
    y : ndarray of shape (number of all pictures,), int
        Columns of the classes.
    units : ndarray of shape (number of all pictures,), int
        Pictures with the same number depend on each other.
    train, held_out : ndarray of int
        Which pictures train, and which decide when to stop.
    device : Device
        What the frozen part runs on.
    torch_device : str
        What layers are trained on, in PyTorch's name.
    precision : {"bf16", "f32"}
        Arithmetic of the frozen part.
    store : FeatureStore
        Where activations are kept.
    budget : int
        Bytes of activations that may be stored.
    """

    sources: Sequence[Source]
    digests: Sequence[bytes]
    y: NDArray[np.intp]
    units: NDArray[np.intp]
    train: NDArray[np.intp]
    held_out: NDArray[np.intp]
    device: Device
    torch_device: str
    precision: Precision
    store: FeatureStore
    budget: int


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """A trained network.

    Parameters
    ----------
    backbone : Backbone
        The network without its head, with its new weights.
    head : LinearHead
        The trained head.
    reports : tuple of PhaseReport
        What each phase did.
    scores : callable
        Gives the trained network's own scores, in float32, for prepared pictures, uint8
        (n, H, W, 3).
    """

    backbone: Backbone
    head: LinearHead
    reports: tuple[PhaseReport, ...]
    scores: Callable[[NDArray[np.uint8]], NDArray[np.float32]]

    @property
    def improved(self) -> bool:
        """Whether held-out pictures showed that any pass lowered the loss."""
        return any(report.best.epoch for report in self.reports)


@dataclass(frozen=True, slots=True, eq=False)
class Tuner:
    """Carries out phases one after the other, from the last checkpoint if there is one.

    Parameters
    ----------
    backbone : Backbone
        The source network; stays as it is.
    head : LinearHead
        Where the head begins.
    phases : tuple of Phase
        What to do.
    material : Material
        What to do it with.
    class_weights : ndarray of shape (n_classes,), float, optional
        Weight of each class in the loss.
    seed : int
        Decides orders, views, mixing and dropout.
    checkpoint : Checkpoint
        Where to go on from, and where to save.
    progress : Progress
        Hears of every step.
    stop : callable
        Whether somebody wants to stop.
    reading : Reading, optional
        What the head reads; the average of the last cut where nothing is said.
    temperature : float, optional
        What the scores are divided by in the end; what suits the held-out pictures where nothing
        is said.
    """

    backbone: Backbone
    head: LinearHead
    phases: tuple[Phase, ...]
    material: Material
    class_weights: NDArray[np.floating] | None
    seed: int
    checkpoint: Checkpoint
    progress: Progress
    stop: Callable[[], bool]
    reading: Reading | None = None
    temperature: float | None = None

    def run(self) -> Tuned:
        """Train.

        Raises
        ------
        regraft.train.loop.Stopped
            If somebody wanted to stop; the same call goes on.
        regraft.train.loop.DivergedError
            If the loss explodes at any rate.
        """
        with own_random_numbers(self.material.torch_device):
            return self._run()

    def trainee(self) -> Trainee:
        """Return the network with its head as they are before training."""
        return Trainee(self.backbone, self.head, self.material.torch_device, self.reading)

    def _run(self) -> Tuned:
        trainee = self.trainee()
        saved = self.checkpoint.load()
        reports: list[PhaseReport] = []
        done: dict[str, torch.Tensor] = {}
        if saved is not None:
            done = _part_of(saved.tensors, _NET)
            reports = [report_from_json(values, self.phases) for values in saved.note["reports"]]
            for report in reports:
                _restore(trainee.part(report.phase), done)
        for number in range(len(reports), len(self.phases)):
            under_way = saved if saved is not None and number == len(reports) else None
            report, part = self._phase(trainee, number, reports, done, under_way)
            saved = None
            reports.append(report)
            done.update({name: tensor.clone() for name, tensor in part.state_dict().items()})
            self._save(reports, done, None, None)
            if self.stop():
                raise Stopped
        return self._result(trainee, tuple(reports))

    def _phase(
        self,
        trainee: Trainee,
        number: int,
        reports: Sequence[PhaseReport],
        done: Mapping[str, torch.Tensor],
        saved: Saved | None,
    ) -> tuple[PhaseReport, Part]:
        phase = self.phases[number]
        began = time.perf_counter()
        teaching = self.teaching(trainee, phase, number)
        part = trainee.part(phase)
        begun = saved.note["begun"] if saved is not None else None
        if begun is None:
            arithmetic = choose_arithmetic(part, teaching, self.material.store)
            phase = replace(phase, still_norms=phase.still_norms or not moves(part, teaching))
            begun = {
                "still_norms": phase.still_norms,
                "arithmetic": asdict(arithmetic),
                "rate": phase.rate,
                "trials": [],
            }
        phase = replace(phase, still_norms=begun["still_norms"])
        if begun["rate"] is None:
            teaching = replace(teaching, arithmetic=Arithmetic(**begun["arithmetic"]))
            begun = self._with_rate(
                trainee, phase, teaching, (reports, done, begun), _run_of(saved)
            )
            saved = None
        phase = replace(phase, rate=begun["rate"])
        part = trainee.part(phase)
        teaching = replace(
            teaching,
            arithmetic=Arithmetic(**begun["arithmetic"]),
            rate=begun["rate"],
            save=lambda run: self._save(reports, done, begun, run),
        )
        run = PhaseRun(part, phase, teaching, _run_of(saved))
        run.run()
        report = PhaseReport(
            phase=replace(phase, rate=begun["rate"] * run.factor),
            rates=tuple(RateTrial(*trial) for trial in begun["trials"]),
            history=run.history,
            best=run.best,
            arithmetic=teaching.arithmetic,
            seconds=time.perf_counter() - began,
            notes=run.notes,
        )
        return report, part

    def teaching(self, trainee: Trainee, phase: Phase, number: int) -> Teaching:
        """Return what a phase is carried out with, before its rate and arithmetic are known."""
        material = self.material
        boundary = self.boundary(phase)
        activations = Activations(
            boundary,
            material.device,
            material.store,
            material.sources,
            material.digests,
            self.kept_views(boundary),
        )
        return Teaching(
            train=Pictures(activations, material.train, material.y, material.units),
            held_out=Pictures(activations, material.held_out, material.y, material.units),
            seed=(self.seed, number),
            rate=0.0,
            arithmetic=Arithmetic(material.torch_device),
            class_weights=self._class_weights(),
            source=self._source(phase),
            progress=self.progress,
            save=lambda _: None,
            stop=self.stop,
        )

    def boundary(self, phase: Phase) -> Boundary:
        """Return where the frozen part of a phase ends."""
        cut = boundary_before(self.backbone, phase.train_from)
        return Boundary(self.backbone, cut, self.material.precision)

    def kept_views(self, boundary: Boundary) -> int:
        """Return how many views of each picture there is room for at a boundary."""
        places = len({phase.train_from for phase in self.phases})
        size = max(1, len(self.material.train) * boundary.bytes_on_disk)
        return self.material.budget // places // size

    def _class_weights(self) -> torch.Tensor | None:
        if self.class_weights is None:
            return None
        return torch.tensor(
            self.class_weights, dtype=torch.float32, device=self.material.torch_device
        )

    def _source(self, phase: Phase) -> Mapping[str, torch.Tensor]:
        if not phase.pull:
            return {}
        weights = self.backbone.chain().weights()
        device = self.material.torch_device
        return {f"trunk.{name}": tensor.to(device) for name, tensor in weights.items()}

    def _with_rate(
        self,
        trainee: Trainee,
        phase: Phase,
        teaching: Teaching,
        so_far: tuple[Sequence[PhaseReport], Mapping[str, torch.Tensor], dict[str, Any]],
        under_way: Saved | None,
    ) -> dict[str, Any]:
        """Find the rate of a phase by trial; the trials are kept, the one under way too."""
        part = trainee.part(phase)
        before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
        reports, done, begun = so_far

        def fresh() -> Part:
            _restore(part, before)
            return part

        def tell(trials: Sequence[RateTrial], run: Saved | None) -> None:
            begun["trials"] = [[t.rate, t.log_loss, list(t.losses)] for t in trials]
            self._save(reports, done, begun, run)

        known = [RateTrial(*trial) for trial in begun["trials"]]
        trials = find_rate(fresh, phase, teaching, known, under_way, tell)
        _restore(part, before)
        rate = best_rate(trials, phase, teaching, len(part.head.bias))
        return {**begun, "rate": rate}

    def _save(
        self,
        reports: Sequence[PhaseReport],
        done: Mapping[str, torch.Tensor],
        begun: Mapping[str, Any] | None,
        run: Saved | None,
    ) -> None:
        tensors = {f"{_NET}{name}": tensor for name, tensor in done.items()}
        if run is not None:
            tensors.update({f"{_RUN}{name}": tensor for name, tensor in run.tensors.items()})
        note = {
            "reports": [report_to_json(report, number) for number, report in enumerate(reports)],
            "begun": begun,
            "run": None if run is None else run.note,
        }
        self.checkpoint.save(Saved(tensors, note))

    def _result(self, trainee: Trainee, reports: tuple[PhaseReport, ...]) -> Tuned:
        trainee.finish(self.temperature or reports[-1].best.temperature)
        source = self.backbone.description
        weights = trainee.graph.chain.weights()
        origin = replace(
            source.origin,
            weights=f"{source.origin.weights}, trained on",
            weights_sha256=_digest(weights),
        )
        backbone = Backbone(replace(source, origin=origin), lambda: trainee.graph)
        weight, bias = (
            values.detach().numpy() for values in (trainee.head.weight, trainee.head.bias)
        )
        head = LinearHead("logistic", *trainee.reading.unscaled(weight, bias))
        whole = trainee.part(Phase(None, 1, 1)).eval().requires_grad_(False)

        def scores(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.no_grad():
                rows = pixels.reshape(len(pixels), -1)
                found: NDArray[np.float32] = whole(*whole.tensors(rows)).numpy()
            return found

        return Tuned(backbone, head, reports, scores)


def _part_of(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _run_of(saved: Saved | None) -> Saved | None:
    """Return the checkpoint of the phase that was under way."""
    if saved is None or saved.note["run"] is None:
        return None
    return Saved(_part_of(saved.tensors, _RUN), saved.note["run"])


def _restore(part: Part, tensors: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in part.state_dict(keep_vars=True).items():
            if name in tensors:
                tensor.copy_(tensors[name])


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode())
        found.update(weights[name].contiguous().numpy().tobytes())
    return found.hexdigest()
