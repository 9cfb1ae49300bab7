"""A network in stages: cut anywhere between its blocks, run in parts, with a head of one's own.

The graph of the network is laid out in the order of its calls. After any call, the values that
are still needed are what flows on; where these are one or two tensors and the last of them is the
output of a module, the network can be cut there. Values that do not depend on the picture
(position embeddings) do not flow: each part computes its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regraft.backbones.cuts import Cut
from regraft.backbones.flow import Flow, cut_points
from regraft.backbones.pooling import Pool
from regraft.backbones.probes import choose_probes
from regraft.backbones.traced import Traced
from regraft.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import fx


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The part of a network between two neighbouring cuts.

    Parameters
    ----------
    name : str
        The cut at its end; ``"head"`` for what comes after the last one.
    module : torch.nn.Module
        From the tensors of the cut before (at first: the picture) to a tuple of those of its own;
        the last stage gives what the network gives. It shares its weights with the network.
    """

    name: str
    module: torch.nn.Module


class Chain:
    """A PyTorch network that can be cut.

    Parameters
    ----------
    traced : Traced
        The network as a graph of its blocks.
    size : tuple of int
        Height and width of its pictures.

    Attributes
    ----------
    network : torch.nn.Module
        The whole, from normalised float32 (N, 3, H, W) to the scores of its own classes.
    cuts : tuple of Cut
        From input to head.
    probes : tuple of str
        See `regraft.backbones.base.Description`.
    """

    def __init__(self, traced: Traced, size: tuple[int, int]) -> None:
        flow = Flow(traced, size)
        points = cut_points(flow)
        self._traced = traced
        self._points = {point.cut.name: point.nodes for point in points}
        self._input = flow.input
        self._output_value = flow.output_value
        self.cuts: tuple[Cut, ...] = tuple(point.cut for point in points)
        self.probes: tuple[str, ...] = choose_probes(self.cuts)
        self.network = self._part([self._input], flow.output_value)

    @property
    def root(self) -> torch.nn.Module:
        """The network as its zoo built it: holds every module, under the source's names."""
        return self._traced.root

    def move(self, device: str) -> None:
        """Move every weight to a device; parts that were made before must not be used again."""
        self.root.to(device)
        self.network = self._part([self._input], self._output_value)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Every stage from input to head; together they hold each weight once."""
        stages = []
        before: Sequence[fx.Node] = [self._input]
        for name, nodes in self._points.items():
            stages.append(Stage(name, self._part(before, tuple(nodes))))
            before = nodes
        return (*stages, Stage("head", self._part(before, self._output_value)))

    def prefix(self, cut: str) -> torch.nn.Module:
        """Everything up to and with a cut: from pixels to a tuple of its tensors."""
        return self._part([self._input], tuple(self._nodes(cut)))

    def suffix(self, cut: str) -> torch.nn.Module:
        """Everything after a cut: from its tensors to what the network gives."""
        return self._part(self._nodes(cut), self._output_value)

    def between(self, start: str, *stops: str) -> torch.nn.Module:
        """From the tensors of a cut to a flat tuple of those of later ones, or of itself."""
        nodes = [node for cut in stops for node in self._nodes(cut)]
        return self._part(self._nodes(start), tuple(nodes))

    def trunk(self, cuts: Iterable[str]) -> torch.nn.Module:
        """From pixels to a flat tuple of the tensors of all these cuts."""
        nodes = [node for cut in cuts for node in self._nodes(cut)]
        return self._part([self._input], tuple(nodes))

    def dropped(self) -> tuple[str, ...]:
        """Names of weights that no stage holds: side branches, which go with the head."""
        held = {id(p) for stage in self.stages for p in stage.module.parameters()}
        return tuple(n for n, p in self._traced.root.named_parameters() if id(p) not in held)

    def with_head(self, n_classes: int, cut: str | None = None) -> torch.nn.Module:
        """Put a new linear head on a cut, by default on what the network's own head reads.

        Parameters
        ----------
        n_classes : int
            Number of new classes, at least 1.
        cut : str, optional
            Where the network ends.

        Returns
        -------
        torch.nn.Module
            From pixels to scores (N, n_classes); the weights before the head are the network's.
        """
        import torch

        name = cut or self.probes[-1]
        spec = next(c for c in self.cuts if c.name == name)
        head = torch.nn.Linear(spec.width("avg"), n_classes)
        return torch.nn.Sequential(self.prefix(name), Pool(spec, "avg"), head)

    def weights(self) -> dict[str, torch.Tensor]:
        """Every weight and buffer but the head's and the side branches', by the source's names.

        One that has several names is there under each of them, in memory of its own.
        """
        last = self.prefix(self.cuts[-1].name)
        kept = {id(t) for t in (*last.parameters(), *last.buffers())}
        found: dict[str, torch.Tensor] = {}
        seen: set[int] = set()
        for name, tensor in self._traced.root.state_dict(keep_vars=True).items():
            if id(tensor) in kept:
                values = tensor.detach().contiguous()
                found[name] = values.clone() if id(tensor) in seen else values
                seen.add(id(tensor))
        return found

    def _nodes(self, cut: str) -> Sequence[fx.Node]:
        try:
            return self._points[cut]
        except KeyError:
            raise UserError(
                f"cut must be one of {', '.join(map(repr, self._points))}, got {cut!r}"
            ) from None

    def _part(self, inputs: Sequence[fx.Node], wanted: Any) -> torch.nn.Module:
        """Make a module of the part of the graph that leads from some values to others."""
        from torch import fx

        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {
            node: graph.placeholder(node.name.replace(".", "_")) for node in inputs
        }
        needed = self._needed(wanted, set(inputs))
        for node in self._traced.graph.nodes:
            if node in needed and node not in copies:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(fx.map_arg(wanted, copies.__getitem__))
        module = fx.GraphModule(self._traced.root, graph)
        return module.train(self._traced.root.training)

    def _needed(self, wanted: Any, known: set[fx.Node]) -> set[fx.Node]:
        from torch import fx

        todo: list[fx.Node] = []
        fx.map_arg(wanted, todo.append)
        needed: set[fx.Node] = set()
        while todo:
            node = todo.pop()
            if node in needed or node in known:
                continue
            if node is self._input:
                raise UserError("a part of a network must begin before it ends: swap the cuts")
            needed.add(node)
            todo.extend(node.all_input_nodes)
        return needed


def freeze(module: torch.nn.Module) -> torch.nn.Module:
    """Wrap a module so that nothing in it changes, whatever training does around it.

    No gradient reaches its weights, and ``train()`` does not: normalisation statistics of every
    kind stay as they are, and dropout stays off.

    Returns
    -------
    torch.nn.Module
        With the weights of `module`, which are frozen from now on.
    """
    import torch

    class Frozen(torch.nn.Module):
        """A module that stays in evaluation mode."""

        def __init__(self) -> None:
            super().__init__()
            self.still = module.requires_grad_(False).eval()

        def train(self, mode: bool = True) -> Any:
            """Note the mode; what is frozen stays in evaluation mode."""
            super().train(mode)
            self.still.eval()
            return self

        def forward(self, *tensors: torch.Tensor) -> Any:
            with torch.no_grad():
                return self.still(*tensors)

    frozen: torch.nn.Module = Frozen().train(module.training)
    return frozen
