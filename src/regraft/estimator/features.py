"""The features of a frozen network, as scikit-learn knows transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from regraft.backbones.base import Backbone
from regraft.errors import UserError
from regraft.estimator.inputs import PicturePass, of_pictures, picture_sources, plan_for
from regraft.frozen.files import cache_dir
from regraft.opening import open_backbone
from regraft.options import DeviceName, FitOptions, Overrides, PrecisionChoice
from regraft.strategy import POOLINGS, Pooling, Tap

_DEFAULTS = FitOptions()


class FrozenFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn pictures into the features of a frozen pre-trained network.

    Parameters
    ----------
    backbone : str
        The source network: ``ZOO:NAME``, ``ZOO:NAME@FILE``, ``file:PATH`` or a bundle's folder.
    pretrained : bool
        False: the architecture alone, with random weights.
    overrides : regraft.Overrides
        What is to be changed in how pictures are prepared for it.
    cuts : sequence of str, optional
        Where the network is cut; the vectors are laid side by side in this order. By default
        only at the last cut, just before the network's own head.
    pooling : {"avg", "max", "std", "grid"}
        How a map becomes a vector, see `regraft.strategy.Tap`.
    precision : {"auto", "bf16", "f32"}
        Arithmetic of the frozen pass. ``"auto"`` is settled in `fit`, see
        `regraft.frozen.precision`.
    device : {"auto", "cpu", "cuda"}
        Where the frozen pass runs.

    Attributes
    ----------
    taps_ : tuple of regraft.strategy.Tap
        What `transform` gives, in the order of its columns.
    precision_ : {"bf16", "f32"}
        The arithmetic that was settled on.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(FrozenFeatures(), KNeighborsClassifier())
    """

    def __init__(
        self,
        backbone: str = _DEFAULTS.backbone,
        pretrained: bool = _DEFAULTS.pretrained,
        overrides: Overrides = _DEFAULTS.overrides,
        cuts: Sequence[str] | None = None,
        pooling: Pooling = "avg",
        precision: PrecisionChoice = _DEFAULTS.precision,
        device: DeviceName = _DEFAULTS.device,
    ) -> None:
        self.backbone = backbone
        self.pretrained = pretrained
        self.overrides = overrides
        self.cuts = cuts
        self.pooling = pooling
        self.precision = precision
        self.device = device

    def fit(self, X: Sequence[Any], y: object = None) -> Self:
        """Settle the precision by these pictures, and put their features into the store.

        Parameters
        ----------
        X : sequence of length N
            Paths, PIL images, or a uint8 array of shape (N, H, W, 3).
        y : object
            Not used.

        Returns
        -------
        FrozenFeatures
            Itself.

        Raises
        ------
        UserError
            If a parameter breaks its rule, or a picture cannot be read: every one is named.
        """
        options = self._options()
        backbone = open_backbone(options, cache_dir())
        taps = _taps(backbone, self.cuts, self.pooling)
        plan = plan_for(backbone, taps)
        frozen = PicturePass(backbone, plan, options.device, options.precision)
        self.precision_ = frozen.use(picture_sources(X), lambda _, precision: precision)
        self.taps_ = taps
        return self

    def transform(self, X: Sequence[Any]) -> NDArray[np.float32]:
        """Give the features of pictures.

        Parameters
        ----------
        X : sequence of length N
            As for `fit`.

        Returns
        -------
        ndarray of shape (N, D), float32

        Raises
        ------
        UserError
            If a picture cannot be read: every one of them is named.
        """
        check_is_fitted(self)
        backbone, taps = open_backbone(self._options(), cache_dir()), self.taps_
        frozen = PicturePass(backbone, plan_for(backbone, taps), self.device, self.precision_)
        return frozen.use(picture_sources(X), lambda table, _: table.read(taps, np.arange(table.n)))

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Name the columns: cut, pooling and number within the vector.

        Parameters
        ----------
        input_features : object
            Not used: pictures have no names of columns.

        Returns
        -------
        ndarray of shape (D,), object
            Strings such as ``"bn2_avg_0"``.
        """
        check_is_fitted(self)
        plan = plan_for(open_backbone(self._options(), cache_dir()), self.taps_)
        names = [
            f"{tap.cut}_{tap.pooling}_{column}"
            for tap in self.taps_
            for column in range(plan.tap_width(tap))
        ]
        return np.array(names, dtype=object)

    def _options(self) -> FitOptions:
        return FitOptions(
            backbone=self.backbone,
            pretrained=self.pretrained,
            overrides=self.overrides,
            precision=self.precision,
            device=self.device,
        )

    def __sklearn_tags__(self) -> Tags:
        return of_pictures(super().__sklearn_tags__())


def _taps(backbone: Backbone, cuts: Sequence[str] | None, pooling: Pooling) -> tuple[Tap, ...]:
    legal = [cut.name for cut in backbone.cuts]
    chosen = [backbone.probes[-1].name] if cuts is None else cuts
    if pooling not in POOLINGS:
        raise UserError(f"pooling must be one of {', '.join(map(repr, POOLINGS))}, got {pooling!r}")
    known = not isinstance(chosen, str) and all(cut in legal for cut in chosen)
    if not known or not len(chosen) or len(set(chosen)) < len(chosen):
        raise UserError(
            f"cuts must be None or a sequence of {', '.join(map(repr, legal))}, each at most "
            f"once, got {cuts!r}"
        )
    named = {cut.name: cut for cut in backbone.cuts}
    flat = [cut for cut in chosen if pooling not in named[cut].poolings]
    if flat:
        raise UserError(
            f"pooling must be one of {', '.join(map(repr, named[flat[0]].poolings))} at the cut "
            f"{flat[0]!r}, which is no map, got {pooling!r}"
        )
    return tuple(Tap(str(cut), pooling) for cut in chosen)
