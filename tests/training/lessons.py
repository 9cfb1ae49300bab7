"""Small networks and pictures to train, without the rest of a fit."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from pictures import texture
from regraft.backbones.base import Backbone
from regraft.backbones.registry import get_backbone
from regraft.data.images import array_digest
from regraft.frozen.devices import Processor
from regraft.frozen.sources import MemorySource
from regraft.frozen.store import FeatureStore
from regraft.heads.linear import LinearHead
from regraft.options import Overrides
from regraft.progress import Silent
from regraft.strategy import Phase
from regraft.train.checkpoint import Checkpoint
from regraft.train.loop import PhaseRun
from regraft.train.tune import Material, Tuned, Tuner

CLASSES = ("ants", "bees", "wasps")
COUNT = 30
BATCH_NORM, GROUP_NORM, TRANSFORMER = (
    "timm:test_resnet",
    "timm:test_efficientnet_gn",
    "timm:test_vit",
)
NETWORKS = (BATCH_NORM, GROUP_NORM, TRANSFORMER)
# Six held-out pictures show too little for a guarded phase to keep what it did.
SHORT = Phase(None, epochs=2, patience=2, rate=1e-3, views=2, batch=8, guarded=False)
PLENTY = 1 << 30


@dataclass(frozen=True)
class Lesson:
    """A network, pictures, and somewhere to keep activations."""

    backbone: Backbone
    store: FeatureStore
    cache: Path

    def tuner(
        self,
        phases: Sequence[Phase],
        *,
        budget: int = PLENTY,
        seed: int = 0,
        file: Path | None = None,
        stop: Callable[[], bool] = lambda: False,
        progress: Silent | None = None,
        weights: np.ndarray | None = None,
    ) -> Tuner:
        """Prepare a training from a head that knows nothing."""
        pixels = [texture(label, n, noise=90.0) for n in range(COUNT // 3) for label in CLASSES]
        rows = np.arange(COUNT, dtype=np.intp)
        material = Material(
            sources=[MemorySource(p, str(n)) for n, p in enumerate(pixels)],
            digests=[array_digest(p) for p in pixels],
            y=rows % len(CLASSES),
            units=rows,
            train=rows[6:],
            held_out=rows[:6],
            device=Processor(self.cache),
            torch_device="cpu",
            precision="f32",
            store=self.store,
            budget=budget,
        )
        width = self.backbone.probes[-1].width("avg")
        head = LinearHead("logistic", np.zeros((3, width), np.float32), np.zeros(3, np.float32))
        return Tuner(
            self.backbone,
            head,
            tuple(phases),
            material,
            weights,
            seed,
            Checkpoint(file or self.store.folder / "training.safetensors"),
            progress or Silent(),
            stop,
        )

    def train(self, *phases: Phase, **options: object) -> Tuned:
        """Train, from no checkpoint."""
        tuner = self.tuner(phases, **options)
        tuner.checkpoint.remove()
        tuned = tuner.run()
        tuner.checkpoint.remove()
        return tuned


@contextlib.contextmanager
def stopping(looks: int) -> Iterator[Callable[[], bool]]:
    """Give a wish to stop that arrives when steps have looked for it so often."""
    run, begun, count = PhaseRun.run, [], itertools.count()

    def runs(self: PhaseRun) -> None:
        begun.append(self)
        run(self)

    with mock.patch.object(PhaseRun, "run", runs):
        yield lambda: bool(begun) and next(count) >= looks


def opened(name: str, cache: Path) -> Backbone:
    """Open a small network, whose random weights are always the same."""
    size = None if name == TRANSFORMER else (64, 64)
    return get_backbone(name, cache, pretrained=False, seed=0, overrides=Overrides(size=size))


def weights(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Copy what a network is made of."""
    return {name: tensor.clone() for name, tensor in backbone.chain().weights().items()}


def changed(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> set[str]:
    """Name what has other bits."""
    assert before.keys() == after.keys()
    return {
        name
        for name in before
        if hashlib.sha256(before[name].numpy().tobytes()).digest()
        != hashlib.sha256(after[name].numpy().tobytes()).digest()
    }


def same(one: Tuned, other: Tuned) -> bool:
    """Whether two trainings ended with the same bits."""
    return (
        not changed(weights(one.backbone), weights(other.backbone))
        and np.array_equal(one.head.weight, other.head.weight)
        and np.array_equal(one.head.bias, other.head.bias)
    )


def after(cut: str, backbone: Backbone) -> set[str]:
    """Name the weights of the stages from a cut on."""
    stages = backbone.chain().stages
    names = [stage.name for stage in stages]
    late = {
        id(tensor)
        for stage in stages[names.index(cut) : -1]
        for tensor in (*stage.module.parameters(), *stage.module.buffers())
    }
    root = backbone.chain().root
    return {n for n, t in root.state_dict(keep_vars=True).items() if id(t) in late}


def middle(backbone: Backbone) -> str:
    """Name a cut in the middle."""
    return backbone.cuts[len(backbone.cuts) // 2].name


def with_all(phase: Phase, **values: object) -> Phase:
    """Change a phase."""
    return replace(phase, **values)
