"""Where a graph of blocks can be cut: which values are alive after each call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regraft.backbones.cuts import Cut, TensorSpec
from regraft.backbones.pooling import Pool
from regraft.backbones.traced import Traced
from regraft.errors import RegraftError

if TYPE_CHECKING:
    import torch
    from torch import fx

PRE_LOGITS = "pre_logits"
"""Name of what the head reads, where that is no module's output."""

# Cells of NASNet read the outputs of the two cells before; nothing sensible passes on more.
_MOST_TENSORS = 2
_BATCH = 2
_SAME = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A cut, and the nodes of the graph whose values flow through it."""

    cut: Cut
    nodes: tuple[fx.Node, ...]


class Flow:
    """What flows through a graph, found by running it on two pictures of noise.

    Parameters
    ----------
    traced : Traced
        The network.
    size : tuple of int
        Height and width of the pictures.
    """

    def __init__(self, traced: Traced, size: tuple[int, int]) -> None:
        import torch

        self.traced = traced
        self.size = size
        self.nodes: list[fx.Node] = list(traced.graph.nodes)
        self.place = {node: number for number, node in enumerate(self.nodes)}
        self.input = next(node for node in self.nodes if node.op == "placeholder")
        self.output_value: Any = self.nodes[-1].args[0]
        self._modules = dict(traced.root.named_modules())
        self._depends: set[fx.Node] = {self.input}
        for node in self.nodes:
            if self._depends.intersection(node.all_input_nodes):
                self._depends.add(node)
        self._last_use = {
            node: max((self.place[user] for user in node.users), default=-1) for node in self.nodes
        }
        self.head_inputs = self._find_head_inputs()
        self.end = self._find_end()
        self._noise = torch.randn(_BATCH, 3, *size, generator=torch.Generator().manual_seed(0))
        self.specs: dict[fx.Node, TensorSpec] = {}
        self.run(())

    def _find_head_inputs(self) -> tuple[fx.Node, ...]:
        """Find what the head reads, before dropout, which trains with the head."""
        heads = [n for n in self.nodes if n.target in self.traced.classifier]
        found = [node for head in heads for node in head.all_input_nodes]
        found = found or list(self.nodes[-1].all_input_nodes)
        for number, node in enumerate(found):
            while self.is_idle(node):
                node = node.all_input_nodes[0]
            found[number] = node
        return tuple(dict.fromkeys(found))

    def _find_end(self) -> int:
        """Find the last place before any head: what comes later may depend on its scores."""
        heads = [self.place[n] for n in self.nodes if n.target in self.traced.classifier]
        return min(heads) - 1 if heads else max(self.place[node] for node in self.head_inputs)

    def is_idle(self, node: fx.Node) -> bool:
        """Whether a node does nothing in evaluation mode."""
        import torch

        idle = (torch.nn.Identity, torch.nn.modules.dropout._DropoutNd)
        return node.op == "call_module" and isinstance(self._modules[str(node.target)], idle)

    def kind_of(self, node: fx.Node) -> str:
        """Tell convolutions and normalisations from everything else."""
        import torch

        module = self._modules[str(node.target)] if node.op == "call_module" else None
        norms = (torch.nn.modules.batchnorm._NormBase, torch.nn.LayerNorm, torch.nn.GroupNorm)
        if isinstance(module, norms):
            return "normalisation"
        return "convolution" if isinstance(module, torch.nn.Conv2d) else "other"

    def run(self, wanted: Sequence[fx.Node]) -> list[torch.Tensor]:
        """Run the network; note what each value is, and return some of them."""
        import torch
        from torch import fx

        flow, kept = self, {}

        class Watcher(fx.Interpreter):
            def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
                loose = [list(arg) if isinstance(arg, list) else arg for arg in args]
                return super().call_module(target, tuple(loose), kwargs)  # HRNet writes into it

            def run_node(self, n: fx.Node) -> Any:
                value = super().run_node(n)
                if isinstance(value, torch.Tensor) and value.is_floating_point():
                    spec = flow.spec_of(tuple(value.shape))
                    if spec is not None and n in flow._depends:
                        flow.specs[n] = spec
                if n in wanted:
                    kept[n] = value
                return value

        with torch.no_grad():
            module = fx.GraphModule(self.traced.root, self.traced.graph)
            Watcher(module).run(self._noise)
        return [kept[node] for node in wanted]

    def spec_of(self, shape: tuple[int, ...]) -> TensorSpec | None:
        """Read the layout off a shape; None where it is no batch of pictures."""
        if shape[:1] != (_BATCH,):
            return None
        if len(shape) == 2:
            return TensorSpec("NC", shape[1:])
        if len(shape) == 3:
            return self._tokens(shape[1:])
        if len(shape) == 4:
            first, last = self._is_map(*shape[1:3]), self._is_map(*shape[2:])
            return TensorSpec("NHWC" if first and not last else "NCHW", shape[1:])
        return None

    def _tokens(self, shape: tuple[int, ...]) -> TensorSpec | None:
        """Read tokens as (L, C), with as many before those of the places as leave a map."""
        for prefix in (0, 1, self.traced.prefix):
            if self._fill_map(shape[0] - prefix):
                return TensorSpec("NLC", shape, prefix)
        # Neither axis alone makes a map: tokens all the same, unless they are in the other one.
        return None if self._fill_map(shape[1]) else TensorSpec("NLC", shape)

    def _is_map(self, height: int, width: int) -> bool:
        """Whether two axes are those of a smaller picture of the same form."""
        return abs(height * self.size[1] - width * self.size[0]) < max(self.size)

    def _fill_map(self, places: int) -> bool:
        """Whether so many tokens can be the places of a smaller picture of the same form."""
        return any(
            places % height == 0 and self._is_map(height, places // height)
            for height in range(1, places + 1)
        )

    def alive(self, place: int) -> list[fx.Node]:
        """List the values known after a place in the graph that are needed later."""
        return [
            node
            for node in self.nodes[: place + 1]
            if node in self._depends and self._last_use[node] > place
        ]

    def weights(self) -> dict[int, set[int]]:
        """For each weight (by ``id``): the places in the graph that use it."""
        used: dict[int, set[int]] = defaultdict(set)
        constant: dict[fx.Node, set[int]] = {}
        for node in self.nodes:
            own = {w for source in node.all_input_nodes for w in constant.get(source, ())}
            if node.op == "call_module":
                own |= {id(p) for p in self._modules[str(node.target)].parameters()}
            elif node.op == "get_attr":
                own |= self._attribute(str(node.target))
            if node in self._depends:
                for weight in own:
                    used[weight].add(self.place[node])
            else:
                constant[node] = own
        return used

    def _attribute(self, target: str) -> set[int]:
        import torch

        path, _, name = target.rpartition(".")
        value = getattr(self._modules[path], name)
        return {id(value)} if isinstance(value, torch.nn.Parameter) else set()


def cut_points(flow: Flow) -> tuple[Point, ...]:
    """List every cut of a network, from input to head.

    Between two of them there are weights, except before what the head reads.

    Raises
    ------
    RegraftError
        If the network cannot even be cut before its head.
    """
    used = flow.weights()
    groups: dict[int, list[Point]] = {}
    for point in _named_points(flow):
        place = max(flow.place[node] for node in point.nodes)
        if any(min(places) <= place < max(places) for places in used.values()):
            continue  # a weight that is used on both sides
        done = sum(max(places) <= place for places in used.values())
        if done:
            groups.setdefault(done, []).append(point)
    points = [_best(group) for group in groups.values()]
    last = Point(
        Cut(_head_name(flow), tuple(flow.specs[node] for node in flow.head_inputs)),
        flow.head_inputs,
    )
    if not all(node in flow.specs for node in flow.head_inputs):
        raise RegraftError(f"{type(flow.traced.root).__name__} cannot be cut before its head")
    points = [point for point in points if point.nodes != last.nodes]
    if not points or len(points) < len(groups) or not _averages_to(flow, points[-1], last):
        points.append(last)
    return tuple(points)


def _best(group: Sequence[Point]) -> Point:
    """Choose among cuts without weights between them: maps, few tensors, the latest."""
    return min(
        reversed(group),
        key=lambda point: (
            all(tensor.places == 1 for tensor in point.cut.tensors),
            len(point.nodes),
        ),
    )


def _named_points(flow: Flow) -> Iterator[Point]:
    """Cuts at the outputs of modules, in order, before the head."""
    names: dict[tuple[fx.Node, ...], list[str]] = {}
    for path, nodes in flow.traced.outputs.items():
        if not all(flow.is_idle(node) for node in nodes) and not _inside_block(flow, path, nodes):
            names.setdefault(nodes, []).append(path)
    for nodes in sorted(names, key=lambda nodes: max(flow.place[node] for node in nodes)):
        place = max(flow.place[node] for node in nodes)
        alive = flow.alive(place)
        ordered = (*nodes, *(node for node in alive if node not in nodes))
        if (
            place <= flow.end
            and set(nodes) <= set(alive)
            and len(ordered) <= _MOST_TENSORS
            and all(node in flow.specs for node in ordered)
        ):
            name = _outermost(flow.traced.root, names[nodes])
            yield Point(Cut(name, tuple(flow.specs[node] for node in ordered)), ordered)


def _inside_block(flow: Flow, path: str, nodes: tuple[fx.Node, ...]) -> bool:
    """Whether a module is one step of a block.

    A block is a numbered container, a convolution with the normalisation after it, or a
    normalisation (not that of the convolution before it) with the convolution after it.
    """
    root = flow.traced.root
    if any(True for _ in root.get_submodule(path).children()):
        return False
    before, here, after = (
        {flow.kind_of(node) for node in found}
        for found in (nodes[0].all_input_nodes, nodes, [u for node in nodes for u in node.users])
    )
    if (here, after) == ({"convolution"}, {"normalisation"}):
        return True
    if (here, after) == ({"normalisation"}, {"convolution"}) and before != {"convolution"}:
        return True
    parent = path.rpartition(".")[0]
    ends = flow.traced.outputs.get(parent)
    return ends is not None and ends != nodes and _is_one_of_a_row(root, parent)


def _is_one_of_a_row(root: torch.nn.Module, path: str) -> bool:
    """Whether a module has a numbered name among others: ``layer4``, ``blocks.11``."""
    parent, _, name = path.rpartition(".")
    stem = name.rstrip("0123456789")
    names = [other for other, _ in root.get_submodule(parent).named_children()]
    return stem != name and sum(other.rstrip("0123456789") == stem for other in names) > 1


def _outermost(root: torch.nn.Module, paths: Sequence[str]) -> str:
    """Choose among modules with one output: the outermost that is one of a row.

    ``layer4`` and not ``layer4.2``, as there are ``layer1`` to ``layer3`` too; but ``blocks.11``
    and not ``blocks``, of which there is only one.
    """
    outer = sorted(paths, key=lambda path: path.count("."))
    return next((path for path in outer if _is_one_of_a_row(root, path)), paths[0])


def _head_name(flow: Flow) -> str:
    for path, nodes in flow.traced.outputs.items():
        if nodes == flow.head_inputs:
            return path
    for path, nodes in flow.traced.outputs.items():  # an idle module right after it
        idle = len(nodes) == 1 and flow.is_idle(nodes[0])
        if idle and tuple(nodes[0].all_input_nodes) == flow.head_inputs:
            return path
    return PRE_LOGITS


def _averages_to(flow: Flow, point: Point, last: Point) -> bool:
    """Whether the average of a map is what the head reads."""
    if last.cut.channels != point.cut.channels or len(last.nodes) > 1:
        return False
    *tensors, vector = flow.run((*point.nodes, *last.nodes))
    average = Pool(point.cut, "avg")(tuple(tensors))
    vector = Pool(last.cut, "avg")((vector,))
    return bool((average - vector).norm() <= _SAME * vector.norm())
