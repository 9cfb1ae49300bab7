"""What flows through an OpenVINO graph: the operations that the picture passes, in order.

Constants, and what is computed of them alone (weights stored as integers, say), are no part of the
flow; neither is what is computed of shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from regraft.backbones.cuts import Layout, TensorSpec

Port = tuple[str, int]  # the unique name of a node in this process, and which of its outputs

CONVOLUTIONS = ("Convolution", "GroupConvolution")
_TRANSPOSED = ("ConvolutionBackpropData", "GroupConvolutionBackpropData")
_SHAPED = ("Reshape", "Squeeze", "Unsqueeze")
_LEARNED = ("Add", "Subtract", "Multiply", "Divide", "PRelu", "BatchNormInference")
_UNCOUNTED = ("TensorIterator", "Loop", "If", "LSTMSequence", "GRUSequence", "RNNSequence")
_PREFIXES = 16  # class and register tokens that come before the places


@dataclass(frozen=True, eq=False)
class Flow:
    """The operations between the input and some operations, in an order in which they can run.

    Parameters
    ----------
    order : tuple of openvino.Node
        Parameter first.
    channel_axis : int
        Where the channels of the input are.
    """

    order: tuple[Any, ...]
    channel_axis: int

    @cached_property
    def names(self) -> frozenset[str]:
        """The unique names of the operations."""
        return frozenset(node.get_name() for node in self.order)

    def data_inputs(self, node: Any) -> list[Any]:
        """List the outputs of other operations of the flow that an operation reads."""
        return self._read[node.get_name()]

    @cached_property
    def _read(self) -> dict[str, list[Any]]:
        read = {}
        for node in self.order:
            sources = [port.get_source_output() for port in node.inputs()]
            read[node.get_name()] = [s for s in sources if s.get_node().get_name() in self.names]
        return read

    def is_weighty(self, node: Any) -> bool:
        """Whether it is a convolution or matrix product with weights."""
        kind = node.get_type_name()
        return kind in (*CONVOLUTIONS, *_TRANSPOSED) or (
            kind == "MatMul" and len(self.data_inputs(node)) == 1
        )

    @cached_property
    def axes(self) -> dict[Port, int | None]:
        """Where the channels are in each tensor; None where that is not known."""
        axes: dict[Port, int | None] = {}
        for node in self.order:
            axis = self._axis(node, axes)
            for output in node.outputs():
                axes[port_of(output)] = axis
        return axes

    @cached_property
    def places(self) -> dict[Port, int]:
        """How many places the last convolution on the way to each tensor had."""
        places: dict[Port, int] = {}
        for node in self.order:
            before = max((places[port_of(source)] for source in self.data_inputs(node)), default=0)
            if node.get_type_name() in CONVOLUTIONS:
                before = math.prod(shape_of(node.output(0))[2:])
            for output in node.outputs():
                places[port_of(output)] = before
        return places

    def spec(self, output: Any) -> TensorSpec | None:
        """Describe a tensor, None where it is neither map, nor tokens, nor vector.

        A map of one place is a vector.
        """
        shape = shape_of(output)
        axis = self.axes[port_of(output)]
        if shape[:1] != (1,) or not output.element_type.is_real():
            return None
        if len(shape) == 2:
            return TensorSpec("NC", shape[1:])
        if axis is None or axis == 0:
            return None
        if math.prod(shape) == shape[axis]:
            return TensorSpec("NC", (shape[axis],))
        layouts: dict[tuple[int, int], Layout] = {(4, 1): "NCHW", (4, 3): "NHWC", (3, 2): "NLC"}
        layout = layouts.get((len(shape), axis))
        if layout is None:
            return None
        prefix = 0
        if layout == "NLC" and 0 < shape[1] - self.places[port_of(output)] <= _PREFIXES:
            prefix = shape[1] - self.places[port_of(output)]
        return TensorSpec(layout, shape[1:], prefix)

    def _axis(self, node: Any, axes: dict[Port, int | None]) -> int | None:
        kind, rank = node.get_type_name(), len(shape_of(node.output(0)))
        if kind == "Parameter":
            return self.channel_axis
        if kind in (*CONVOLUTIONS, *_TRANSPOSED):
            return 1
        if kind == "MatMul":
            return rank - 1
        source = self.data_inputs(node)[0]
        before, shape = axes[port_of(source)], shape_of(source)
        if before is None or rank == 2:
            return 1 if rank == 2 else None
        if kind == "Transpose":
            order = constant_of(node.input_value(1))
            return None if order is None else order.index(before)
        if kind in _SHAPED:
            return _axis_in(shape_of(node.output(0)), shape, before)
        return before if rank == len(shape) else None


def flow_to(targets: Sequence[Any], channel_axis: int) -> Flow:
    """Find the operations that the picture passes on its way to some operations.

    Parameters
    ----------
    targets : sequence of openvino.Node
        Where to stop.
    channel_axis : int
        Where the channels of the input are.

    Returns
    -------
    Flow
        The order depends on the graph alone, so it is the same each time that a file is read.
    """
    order: list[Any] = []
    flowing: dict[str, bool] = {}
    stack = [(node, False) for node in reversed(targets)]
    while stack:
        node, ready = stack.pop()
        name = node.get_name()
        if name in flowing:
            continue
        sources = [port.get_source_output().get_node() for port in node.inputs()]
        if not ready:
            stack.append((node, True))
            stack += [(s, False) for s in reversed(sources) if s.get_name() not in flowing]
            continue
        kind = node.get_type_name()
        passed = kind != "ShapeOf" and any(flowing[source.get_name()] for source in sources)
        flowing[name] = kind == "Parameter" or passed
        if flowing[name]:
            order.append(node)
    return Flow(tuple(order), channel_axis)


def name_operations(first: Any, second: Any, channel_axis: int) -> None:
    """Give the operations of a network names that are the same each time that it is read.

    OpenVINO numbers nameless operations as they are made in this process. A name that differs
    between two readings of the file is such a number; it becomes the kind of the operation and
    its place among those of that kind: ``Add_3``.

    Parameters
    ----------
    first, second : openvino.Model
        Two readings of the same file. The friendly names of the first are changed.
    channel_axis : int
        Where the channels of the input are.
    """
    flows = [flow_to(model.get_results(), channel_axis) for model in (first, second)]
    counts: dict[str, int] = {}
    taken: set[str] = set()
    for node, again in zip(flows[0].order, flows[1].order, strict=True):
        kind = node.get_type_name()
        counts[kind] = counts.get(kind, 0) + 1
        name = node.friendly_name.replace(",", "_")  # commas part the names in OpenVINO's files
        if node.friendly_name != again.friendly_name or name in taken:
            name = f"{kind}_{counts[kind]}"
            while name in taken:
                name += "_"
        taken.add(name)
        node.set_friendly_name(name)


def port_of(output: Any) -> Port:
    """Name an output of an operation, uniquely in this process."""
    return output.get_node().get_name(), output.get_index()


def shape_of(output: Any) -> tuple[int, ...]:
    """Return the shape of a tensor; () where it is not known."""
    shape = output.partial_shape
    return tuple(output.shape) if shape.is_static else ()


def constant_of(output: Any) -> list[int] | None:
    """Return the values of a constant of integers; None where it is computed."""
    node = output.get_node()
    if node.get_type_name() != "Constant":
        return None
    return [int(value) for value in node.get_data().reshape(-1)]


def count_parameters(flow: Flow) -> int:
    """Count the weights: the constants that convolutions, products and normalisations read.

    Single numbers, the ranges of quantised activations and tables of indices are none.
    """
    total = 0
    seen: set[Port] = set()
    for node in flow.order:
        if not (flow.is_weighty(node) or node.get_type_name() in _LEARNED):
            continue
        for port in node.inputs():
            source = port.get_source_output()
            size = math.prod(shape_of(source))
            constant = source.get_node().get_name() not in flow.names
            if constant and size > 1 and port_of(source) not in seen:
                seen.add(port_of(source))
                total += size
    return total


def count_multiply_adds(flow: Flow) -> int | None:
    """Count the multiplications with additions for one picture; None where that is not sure.

    It is not where there are loops, or as many boxes as the picture has objects.
    """
    total = 0
    for node in flow.order:
        kind = node.get_type_name()
        if kind in _UNCOUNTED or not all(port.partial_shape.is_static for port in node.outputs()):
            return None
        if kind in (*CONVOLUTIONS, *_TRANSPOSED):
            # A weight is (out, in, ...), with the groups in front where there are some; a
            # transposed convolution has in and out the other way round.
            weight = shape_of(node.input_value(1))[2 if kind.startswith("Group") else 1 :]
            moved = node.input_value(0) if kind in _TRANSPOSED else node.output(0)
            total += math.prod(shape_of(moved)) * math.prod(weight)
        elif kind == "MatMul":
            turned = node.get_attributes().get("transpose_a", False)
            inner = shape_of(node.input_value(0))[-2 if turned else -1]
            total += math.prod(shape_of(node.output(0))) * inner
    return total


def _axis_in(shape: tuple[int, ...], before: tuple[int, ...], axis: int) -> int | None:
    """Find the channels after a reshape: as many, with as many elements in front of them."""
    for place, length in enumerate(shape):
        if length == before[axis] and math.prod(shape[:place]) == math.prod(before[:axis]):
            return place
    return None
