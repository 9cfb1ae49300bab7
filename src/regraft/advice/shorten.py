"""The network without the layers in the way: taken where a head on it does at least as well.

The candidates of a head hold no middle depth alone, as the best of many is the luckiest. Where the
depth curve points to one, all that a fit compares that is told this depth competes too, which
takes another pass, of the shorter network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from regraft.advice.depth import DepthCurve, depth_curve, shorter_sets
from regraft.advice.probe import exam_of
from regraft.heads.trials import NO_DIFFERENCE
from regraft.selection import Candidate, Choice
from regraft.workshop import Lot, Workshop


@dataclass(frozen=True, slots=True, eq=False)
class Shortened:
    """What a head reads, and how much of the network that takes.

    Parameters
    ----------
    lot : Lot
        The pictures, with all that the choice reads.
    choice : Choice
        What a head reads. Its evidence is of sets on the whole network and, where a shorter one
        was compared, of those on that.
    depth : str or None
        The last cut that is kept; None where all are.
    why_whole : str or None
        Why all are, where the depth curve points to an earlier one.
    """

    lot: Lot
    choice: Choice
    depth: str | None
    why_whole: str | None = None


def shortened(
    shop: Workshop, lot: Lot, choice: Choice, ends: float, curve: DepthCurve | None = None
) -> Shortened:
    """Compare a shorter network too, where the depth curve points to one.

    Parameters
    ----------
    shop, lot : Workshop and Lot
        The network, the settings and the pictures. Where they name a depth, that is kept to.
    choice : Choice
        What a head on the whole network reads.
    ends : float
        When time is up, of `time.perf_counter`; without time for another pass, nothing is left out.
    curve : DepthCurve, optional
        The depth curve; measured where it is not given.
    """
    given = shop.options.depth
    if given is not None:
        return Shortened(lot, choice, given)
    curve = curve or depth_curve(exam_of(shop, lot), shop.cuts, ())
    shorter = shorter_sets(curve, shop.cuts)
    if not shorter:
        return Shortened(lot, choice, None)
    assert curve.best is not None, "there are shorter sets"
    depth = curve.best.features.name
    more = shop.with_taps(lot, [tap for features in shorter for tap in features.taps], ends)
    if more is None:
        why = f"there was no time to compare heads on the network up to {depth}"
        return Shortened(lot, choice, None, why)
    picked = shop.choose(more, shorter)
    duel = shop.choose(more, (picked.features, choice.features)).evidence
    evidence = (*choice.evidence, *picked.evidence)
    if not duel or not does_as_well(*duel):
        why = f"the best head on the network up to {depth} did worse on the same pictures"
        return Shortened(more, replace(choice, evidence=evidence), None, why)
    return Shortened(more, replace(picked, evidence=evidence), depth)


def does_as_well(one: Candidate, other: Candidate) -> bool:
    """Whether a set is no worse than another; who left after the first heat is clearly worse."""
    if one.n != other.n:
        return one.n > other.n
    return one.behind <= other.behind + NO_DIFFERENCE
