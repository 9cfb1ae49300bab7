"""The parts of a fit that trains layers, one by one, for benchmarks of single steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regraft.backbones.base import Backbone
from regraft.backbones.registry import get_backbone
from regraft.data.images import digest
from regraft.data.manifest import read_manifest
from regraft.data.records import Picture
from regraft.frozen.devices import Processor
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore
from regraft.heads.linear import LinearHead
from regraft.options import DEFAULT_BACKBONE
from regraft.progress import Silent
from regraft.strategy import Phase
from regraft.train.checkpoint import Checkpoint
from regraft.train.tune import Material, Tuner

BUDGET = 64 << 30


@dataclass(frozen=True)
class Lesson:
    """Labelled pictures, a network and a head that knows nothing.

    Parameters
    ----------
    backbone : Backbone
        The source network.
    material : Material
        The pictures; a tenth is held out.
    classes : tuple of str
        Columns of the head.
    """

    backbone: Backbone
    material: Material
    classes: tuple[str, ...]

    @property
    def head(self) -> LinearHead:
        """Zeros."""
        width = self.backbone.probes[-1].width("avg")
        count = len(self.classes)
        return LinearHead(
            "logistic", np.zeros((count, width), np.float32), np.zeros(count, np.float32)
        )

    def tuner(self, phases: Sequence[Phase], seed: int = 0) -> Tuner:
        """Prepare a training."""
        return Tuner(
            self.backbone,
            self.head,
            tuple(phases),
            self.material,
            None,
            seed,
            Checkpoint(self.material.store.folder / "training.safetensors"),
            Silent(),
            lambda: False,
        )


@contextmanager
def lesson(photos: Path, cache: Path, most: int, held_out: int) -> Iterator[Lesson]:
    """Open the training part of a data set, at most so many pictures of it.

    Parameters
    ----------
    photos : Path
        As for ``regraft fit``.
    cache : Path
        Where activations and converted networks are kept.
    most, held_out : int
        Pictures to train on, and to stop by.
    """
    found = readable(photos)
    order = np.random.default_rng(0).permutation(len(found))[: most + held_out]
    pictures = [found[row] for row in order]
    classes = tuple(sorted({picture.label for picture in pictures}))
    y = np.array([classes.index(picture.label) for picture in pictures], dtype=np.intp)
    rows = np.arange(len(pictures), dtype=np.intp)
    count = min(most, len(pictures) - held_out)
    with FeatureStore(cache) as store:
        material = Material(
            sources=[FileSource(picture.path, picture.name) for picture in pictures],
            digests=[digest(picture.path.read_bytes()) for picture in pictures],
            y=y,
            units=rows,
            train=rows[:count],
            held_out=rows[count:],
            device=Processor(cache),
            torch_device="cpu",
            precision="f32",
            store=store,
            budget=BUDGET,
        )
        yield Lesson(get_backbone(DEFAULT_BACKBONE, cache), material, classes)


def readable(photos: Path) -> list[Picture]:
    """List the pictures of the training part."""
    manifest = read_manifest(photos)
    return [
        picture
        for picture in manifest.pictures
        if picture.role in (None, "train") and picture.path.suffix.lower() != ".gif"
    ]
