"""The CPU engine alone: how many pictures at once, which precision, what the taps cost.

Rates of the frozen graph on prepared pixels, engine in throughput mode; the cases take turns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import Figure, Options, Report, main, median
from regraft.backbones.registry import get_backbone
from regraft.frozen.graph import feature_model
from regraft.frozen.network import converted_network
from regraft.frozen.plan import default_plan
from regraft.options import DEFAULT_BACKBONE
from regraft.quiet import import_openvino
from regraft.strategy import POOLINGS, Precision, Tap

BACKBONE = get_backbone(DEFAULT_BACKBONE, Path("no cache"))
TAPS = {
    "last average": (Tap(BACKBONE.probes[-1].name),),
    "those of a fit": default_plan(BACKBONE.probes).taps,
    "all poolings of all cuts": tuple(
        Tap(cut.name, pooling) for cut in BACKBONE.probes for pooling in POOLINGS
    ),
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is run: pictures a request, arithmetic, and what is taken from the network."""

    batch: int
    precision: Precision
    taps: str


def cases() -> list[Case]:
    batches = [
        Case(n, precision, "those of a fit")
        for precision in ("bf16", "f32")
        for n in (1, 4, 8, 16, 32, 64)
    ]
    return [*batches, *(Case(8, "bf16", taps) for taps in TAPS if taps != "those of a fit")]


def requests(case: Case, cache: Path) -> Any:
    """Compile a case and give the queue of its requests."""
    openvino = import_openvino()
    core = openvino.Core()
    network = converted_network(BACKBONE, (), cache).folder / "frozen.xml"
    model = feature_model(network, BACKBONE.probes, TAPS[case.taps], BACKBONE.preprocess)
    model.reshape([case.batch, *BACKBONE.preprocess.size, 3])
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": case.precision}
    return openvino.AsyncInferQueue(core.compile_model(model, "CPU", settings))


def rate(queue: Any, batch: int, pictures: int) -> float:
    """Pictures a second."""
    shape = (batch, *BACKBONE.preprocess.size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for _ in range(len(queue)):
        queue.start_async({0: pixels})
    queue.wait_all()
    repeats = -(-pictures // batch)
    start = time.perf_counter()
    for _ in range(repeats):
        queue.start_async({0: pixels})
    queue.wait_all()
    return repeats * batch / (time.perf_counter() - start)


def measure(options: Options) -> Report:
    pictures, rounds = (16, 1) if options.quick else (768, 5)
    rates: dict[Case, list[float]] = {case: [] for case in cases()}
    with options.scratch() as scratch:
        for _ in range(rounds):
            for case, seen in rates.items():
                seen.append(rate(requests(case, scratch), case.batch, pictures))
    rows = [
        {
            "batch": case.batch,
            "precision": case.precision,
            "taps": case.taps,
            "pictures/s": round(median(seen), 1),
        }
        for case, seen in rates.items()
    ]
    return Report(figures(rates), rows)


def figures(rates: dict[Case, list[float]]) -> list[Figure]:
    def of(batch: int, precision: Precision, taps: str = "those of a fit") -> float:
        return median(rates[Case(batch, precision, taps)])

    plain = of(8, "bf16", "last average")
    dearest: Sequence[tuple[str, float]] = [
        (taps, 100 * (1 - of(8, "bf16", taps) / plain)) for taps in TAPS if taps != "last average"
    ]
    return [
        Figure("bf16 against f32, batch 8", of(8, "bf16") / of(8, "f32"), "x"),
        *(Figure(f"taken from the rate by the taps: {taps}", cost, "%") for taps, cost in dearest),
    ]


if __name__ == "__main__":
    main("engine", measure)
