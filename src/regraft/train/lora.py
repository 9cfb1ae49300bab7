"""Low-rank adapters on linear layers (E. Hu et al., "LoRA", 2022), by way of the `peft` library.

They train in place of the weights that they stand beside, and are merged into them when all is
done: what comes out is an ordinary network.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from regraft.errors import MissingExtraError, UserError

PREFIX = "lora_"
"""What the names of the weights of adapters begin with, after the last dot but one."""

_SCALE = 2  # alpha by rank, as is usual


def add_adapters(root: torch.nn.Module, within: torch.nn.Module, rank: int) -> None:
    """Put adapters beside the linear layers of a part of a network, where there are none yet.

    Parameters
    ----------
    root : torch.nn.Module
        The network; its modules are replaced.
    within : torch.nn.Module
        The part, which shares its modules with the network.
    rank : int
        Size of the adapters.

    Raises
    ------
    MissingExtraError
        If `peft` is not installed.
    UserError
        If the part has no linear layers.
    """
    names = layers_for_adapters(root, within)
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    if any(isinstance(module, BaseTunerLayer) for module in within.modules()):
        return
    torch.manual_seed(0)
    config = LoraConfig(r=rank, lora_alpha=_SCALE * rank, target_modules=names)
    inject_adapter_in_model(config, root)


def layers_for_adapters(root: torch.nn.Module, within: torch.nn.Module) -> list[str]:
    """Name the linear layers of a part of a network; raises as `add_adapters` does.

    Exactly PyTorch's linear layer counts: the projection of its own attention is one of the
    children of that class, and its weight is read without it being called.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError(
            "strategy 'lora' needs the package peft, which is not installed; run: pip install "
            "'regraft[lora]'"
        )
    part = {id(module) for module in within.modules()}
    names = [
        name
        for name, module in root.named_modules()
        if type(module) is torch.nn.Linear and id(module) in part
    ]
    if not names:
        raise UserError(
            "strategy 'lora' trains beside linear layers, as transformers have them, and this "
            "network has none where it trains; use --strategy norm or partial"
        )
    return names


def merge_adapters(root: torch.nn.Module) -> None:
    """Add what adapters learned to the weights that they stand beside, and take them away."""
    if importlib.util.find_spec("peft") is None:
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted: list[tuple[str, Any]] = [
        (name, module)
        for name, module in root.named_modules()
        if isinstance(module, BaseTunerLayer)
    ]
    for name, module in adapted:
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(root.get_submodule(parent), child, module.get_base_layer())
