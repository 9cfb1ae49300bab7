"""Trains the contenders of a race on its folds, as a fit would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regraft.advise.contenders import Contender
from regraft.advise.race import Array, Heat, Price
from regraft.classroom import beginning, first_head, lesson_on, studio_of
from regraft.heads.linear import LinearHead, softmax
from regraft.opening import open_backbone
from regraft.options import FitOptions
from regraft.selection import Choice, fit_head
from regraft.tuning import Lesson, Studio
from regraft.workshop import Lot, Workshop

_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class StudioCoach:
    """Trains in a studio; see `regraft.advise.race.Coach`.

    Parameters
    ----------
    shop : Workshop
        The network and the settings.
    lot : Lot
        The pictures.
    choice : Choice
        What the head of the frozen network reads.
    last : Choice
        What a head reads before layers train: the last cut.
    """

    shop: Workshop
    lot: Lot
    choice: Choice
    last: Choice
    _heads: dict[int, LinearHead] = field(default_factory=dict)
    _mirror: dict[str, bool] = field(default_factory=dict)
    _spare: list[Path] = field(default_factory=list)

    def price(self, contender: Contender, heat: Heat) -> Price:
        """Estimate what it costs."""
        studio, lesson, head = self._prepared(contender, heat, None)
        found = studio.price(lesson, head)
        return Price(found.fixed, found.per_pass, found.passes)

    def train(
        self, contender: Contender, heat: Heat, passes: int, over: Callable[[], bool]
    ) -> Array | None:
        """Train and judge a contender."""
        studio, lesson, head = self._prepared(contender, heat, passes)
        self._spare.append(studio.checkpoint(lesson, head))
        try:
            tuned = studio.tune(lesson, head, over)
        except KeyboardInterrupt:
            if over():
                return None
            raise
        if not tuned.improved:
            return self.frozen(heat)
        preprocess = self.shop.backbone.preprocess
        found = []
        for start in range(0, len(heat.judged), _AT_ONCE):
            rows = heat.judged[start : start + _AT_ONCE]
            pixels = np.stack([lesson.sources[row].load().prepare(preprocess) for row in rows])
            found.append(softmax(tuned.scores(pixels)))
        return np.concatenate(found).astype(np.float64)

    def frozen(self, heat: Heat) -> Array:
        """Probabilities that the frozen network with the best head gives."""
        lot, taps = self.lot, self.choice.features.taps
        rows = np.sort(np.concatenate([heat.train, heat.held_out]))
        head = fit_head(lot.table, lot.y, len(lot.classes), rows, self.choice, self.shop.progress)
        return head.predict_proba(lot.table.read(taps, heat.judged))

    def forget(self) -> None:
        """Delete what an interrupted race would have gone on from."""
        from regraft.frozen.files import forget_checkpoint

        for path in self._spare:
            forget_checkpoint(path)

    def _prepared(
        self, contender: Contender, heat: Heat, passes: int | None
    ) -> tuple[Studio, Lesson, LinearHead]:
        options = options_of(self.shop.options, contender, passes)
        shop = replace(self.shop, options=options)
        if contender.strategy == "scratch":
            shop = replace(shop, backbone=open_backbone(options, shop.cache))
        frozen = self._head(heat)
        empty = np.empty(0, np.intp)
        lesson = lesson_on(
            self.shop,
            self.lot,
            frozen,
            heat.train,
            heat.held_out,
            empty,
            mirror=self._mirror.get("known"),
        )
        self._mirror["known"] = lesson.mirror
        return studio_of(shop, self.lot), lesson, beginning(frozen, contender.strategy)

    def _head(self, heat: Heat) -> LinearHead:
        key = id(heat)
        if key not in self._heads:
            self._heads[key] = first_head(self.shop, self.lot, self.last, heat.train)
        return self._heads[key]


def options_of(options: FitOptions, contender: Contender, passes: int | None) -> FitOptions:
    """Return the settings of a fit that trains as a contender does."""
    return replace(
        options,
        strategy=contender.strategy,
        train_from=contender.train_from,
        epochs=passes,
        depth=None,
        budget=None,
        head="logistic",
    )


def heats_of(train: NDArray[np.intp], dealt: NDArray[np.intp]) -> tuple[Heat, ...]:
    """Make the folds of a race: one is judged, the next one says when to stop.

    Parameters
    ----------
    train : ndarray of int
        The pictures that may be used.
    dealt : ndarray of shape (len(train),), int
        Fold of each; -1: always trains.

    Returns
    -------
    tuple of Heat
        None where there are fewer than three folds.
    """
    numbers = [int(k) for k in np.unique(dealt[dealt >= 0])]
    if len(numbers) < 3:
        return ()
    following = [*numbers[1:], numbers[0]]
    return tuple(
        Heat(
            train[(dealt != judged) & (dealt != stopping)],
            train[dealt == stopping],
            train[dealt == judged],
        )
        for judged, stopping in zip(numbers, following, strict=True)
    )
