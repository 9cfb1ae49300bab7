"""What stored activations cost in accuracy: int8 and bfloat16 against what the network says.

The same layers are trained by the same loop, with the same seeds and in the same order, on three
kinds of rows: *plain* are the activations of the frozen part in eager float32, as the usual
tutorial's loop computes them in every pass, trained on in float32; *bfloat16* are the same,
rounded; *stored* is what regraft does: int8 with a scale for each channel of each picture, half
the size of bfloat16, trained on in the arithmetic that its trial finds faster. Where the frozen
part stays in evaluation mode its activations never change, so the plain loop's are computed once
here. Differences are paired by seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

from common import Figure, Options, Report, main
from lessons import Lesson, lesson
from regraft.backbones.cuts import Cut
from regraft.data.views import View
from regraft.frozen.activations import Boundary
from regraft.frozen.rows import Rows
from regraft.strategy import Phase
from regraft.train.batches import Pictures
from regraft.train.compute import Arithmetic
from regraft.train.loop import PhaseRun
from regraft.train.network import Trainee, boundary_before
from regraft.train.speed import choose_arithmetic
from regraft.train.teaching import Teaching

SETS = ("ham10000_mel_nv", "mnist_sample")
# What is trained begins before these.
CUTS = ("blocks.6", "blocks.5")
PICTURES, TESTED, PASSES, SEEDS, RATE = 600, 400, 5, 5, 1e-3
# 97.5 % point of Student's t with four degrees of freedom: five seeds.
STUDENT = 2.776
# Points; the intervals in the table say how much of it is noise.
NOISE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Rows that lie in memory; stands in for `regraft.frozen.activations.Activations`."""

    boundary: Boundary
    rows: Rows

    def read(self, view: View, rows: Sequence[int]) -> Rows:
        """Give some of them."""
        return self.rows[list(rows)]

    def flush(self) -> None:
        """Nothing waits."""


class Floats:
    """Reads rows of float32, where the trained part's own reader takes int8."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut

    def tensors(self, rows: Rows) -> tuple[torch.Tensor, ...]:
        """Decode rows to the tensors of the cut, channels-last in memory."""
        flat, start, found = torch.from_numpy(rows).view(torch.float32), 0, []
        for spec in self._cut.tensors:
            channels, height, width = spec.shape
            size = math.prod(spec.shape)
            piece = flat[:, start : start + size].view(-1, height, width, channels)
            found.append(piece.permute(0, 3, 1, 2))
            start += size
        return tuple(found)


def eager(taught: Lesson, cut: Cut) -> NDArray[np.float32]:
    """Run the frozen part over all pictures in PyTorch, (n, H * W * C), channels last."""
    frozen = taught.backbone.chain().prefix(cut.name).eval()
    preprocess, sources = taught.backbone.preprocess, taught.material.sources
    mean_, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
    found = []
    for start in range(0, len(sources), 32):
        pixels = np.stack([s.load().prepare(preprocess) for s in sources[start : start + 32]])
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean_) / std
        with torch.no_grad():
            maps = frozen(x.contiguous())
        found.append(np.concatenate([m.permute(0, 2, 3, 1).flatten(1).numpy() for m in maps], 1))
    return np.concatenate(found)


def tested(
    taught: Lesson, start: str, seed: int, passes: int, values: NDArray[np.float32] | None
) -> float:
    """Train, and return the share of the held-out pictures that the last pass gets right.

    What is trained begins at `start`. `values` stand in for what the store holds; None: the store,
    in the arithmetic that pays.
    """
    phase = Phase(start, epochs=passes, patience=passes, rate=RATE, still_norms=False)
    trainee = Trainee(taught.backbone, taught.head)
    part = trainee.part(phase)
    teaching: Teaching = replace(taught.tuner([phase], seed).teaching(trainee, phase, 0), rate=RATE)
    if values is None:
        arithmetic = choose_arithmetic(part, teaching, taught.material.store)
        teaching = replace(teaching, arithmetic=arithmetic)
    else:
        boundary = teaching.train.activations.boundary
        rows = Kept(boundary, values.view(np.uint8))
        assert boundary.cut is not None
        part._reader = Floats(boundary.cut)  # type: ignore[assignment]
        given: tuple[Pictures, ...] = tuple(
            replace(p, activations=rows)  # type: ignore[arg-type]
            for p in (teaching.train, teaching.held_out)
        )
        teaching = replace(teaching, train=given[0], held_out=given[1], arithmetic=Arithmetic())
    run = PhaseRun(part, phase, teaching)
    run.run()
    return run.history[-1].accuracy


def measure(options: Options) -> Report:
    figures, cases = [], []
    seeds, passes = (2, 1) if options.quick else (SEEDS, PASSES)
    for name in SETS:
        most, held = (48, 48) if options.quick else (PICTURES, TESTED)
        with (
            options.scratch() as scratch,
            lesson(options.pictures(name), scratch, most, held) as taught,
        ):
            for start in CUTS:
                results = compared(taught, start, seeds, passes)
                cell: dict[str, str | float] = {"data": name, "trained": f"from {start} on"}
                for kind, accuracies in results.items():
                    cell[f"{kind}, %"] = round(100 * mean(accuracies), 2)
                for kind in ("bfloat16", "stored"):
                    pairs = zip(results[kind], results["plain"], strict=True)
                    ahead = [100 * (a - b) for a, b in pairs]
                    half = STUDENT * stdev(ahead) / math.sqrt(len(ahead))
                    cell[f"{kind} - plain, points"] = f"{mean(ahead):+.2f} ± {half:.2f}"
                    what = f"{name}, from {start} on: points that {kind} activations lose"
                    figures.append(Figure(what, -mean(ahead), "points", NOISE))
                cases.append(cell)
    return Report(figures, cases)


def compared(taught: Lesson, start: str, seeds: int, passes: int) -> dict[str, list[float]]:
    """Train on every kind of rows with every seed."""
    cut = boundary_before(taught.backbone, start)
    assert cut is not None
    exact = eager(taught, cut)
    rounded = torch.from_numpy(exact).bfloat16().float().numpy()
    ways = {"plain": exact, "bfloat16": rounded, "stored": None}
    return {
        kind: [tested(taught, start, seed, passes, values) for seed in range(seeds)]
        for kind, values in ways.items()
    }


if __name__ == "__main__":
    main("tuning_accuracy", measure)
