"""The features of pictures that a program hands over, by way of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Tags

from regraft.backbones.base import Backbone
from regraft.bundle.model import as_sources
from regraft.errors import UserError
from regraft.frozen.devices import get_device
from regraft.frozen.extract import FrozenPass
from regraft.frozen.files import cache_dir
from regraft.frozen.plan import CutPlan, PassPlan, default_plan
from regraft.frozen.sources import Source
from regraft.frozen.store import FeatureStore
from regraft.frozen.table import StoredFeatures
from regraft.options import DeviceName, PrecisionChoice
from regraft.progress import Silent
from regraft.strategy import Precision, Tap
from regraft.workshop import retried

_READ_ROWS = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PicturePass:
    """A frozen pass over pictures all of which must be readable.

    Parameters
    ----------
    backbone : Backbone
        The source network.
    plan : PassPlan
        What is taken from it.
    device : {"auto", "cpu", "cuda"}
        Where it runs.
    precision : {"auto", "bf16", "f32"}
        Its arithmetic.
    """

    backbone: Backbone
    plan: PassPlan
    device: DeviceName
    precision: PrecisionChoice

    def use(self, sources: Sequence[Source], work: Callable[[StoredFeatures, Precision], T]) -> T:
        """Do some work with the features, while the store is open.

        Parameters
        ----------
        sources : sequence of Source
            The pictures: the rows of the table.
        work : callable
            Gets the features and the precision that they were computed in. It is called again
            where another process evicted some of them meanwhile.

        Raises
        ------
        UserError
            If a picture cannot be read; every one of them is named.
        """
        cache = cache_dir()
        with FeatureStore(cache) as store:
            precision = None if self.precision == "auto" else self.precision
            trains = self.backbone.description.trains
            device = get_device(self.device, cache, trains=trains)
            frozen = FrozenPass(self.backbone, self.plan, store, device, precision, Silent())
            result = retried(lambda: self._once(frozen, sources, work), self.plan)
            store.trim()
        return result

    def _once(
        self,
        frozen: FrozenPass,
        sources: Sequence[Source],
        work: Callable[[StoredFeatures, Precision], T],
    ) -> T:
        extraction = frozen.run(sources)
        if extraction.skipped:
            raise UserError(
                f"every picture must be readable, {len(extraction.skipped)} of {len(sources)} "
                "are not; leave them out",
                [f"{skipped.path}: {skipped.reason}" for skipped in extraction.skipped],
            )
        digests = tuple(digest for digest in extraction.digests if digest is not None)
        table = StoredFeatures(
            frozen.store, self.plan, extraction.spaces, digests, frozen.store.folder
        )
        return work(table, extraction.precision)


def picture_sources(X: Sequence[Any]) -> list[Source]:
    """Wrap pictures of any kind; there must be one at least.

    Raises
    ------
    UserError
        If there is none, or a single picture is given instead of a sequence.
    """
    sources = as_sources(X)
    if not sources:
        raise UserError("X must hold at least one picture, got 0 samples")
    return sources


def plan_for(backbone: Backbone, taps: Sequence[Tap]) -> PassPlan:
    """Make a plan that gives these taps, beside what every pass gives.

    The rest costs little, and whoever comes next finds it in the store.
    """
    usual = default_plan(backbone.probes)
    cuts = {cut.name: cut for cut in backbone.cuts}
    more = [tap for tap in taps if tap not in usual.taps]
    return PassPlan((*(CutPlan(cuts[tap.cut], (tap.pooling,)) for tap in more), *usual.cuts))


def row_runs(n: int) -> Iterator[NDArray[np.intp]]:
    """Cut row numbers into runs that fit into memory whatever their width."""
    for start in range(0, n, _READ_ROWS):
        yield np.arange(start, min(n, start + _READ_ROWS))


def of_pictures(tags: Tags) -> Tags:
    """Say that the input is a sequence of pictures, not a matrix."""
    tags.input_tags.one_d_array = True
    tags.input_tags.two_d_array = False
    tags.input_tags.string = True
    return tags
