"""One of the heads on a feature matrix, as scikit-learn knows classifiers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from regraft.errors import UserError
from regraft.estimator.training import choose_and_train, encoded, seed_of
from regraft.heads.linear import LinearHead
from regraft.heads.tables import ArrayTable
from regraft.options import ClassWeight, FitOptions
from regraft.strategy import FeatureSet, HeadKind, Metric, Tap

_DEFAULTS = FitOptions()
_COLUMNS = FeatureSet("columns", (Tap("columns"),))


class HeadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """One of regraft's heads on a feature matrix, for instance that of `FrozenFeatures`.

    Parameters
    ----------
    head : {"logistic", "ridge", "prototype"}
        The classifier, see `regraft.heads`.
    strength : float, optional
        Weight of the penalty, above 0, in the unit of the head; a prototype has none. By default
        it is chosen by cross-validation, which also measures how sure the scores of ridge and
        prototype heads may be.
    metric : {"log_loss", "balanced_accuracy"}
        What the strength is chosen by.
    class_weight : {"balanced"} or None
        Let rare classes weigh as much as frequent ones; prototypes do in any case.
    random_state : int
        Decides the folds, 0 to 2**32 - 1.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted, in the type that they were given in.
    strength_ : float
        The weight of the penalty.
    selection_ : regraft.selection.Choice
        How it was chosen, and the evidence, optimistic because it chose.
    head_ : regraft.heads.LinearHead
        The trained head.
    n_features_in_ : int
        Number of columns.

    Examples
    --------
    >>> X = [[0.0, 1.0], [0.1, 1.2], [1.0, 0.1], [1.1, 0.0]]
    >>> HeadClassifier("prototype").fit(X, ["left", "left", "right", "right"]).predict(X)
    array(['left', 'left', 'right', 'right'], dtype='<U5')
    """

    def __init__(
        self,
        head: HeadKind = _DEFAULTS.head,
        strength: float | None = None,
        metric: Metric = _DEFAULTS.metric,
        class_weight: ClassWeight | None = _DEFAULTS.class_weight,
        random_state: int = _DEFAULTS.seed,
    ) -> None:
        self.head = head
        self.strength = strength
        self.metric = metric
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train the head.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features, taken as float32.
        y : array-like of shape (n,)
            Labels: strings, integers or booleans, at least two classes of them.

        Returns
        -------
        HeadClassifier
            Itself.

        Raises
        ------
        ValueError
            If a parameter breaks its rule, X is not a finite matrix, or there are not two
            classes.
        """
        options = FitOptions(
            head=self.head,
            metric=self.metric,
            class_weight=self.class_weight,
            seed=seed_of(self.random_state),
        )
        _check_strength(self.strength, options.head)
        matrix, labels = validate_data(self, X, y, dtype=np.float32)
        classes, codes = encoded(self, labels)
        table = ArrayTable({_COLUMNS.taps[0]: matrix})
        units = np.arange(len(codes))
        choice, head = choose_and_train(
            table, codes, len(classes), units, (_COLUMNS,), options, self.strength
        )
        self.classes_ = classes
        self.selection_ = choice
        self.strength_ = choice.strength
        self.head_ = head
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Give the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Columns in the order of `classes_`; each row sums to 1.
        """
        check_is_fitted(self)
        head: LinearHead = self.head_
        return head.predict_proba(
            validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        )

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Name the most probable class of each row; see `predict_proba`.

        Returns
        -------
        ndarray of shape (n,)
            Labels, of the type of `classes_`.
        """
        columns = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[columns]
        return labels


def _check_strength(strength: float | None, head: HeadKind) -> None:
    if strength is None:
        return
    if head == "prototype":
        raise UserError(
            f"strength must be None for the head 'prototype', which has none, got {strength!r}"
        )
    real = isinstance(strength, int | float | np.number) and not isinstance(strength, bool)
    if not (real and 0 < strength < np.inf):
        raise UserError(f"strength must be None or a finite number above 0, got {strength!r}")
