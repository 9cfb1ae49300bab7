"""Read, decode and run: the part of the frozen pass that keeps every core busy.

Threads read, hash, decode and resize (all of which release the interpreter's lock) while the
engine computes; the caller's thread only collects batches and hands results on. Queues are
bounded, so memory does not grow with the number of pictures.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from regraft.data.images import PictureError
from regraft.frozen.cpu import available_cores
from regraft.frozen.engine import Engine
from regraft.frozen.sources import Preparation, Source

# Prepared pictures that may wait for the engine: 512 of 224 x 224. Deep enough that decoding goes
# on while a network is being converted.
_QUEUE_BYTES = 77 << 20
_LEAST_WAITING = 16


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded picture, ready for the network: ``pixels`` is uint8 (H, W, 3)."""

    index: int
    digest: bytes
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Known:
    """A picture that needs no work: stored before, or the same bytes as another one."""

    index: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A picture that cannot be used; ``digest`` is None where not even its bytes could be read."""

    index: int
    digest: bytes | None
    reason: str


Outcome = Prepared | Known | Failed


@dataclass
class _Shared:
    """What the reading threads have in common."""

    todo: Iterator[int]
    seen: set[bytes] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)


class Reader:
    """Threads that turn sources into outcomes, in about the order given.

    Use it as a context manager and iterate over it; leaving the block stops the threads.

    Parameters
    ----------
    sources : sequence of Source
        The pictures.
    order : sequence of int
        Which of them to read, and in which order.
    preparation : Preparation
        Applied to every picture that is not known.
    is_known : callable
        Says of a digest whether its features are stored.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        order: Sequence[int],
        preparation: Preparation,
        is_known: Callable[[bytes], bool],
    ) -> None:
        self._sources = sources
        self._count = len(order)
        self._preparation = preparation
        self._is_known = is_known
        self._shared = _Shared(iter(order))
        self._queue: queue.Queue[Outcome | BaseException] = queue.Queue(
            max(_LEAST_WAITING, _QUEUE_BYTES // (3 * math.prod(preparation.size)))
        )
        workers = min(available_cores(), max(1, len(order)))
        self._threads = [
            threading.Thread(target=self._work, name=f"regraft-reader-{number}", daemon=True)
            for number in range(workers)
        ]

    def __enter__(self) -> Reader:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shared.stop.set()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[Outcome]:
        for _ in range(self._count):
            outcome = self._queue.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome

    def _work(self) -> None:
        shared = self._shared
        while not shared.stop.is_set():
            with shared.lock:
                index = next(shared.todo, None)
            if index is None:
                return
            try:
                outcome: Outcome | BaseException = self._outcome(index)
            except BaseException as error:  # handed to the caller's thread, raised there
                outcome = error
            self._put(outcome)

    def _put(self, outcome: Outcome | BaseException) -> None:
        while not self._shared.stop.is_set():
            try:
                self._queue.put(outcome, timeout=0.1)
            except queue.Full:
                continue
            return

    def _outcome(self, index: int) -> Outcome:
        digest: bytes | None = None
        try:
            loaded = self._sources[index].load()
            digest = loaded.digest
            if self._is_known(digest) or not self._claim(digest):
                return Known(index, digest)
            return Prepared(index, digest, loaded.prepare(self._preparation))
        except PictureError as error:
            return Failed(index, digest, error.reason)

    def _claim(self, digest: bytes) -> bool:
        with self._shared.lock:
            if digest in self._shared.seen:
                return False
            self._shared.seen.add(digest)
            return True


class Batcher:
    """Fills batches for an engine and collects what comes back.

    Use it as a context manager: when the block ends, however it ends, nothing is under way any
    more, and all that was computed is collected.

    Parameters
    ----------
    engine : Engine
        Runs the batches.
    collect : callable
        Gets a batch's pictures and their features, float32 (n, D), in the caller's thread.
    """

    def __init__(
        self,
        engine: Engine,
        collect: Callable[[Sequence[Known], NDArray[np.float32]], None],
    ) -> None:
        self._engine = engine
        self._collect = collect
        self._waiting: list[Prepared] = []
        self._done: list[tuple[list[Known], NDArray[np.float32]]] = []

    def __enter__(self) -> Batcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.wait()
        self._drain()

    def add(self, picture: Prepared) -> None:
        """Take a picture; starts a batch when it is full."""
        self._waiting.append(picture)
        if len(self._waiting) == self._engine.batch:
            self._start()
            self._drain()

    def finish(self) -> None:
        """Start what is left; the end of the block waits for it."""
        if self._waiting:
            self._start()

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        pixels = np.stack([picture.pixels for picture in batch])
        names = [Known(picture.index, picture.digest) for picture in batch]
        self._engine.start(pixels, lambda features: self._done.append((names, features)))

    def _drain(self) -> None:
        """Collect what is done: after the next batch was started, so that the engine has work."""
        done, self._done = self._done, []
        for names, features in done:
            self._collect(names, features)
