"""A PyTorch network as a graph of calls, before it is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import fx


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """What every zoo of PyTorch networks gives: the network as a graph of its blocks.

    Parameters
    ----------
    root : torch.nn.Module
        Holds the modules that the graph calls; its parameters are the network's.
    graph : torch.fx.Graph
        From one placeholder, normalised float32 (N, 3, H, W), to what the network gives, head
        included.
    outputs : Mapping of str to tuple of fx.Node
        Modules that are called exactly once, in the order of their calls, with the nodes that are
        their output. Containers come after the modules in them.
    classifier : tuple of str
        Targets of the ``call_module`` nodes that are the head; empty where there is none.
    prefix : int
        Class and register tokens that come before those of the picture.
    """

    root: torch.nn.Module
    graph: fx.Graph
    outputs: Mapping[str, tuple[fx.Node, ...]]
    classifier: tuple[str, ...]
    prefix: int = 0
