"""Which sets of features are worth trying on any network."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.strategy import FeatureSet, Tap


def candidate_sets(cuts: Sequence[str]) -> tuple[FeatureSet, ...]:
    """Name the few sets of taps that are worth trying on any network, simplest first.

    Few, because the best of many is the luckiest. They span what pictures differ in: like the
    source task (the last layer) or unlike it (several depths, or the middle without the last),
    told apart by what is there (averages), by a part of the picture (maxima), by how it varies
    (standard deviations) or by where it is (grids). A frozen pass takes what these sets read and
    nothing else.

    Parameters
    ----------
    cuts : sequence of str
        Names of the cuts from input to output; at least one.

    Returns
    -------
    tuple of FeatureSet
        Without repetitions, which short networks would give.

    Examples
    --------
    >>> for features in candidate_sets(["a", "b", "c", "d"])[:3]:
    ...     print(features.name, features.cuts)
    last ('d',)
    last-2 ('c', 'd')
    last-3 ('b', 'c', 'd')
    """
    last, avg = cuts[-1], [Tap(cut) for cut in cuts]
    grids = [Tap(cut, "grid") for cut in cuts[-3:-1]]
    proposals = {
        "last": avg[-1:],
        "last-2": avg[-2:],
        "last-3": avg[-3:],
        "last-std": [Tap(last), Tap(last, "std")],
        "last-max": [Tap(last), Tap(last, "max")],
        "all": avg,
        "last-grid": [Tap(last), *grids[-1:]],
        "all-std": [*avg, *(Tap(cut, "std") for cut in cuts[-4:])],
        "middle-grid": grids,
    }
    kept: dict[tuple[Tap, ...], str] = {}
    for name, taps in proposals.items():
        if taps:
            kept.setdefault(tuple(taps), name)
    return tuple(FeatureSet(name, taps) for taps, name in kept.items())
