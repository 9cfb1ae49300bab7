"""The network without the layers in the way: taken where a head on it does at least as well.

The candidates of a head hold no middle depth alone, as the best of many is the luckiest. Where the
depth curve points to one, all that a fit compares that is told this depth competes too, which
takes another pass, of the shorter network.
"""

from __future__ import annotations

from dataclasses import dataclass

from regraft.advice.depth import DepthCurve, depth_curve, shorter_sets
from regraft.advice.probe import exam_of
from regraft.heads.trials import NO_DIFFERENCE
from regraft.selection import Choice
from regraft.strategy import FeatureSet
from regraft.workshop import Lot, Workshop


@dataclass(frozen=True, slots=True, eq=False)
class Shortened:
    """What a head reads, and how much of the network that takes.

    Parameters
    ----------
    lot : Lot
        The pictures, with all that the choice reads.
    choice : Choice
        What a head reads; its evidence is of sets on that network alone.
    depth : str or None
        The last cut that is kept; None where all are.
    sentence : str or None
        What came of a comparison, for people; None where there was nothing to compare.
    """

    lot: Lot
    choice: Choice
    depth: str | None
    sentence: str | None = None


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
        return Shortened(lot, choice, None, f"No layers are left out: {why}.")
    picked = shop.choose(more, shorter)
    duel = shop.choose(more, (picked.features, choice.features))
    if not duel.evidence:
        why = "the pictures are too few to compare heads on a shorter network"
        return Shortened(lot, choice, None, f"No layers are left out: {why}.")
    its, mine = duel.evidence
    figures = f"log loss {its.log_loss:.3f} against {mine.log_loss:.3f}"
    figures += f" on {its.n} pictures" if its.n == mine.n else ""
    if not does_as_well(duel, picked.features):
        why = f"the best head on the network up to {depth} did worse ({figures})"
        return Shortened(lot, choice, None, f"No layers are left out: {why}.")
    kept = (
        f"The network is kept up to {depth} and what lies above is left out: a head on that does "
        f"at least as well as one on all of it ({figures}), and it takes less to run."
    )
    return Shortened(more, picked, depth, kept)


def does_as_well(duel: Choice, features: FeatureSet) -> bool:
    """Whether the first of two sets is no worse than the other, where they were all there was.

    Where one of them left after the first heat it is clearly worse, and the other one was chosen.
    """
    one, other = duel.evidence
    if one.n != other.n:
        return duel.features == features
    return one.behind <= other.behind + NO_DIFFERENCE
