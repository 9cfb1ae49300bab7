"""Which pictures a step sees: decided by the seed, and fetched while the step before runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.data.views import View
from regraft.frozen.activations import Activations
from regraft.frozen.rows import Rows

_AHEAD = 4

_Wanted = Sequence[tuple[View, NDArray[np.intp]]]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The rows of some pictures, and what they show.

    Parameters
    ----------
    rows : ndarray of shape (n, row_bytes), uint8
        See `regraft.frozen.rows`.
    y : ndarray of shape (n,), int
        Columns of the classes.
    """

    rows: Rows
    y: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pictures to train on or to be tested with, at a boundary.

    Parameters
    ----------
    activations : Activations
        Where their rows come from.
    rows : ndarray of int
        Which pictures.
    y : ndarray of shape (number of all pictures,), int
        Columns of the classes.
    units : ndarray of shape (number of all pictures,), int
        Pictures with the same number depend on each other.
    """

    activations: Activations
    rows: NDArray[np.intp]
    y: NDArray[np.intp]
    units: NDArray[np.intp]

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Give the plain view of all pictures once."""
        plain = View(0)
        pieces = [self.rows[at : at + batch] for at in range(0, len(self.rows), batch)]
        return _ahead(self, [(plain, piece) for piece in pieces])

    def shuffled(self, view: View, batch: int, seed: Sequence[int], skip: int) -> Iterator[Batch]:
        """Give one view of all pictures in the order that `seed` decides.

        Parameters
        ----------
        view : View
            Which one.
        batch : int
            Pictures in a batch. What is left over at the end joins the batches before.
        seed : sequence of int
            Decides the order.
        skip : int
            Batches at the beginning to leave out: those of before an interruption.
        """
        order = self.rows[np.random.default_rng(list(seed)).permutation(len(self.rows))]
        pieces = np.array_split(order, steps_of(len(order), batch))
        return _ahead(self, [(view, piece) for piece in pieces[skip:]])


def steps_of(pictures: int, batch: int) -> int:
    """Count the steps of a pass: batches of about the wanted size, none of them much smaller."""
    return max(1, round(pictures / batch))


def _ahead(pictures: Pictures, wanted: _Wanted) -> Iterator[Batch]:
    """Fetch batches in a thread of their own, a few ahead of who uses them."""
    fetcher = _Fetcher(pictures, wanted)
    try:
        for _ in wanted:
            yield fetcher.next()
    finally:
        fetcher.close()


class _Fetcher:
    """A thread that fetches batches, and the queue that they wait in."""

    def __init__(self, pictures: Pictures, wanted: _Wanted) -> None:
        self._pictures = pictures
        self._wanted = wanted
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="regraft-batches", daemon=True)
        self._thread.start()

    def next(self) -> Batch:
        """Return the next batch; raise here what went wrong there."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stop the thread and wait for its end."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            for number, (view, rows) in enumerate(self._wanted, 1):
                if self._stop.is_set():
                    return
                found = self._pictures.activations.read(view, rows.tolist())
                if number == len(self._wanted):
                    self._pictures.activations.flush()
                self._put(Batch(found, self._pictures.y[rows]))
        except BaseException as error:  # handed to the thread that trains, raised there
            self._put(error)

    def _put(self, item: Batch | BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return
