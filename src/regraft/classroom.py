"""What every training of layers begins with: pictures set aside, a converged head, a lesson."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.data.splits import folds
from regraft.errors import UserError
from regraft.heads.linear import LinearHead
from regraft.heads.scaling import scaling_of
from regraft.opening import open_untrained
from regraft.selection import Choice, fit_head
from regraft.strategy import StrategyName
from regraft.symmetry import keeps_class
from regraft.train.reading import Reading, plain_reading
from regraft.tuning import Lesson, Studio
from regraft.workshop import FOLDS, Lot, Workshop

Rows = NDArray[np.intp]

_MANY = 2000  # pictures of which a tenth is enough to say when to stop
_ENOUGH = 5000  # pictures that say it as well as more would


def held_out_of(lot: Lot, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Set pictures aside that say when to stop: the validation part, or a fold of train.

    Returns
    -------
    train, held_out : ndarray of int
        Which pictures train, and which say when to stop.

    Raises
    ------
    UserError
        If no picture can be spared.
    """
    splits = lot.splits
    if len(splits.val):
        return splits.train, splits.val
    plenty = max(2 * FOLDS, len(splits.train) // _ENOUGH)
    count = FOLDS if len(splits.train) < _MANY else plenty
    fold = folds(lot.y[splits.train], splits.units[splits.train], count, seed)
    train, held_out = splits.train[fold != 0], splits.train[fold == 0]
    if not len(held_out):
        raise UserError(
            "to train layers, some class needs two pictures in train (which are no copies or of "
            "one group), one of which says when to stop; add pictures, give a val/ part, or use "
            "--strategy features"
        )
    return train, held_out


def first_head(shop: Workshop, lot: Lot, choice: Choice, train: Rows) -> LinearHead:
    """Train a head on frozen features, to convergence."""
    return fit_head(lot.table, lot.y, len(lot.classes), train, choice, shop.progress)


def beginning(head: LinearHead, strategy: StrategyName) -> LinearHead:
    """Return the head that training begins with: to random weights it has nothing to say."""
    if strategy != "scratch":
        return head
    return LinearHead("logistic", np.zeros_like(head.weight), np.zeros_like(head.bias))


def lesson_on(
    shop: Workshop,
    lot: Lot,
    head: LinearHead,
    choice: Choice,
    train: Rows,
    held_out: Rows,
    test: Rows,
    strategy: StrategyName,
    *,
    mirror: bool | None = None,
) -> Lesson:
    """Say what to train on.

    Parameters
    ----------
    shop : Workshop
        The network and the settings.
    lot : Lot
        The pictures.
    head : LinearHead
        Trained on the frozen features of `train`.
    choice : Choice
        What it reads.
    train, held_out, test : ndarray of int
        Which pictures train, say when to stop, and are touched when all is done.
    strategy : str
        How to train.
    mirror : bool, optional
        Whether mirrored pictures show the same class; measured where it is not said.
    """
    sources, precision, taps = lot.sources, lot.extraction.precision, choice.features.taps
    if mirror is None:
        mirror = keeps_class(
            shop.backbone,
            lot.device,
            precision,
            head,
            taps,
            sources,
            lot.y,
            lot.splits.units,
            held_out,
        )
    return Lesson(
        sources=sources,
        digests=lot.digests,
        y=lot.y,
        units=lot.splits.units,
        n_classes=len(lot.classes),
        train=train,
        held_out=held_out,
        test=test,
        precision=precision,
        mirror=mirror,
        reading=_reading(lot, choice, train, strategy),
    )


def studio_of(shop: Workshop, lot: Lot) -> Studio:
    """Return what trains: the network of the workshop or, from scratch, one with random weights."""
    backbone = shop.backbone
    if shop.options.strategy == "scratch":
        backbone = open_untrained(shop.options, backbone, shop.cache)
    return Studio(backbone, lot.device, shop.store, shop.cache, shop.options, shop.progress)


def _reading(lot: Lot, choice: Choice, train: Rows, strategy: StrategyName) -> Reading:
    """Return what the head reads, in the units and with the penalty that it was trained with."""
    taps = choice.features.taps
    widths = [lot.table.dim(tap) for tap in taps]
    if strategy == "scratch":
        return plain_reading(taps, sum(widths))
    scaling = scaling_of(lot.table.read(taps, train), widths)
    return Reading(taps, scaling, choice.strength / len(train))
