"""Trains the contenders of a race on its folds, as a fit would; see `regraft.advice.coaching`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regraft.advice.coaching import Answers, Array, FailedError, Heat
from regraft.advice.contenders import Contender
from regraft.classroom import beginning, first_head, lesson_on, studio_of
from regraft.errors import UserError
from regraft.heads.linear import LinearHead, softmax
from regraft.options import FitOptions
from regraft.price import Pace, Price
from regraft.selection import Choice
from regraft.strategy import FeatureSet
from regraft.tuning import Lesson, OutOfTime, Studio
from regraft.workshop import Lot, Workshop

FAILURES = (UserError, RuntimeError, MemoryError)
"""What may go wrong with one contender, such as too little memory; the others go on."""
_AT_ONCE, _TIMED = 64, 8
_BUILD = 6.0  # seconds to make a graph of a trained network, compile it, and write a bundle
_LEAST_JUDGED = 5  # pictures of a fold; fewer decide nothing


@dataclass(frozen=True, slots=True, eq=False)
class StudioCoach:
    """Trains in a studio; see `regraft.advice.coaching.Coach`.

    Parameters
    ----------
    shop : Workshop
        The network and the settings.
    lot : Lot
        The pictures.
    choice : Choice
        What the head of the frozen network reads.
    """

    shop: Workshop
    lot: Lot
    choice: Choice
    _heads: dict[tuple[FeatureSet, float, int], LinearHead] = field(default_factory=dict)
    _frozen: dict[tuple[int, bool], Array] = field(default_factory=dict)
    _mirror: dict[str, bool] = field(default_factory=dict)
    _paces: dict[Contender, tuple[Pace, ...]] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    _spare: list[Path] = field(default_factory=list)

    def price(self, contender: Contender, heat: Heat, over: Callable[[], bool]) -> Price | None:
        """Estimate what it costs; None where time is up before that is known."""
        with _failures():
            prepared = self._prepared(contender, heat, None, over, any_head=True)
            if prepared is None:
                return None
            studio, lesson, head = prepared
            if contender not in self._paces:
                try:
                    self._paces[contender] = studio.paces(lesson, head, over)
                except OutOfTime:
                    return None
            found = studio.price(lesson, head, self._paces[contender])
            fixed = found.fixed + len(heat.judged) * self._seconds_to_judge(lesson, heat)
        return Price(fixed, found.per_pass, found.passes)

    def train(
        self, contender: Contender, heat: Heat, passes: int, over: Callable[[], bool]
    ) -> Answers | None:
        """Train and judge a contender."""
        with _failures():
            prepared = self._prepared(contender, heat, passes, over)
            if prepared is None:
                return None
            studio, lesson, head = prepared
            self._spare.append(studio.checkpoint(lesson, head))
            try:
                tuned = studio.tune(lesson, head, over)
            except OutOfTime:
                return None
            if not tuned.improved and contender.strategy != "scratch":
                return Answers(self.frozen(heat), improved=False)
            found = []
            for start in range(0, len(heat.judged), _AT_ONCE):
                pixels = self._pixels(lesson, heat.judged[start : start + _AT_ONCE])
                found.append(softmax(tuned.scores(pixels)))
            return Answers(np.concatenate(found).astype(np.float64), tuned.improved)

    def _pixels(self, lesson: Lesson, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        preprocess = self.shop.backbone.preprocess
        return np.stack([lesson.sources[row].load().prepare(preprocess) for row in rows])

    def _seconds_to_judge(self, lesson: Lesson, heat: Heat) -> float:
        """Time what it takes to judge a picture, once: the same for everyone."""
        if "judge" not in self._seconds:
            import torch

            from regraft.train.network import Reader

            backbone = self.shop.backbone
            trunk = backbone.chain().prefix(backbone.probes[-1].name).eval()
            began = time.perf_counter()
            pixels = self._pixels(lesson, heat.judged[:_TIMED])
            with torch.no_grad():
                rows = pixels.reshape(len(pixels), -1)
                trunk(*Reader((), backbone.preprocess).tensors(rows))
            self._seconds["judge"] = (time.perf_counter() - began) / len(pixels)
        return self._seconds["judge"]

    def finish(self, heat: Heat) -> float:
        """Estimate the seconds from the last step to the end of a fit that is tested there."""
        pictures = len(heat.judged) + len(heat.held_out)
        return _BUILD + pictures * self._seconds.get("judge", 0.0)

    def frozen(self, heat: Heat, *, with_held_out: bool = False) -> Array:
        """Probabilities that the frozen network with the best head gives."""
        key = (id(heat), with_held_out)
        if key not in self._frozen:
            lot, taps, rows = self.lot, self.choice.features.taps, heat.train
            if with_held_out:
                rows = np.sort(np.concatenate([heat.train, heat.held_out]))
            head = first_head(self.shop, lot, self.choice, rows)
            self._frozen[key] = head.predict_proba(lot.table.read(taps, heat.judged))
        return self._frozen[key]

    def forget(self) -> None:
        """Delete what an interrupted race would have gone on from."""
        from regraft.frozen.files import forget_checkpoint

        for path in self._spare:
            forget_checkpoint(path)

    def _prepared(
        self,
        contender: Contender,
        heat: Heat,
        passes: int | None,
        over: Callable[[], bool],
        *,
        any_head: bool = False,
    ) -> tuple[Studio, Lesson, LinearHead] | None:
        """Return what a training begins with; None where time is up before it is there."""
        options = options_of(self.shop.options, contender, passes)
        shop = replace(self.shop, options=options)
        studio = studio_of(shop, self.lot)
        choice = shop.choose(self.lot, studio.sets(shop.cuts))
        if over():
            return None
        frozen = self._head(choice, heat, any_head=any_head)
        if over():
            return None
        empty = np.empty(0, np.intp)
        lesson = lesson_on(
            self.shop,
            self.lot,
            frozen,
            choice,
            heat.train,
            heat.held_out,
            empty,
            contender.strategy,
            mirror=self._mirror.get("known"),
        )
        self._mirror["known"] = lesson.mirror
        if over():
            return None
        return studio, lesson, beginning(frozen, contender.strategy)

    def _head(self, choice: Choice, heat: Heat, *, any_head: bool) -> LinearHead:
        """Train a head on a fold; where only its form matters, that of another fold will do."""
        key = (choice.features, choice.strength, id(heat))
        alike = [head for known, head in self._heads.items() if known[:2] == key[:2]]
        if any_head and alike:
            return alike[0]
        if key not in self._heads:
            self._heads[key] = first_head(self.shop, self.lot, choice, heat.train)
        return self._heads[key]


def why_of(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).splitlines()[0] if str(error) else repr(error)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn what may go wrong with one contender into its failure."""
    try:
        yield
    except FAILURES as error:
        raise FailedError(why_of(error)) from error


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


def heats_of(
    rows: NDArray[np.intp],
    y: NDArray[np.intp],
    dealt: NDArray[np.intp],
    units: NDArray[np.intp],
) -> tuple[Heat, ...]:
    """Make the folds of a race: one is judged, the next one says when to stop.

    Where a class would be missing from what trains, its pictures of the stopping fold train too,
    with all that depend on them. A fold of a few pictures (a small group) always trains.

    Parameters
    ----------
    rows : ndarray of int
        The pictures that may be used.
    y : ndarray of shape (len(rows),), int
        Column of the class of each.
    dealt : ndarray of shape (len(rows),), int
        Fold of each; -1: always trains.
    units : ndarray of shape (len(rows),), int
        Pictures with the same number depend on each other; they are of one fold.

    Returns
    -------
    tuple of Heat
        None where there are fewer than three folds that could judge.
    """
    sizes = np.bincount(dealt[dealt >= 0])
    numbers = [int(k) for k in np.flatnonzero(sizes >= _LEAST_JUDGED)]
    if len(numbers) < 3:
        return ()
    heats = []
    for judged, stopping in zip(numbers, [*numbers[1:], numbers[0]], strict=True):
        trains = (dealt != judged) & (dealt != stopping)
        lacking = (dealt == stopping) & ~np.isin(y, y[trains])
        needed = (dealt == stopping) & np.isin(units, units[lacking])
        held_out = (dealt == stopping) & ~needed
        if not held_out.any():
            return ()
        heats.append(Heat(rows[trains | needed], rows[held_out], rows[dealt == judged]))
    return tuple(heats)
