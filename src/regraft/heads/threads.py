"""Many small fits side by side, each on one thread of the linear algebra library.

A matrix of some hundred rows is too small to be shared out: with several threads on it the
library spends its time waiting, and the result depends on their number.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from regraft.frozen.cpu import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 8


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Hold the linear algebra library to one thread per caller."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def map_side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], most_workers: int = MOST_WORKERS
) -> Iterator[Result]:
    """Apply a function to every item, on as many processors as there are.

    Parameters
    ----------
    function : callable
        Takes one item; must be safe to run in several threads.
    items : sequence
        What to apply it to.
    most_workers : int
        Largest number of threads, where memory limits them.

    Yields
    ------
    The results in the order of the items, as they come.
    """
    workers = min(processors(), len(items), most_workers)
    with one_thread_each():
        if workers < 2:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(function, items)


def processors() -> int:
    """Count the processors that this process may use, up to as many as memory allows for."""
    if sys.platform == "linux":
        return min(MOST_WORKERS, available_cores())
    return min(MOST_WORKERS, os.cpu_count() or 1)
