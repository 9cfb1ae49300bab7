"""The frozen part in PyTorch: the engine of CUDA cards, and the reference for the tests."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.frozen.engine import Features
from regraft.frozen.sources import Pixels
from regraft.strategy import Precision, Tap

if TYPE_CHECKING:
    import torch


class TorchEngine:
    """Runs the trunk of a backbone in evaluation mode, channels-last, with autocast for bf16.

    Parameters
    ----------
    backbone : Backbone
        Gives the network; of a source that trains.
    taps : sequence of Tap
        Columns of the result, in order.
    precision : {"bf16", "f32"}
        Arithmetic.
    device : str
        ``"cuda"`` or ``"cpu"``.
    """

    batch = 64

    def __init__(
        self, backbone: Backbone, taps: Sequence[Tap], precision: Precision, device: str
    ) -> None:
        import torch

        from regraft.backbones.pooling import Pool

        self._torch = torch
        self._device = torch.device(device)
        wanted = {tap.cut for tap in taps}
        self._cuts = [cut for cut in backbone.cuts if cut.name in wanted]
        shared = backbone.chain().trunk([cut.name for cut in self._cuts])
        trunk = copy.deepcopy(shared).to(self._device)  # the network itself stays where it is
        self._trunk = trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._taps = tuple(taps)
        named = {cut.name: cut for cut in self._cuts}
        self._cut_of = {tap: named[tap.cut] for tap in taps}
        self._pools = {tap: Pool(named[tap.cut], tap.pooling) for tap in taps}
        self._bf16 = precision == "bf16"
        self._reversed = backbone.preprocess.channels == "BGR"
        self._mean = self._per_channel(backbone.preprocess.mean)
        self._std = self._per_channel(backbone.preprocess.std)

    def _per_channel(self, values: Sequence[float]) -> torch.Tensor:
        scaled = self._torch.tensor([255.0 * value for value in values], device=self._device)
        return scaled.view(1, 3, 1, 1)

    def start(self, pixels: Pixels, done: Callable[[Features], None]) -> None:
        """Run a batch now; see `regraft.frozen.engine.Engine.start`."""
        count = len(pixels)
        if count < self.batch:  # kernels are picked by the size of a batch: it is always the same
            pixels = np.concatenate([pixels, np.zeros_like(pixels[:1], shape=self._rest(pixels))])
        done(self._features(pixels)[:count])

    def _rest(self, pixels: Pixels) -> tuple[int, ...]:
        return (self.batch - len(pixels), *pixels.shape[1:])

    def wait(self) -> None:
        """Return at once: `start` has done the work."""

    def _features(self, pixels: Pixels) -> NDArray[np.float32]:
        torch = self._torch
        cudnn = torch.backends.cudnn  # what is not named here would be reset, not left alone
        exact = cudnn.flags(
            enabled=True,
            benchmark=cudnn.benchmark,
            deterministic=cudnn.deterministic,
            allow_tf32=False,
        )
        with (
            torch.inference_mode(),
            exact,
            torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16),
        ):
            batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
            batch = (batch.float() - self._mean) / self._std
            tensors = iter(self._trunk(batch.flip(1) if self._reversed else batch))
            maps = {cut: tuple(next(tensors).float() for _ in cut.tensors) for cut in self._cuts}
            vectors = [self._pools[tap](maps[self._cut_of[tap]]) for tap in self._taps]
            features: NDArray[np.float32] = torch.cat(vectors, dim=1).cpu().numpy()
        return features
