"""What a step is computed on, and in which arithmetic."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How steps are computed.

    Parameters
    ----------
    device : str
        PyTorch's name: ``"cpu"``, ``"cuda"`` or ``"mps"``.
    bf16 : bool
        Whether products are computed in bfloat16 (autocast).
    compiled : bool
        Whether the network goes through ``torch.compile``.
    """

    device: str = "cpu"
    bf16: bool = False
    compiled: bool = False

    def context(self) -> torch.autocast:
        """Return the context of a forward pass."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16)

    def prepared(self, module: torch.nn.Module) -> Callable[..., Any]:
        """Return what to call instead of a module: itself, or what it was compiled to."""
        if not self.compiled:
            return module
        compiled: Callable[..., Any] = torch.compile(module, dynamic=False)
        return compiled


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
