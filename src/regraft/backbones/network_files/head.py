"""Where the features of a network file end and its classifier begins.

The rule, from the output backwards: over operations that turn scores into probabilities, change
the shape, undo a quantisation or add a bias, to the first operation with weights.

- A matrix product, or a 1x1 convolution of a single place, is the classifier.
- A 1x1 convolution of a map, whose scores are then averaged over space, is the classifier if a
  softmax follows (SqueezeNet); else it is the last layer of a network that ends in features, as
  a MobileNet without its head.
- Anything else (an activation, a sum of two branches) ends a network that has no classifier: its
  output is the features.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

from regraft.backbones.network_files.flow import Flow, flow_to, port_of, shape_of
from regraft.errors import UserError

_PASSED = ("Softmax", "LogSoftmax", "Sigmoid", "Log", "FakeQuantize", "Convert")
_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Transpose")
_QUANTISES = ("FakeQuantize", "Convert")
_AFFINE = ("Add", "Subtract", "Multiply", "Divide")
_ACTIVATIONS = ("Relu", "PRelu", "Clamp")
_POOLS = ("AvgPool", "ReduceMean", "AdaptiveAvgPool")
_SHOWN = 5


def find_tap(model: Any, channel_axis: int, tap: str | None, path: str) -> tuple[Any, bool]:
    """Find the tensor that holds the features.

    Parameters
    ----------
    model : openvino.Model
        With static shapes, for one picture.
    channel_axis : int
        Where the channels of the input are.
    tap : str or None
        An operation or tensor that the user names instead.
    path : str
        For messages.

    Returns
    -------
    output : openvino.Output
        The features.
    found : bool
        Whether there is a classifier behind them. True where the user names the tap.

    Raises
    ------
    UserError
        No such operation, or several outputs that have no features in common.
    """
    flow = flow_to(model.get_results(), channel_axis)
    if tap is not None:
        return _named(flow, tap, path), True
    found = [_before_classifier(flow, result) for result in model.get_results()]
    if len({port_of(output) for output, _ in found}) > 1:
        kinds = "; ".join(
            f"{result.friendly_name} {list(shape_of(result.input_value(0)))}"
            for result in model.get_results()
        )
        raise UserError(
            f"file: {path} has {len(found)} outputs and no single classifier ({kinds}), so it is "
            "not known where its features are; give --tap with the operation whose output they "
            "are",
            [f"--tap {name}" for name in _candidates(flow, model, channel_axis)],
        )
    return found[0]


def _before_classifier(flow: Flow, result: Any) -> tuple[Any, bool]:
    end = result.input_value(0)
    pooled = probabilities = False
    while True:
        node, output = end.get_node(), end
        kind, sources = node.get_type_name(), flow.data_inputs(node)
        if flow.is_weighty(node):
            if _classifies(node, sources[0], pooled and probabilities):
                return _unwrapped(flow, sources[0]), True
            break
        if len(sources) != 1:
            break
        pooled |= kind in _POOLS and _global(output, sources[0])
        probabilities |= kind in ("Softmax", "LogSoftmax")
        passed = kind in (*_PASSED, *_RESHAPES, *_AFFINE)
        if not (passed or (pooled and kind in (*_POOLS, *_ACTIVATIONS))):
            break
        end = sources[0]
    return _unwrapped(flow, result.input_value(0)), False


def _classifies(node: Any, source: Any, scores_are_averaged: bool) -> bool:
    kind = node.get_type_name()
    if kind == "MatMul":
        return True
    pointwise = math.prod(shape_of(node.input_value(1))[-2:]) == 1
    single = math.prod(shape_of(source)[2:]) == 1
    return kind == "Convolution" and pointwise and (single or scores_are_averaged)


def _global(output: Any, source: Any) -> bool:
    """Whether a pooling leaves only the channels."""
    return math.prod(shape_of(output)) == max(shape_of(output)) < math.prod(shape_of(source))


def _unwrapped(flow: Flow, output: Any) -> Any:
    """Step back over quantisation, and over changes of shape that only move ones about."""
    while True:
        node, sources = output.get_node(), flow.data_inputs(output.get_node())
        kind = node.get_type_name()
        vector = math.prod(shape_of(output)) == max(shape_of(output), default=0)
        if len(sources) != 1 or not (
            kind in _QUANTISES or (kind in _RESHAPES and vector and _is_vector(sources[0]))
        ):
            return output
        output = sources[0]


def _is_vector(output: Any) -> bool:
    return math.prod(shape_of(output)) == max(shape_of(output), default=0)


def _named(flow: Flow, tap: str, path: str) -> Any:
    names: dict[str, Any] = {}
    for node in flow.order[1:]:
        for output in node.outputs():
            for name in output.get_names():
                names.setdefault(name, output)
        names[node.friendly_name] = node.output(0)
    if tap not in names:
        close = difflib.get_close_matches(tap, names, _SHOWN, 0.4) or list(names)[-_SHOWN:]
        raise UserError(
            f"tap must be an operation or tensor of {path}, got {tap!r}; "
            f"closest: {', '.join(close)}"
        )
    output = names[tap]
    if flow.spec(output) is None:
        raise UserError(
            f"tap must be a map, tokens or a vector of features, one row a picture; {tap!r} of "
            f"{path} is {output.element_type.get_type_name()} {list(shape_of(output))}"
        )
    return output


def _candidates(flow: Flow, model: Any, channel_axis: int) -> Sequence[str]:
    """Find the deepest maps and vectors that all outputs are made of."""
    shared = frozenset.intersection(
        *(flow_to([result], channel_axis).names for result in model.get_results())
    )
    names = [
        node.friendly_name
        for node in flow.order
        if node.get_name() in shared
        and node.get_type_name() not in (*_QUANTISES, *_RESHAPES, "Parameter")
        and flow.spec(node.output(0)) is not None
    ]
    return names[: -_SHOWN - 1 : -1]
