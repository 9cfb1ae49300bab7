"""How far the new pictures are from those that the network was trained on, at every depth.

A batch normalisation keeps mean and variance of each channel over the pictures of its training:
a summary of the source, without any picture of it. Here the same is measured on the new pictures,
and the two normal distributions of each channel are compared by their squared Hellinger distance,
which lies in 0..1 whatever the channel (Y. Li et al., *AdaBN*, 2017, use these statistics as a
summary of a domain; L. Le Cam, 1986, for the distance). The median over channels leaves out those
that hardly move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone, TrainableGraph
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.registry import get_backbone
from regraft.frozen.activations import spread
from regraft.frozen.sources import Pixels, Source
from regraft.options import DEFAULT_BACKBONE
from regraft.progress import Progress

if TYPE_CHECKING:
    import torch

ALIKE = 0.1
"""Distance below which pictures count as like those of the source."""
STRANGE = 0.5
"""Distance of what the late stages see from which pictures look like no photographs at all."""
MOST = 128
"""Pictures that are compared with the source, at most."""
_NOISE, _BATCH = 16, 16
_STREAM = 13


@dataclass(frozen=True, slots=True)
class StageDistance:
    """Distance at one depth: 0 where statistics are the source's own, 1 as far as noise."""

    cut: str
    distance: float


@dataclass(frozen=True, slots=True)
class DomainDistance:
    """How far pictures are from those of the source.

    0 is where the statistics of every channel are those of the source; 1 is as far as random
    noise is from it.

    Parameters
    ----------
    stages : tuple of StageDistance
        From input to head.
    n : int
        Pictures that were looked at.
    measured_with : str
        The network whose statistics of the source were used.
    """

    stages: tuple[StageDistance, ...]
    n: int
    measured_with: str

    @property
    def overall(self) -> float:
        """Mean over the stages."""
        return _mean(self.stages)

    @property
    def looks(self) -> float:
        """Mean over the first half: colours, sharpness, texture."""
        return _mean(self.stages[: (len(self.stages) + 1) // 2])

    @property
    def content(self) -> float:
        """Mean over the second half: what is shown."""
        return _mean(self.stages[len(self.stages) // 2 :])

    @property
    def alike(self) -> bool:
        """Whether the pictures are like those of the source."""
        return self.overall < ALIKE

    @property
    def strange(self) -> bool:
        """Whether the pictures look like no photographs at all."""
        return self.content >= STRANGE


def domain_distance(
    backbone: Backbone,
    sources: Sequence[Source],
    rows: NDArray[np.intp],
    cache: Path,
    *,
    seed: int,
    progress: Progress,
) -> DomainDistance:
    """Compare some pictures with the source of a network, without a picture of the source.

    A network that keeps no statistics (a transformer, a network file) is stood in for by the
    embedded one, which was trained on ImageNet: that measures how far the pictures are from
    photographs, and `DomainDistance.measured_with` says so.

    Parameters
    ----------
    backbone : Backbone
        The source network, with the weights of its training.
    sources : sequence of Source
        All pictures.
    rows : ndarray of int
        Those that may be looked at; at most 128 are.
    cache : Path
        Where descriptions of networks are kept.
    seed : int
        Decides the noise.
    progress : Progress
        Hears of every batch.
    """
    meter = _meter_of(backbone) or _meter_of(get_backbone(DEFAULT_BACKBONE, cache))
    assert meter is not None, f"{DEFAULT_BACKBONE} has batch normalisations"
    chosen = spread(rows, MOST)
    progress.start("comparing with the source", len(chosen) + _NOISE)
    shape = (*meter.preprocess.size, 3)
    noise = np.random.default_rng([seed, _STREAM])
    far = meter.distances(
        lambda _: noise.integers(0, 256, shape, dtype=np.uint8), range(_NOISE), progress
    )
    near = meter.distances(
        lambda row: sources[row].load().prepare(meter.preprocess), chosen.tolist(), progress
    )
    progress.finish()
    unit = float(np.mean(list(far.values())))
    stages = tuple(StageDistance(cut, found / unit) for cut, found in near.items())
    return DomainDistance(stages, len(chosen), meter.name)


@dataclass(frozen=True, slots=True, eq=False)
class _Meter:
    """A network with the batch normalisations of each of its stages."""

    name: str
    preprocess: Preprocess
    trunk: torch.nn.Module
    norms: dict[str, list[torch.nn.Module]]

    def distances(
        self, load: Callable[[int], Pixels], rows: Sequence[int], progress: Progress
    ) -> dict[str, float]:
        """Squared Hellinger distance at each stage: median over channels, mean over layers."""
        import torch

        from regraft.train.network import Reader

        moments: dict[torch.nn.Module, Any] = {}

        def collect(norm: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].float()
            maps = x.movedim(1, -1).reshape(len(x), -1, x.shape[1])  # no copy: channels lie last
            means, squares = maps.mean(1).double(), maps.square().mean(1).double()
            found = torch.stack([means.sum(0), squares.sum(0), means.square().sum(0)])
            moments[norm] = moments.get(norm, 0) + found

        everyone = [norm for norms in self.norms.values() for norm in norms]
        hooks = [norm.register_forward_pre_hook(collect) for norm in everyone]
        reader = Reader((), self.preprocess)
        try:
            with torch.no_grad():
                for start in range(0, len(rows), _BATCH):
                    batch = np.stack([load(row) for row in rows[start : start + _BATCH]])
                    self.trunk(*reader.tensors(batch.reshape(len(batch), -1)))
                    progress.advance(len(batch))
        finally:
            for hook in hooks:
                hook.remove()
        return {
            cut: float(
                np.mean([_hellinger(norm, moments[norm] / len(rows), len(rows)) for norm in norms])
            )
            for cut, norms in self.norms.items()
        }


def _meter_of(backbone: Backbone) -> _Meter | None:
    """Find the batch normalisations that have seen the source; None where there are none."""
    graph = backbone.opener()
    if not isinstance(graph, TrainableGraph):
        return None
    import torch

    chain = graph.copied().chain
    last = backbone.probes[-1].name
    norms: dict[str, list[torch.nn.Module]] = {}
    found: set[int] = set()
    for stage in chain.stages:
        inside: list[torch.nn.Module] = [
            module
            for module in chain.root.modules()
            if isinstance(module, torch.nn.modules.batchnorm._NormBase)
            and module.running_mean is not None
            and id(module) not in found
            and any(module.running_mean is buffer for buffer in stage.module.buffers())
            and _has_seen(module)
        ]
        found |= {id(module) for module in inside}
        if inside:
            norms[stage.name] = inside
        if stage.name == last:
            break
    if not norms:
        return None
    chain.root.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trunk = chain.prefix(last).eval().requires_grad_(False)
    return _Meter(backbone.name, backbone.preprocess, trunk, norms)


def _has_seen(norm: Any) -> bool:
    """Whether a batch normalisation was ever trained: it begins with mean 0 and variance 1."""
    return bool(norm.running_mean.any()) or bool((norm.running_var != 1).any())


def _hellinger(norm: Any, moments: torch.Tensor, n: int) -> float:
    """Median over channels of the squared Hellinger distance of two normal distributions.

    `moments` are the means over pictures of each channel's mean, mean square, and squared mean.
    What the mean of few pictures varies by is taken off its distance, and added to the variance.
    """
    mean, square, of_means = moments.numpy()
    error = np.maximum(of_means - mean**2, 0) / max(1, n - 1)
    variance = np.maximum(square - mean**2, 0) + error + norm.eps
    theirs = norm.running_mean.double().numpy()
    spread_ = norm.running_var.double().numpy() + norm.eps
    both = variance + spread_
    away = np.maximum((mean - theirs) ** 2 - error, 0)
    affinity = np.sqrt(2 * np.sqrt(variance * spread_) / both)
    return float(np.median(1 - affinity * np.exp(-away / (4 * both))))


def _mean(stages: Sequence[StageDistance]) -> float:
    return float(np.mean([stage.distance for stage in stages]))
