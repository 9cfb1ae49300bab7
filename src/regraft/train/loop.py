"""The one loop that carries out a phase, on activations that come from the store.

What a step does is decided by the weights, the seed and the number of the step, and by nothing
else: so a training that was killed goes on from its last checkpoint and ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regraft.data.views import View
from regraft.strategy import Phase
from regraft.train.batches import Batch, steps_of
from regraft.train.checkpoint import Saved
from regraft.train.compute import mixed
from regraft.train.network import Part
from regraft.train.objective import losses
from regraft.train.schedule import share_of_rate
from regraft.train.teaching import (
    DivergedError,
    Held,
    NoNumberError,
    Stopped,
    Teaching,
    gained,
    judged,
)

SAVE_SECONDS = 30.0
Scores = NDArray[np.float64]
_CLIP = 1.0
_BACK_FACTOR = 0.25
_MOST_BACKS = 5
_EXPLODED = 4.0
_TEST_BATCH = 64
_ADAM = ("step", "exp_avg", "exp_avg_sq")  # what the optimiser keeps of each weight


@dataclass(slots=True)
class _State:
    """Where a phase is; all but the tensors."""

    epoch: int = 0
    step: int = 0
    updates: int = 0
    stale: int = 0
    factor: float = 1.0
    backs: int = 0
    first: float | None = None
    kept: int = 0
    before: list[float] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    history: list[Held] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "history"}
        return {**plain, "history": [list(astuple(held)) for held in self.history]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> _State:
        history = [Held(*entry) for entry in values["history"]]
        return cls(**{**values, "history": history})


class PhaseRun:
    """One phase, from its beginning or from a checkpoint, to its end.

    Parameters
    ----------
    part : Part
        What trains; its weights are changed in place, and are the best ones at the end.
    phase : Phase
        What to do.
    teaching : Teaching
        What to do it with.
    saved : Saved, optional
        A checkpoint of this phase to go on from.
    """

    def __init__(
        self, part: Part, phase: Phase, teaching: Teaching, saved: Saved | None = None
    ) -> None:
        self._part = part
        self._phase = phase
        self._teaching = teaching
        self._forward = teaching.arithmetic.prepared(part)
        self._steps = steps_of(len(teaching.train.rows), phase.batch)
        self._trained = {n: p for n, p in part.named_parameters() if p.requires_grad}
        self._kept = {**self._trained, **dict(part.named_buffers())}
        self._average = _clones(self._kept)
        self._best = _clones(self._kept)
        self._optimiser = self._new_optimiser()
        self._state = _State()
        if saved is not None:
            self._restore(saved)
        self._saved_at = time.monotonic()

    @property
    def history(self) -> tuple[Held, ...]:
        """How the network did on held-out pictures, before and after each pass."""
        return tuple(self._state.history)

    @property
    def last_losses(self) -> tuple[float, ...]:
        """Loss of each held-out picture after the last pass."""
        return tuple(self._state.last)

    @property
    def factor(self) -> float:
        """What is left of the rate after explosions."""
        return self._state.factor

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear of."""
        return tuple(self._state.notes)

    @property
    def best(self) -> Held:
        """The pass whose weights are kept.

        The last one that is shown to be better than the start (better at all, from random weights)
        and not clearly worse than the pass with the least loss: which of several passes has the
        least is mostly chance where few pictures are held out, and the later has more of the fall
        of the rate behind it.
        """
        return self._state.history[self._state.kept]

    def run(self) -> None:
        """Train until the phase ends; the weights of the best pass stand in the part then.

        Raises
        ------
        Stopped
            If somebody wanted to stop.
        DivergedError
            If the loss explodes at any rate, or at all where the number of passes is fixed.
        NoNumberError
            If what the network says is no number before the first step.
        """
        state, phase = self._state, self._phase
        if phase.passes is not None:
            return self._run_for(phase.passes)
        if not state.history:
            state.history.append(self._start())
        while state.epoch < phase.epochs and state.stale < phase.patience:
            held = self._test(state.epoch + 1) if self._pass() else None
            if held is None:
                self._go_back()
                continue
            state.epoch, state.step = held.epoch, 0
            state.history.append(held)
            better = held.shown if phase.guarded else held.gain > 0
            if state.stale == 0 and better:
                state.kept = held.epoch
                _copy(self._average, self._best)
            self._save_if_due()
        _copy(self._best, self._kept)
        self._part.eval()
        return None

    def _run_for(self, passes: int) -> None:
        """Train so many passes; the average of the weights stands in the part then."""
        state = self._state
        while state.epoch < passes:
            if not self._pass():
                raise DivergedError(f"the loss exploded at a rate of {self._teaching.rate:.1e}")
            state.epoch, state.step = state.epoch + 1, 0
            self._save_if_due()
        _copy(self._average, self._kept)
        self._part.eval()
        if not state.history:
            state.history.append(self._start())

    def _start(self) -> Held:
        """Test the weights as they are."""
        held = self._test(0)
        if held is None:
            raise NoNumberError("what the network says of held-out pictures is no number")
        return held

    def _pass(self) -> bool:
        """Go through the pictures once; False where the loss explodes."""
        state, phase, teaching = self._state, self._phase, self._teaching
        self._part.train()
        most = f"at most {phase.epochs}" if phase.passes is None else str(phase.passes)
        teaching.progress.start(f"pass {state.epoch + 1} of {most}", self._steps - state.step)
        view = View(state.epoch % phase.views, teaching.seed[0], phase.mirror)
        seed = (*teaching.seed, state.epoch)
        for batch in teaching.train.shuffled(view, phase.batch, seed, state.step):
            if not self._step(batch):
                return False
            state.step += 1
            teaching.progress.advance(1)
            self._between()
        teaching.progress.finish()
        return True

    def _between(self) -> None:
        """Save where it is time to, or somebody wants to stop: a pass goes on from where it is."""
        if self._teaching.stop():
            self._save()
            raise Stopped
        self._save_if_due()

    def _step(self, batch: Batch) -> bool:
        state = self._state
        number = state.epoch * self._steps + state.step
        share = share_of_rate(number, self._steps, self._phase.epochs)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * state.factor * share
        loss, value = self._losses(self._forward, batch, number)
        if not math.isfinite(value):
            return False
        if value > self._limit(value) and not value <= _EXPLODED * self._of_best(batch, number):
            return False  # else the view is that hard for any weights
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(list(self._trained.values()), _CLIP)
        if not math.isfinite(float(norm)):
            return False
        self._optimiser.step()
        self._pull()
        self._update_average()
        return True

    def _losses(
        self, forward: Callable[..., torch.Tensor], batch: Batch, number: int
    ) -> tuple[torch.Tensor, float]:
        """Return the loss of a step, and that in which all pictures count alike."""
        torch.manual_seed(mixed((*self._teaching.seed, number)))
        loss, alike = losses(forward, self._part, self._phase, self._teaching, batch, number)
        return loss, float(alike.detach())

    def _of_best(self, batch: Batch, number: int) -> float:
        """Return what the best weights so far lose on a batch."""
        best = _clones(self._best)  # its statistics may move

        def forward(*tensors: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = torch.func.functional_call(self._part, best, tensors)
            return found

        with torch.no_grad():
            return self._losses(forward, batch, number)[1]

    def _limit(self, value: float) -> float:
        """Return the loss that is an explosion: several times that of the first step."""
        if self._state.first is None:
            self._state.first = value
        return _EXPLODED * max(self._state.first, math.log(len(self._part.head.bias)) + 1)

    def _pull(self) -> None:
        if self._phase.pull:
            for group in self._optimiser.param_groups:
                share = min(1.0, group["lr"] * self._phase.pull)
                for name, parameter in self._trained.items():
                    if name in self._teaching.source and any(
                        parameter is member for member in group["params"]
                    ):
                        parameter.data.lerp_(self._teaching.source[name], share)

    def _update_average(self) -> None:
        """Move the average; it follows closely at first, when there is little to average."""
        self._state.updates += 1
        updates = self._state.updates
        decay = min(self._phase.average, (1 + updates) / (10 + updates))
        moving = [name for name, tensor in self._kept.items() if tensor.is_floating_point()]
        averages = [self._average[name] for name in moving]
        with torch.no_grad():
            torch._foreach_lerp_(averages, [self._kept[n].detach() for n in moving], 1 - decay)

    def _test(self, epoch: int) -> Held | None:
        """Test the average on the held-out pictures; None where what it says is no number."""
        self._part.eval()
        found = []
        for batch in self._teaching.held_out.in_order(_TEST_BATCH):
            tensors = self._part.tensors(batch.rows)
            with torch.no_grad(), self._teaching.arithmetic.context():
                scores = torch.func.functional_call(self._part, self._average, tensors)
            found.append((scores.cpu().double().numpy(), batch.y))  # MPS has no float64
            self._between()
        scores, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if not np.isfinite(scores).all():
            return None
        return self._compared(epoch, scores, y, self._teaching.weights_of(y))

    def _compared(self, epoch: int, scores: Scores, y: NDArray[np.intp], weights: Scores) -> Held:
        """Judge a pass against the start, and note whether it is clearly worse than the best."""
        state, pictures = self._state, self._teaching.held_out
        units = pictures.units[pictures.rows]
        before = np.array(state.before) if epoch else None
        held, losses = judged(epoch, scores, y, weights, units, before)
        state.last = losses.tolist()
        if not epoch:
            state.before = state.lowest = state.last
            return held
        gain, error = gained(losses, np.array(state.lowest), weights, units, scores.shape[1])
        state.stale = state.stale + 1 if gain > error else 0
        if gain < 0:
            state.lowest = state.last
        return held

    def _go_back(self) -> None:
        """Return to the best weights, with a lower rate, and begin the pass again."""
        state = self._state
        state.backs += 1
        if state.backs > _MOST_BACKS:
            raise DivergedError(
                f"the loss exploded {state.backs} times, the last time at a rate of "
                f"{self._teaching.rate * state.factor:.1e}"
            )
        state.factor *= _BACK_FACTOR
        state.step = 0
        note = (
            f"the loss exploded in pass {state.epoch + 1}: back to the best weights, with a rate "
            f"of {self._teaching.rate * state.factor:.1e}"
        )
        state.notes.append(note)
        self._teaching.progress.say(note)
        _copy(self._best, self._kept)
        _copy(self._best, self._average)
        self._optimiser = self._new_optimiser()

    def _new_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self._part.groups(self._teaching.rate), lr=0.0, fused=True)

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        tensors = {
            f"{prefix}.{name}": tensor.detach()
            for prefix, tensors in (
                ("now", self._kept),
                ("average", self._average),
                ("best", self._best),
            )
            for name, tensor in tensors.items()
        }
        for name, parameter in self._trained.items():
            for key, value in self._optimiser.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        self._teaching.save(Saved(tensors, self._state.to_json()))
        self._saved_at = time.monotonic()

    def _restore(self, saved: Saved) -> None:
        tensors = saved.tensors
        for prefix, places in (("now", self._kept), ("average", self._average)):
            _copy({name: tensors[f"{prefix}.{name}"] for name in places}, places)
        _copy({name: tensors[f"best.{name}"] for name in self._best}, self._best)
        for name, parameter in self._trained.items():
            found = {
                key: tensors[f"adam.{key}.{name}"]
                for key in _ADAM
                if f"adam.{key}.{name}" in tensors
            }
            if found:
                self._optimiser.state[parameter] = {
                    key: _like(value, parameter) for key, value in found.items()
                }
        self._state = _State.from_json(saved.note)


def _like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Lay a tensor out in memory as the parameter that it belongs to."""
    if value.shape != parameter.shape:  # the count of steps, which lies with the weights too
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter).copy_(value)


def _clones(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _copy(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])
