"""From the tensors of a cut to one vector a picture, in PyTorch.

`regraft.frozen.graph` does the same in the inference engine; a test compares the two.
"""

from __future__ import annotations

import torch

from regraft.backbones.cuts import Cut, TensorSpec
from regraft.strategy import Pooling


class Pool(torch.nn.Module):
    """Pool the tensors of a cut and lay the vectors side by side.

    Parameters
    ----------
    cut : Cut
        Says what the tensors are.
    pooling : {"avg", "max", "std", "grid", "map"}
        How a map becomes a vector; a vector is taken as it is.
    """

    def __init__(self, cut: Cut, pooling: Pooling) -> None:
        super().__init__()
        self._cut = cut
        self._pooling = pooling

    def forward(self, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Map the tensors of the cut to (N, ``cut.width(pooling)``)."""
        pairs = zip(tensors, self._cut.tensors, strict=True)
        return torch.cat([_pooled(x, spec, self._pooling) for x, spec in pairs], dim=1)


def _pooled(x: torch.Tensor, spec: TensorSpec, pooling: Pooling) -> torch.Tensor:
    if spec.layout == "NC":
        return x
    if pooling == "map":
        return (x.movedim(1, -1) if spec.layout == "NCHW" else x).flatten(1)
    if pooling == "grid":
        return torch.nn.functional.adaptive_avg_pool2d(_as_map(x, spec), 2).flatten(1)
    places = _as_places(x, spec)
    if pooling == "avg":
        return places.mean(dim=2)
    if pooling == "max":
        return places.amax(dim=2)
    variance = places.var(dim=2, correction=0)
    varies = variance > 0  # the root of zero has no gradient
    return torch.where(varies, torch.where(varies, variance, 1).sqrt(), 0)


def _as_places(x: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    """(N, C, L) of any layout."""
    if spec.layout == "NCHW":
        return x.flatten(2)
    if spec.layout == "NHWC":
        return x.flatten(1, 2).transpose(1, 2)
    return x[:, spec.prefix :].transpose(1, 2)


def _as_map(x: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    if spec.grid is None:
        raise ValueError(f"{spec} has no places in a square, so no grid")
    height, width = spec.grid
    places = _as_places(x, spec)
    return places.reshape(*places.shape[:2], height, width)
