"""The named ways to fine-tune, as values: which layers train, for how long, on how many views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regraft.backbones.cuts import Cut
from regraft.errors import UserError
from regraft.strategy import TUNING, Phase, StrategyName

_VIEWS = 8
_LEAST_VIEWS = 2
# Pictures in a batch that are enough to estimate the statistics of a normalisation.
_ENOUGH = 16
# Enough for the rate to rise and fall and the loss to level off on some thousand pictures; random
# weights have farther to go. Decision 7 says what was measured.
_STEPS, _STEPS_FROM_SCRATCH = 600, 1500
_LEAST_PASSES = 8
# A head that has converged is at the minimum of the plain loss: smoothed labels would pull it, and
# the layers below it, away from there.
_SMOOTH_FROM_SCRATCH = 0.1
_LONG = Phase(None, epochs=30, patience=6, still_norms=False)
_FULL = Phase(None, epochs=20, patience=5, still_norms=False)
_SCRATCH = Phase(
    None,
    epochs=40,
    patience=10,
    depth_decay=1.0,
    weight_decay=0.05,
    label_smoothing=_SMOOTH_FROM_SCRATCH,
    still_norms=False,
    guarded=False,
)
_GRADUAL = Phase(None, epochs=12, patience=3, still_norms=False)
_NORM = Phase(None, epochs=30, patience=6, depth_decay=1.0, weight_decay=0.0, what="norm")
_LORA = Phase(None, epochs=30, patience=6, depth_decay=1.0, weight_decay=0.0, what="lora")


def recipe(
    name: StrategyName,
    probes: Sequence[Cut],
    pictures: int,
    *,
    train_from: str | None = None,
    rate: float | None = None,
    epochs: int | None = None,
    views: int | None = None,
    mixup: float = 0.0,
    pull: float = 0.0,
    mirror: bool = True,
) -> tuple[Phase, ...]:
    """Return the phases that a name stands for.

    Parameters
    ----------
    name : str
        One of `regraft.strategy.TUNING`.
    probes : sequence of Cut
        The cuts worth probing, from input to head: where ``gradual`` steps, and where
        ``partial`` begins by default, at the third from the end.
    pictures : int
        Pictures to train on: statistics of batch normalisations stay as they are where there are
        too few.
    train_from : str, optional
        ``partial`` only: the first cut whose layers train.
    rate, epochs, views : optional
        What is asked for instead of what the recipe says; see `regraft.strategy.Phase`.
    mixup, pull : float
        See `regraft.strategy.Phase`.
    mirror : bool
        Whether mirrored pictures show the same class; see `regraft.symmetry`.

    Returns
    -------
    tuple of Phase

    Raises
    ------
    UserError
        If the name stands for no training, or `train_from` does not belong to it.
    """
    if train_from is not None and name != "partial":
        raise UserError(
            f"train_from needs strategy 'partial', got {train_from!r} with {name!r}: set it, or "
            "leave train_from out"
        )
    phases = _phases(name, [cut.name for cut in probes], train_from)
    count = _VIEWS if views is None else views
    made = []
    for phase in phases:
        passes = epochs or _passes(phase, pictures, name)
        made.append(
            replace(
                phase,
                rate=rate,
                epochs=passes,
                patience=max(phase.patience, passes // 2),
                views=count,
                mixup=mixup,
                pull=pull,
                mirror=mirror,
                still_norms=phase.still_norms or min(pictures, phase.batch) < _ENOUGH,
            )
        )
    return tuple(made)


def views_within(pictures: int, bytes_each: int, budget: int) -> int:
    """Return how many views of each picture to use where nobody says: what the disk may hold.

    Where it does not hold a single one, every view is computed anew, and fewer save nothing.

    Parameters
    ----------
    pictures : int
        Pictures to train on.
    bytes_each : int
        Bytes on disk of one view of a picture at the boundary.
    budget : int
        Bytes on disk that may be used.
    """
    held = budget // max(1, pictures * bytes_each)
    return min(_VIEWS, max(_LEAST_VIEWS, held)) if held else _VIEWS


def _passes(phase: Phase, pictures: int, name: StrategyName) -> int:
    """Return how many passes give the steps that are enough; the recipe says the most."""
    steps = _STEPS_FROM_SCRATCH if name == "scratch" else _STEPS
    return min(phase.epochs, max(_LEAST_PASSES, round(steps * phase.batch / max(1, pictures))))


def _phases(name: StrategyName, probes: Sequence[str], train_from: str | None) -> list[Phase]:
    if name == "partial":
        usual = probes[-min(3, len(probes))]
        return [replace(_LONG, train_from=usual if train_from is None else train_from)]
    if name == "gradual":
        starts = list(reversed(probes[max(0, len(probes) - 4) : -1])) or [probes[-1]]
        return [replace(_GRADUAL, train_from=start) for start in starts]
    single = {"full": _FULL, "scratch": _SCRATCH, "norm": _NORM, "lora": _LORA}
    if name not in single:
        raise UserError(
            f"strategy must be one of {', '.join(map(repr, TUNING))} to train layers, got {name!r}"
        )
    return [single[name]]
