"""The graph of a bundle against the network that was trained, and what it says of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.errors import UserError
from regraft.familiar import REFERENCES, Familiarity, familiarity, some
from regraft.frozen.activations import spread
from regraft.frozen.extract import Extraction, FrozenPass
from regraft.frozen.plan import plan_of
from regraft.frozen.table import StoredFeatures
from regraft.heads.linear import LinearHead, softmax
from regraft.strategy import Phase, Precision
from regraft.tuning import Lesson, Studio

if TYPE_CHECKING:
    from regraft.train.tune import Tuned

_CHECKED = 32
# Largest difference of a probability between the trained network and the graph of the bundle.
_EXACT = 5e-3
_AGREEMENT = 0.95
# Two classes so close that bfloat16 may swap them.
_NEAR_TIE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A trained network, tested with the graph that goes into the bundle.

    Parameters
    ----------
    backbone : Backbone
        The network with its new weights.
    head : LinearHead
        Its head.
    phases : tuple of Phase
        What was done, rates included.
    held_out, test : ndarray of shape (number of pictures, n_classes), float64
        Scores that the graph of the bundle gives the pictures which decided when to stop, and the
        test pictures.
    familiarity : Familiarity or None
        What tells a picture that is unlike those of training.
    extraction : Extraction
        How the graph computes, and the check of its precision.
    """

    backbone: Backbone
    head: LinearHead
    phases: tuple[Phase, ...]
    held_out: NDArray[np.float64]
    test: NDArray[np.float64]
    familiarity: Familiarity | None
    extraction: Extraction


def prove(studio: Studio, lesson: Lesson, tuned: Tuned) -> Outcome:
    """Build the graph of the bundle, check it against the network, and test with it.

    Raises
    ------
    UserError
        If the two say different things.
    """
    options, taps = studio.options, lesson.reading.taps
    plan = plan_of(taps, studio.backbone.cuts)
    asked: Precision | None = None if options.precision == "auto" else options.precision
    checked = spread(lesson.train, _CHECKED)
    known = some(lesson.train, REFERENCES, options.seed)
    parts = [checked, known, lesson.held_out, lesson.test]
    rows, ends = np.concatenate(parts), np.cumsum([len(part) for part in parts])
    sources = [lesson.sources[row] for row in rows]
    frozen = FrozenPass(tuned.backbone, plan, studio.store, studio.device, asked, studio.progress)
    extraction = frozen.run(sources, range(len(checked)))
    digests = tuple(lesson.digests[row] for row in rows)
    table = StoredFeatures(studio.store, plan, extraction.spaces, digests, studio.cache)
    features = table.read(taps, np.arange(len(rows), dtype=np.intp))
    scores = tuned.head.scores(features)
    pixels = np.stack(
        [source.load().prepare(studio.backbone.preprocess) for source in sources[: len(checked)]]
    )
    _check(softmax(scores[: ends[0]]), softmax(tuned.scores(pixels)), extraction.precision)
    deepest = features[:, -table.dim(taps[-1]) :]
    return Outcome(
        backbone=tuned.backbone,
        head=tuned.head,
        phases=tuple(report.phase for report in tuned.reports if report.best.epoch),
        held_out=scores[ends[1] : ends[2]],
        test=scores[ends[2] :],
        familiarity=familiarity(
            deepest[ends[0] : ends[1]],
            deepest[ends[1] : ends[2]],
            lesson.units[known],
            lesson.units[lesson.held_out],
        ),
        extraction=extraction,
    )


def _check(ours: NDArray[np.float64], theirs: NDArray[np.float64], precision: Precision) -> None:
    """Compare the graph of the bundle with the network that was trained."""
    differences = np.abs(ours - theirs).max(1)
    difference = float(differences.max())
    same = (ours.argmax(1) == theirs.argmax(1)) | (differences < _NEAR_TIE)
    agreement = float(np.mean(same))
    right = difference <= _EXACT if precision == "f32" else agreement >= _AGREEMENT
    if not (right and np.isfinite(ours).all()):
        raise UserError(
            f"the graph of the bundle differs from the network that was trained (probabilities by "
            f"up to {difference:.3f}, the same class for {agreement:.0%} of pictures, "
            f"{precision}); try --precision f32, and report this network to regraft"
        )
