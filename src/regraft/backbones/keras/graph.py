"""From a Keras network to a graph of PyTorch modules that can be cut.

A network of Keras Applications says itself which layer reads which: it is walked, layer by layer,
each one translated by `regraft.backbones.keras.layers`. Cuts are named as the layers are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from regraft.backbones.traced import Traced

if TYPE_CHECKING:
    import torch
    from torch import fx

# Where branches come together; Keras has two kinds of Add, a layer and an operation.
_JOINS = frozenset({"Add", "Concatenate", "CustomScaleLayer"})
# A part without an end that holds more of a network's layers than this is looked into.
_LARGEST = 0.25
# The block that a layer belongs to: its name up to the number after which words only follow.
_AUTOMATIC = re.compile(r"(?:add|activation|re_lu|multiply)(?:_\d+)?")
_BLOCK = re.compile(r"(.*\d[a-z]?)(?:_[^_\d]+)+")


def trace_keras(model: Any, *, top: bool) -> Traced:
    """Translate a Keras network into PyTorch.

    Parameters
    ----------
    model : keras.Model
        Built for one size of picture, with one input and one output, as Keras Applications are.
    top : bool
        Whether its last layer with weights is a classifier.

    Returns
    -------
    Traced
        In evaluation mode, with a copy of the weights; the maps are channels first.
    """
    import torch
    from torch import fx

    root, graph = torch.nn.Module(), fx.Graph()
    values: dict[int, fx.Node] = {id(model.inputs[0]): graph.placeholder("pixels")}
    named: dict[str, fx.Node] = {}
    _Walk(root, graph, values, named, stable_names(model)).functional(model)
    graph.output(values[id(model.outputs[0])])
    root.requires_grad_(False).eval()
    weighted = _weighted(root, graph)
    classifier = str(weighted[-1].target) if top else None
    outputs = {name: (node,) for name, node in _block_ends(root, graph, named, classifier)}
    return Traced(root, graph, outputs, (classifier,) if classifier else ())


def stable_names(model: Any) -> Mapping[int, str]:
    """Name each layer, by its ``id``, as Keras names it in the first network of a process.

    Keras numbers the layers that nobody named (``add_1``), and goes on counting in the next
    network.
    """
    first: dict[str, int] = {}
    for layer in model.operations:
        stem, number = _automatic(layer)
        if stem:
            first[stem] = min(number, first.get(stem, number))
    names = {}
    for layer in model.operations:
        stem, number = _automatic(layer)
        number -= first.get(stem, 0)
        names[id(layer)] = (f"{stem}_{number}" if number else stem) if stem else layer.name
    return names


def kind_of(layer: Any) -> str:
    """Name the kind of a layer as Keras does in files and automatic names: ``conv2d``."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _automatic(layer: Any) -> tuple[str, int]:
    """Split a name that Keras made of the layer's kind; an empty one where somebody chose it."""
    kind = kind_of(layer)
    match = re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name)
    return (kind, int(match[1] or 0)) if match else ("", 0)


class _Walk:
    """Adds the layers of a network to a graph, in the order in which Keras runs them."""

    def __init__(
        self,
        root: torch.nn.Module,
        graph: fx.Graph,
        values: dict[int, fx.Node],
        named: dict[str, fx.Node],
        names: Mapping[int, str],
    ) -> None:
        self.root, self.graph, self.values, self.named = root, graph, values, named
        self.names = names

    def functional(self, model: Any) -> None:
        """Add every layer, those without weights as late as can be.

        What only prepares the next block (an activation, a border) is then no part of this one.
        """
        makers = {id(layer.output): layer for layer in model.operations}

        def add(layer: Any) -> None:
            node = layer._inbound_nodes[0]
            if id(node.outputs[0]) in self.values:
                return
            for value in node.input_tensors:
                add(makers[id(value)])
            self.values[id(node.outputs[0])] = self.layer(layer, node)

        for layer in model.operations:
            if type(layer).__name__ in _JOINS or getattr(layer, "weights", None):
                add(layer)
        add(makers[id(model.outputs[0])])

    def layer(self, layer: Any, node: Any) -> fx.Node:
        """Add one layer; a stack of layers is opened."""
        name = self.names[id(layer)].replace(".", "_")
        if type(layer).__name__ == "Sequential":
            return self.sequence(layer, name, self.values[id(node.input_tensors[0])])
        inputs = _leaves((node.arguments.args, node.arguments.kwargs))
        known = [self.values.get(id(value), value) for value in inputs]
        return self.call(layer, name, known, node.input_tensors[0].shape)

    def sequence(self, model: Any, name: str, value: fx.Node) -> fx.Node:
        """Add the layers of a plain stack, under its name."""
        self.root.add_module(name, _empty())
        for layer in model.layers:
            path = f"{name}.{layer.name.replace('.', '_')}"
            value = self.call(layer, path, [value], layer.input.shape)
        self.named[name] = value
        return value

    def call(
        self, layer: Any, name: str, inputs: Sequence[Any], shape: Sequence[int | None]
    ) -> fx.Node:
        """Add one layer, and its own activation as a second module."""
        from regraft.backbones.keras.layers import activation, as_module

        module = as_module(layer, shape)
        value = self._module(name, module, tuple(inputs))
        function = getattr(layer, "activation", None)
        if type(layer).__name__ != "Activation" and _does_something(function):
            value = self._module(f"{name}_activation", activation(function), (value,))
        self.named[name] = value
        return value

    def _module(self, path: str, module: torch.nn.Module, inputs: tuple[Any, ...]) -> fx.Node:
        parent, _, name = path.rpartition(".")
        self.root.get_submodule(parent).add_module(name, module)
        return self.graph.call_module(path, inputs)


def _empty() -> torch.nn.Module:
    import torch

    return torch.nn.Module()


def _does_something(function: Any) -> bool:
    return function is not None and getattr(function, "__name__", "") != "linear"


def _leaves(arguments: Any) -> Iterator[Any]:
    """Give the tensors and numbers of nested arguments, in order."""
    if isinstance(arguments, Mapping):
        arguments = arguments.values()
    elif not isinstance(arguments, list | tuple):
        if arguments is not None and not isinstance(arguments, bool):
            yield arguments
        return
    for argument in arguments:
        yield from _leaves(argument)


def _weighted(root: torch.nn.Module, graph: fx.Graph) -> list[fx.Node]:
    """List the calls of modules that have weights, in order."""
    return [
        node
        for node in graph.nodes
        if node.op == "call_module" and any(True for _ in _module(root, node).parameters())
    ]


def _module(root: torch.nn.Module, node: fx.Node) -> torch.nn.Module:
    return root.get_submodule(str(node.target))


def _block_ends(
    root: torch.nn.Module, graph: fx.Graph, named: Mapping[str, fx.Node], classifier: str | None
) -> list[tuple[str, fx.Node]]:
    """Choose the layers at which blocks end.

    A block ends where a single value flows on. Where a large part of the network has no such
    place, it also ends where branches join and one more value flows on, which is an end itself
    (the cells of NASNet read the two before). Of the ends within one numbered block the last one
    counts, and none between a depthwise convolution and the pointwise one that completes it.
    """
    from torch.nn import Dropout, ZeroPad2d

    from regraft.backbones.keras.modules import Join, Sum

    nodes = list(graph.nodes)
    head = next((n for n, node in enumerate(nodes) if node.target == classifier), len(nodes) - 1)
    alive = _alive(nodes)
    single = [n for n in range(1, head) if alive[n] == {nodes[n]}]
    heavy = {nodes.index(node) for node in _weighted(root, graph)}
    wide: set[int] = set()
    for start, stop in itertools.pairwise([0, *single, head]):
        if len(heavy.intersection(range(start, stop))) > _LARGEST * len(heavy):
            wide.update(range(start + 1, stop))
    names = {node: name for name, node in named.items()}  # containers come after what is in them
    ends: dict[fx.Node, str] = {}
    for n, node in enumerate(nodes[:head]):
        if node not in names or isinstance(_module(root, node), Dropout | ZeroPad2d):
            continue  # a border belongs to the convolution that needs it, dropout to what it trains
        others = alive[n] - {node}
        joins = n in wide and isinstance(_module(root, node), Join | Sum)
        paired = joins and len(others) == 1 and others <= ends.keys() and _reads(node, *others)
        if node in alive[n] and (not others or paired):
            ends[node] = names[node]
    return _last_of_each_block(root, graph, ends)


def _reads(node: fx.Node, source: fx.Node) -> bool:
    """Whether a value depends on another one."""
    seen, todo = set(), [node]
    while todo:
        found = todo.pop()
        if found is source:
            return True
        if found not in seen:
            seen.add(found)
            todo.extend(found.all_input_nodes)
    return False


def _alive(nodes: Sequence[fx.Node]) -> list[set[fx.Node]]:
    """For each place in a graph: the values known after it that are needed later."""
    places = {node: place for place, node in enumerate(nodes)}
    last_use = {node: max(map(places.__getitem__, node.users), default=-1) for node in nodes}
    found: list[set[fx.Node]] = []
    alive: set[fx.Node] = set()
    for place, node in enumerate(nodes):
        alive = {value for value in (*alive, node) if last_use[value] > place}
        found.append(alive)
    return found


def _last_of_each_block(
    root: torch.nn.Module, graph: fx.Graph, ends: Mapping[fx.Node, str]
) -> list[tuple[str, fx.Node]]:
    items = [(name, node) for node, name in ends.items() if not _after_depthwise(root, node)]
    places = {node: place for place, node in enumerate(graph.nodes)}
    blocks = [_block(node, places) for _, node in items]
    return [
        item
        for item, block, following in zip(items, blocks, [*blocks[1:], ""], strict=True)
        if block != following
    ]


def _block(node: fx.Node, places: Mapping[fx.Node, int]) -> str:
    """Name the block of a layer; one that Keras named itself belongs to the layer before."""
    while node.op == "call_module":
        match = _BLOCK.fullmatch(str(node.target))
        if match:
            return match[1]
        if not _AUTOMATIC.fullmatch(str(node.target)):
            break
        node = max(node.all_input_nodes, key=places.__getitem__)
    return str(node.target)


def _after_depthwise(root: torch.nn.Module, node: fx.Node) -> bool:
    """Whether the last convolution on the main path before a value is a depthwise one."""
    import torch

    from regraft.backbones.keras.modules import Product

    while node.op == "call_module":
        module = _module(root, node)
        if isinstance(module, torch.nn.Conv2d):
            return 1 < module.groups == module.in_channels
        if len(node.all_input_nodes) > 1 and not isinstance(module, Product):
            return False
        node = node.all_input_nodes[0]
    return False
