"""Any number of pictures at once through a network file that was written for one.

Many files have the batch size in the constants of their reshapes, and a class token for a single
picture. What was mended is compared with the network as it was, in numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.network_files.flow import Flow, flow_to, shape_of
from regraft.errors import UserError
from regraft.quiet import import_openvino

_SHAPED = ("Reshape", "Squeeze", "Unsqueeze")
# Of the norm of a tensor. Another batch size may round quantised activations differently; a
# mended network that mixes pictures up is off by about 1.
_TOLERANCE = 0.02


def for_any_batch(model: Any, pictures: NDArray[np.float32], path: str) -> Any:
    """Let a network take any number of pictures.

    Parameters
    ----------
    model : openvino.Model
        With static shapes, for one picture. It is not changed.
    pictures : ndarray of shape (2, 3, H, W), float32
        Two different ones, normalised, to compare with.
    path : str
        For messages.

    Returns
    -------
    openvino.Model

    Raises
    ------
    UserError
        The network cannot be brought to it.
    """
    alone = [run(model, pictures[number : number + 1]) for number in range(2)]
    expected = [np.concatenate(pair) for pair in zip(*alone, strict=True)]
    for mend in (False, True):
        candidate = model.clone()
        if mend:
            _mend(candidate)
        if _takes_any_batch(candidate, model) and _agrees(candidate, pictures, expected):
            return candidate
    raise UserError(
        f"file: {path} takes one picture at a time and cannot be brought to take several; export "
        "it again with a variable batch size (in torch.onnx.export: dynamic_shapes)"
    )


def run(model: Any, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Run a network once, in float32.

    Raises
    ------
    RuntimeError
        OpenVINO cannot.
    """
    core = import_openvino().Core()
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(value, dtype=np.float32) for value in compiled(pictures).values()]


def _takes_any_batch(candidate: Any, model: Any) -> bool:
    shape = shape_of(model.input(0))
    try:
        candidate.reshape([-1, *shape[1:]])
    except RuntimeError:
        return False
    return all(
        output.partial_shape.rank.is_static
        and output.partial_shape[0].is_dynamic
        and [str(side) for side in output.partial_shape][1:] == [str(n) for n in shape_of(was)[1:]]
        for output, was in zip(candidate.outputs, model.outputs, strict=True)
    )


def _agrees(
    candidate: Any, pictures: NDArray[np.float32], expected: Sequence[NDArray[np.float32]]
) -> bool:
    try:
        found = run(candidate, pictures)
    except RuntimeError:
        return False
    return all(
        one.shape == other.shape
        and np.linalg.norm(one - other) <= _TOLERANCE * max(float(np.linalg.norm(other)), 1e-12)
        for one, other in zip(found, expected, strict=True)
    )


def _mend(model: Any) -> None:
    """Take the one picture out of reshapes and out of constants that maps are joined with."""
    from openvino import opset15 as ops

    flow = flow_to(model.get_results(), channel_axis=1)
    for node in flow.order:
        shape = shape_of(node.output(0))
        if node.get_type_name() in _SHAPED and shape:
            target = np.array([-1, *shape[1:]], dtype=np.int64)
            reshaped = ops.reshape(node.input_value(0), target, special_zero=False)
            reshaped.set_friendly_name(node.friendly_name)
            reshaped.output(0).set_names(node.output(0).get_names())
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(reshaped.output(0))
        elif node.get_type_name() == "Concat" and shape[:1] == (1,):
            _spread_constants(flow, node)


def _spread_constants(flow: Flow, node: Any) -> None:
    """Repeat the constant parts of a join, such as a class token, for each picture."""
    from openvino import opset15 as ops

    batch = ops.gather(
        ops.shape_of(flow.data_inputs(node)[0]), np.array([0]), np.array(0, dtype=np.int64)
    )
    for port in node.inputs():
        source = port.get_source_output()
        if source.get_node().get_name() not in flow.names:
            rest = np.array(shape_of(source)[1:], dtype=np.int64)
            spread = ops.broadcast(source, ops.concat([batch, rest], 0))
            port.replace_source_output(spread.output(0))
