"""Frozen network and head together, as scikit-learn knows classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from regraft.candidates import candidate_sets
from regraft.data.splits import units_of
from regraft.estimator.inputs import PicturePass, of_pictures, picture_sources, row_runs
from regraft.estimator.training import choose_and_train, encoded, seed_of
from regraft.frozen.files import cache_dir
from regraft.frozen.plan import default_plan
from regraft.frozen.table import StoredFeatures
from regraft.heads.linear import LinearHead
from regraft.opening import open_backbone, probes_up_to
from regraft.options import ClassWeight, DeviceName, FitOptions, Overrides, PrecisionChoice
from regraft.selection import Choice
from regraft.strategy import HeadKind, Metric, Precision, Strategy

_DEFAULTS = FitOptions()


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify pictures by a head on the features of a frozen pre-trained network.

    What the head reads and how strongly it is penalised is chosen by cross-validation inside
    `fit`, see `regraft.selection`.

    Parameters
    ----------
    backbone : str
        The source network: ``ZOO:NAME``, ``ZOO:NAME@FILE``, ``file:PATH`` or a bundle's folder.
    pretrained : bool
        False: the architecture alone, with random weights that `random_state` decides.
    overrides : regraft.Overrides
        What is to be changed in how pictures are prepared for it.
    depth : str, optional
        The last cut that the head may read; what comes after it is left out.
    head : {"logistic", "ridge", "prototype"}
        The classifier on the frozen features.
    metric : {"log_loss", "balanced_accuracy"}
        What the choice of features and strength is made by.
    class_weight : {"balanced"} or None
        Let rare classes weigh as much as frequent ones.
    precision : {"auto", "bf16", "f32"}
        Arithmetic of the frozen pass. ``"auto"`` is settled in `fit`, see
        `regraft.frozen.precision`.
    device : {"auto", "cpu", "cuda"}
        Where the frozen pass runs.
    random_state : int
        Decides the folds, 0 to 2**32 - 1.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted, in the type that they were given in.
    strategy_ : regraft.strategy.Strategy
        What was chosen.
    selection_ : regraft.selection.Choice
        The evidence for it, optimistic because it chose.
    head_ : regraft.heads.LinearHead
        The trained head.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> cross_val_score(TransferClassifier(), paths, labels)  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: str = _DEFAULTS.backbone,
        pretrained: bool = _DEFAULTS.pretrained,
        overrides: Overrides = _DEFAULTS.overrides,
        depth: str | None = _DEFAULTS.depth,
        head: HeadKind = _DEFAULTS.head,
        metric: Metric = _DEFAULTS.metric,
        class_weight: ClassWeight | None = _DEFAULTS.class_weight,
        precision: PrecisionChoice = _DEFAULTS.precision,
        device: DeviceName = _DEFAULTS.device,
        random_state: int = _DEFAULTS.seed,
    ) -> None:
        self.backbone = backbone
        self.pretrained = pretrained
        self.overrides = overrides
        self.depth = depth
        self.head = head
        self.metric = metric
        self.class_weight = class_weight
        self.precision = precision
        self.device = device
        self.random_state = random_state

    def fit(self, X: Sequence[Any], y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Learn from labelled pictures.

        Parameters
        ----------
        X : sequence of length N
            Paths, PIL images, or a uint8 array of shape (N, H, W, 3).
        y : array-like of shape (N,)
            Labels: strings, integers or booleans, at least two classes of them.
        groups : array-like of shape (N,), optional
            Pictures of one group are held out together when candidates are compared, and so are
            copies of one picture in any case. None, NaN: belongs to no group.

        Returns
        -------
        TransferClassifier
            Itself.

        Raises
        ------
        UserError
            If a parameter breaks its rule, a picture cannot be read (every one is named), or
            there are not two classes.
        """
        options = self._options()
        backbone = open_backbone(options, cache_dir())
        probes = probes_up_to(backbone, options.depth)
        sources = picture_sources(X)
        classes, codes = encoded(self, y)
        check_consistent_length(sources, codes, groups)

        def train(
            table: StoredFeatures, precision: Precision
        ) -> tuple[Choice, LinearHead, Precision]:
            sets = candidate_sets(probes)
            units = _units(table.digests, groups)
            return *choose_and_train(table, codes, len(classes), units, sets, options), precision

        plan = default_plan(probes)
        frozen = PicturePass(backbone, plan, options.device, options.precision)
        choice, head, precision = frozen.use(sources, train)
        self.classes_ = classes
        self.selection_ = choice
        self.head_ = head
        self.strategy_ = Strategy(
            "features", choice.features, head.kind, choice.strength, precision
        )
        return self

    def predict_proba(self, X: Sequence[Any]) -> NDArray[np.float64]:
        """Give the probability of each class.

        Parameters
        ----------
        X : sequence of length N
            As for `fit`.

        Returns
        -------
        ndarray of shape (N, n_classes), float64
            Columns in the order of `classes_`; each row sums to 1.

        Raises
        ------
        UserError
            If a picture cannot be read: every one of them is named.
        """
        check_is_fitted(self)
        head, strategy = self.head_, self.strategy_
        backbone = open_backbone(self._options(), cache_dir())

        def judge(table: StoredFeatures, _: Precision) -> NDArray[np.float64]:
            taps = strategy.features.taps
            parts = [head.predict_proba(table.read(taps, rows)) for rows in row_runs(table.n)]
            return np.concatenate(parts)

        plan = default_plan(probes_up_to(backbone, self.depth))
        frozen = PicturePass(backbone, plan, self.device, strategy.precision)
        return frozen.use(picture_sources(X), judge)

    def predict(self, X: Sequence[Any]) -> NDArray[Any]:
        """Name the most probable class of each picture; see `predict_proba`.

        Returns
        -------
        ndarray of shape (N,)
            Labels, of the type of `classes_`.
        """
        columns = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[columns]
        return labels

    def _options(self) -> FitOptions:
        return FitOptions(
            backbone=self.backbone,
            pretrained=self.pretrained,
            overrides=self.overrides,
            depth=self.depth,
            head=self.head,
            metric=self.metric,
            class_weight=self.class_weight,
            precision=self.precision,
            device=self.device,
            seed=seed_of(self.random_state),
        )

    def __sklearn_tags__(self) -> Tags:
        return of_pictures(super().__sklearn_tags__())


def _units(digests: Sequence[bytes], groups: ArrayLike | None) -> NDArray[np.intp]:
    """Give numbers to what is held out together: the copies of a picture, and groups."""
    if groups is None:
        return units_of([None] * len(digests), digests)
    # As objects: NumPy would turn mixed values, and what is missing among text, into text.
    values = column_or_1d(groups, dtype=object)
    return units_of([None if _is_missing(value) else value for value in values], digests)


def _is_missing(value: object) -> bool:
    """Whether a value is None, NaN or pandas' NA, which is neither equal to itself nor not."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True
