"""From a converted network to a graph that maps uint8 pixels to one feature vector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.convert import save_graph
from regraft.backbones.cuts import Cut, TensorSpec
from regraft.backbones.preprocess import Preprocess
from regraft.quiet import import_openvino
from regraft.strategy import Pooling, Tap

FEATURES = "features"
_SPACE = np.array([2, 3], dtype=np.int64)


def feature_model(
    network: Path, cuts: Sequence[Cut], taps: Sequence[Tap], preprocess: Preprocess
) -> Any:
    """Pool the cuts of a converted network and lay the vectors side by side.

    Parameters
    ----------
    network : Path
        ``frozen.xml`` as `regraft.backbones.base.FrozenGraph.write` writes it.
    cuts : sequence of Cut
        The outputs of that network, from input to head.
    taps : sequence of Tap
        Columns of the result, in order.
    preprocess : Preprocess
        Mean, standard deviation and order of channels, which become part of the graph.

    Returns
    -------
    openvino.Model
        Input: uint8 RGB pixels (N, H, W, 3). First output, ``"features"``: float32 (N, D).
        The other outputs are averages of the earlier cuts. Nobody reads them: in bfloat16 the
        engine rounds differently where it may fuse across a cut, so the graph with which a model
        is used keeps the cuts of the graph with which it was trained, and the features stay
        equal bit for bit (see ``docs/decisions/0004-precision.md``).
    """
    openvino = import_openvino()
    from openvino import opset15 as ops

    model = openvino.Core().read_model(network)
    outputs = {name: output for output in _sources(model) for name in output.get_names()}
    named = {cut.name: cut for cut in cuts}
    features = ops.concat([_pool_cut(outputs, named[tap.cut], tap.pooling) for tap in taps], 1)
    features.output(0).set_names({FEATURES})
    deepest = max(list(named).index(tap.cut) for tap in taps)
    read = {tap.cut for tap in taps if tap.pooling == "avg"}
    held = [name for name in list(named)[: deepest + 1] if name not in read]
    results = [ops.result(features)]
    for name in held:
        average = _pool_cut(outputs, named[name], "avg")
        average.output(0).set_names({f"held.{name}"})
        results.append(ops.result(average))
    return _with_pixels_in(openvino.Model(results, model.get_parameters(), FEATURES), preprocess)


def _sources(model: Any) -> list[Any]:
    return [result.input_value(0) for result in model.get_results()]


def _pool_cut(outputs: dict[str, Any], cut: Cut, pooling: Pooling) -> Any:
    """Pool every tensor of a cut, the vectors side by side."""
    from openvino import opset15 as ops

    pairs = zip(cut.output_names(), cut.tensors, strict=True)
    vectors = [_pool(outputs[name], spec, pooling) for name, spec in pairs]
    return vectors[0] if len(vectors) == 1 else ops.concat(vectors, 1)


def _pool(tensor: Any, spec: TensorSpec, pooling: Pooling) -> Any:
    """Do what `regraft.backbones.pooling` does in PyTorch."""
    from openvino import opset15 as ops

    if spec.layout == "NC":
        return ops.multiply(tensor, np.float32(1))  # a node of its own, which may be renamed
    if pooling == "map":
        return _flat(tensor, spec)
    features = _as_map(tensor, spec)
    if pooling == "avg":
        return ops.reduce_mean(features, _SPACE, keep_dims=False)
    if pooling == "max":
        return ops.reduce_max(features, _SPACE, keep_dims=False)
    if pooling == "std":
        centred = ops.subtract(features, ops.reduce_mean(features, _SPACE, keep_dims=True))
        return ops.sqrt(ops.reduce_mean(ops.multiply(centred, centred), _SPACE, keep_dims=False))
    quarters = ops.adaptive_avg_pool(features, np.array([2, 2], dtype=np.int64))
    return ops.reshape(quarters, np.array([0, -1], dtype=np.int64), special_zero=True)


def _flat(tensor: Any, spec: TensorSpec) -> Any:
    """Everything in one row, the channels last."""
    from openvino import opset15 as ops

    if spec.layout == "NCHW":
        tensor = ops.transpose(tensor, np.array([0, 2, 3, 1], dtype=np.int64))
    return ops.reshape(tensor, np.array([0, -1], dtype=np.int64), special_zero=True)


def _as_map(tensor: Any, spec: TensorSpec) -> Any:
    """(N, C, H, W) of any layout; tokens in no square become (N, C, L, 1)."""
    from openvino import opset15 as ops

    if spec.layout == "NCHW":
        return tensor
    if spec.layout == "NHWC":
        return ops.transpose(tensor, np.array([0, 3, 1, 2], dtype=np.int64))
    if spec.prefix:
        places, step, axis = (np.array([value], dtype=np.int64) for value in (spec.prefix, 1, 1))
        end = np.array([spec.shape[0]], dtype=np.int64)
        tensor = ops.slice(tensor, places, end, step, axis)
    height, width = spec.grid or (spec.shape[0] - spec.prefix, 1)
    shape = np.array([0, spec.channels, height, width], dtype=np.int64)
    channels_first = ops.transpose(tensor, np.array([0, 2, 1], dtype=np.int64))
    return ops.reshape(channels_first, shape, special_zero=True)


def _with_pixels_in(model: Any, preprocess: Preprocess) -> Any:
    openvino = import_openvino()
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    pixels = steps.input()
    pixels.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    pixels.model().set_layout(openvino.Layout("NCHW"))
    normalise = pixels.preprocess().convert_element_type(openvino.Type.f32)
    normalise.mean([255.0 * value for value in preprocess.mean])
    normalise.scale([255.0 * value for value in preprocess.std])
    if preprocess.channels == "BGR":
        normalise.reverse_channels()
    return steps.build()


def save_feature_model(
    network: Path,
    cuts: Sequence[Cut],
    taps: Sequence[Tap],
    preprocess: Preprocess,
    folder: Path,
) -> None:
    """Write `feature_model` as ``frozen.xml`` and ``frozen.bin``, weights in float32."""
    save_graph(feature_model(network, cuts, taps, preprocess), folder / "frozen.xml")
