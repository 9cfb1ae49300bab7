"""What every training of layers begins with: a converged head, a lesson, a studio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regraft.heads.linear import LinearHead
from regraft.opening import open_backbone
from regraft.selection import Choice, fit_head
from regraft.strategy import StrategyName
from regraft.symmetry import keeps_class
from regraft.tuning import Lesson, Studio
from regraft.workshop import Lot, Workshop

Rows = NDArray[np.intp]


def first_head(shop: Workshop, lot: Lot, choice: Choice, train: Rows) -> LinearHead:
    """Train a head on the frozen features of the last cut, to convergence."""
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
    train: Rows,
    held_out: Rows,
    test: Rows,
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
    train, held_out, test : ndarray of int
        Which pictures train, say when to stop, and are touched when all is done.
    mirror : bool, optional
        Whether mirrored pictures show the same class; measured where it is not said.
    """
    sources, precision = lot.sources, lot.extraction.precision
    if mirror is None:
        mirror = keeps_class(shop.backbone, lot.device, precision, head, sources, lot.y, held_out)
    return Lesson(
        sources=sources,
        digests=lot.digests,
        y=lot.y,
        n_classes=len(lot.classes),
        train=train,
        held_out=held_out,
        test=test,
        precision=precision,
        mirror=mirror,
    )


def studio_of(shop: Workshop, lot: Lot) -> Studio:
    """Return what trains: the network of the workshop or, from scratch, one with random weights."""
    backbone = shop.backbone
    if shop.options.strategy == "scratch":
        backbone = open_backbone(shop.options, shop.cache)
    return Studio(backbone, lot.device, shop.store, shop.cache, shop.options, shop.progress)
