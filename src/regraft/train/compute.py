"""What a step is computed on, and in which arithmetic."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How steps are computed.

    Parameters
    ----------
    device : str
        PyTorch's name: ``"cpu"``, ``"cuda"`` or ``"mps"``.
    bf16 : bool
        Whether products are computed in bfloat16 (autocast).
    depthwise_f32 : bool
        Whether depthwise convolutions stay in float32 all the same: on small maps their backward
        pass takes PyTorch 3 to 11 times as long in bfloat16 (decision 7).
    compiled : bool
        Whether the network goes through ``torch.compile``.
    """

    device: str = "cpu"
    bf16: bool = False
    depthwise_f32: bool = False
    compiled: bool = False

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Return the context of a forward pass."""
        with (
            torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16),
            _DepthwiseInFloat32() if self.depthwise_f32 else contextlib.nullcontext(),
        ):
            yield

    def prepared(self, module: torch.nn.Module) -> Callable[..., Any]:
        """Return what to call instead of a module: itself, or what it was compiled to."""
        if not self.compiled:
            return module
        compiled: Callable[..., Any] = torch.compile(module, dynamic=False)
        return compiled


class _DepthwiseInFloat32(TorchFunctionMode):
    """Exempt depthwise convolutions from autocasting, whichever module calls for them."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, as the protocol of PyTorch asks for it."""
        named = kwargs or {}
        weight: Any = args[1] if len(args) > 1 else named.get("weight")
        convolution: Any = torch.conv2d
        if func is not convolution or not is_depthwise(weight):
            return func(*args, **named)
        # A weight that was computed, as in mixtures of experts, is in bfloat16 too.
        exact = [a.float() if isinstance(a, torch.Tensor) else a for a in args]
        named = {k: a.float() if isinstance(a, torch.Tensor) else a for k, a in named.items()}
        with torch.autocast(weight.device.type, enabled=False):
            return func(*exact, **named)


def is_depthwise(weight: torch.Tensor) -> bool:
    """Whether the weight of a convolution lets every channel see itself alone."""
    return weight.ndim == 4 and weight.shape[1] == 1 < weight.shape[0]


def training_device(frozen: str, *, processor_only: bool) -> str:
    """Return where layers are trained, in PyTorch's name.

    Parameters
    ----------
    frozen : str
        Where the frozen part runs.
    processor_only : bool
        Whether the user asked for the processor.
    """
    if frozen == "cpu" and not processor_only and torch.backends.mps.is_available():
        return "mps"
    return frozen


@contextlib.contextmanager
def own_random_numbers(device: str) -> Iterator[None]:
    """Leave PyTorch's generators as they were, whatever training draws from them."""
    cards = range(torch.cuda.device_count()) if device == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        yield


def mixed(parts: Sequence[int]) -> int:
    """Make one seed of several numbers."""
    return int(np.random.SeedSequence(list(parts)).generate_state(1)[0])
