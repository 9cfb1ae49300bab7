"""Which sets of features are worth trying on any network."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.backbones.cuts import Cut
from regraft.strategy import FeatureSet, Pooling, Tap


def candidate_sets(cuts: Sequence[Cut]) -> tuple[FeatureSet, ...]:
    """Name the few sets of taps that are worth trying on any network, simplest first.

    Few, because the best of many is the luckiest. They span what pictures differ in: like the
    source task (the last layer) or unlike it (several depths, or the middle without the last),
    told apart by what is there (averages), by a part of the picture (maxima), by how it varies
    (standard deviations) or by where it is (grids). A frozen pass takes what these sets read and
    nothing else.

    Parameters
    ----------
    cuts : sequence of Cut
        The cuts worth probing, from input to output; at least one. Where the last one is a vector
        (the class token of a transformer), maxima and deviations are those of the map before it.

    Returns
    -------
    tuple of FeatureSet
        Without repetitions, which short networks would give.

    Examples
    --------
    >>> from regraft.backbones.cuts import TensorSpec
    >>> cuts = [Cut(name, (TensorSpec("NCHW", (8, 7, 7)),)) for name in "abcd"]
    >>> for features in candidate_sets(cuts)[:3]:
    ...     print(features.name, features.cuts)
    last ('d',)
    last-2 ('c', 'd')
    last-3 ('b', 'c', 'd')
    """
    avg = [Tap(cut.name) for cut in cuts]
    maps = [cut for cut in cuts if len(cut.poolings) > 1]
    before = [cut for cut in maps if cut is not cuts[-1]]
    grids = _pooled(before[-2:], "grid")
    proposals = {
        "last": avg[-1:],
        "last-2": avg[-2:],
        "last-3": avg[-3:],
        "last-std": [avg[-1], *_pooled(maps[-1:], "std")],
        "last-max": [avg[-1], *_pooled(maps[-1:], "max")],
        "all": avg,
        "last-grid": [avg[-1], *grids[-1:]],
        "all-std": [*avg, *_pooled(maps[-4:], "std")],
        "middle-grid": grids,
    }
    kept: dict[tuple[Tap, ...], str] = {}
    for name, taps in proposals.items():
        if taps:
            kept.setdefault(tuple(taps), name)
    return tuple(FeatureSet(name, taps) for taps, name in kept.items())


def _pooled(cuts: Sequence[Cut], pooling: Pooling) -> list[Tap]:
    return [Tap(cut.name, pooling) for cut in cuts if pooling in cut.poolings]
