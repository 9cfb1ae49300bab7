"""Memory of training from a cut on 100,000 pictures: activations are read, never loaded.

The store is filled with made rows (one view before `blocks.6` of the embedded network, 10 KiB a
picture), then some hundred steps are taken on pictures in random order, in a process of its own.
Reported is the kernel's high-water mark of resident memory above what the process had when the
network was ready to train.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from common import Figure, Options, Report, main, run_process
from lessons import BUDGET, Lesson
from regraft.backbones.registry import get_backbone
from regraft.data.views import View
from regraft.frozen.activations import Boundary, as_words
from regraft.frozen.devices import Processor
from regraft.frozen.rows import encoded
from regraft.frozen.sources import MemorySource
from regraft.frozen.store import FeatureStore
from regraft.options import DEFAULT_BACKBONE
from regraft.strategy import Phase
from regraft.train.loop import PhaseRun
from regraft.train.network import Trainee, boundary_before
from regraft.train.tune import Material

PICTURES, STEPS, CHUNK = 100_000, 300, 500
CUT = "blocks.6"


def digests(count: int) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


def fill(cache: Path, count: int) -> None:
    """Store one made row a picture."""
    backbone = get_backbone(DEFAULT_BACKBONE, cache)
    cut = boundary_before(backbone, CUT)
    assert cut is not None
    boundary = Boundary(backbone, cut, "f32")
    space, names = boundary.space(Processor(cache), View(0)), digests(count)
    generator = np.random.default_rng(0)
    with FeatureStore(cache) as store:
        for start in range(0, count, CHUNK):
            some = names[start : start + CHUNK]
            values = generator.standard_normal((len(some), cut.width("map")), np.float32)
            rows = as_words(encoded(values, cut.tensors))
            store.put_batches([(space, some, rows)], scattered=True)


def train(cache: Path, count: int, steps: int) -> dict[str, float]:
    """Take some steps, and say how much memory that took."""
    backbone = get_backbone(DEFAULT_BACKBONE, cache)
    rows = np.arange(count, dtype=np.intp)
    blank = MemorySource(np.zeros((8, 8, 3), np.uint8), "blank")
    phase = Phase(CUT, epochs=1, patience=1)
    with FeatureStore(cache) as store:
        material = Material(
            [blank] * count,
            digests(count),
            rows % 10,
            rows,
            rows[64:],
            rows[:64],
            Processor(cache),
            "cpu",
            "f32",
            store,
            BUDGET,
        )
        lesson = Lesson(backbone, material, tuple("0123456789"))
        trainee = Trainee(backbone, lesson.head)
        tuner = lesson.tuner([phase])
        taken = iter(range(steps))
        teaching = replace(
            tuner.teaching(trainee, phase, 0),
            rate=1e-4,
            stop=lambda: next(taken, None) is None,
            save=lambda _: None,
        )
        run = PhaseRun(trainee.part(phase), phase, teaching)
        before = _peak()
        with contextlib.suppress(KeyboardInterrupt):  # that many steps were taken
            run.run()
        return {"before, GB": before, "peak, GB": _peak()}


def _peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure(options: Options) -> Report:
    count, steps = (2000, 5) if options.quick else (PICTURES, STEPS)
    with options.scratch() as scratch:
        fill(scratch, count)
        process = run_process([sys.executable, Path(__file__), "train", scratch, count, steps])
        found = json.loads(process.out.splitlines()[-1])
    more = found["peak, GB"] - found["before, GB"]
    figure = Figure(f"memory beyond the network, {count:,} pictures", more, "GB", 2)
    return Report([figure], [{"pictures": count, "steps": steps, **found}])


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        print(json.dumps(train(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
    else:
        main("tuning_memory", measure)
