"""Which of a network's many cuts are worth probing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from regraft.backbones.cuts import Cut

MOST_PROBES = 12
_LONG = 8
_PARTS = 4


def choose_probes(cuts: Sequence[Cut]) -> tuple[str, ...]:
    """Pick the ends of stages: the last cut of each row of cuts of the same shape.

    A long row, as of the blocks of a transformer, gives one at each quarter. Where there are more
    than `MOST_PROBES`, they are thinned evenly; the last one always stays.

    Parameters
    ----------
    cuts : sequence of Cut
        From input to head.

    Returns
    -------
    tuple of str
        Names, from input to head.

    Examples
    --------
    >>> from regraft.backbones.cuts import TensorSpec
    >>> shapes = [(64, 56, 56)] * 3 + [(128, 28, 28)] * 4
    >>> cuts = [Cut(str(n), (TensorSpec("NCHW", s),)) for n, s in enumerate(shapes)]
    >>> choose_probes(cuts)
    ('2', '6')
    """
    chosen: list[str] = []
    for _, group in itertools.groupby(cuts, key=lambda cut: cut.tensors):
        row = [cut.name for cut in group]
        parts = _PARTS if len(row) >= _LONG else 1
        chosen += [row[part * len(row) // parts - 1] for part in range(1, parts + 1)]
    if len(chosen) > MOST_PROBES:
        step = (len(chosen) - 1) / (MOST_PROBES - 1)
        chosen = [chosen[round(number * step)] for number in range(MOST_PROBES)]
    return tuple(chosen)
