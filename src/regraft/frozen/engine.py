"""The engines that run the frozen part; this one is for processors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from regraft.errors import UserError
from regraft.frozen.graph import FEATURES
from regraft.frozen.sources import Pixels
from regraft.quiet import import_openvino
from regraft.strategy import Precision

# Pictures per request of the CPU engine. Small batches stay in the cache: on two cores the embedded
# network runs at 618 pictures/s with 8, 521 with 64 (benchmarks/README.md).
_BATCH = 8

# A request that waits in line keeps a stream busy while the caller's thread writes to the store.
_REQUESTS_PER_STREAM = 2

Features = NDArray[np.float32]


class Engine(Protocol):
    """Runs batches of pixels through the frozen part, several at a time."""

    @property
    def batch(self) -> int:
        """Pictures that make a full batch."""

    def start(self, pixels: Pixels, done: Callable[[Features], None]) -> None:
        """Take a batch; blocks while the engine is busy.

        Parameters
        ----------
        pixels : ndarray of shape (n, H, W, 3), uint8
            At most `batch` pictures.
        done : callable
            Gets the features, float32 (n, D), in the caller's thread: from a later `start`, or
            from `wait`.
        """

    def wait(self) -> None:
        """Return when every batch that was started is done; raise what went wrong."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A batch in the engine: the request that computes it, and who gets how many rows of it."""

    request: Any
    count: int
    done: Callable[[Features], None]


class OpenVinoEngine:
    """OpenVINO on the processor, in throughput mode.

    Parameters
    ----------
    model : openvino.Model or Path
        As `regraft.frozen.graph.feature_model` makes it, or the ``.xml`` file of a saved one.
        OpenVINO raises `RuntimeError` where it cannot read that.
    precision : {"bf16", "f32"}
        Arithmetic. A processor without bfloat16 runs in float32 whatever is asked, see
        `precision`.
    """

    batch = _BATCH

    def __init__(self, model: Any, precision: Precision) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        core.set_property({"CACHE_DIR": ""})
        network = core.read_model(model) if isinstance(model, Path) else model
        shape = network.input(0).partial_shape
        height, width = (shape[axis].get_length() for axis in (1, 2))
        network.reshape([_BATCH, height, width, 3])
        can_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision: Precision = "bf16" if precision == "bf16" and can_bf16 else "f32"
        compiled = core.compile_model(
            network,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": self.precision,
            },
        )
        self.size: tuple[int, int] = (height, width)
        self._shape = (_BATCH, height, width, 3)
        self._output = compiled.output(FEATURES)
        self.width: int = self._output.shape[1]
        streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        # No callbacks, hence no AsyncInferQueue: one that refers to the engine is never freed, and
        # one that does not may be freed in a thread of OpenVINO's own, which aborts the process.
        self._idle = [
            compiled.create_infer_request() for _ in range(_REQUESTS_PER_STREAM * streams)
        ]
        self._running: deque[_Running] = deque()

    def start(self, pixels: Pixels, done: Callable[[Features], None]) -> None:
        """Take a batch; see `Engine.start`."""
        count = len(pixels)
        if count < _BATCH:
            padded = np.zeros(self._shape, dtype=np.uint8)
            padded[:count] = pixels
            pixels = padded
        if not self._idle:
            self._finish_oldest()
        request = self._idle.pop()
        request.start_async({0: pixels})
        self._running.append(_Running(request, count, done))

    def wait(self) -> None:
        """Wait for all batches; see `Engine.wait`."""
        while self._running:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        oldest = self._running.popleft()
        oldest.request.wait()
        features = oldest.request.get_tensor(self._output).data[: oldest.count].copy()
        self._idle.append(oldest.request)
        oldest.done(features)


def supports_bf16() -> bool:
    """Whether the CPU engine can compute in bfloat16 on this processor."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def run_all(engine: Engine, pixels: Pixels) -> Features:
    """Run any number of pictures and return their features, float32 (n, D), in order."""
    parts: dict[int, Features] = {}
    for start in range(0, len(pixels), engine.batch):
        stop = start + engine.batch
        engine.start(pixels[start:stop], partial(parts.__setitem__, start))
    engine.wait()
    if not parts:
        raise UserError("pixels must hold at least one picture, got none")
    return np.concatenate([parts[start] for start in sorted(parts)])
