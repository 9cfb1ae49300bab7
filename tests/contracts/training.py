"""A step of training, for the checks; regraft's own training is not needed to prove them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

from regraft.backbones.chain import Chain, freeze
from regraft.backbones.cuts import Cut
from regraft.backbones.pooling import Pool

_CLASSES = 3


class Partly(torch.nn.Module):
    """A network with a new head, of which the part up to a cut is frozen, or not.

    Parameters
    ----------
    chain : Chain
        The network.
    cut : Cut
        Where the first part ends.
    frozen : bool
        Whether it is frozen.
    """

    def __init__(self, chain: Chain, cut: Cut, *, frozen: bool) -> None:
        super().__init__()
        start = chain.prefix(cut.name)
        self.start = freeze(start) if frozen else start.requires_grad_(True)
        last = chain.cuts[-1]
        self.between = None if cut == last else chain.between(cut.name, last.name)
        self.head = torch.nn.Sequential(
            Pool(last, "avg"), torch.nn.Linear(last.width("avg"), _CLASSES)
        )
        if self.between is not None:
            self.between.requires_grad_(True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = self.start(x)
        return self.head(values if self.between is None else self.between(*values))


def take_step(model: torch.nn.Module, x: torch.Tensor) -> None:
    """Train once, on a batch of its own."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.SGD(weights, lr=0.01)
    loss_of(model, x).backward()
    optimiser.step()
    optimiser.zero_grad()


def loss_of(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    labels = torch.arange(len(x)) % _CLASSES
    return torch.nn.functional.cross_entropy(model(x), labels)


def digest(module: torch.nn.Module) -> str:
    """Hash every parameter and buffer."""
    found = hashlib.sha256()
    for tensor in (*module.parameters(), *module.buffers()):
        found.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


@contextlib.contextmanager
def undone(root: torch.nn.Module) -> Iterator[None]:
    """Whatever happens to the weights of a network, put it back as its zoo gave it."""
    before = {name: tensor.clone() for name, tensor in root.state_dict().items()}
    try:
        yield
    finally:
        root.load_state_dict(before)
        root.requires_grad_(False).eval()
        root.zero_grad(set_to_none=True)
