"""What the estimators share: checks of parameters and labels, choosing and training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from regraft.data.splits import folds
from regraft.errors import UserError
from regraft.heads.linear import LinearHead
from regraft.heads.tables import FeatureTable
from regraft.options import FitOptions
from regraft.selection import Choice, choose, fit_head
from regraft.strategy import FeatureSet

_FOLDS = 5


def seed_of(random_state: int) -> int:
    """Check the seed: NumPy's integers will do, generators and None will not.

    Raises
    ------
    UserError
        If it is no whole number from 0 to 2**32 - 1.
    """
    whole = isinstance(random_state, int | np.integer) and not isinstance(random_state, bool)
    if whole and 0 <= random_state < 2**32:
        return int(random_state)
    raise UserError(
        f"random_state must be a whole number from 0 to 2**32 - 1, got {random_state!r}"
    )


def encoded(estimator: object, y: ArrayLike | None) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Check labels as scikit-learn does, and number the classes.

    Parameters
    ----------
    estimator : object
        Who wants to know.
    y : array-like of shape (n,)
        Labels.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted, in the type of the labels.
    codes : ndarray of shape (n,), int
        Number of each label's class.

    Raises
    ------
    ValueError
        If they are no labels of at least two classes.
    """
    if y is None:
        raise UserError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None"
        )
    labels = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    try:
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise UserError(
            f"labels in y must be of one kind, all text or all numbers: {error}"
        ) from error
    if len(classes) < 2:
        raise UserError(f"y must hold at least two classes, got 1 class: {classes.tolist()}")
    return classes, codes.astype(np.intp)


def choose_and_train(
    table: FeatureTable,
    y: NDArray[np.intp],
    n_classes: int,
    units: NDArray[np.intp],
    sets: Sequence[FeatureSet],
    options: FitOptions,
    strength: float | None = None,
) -> tuple[Choice, LinearHead]:
    """Choose by cross-validation, unless the strength is given, and train on everything.

    Parameters
    ----------
    table : FeatureTable
        Features of n pictures.
    y : ndarray of shape (n,), int
        Number of each picture's class.
    n_classes : int
        Number of classes.
    units : ndarray of shape (n,), int
        Pictures with the same number are held out together.
    sets : sequence of FeatureSet
        Candidates, simplest first; where the strength is given, the first is taken.
    options : FitOptions
        Head, metric, class weight and seed.
    strength : float, optional
        Weight of the penalty.
    """
    rows = np.arange(len(y))
    choice = choose(
        table,
        y,
        n_classes,
        rows=rows,
        sets=sets if strength is None else sets[:1],
        folds=folds(y, units, _FOLDS, options.seed),
        head=options.head,
        metric=options.metric,
        balanced=options.class_weight == "balanced",
        seed=options.seed,
        units=units,
        strengths=None if strength is None else (float(strength),),
    )
    return choice, fit_head(table, y, n_classes, rows, choice)
