"""Keras layers in plain PyTorch: the same numbers, ordinary modules.

Keras' own layers on its torch backend copy every map to another memory order around each
convolution, hold moving statistics as parameters and miscount the border of some average pools
(`keras_modules.Pool2d`). Here a layer becomes the PyTorch module that computes the same, with the
Keras weights copied into it, so that freezing, devices, tracing and speed are those of any PyTorch
network. Maps have their channels first, as everywhere in PyTorch; Keras' axes are translated.

This module imports PyTorch; it is itself imported only where a Keras network is opened.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.backbones.keras.modules import (
    MAP,
    Crop,
    DropPath,
    GlobalAverage,
    Join,
    LayerNorm,
    PaddedConv2d,
    Pool2d,
    Product,
    Rescale,
    Reshape,
    Scale,
    Standardise,
    Sum,
)
from regraft.errors import RegraftError


def array(value: Any) -> torch.Tensor:
    """Copy a Keras variable, a tensor or a list of numbers into a tensor of its own."""
    found = getattr(value, "value", value)
    return torch.as_tensor(found, dtype=torch.float32, device="cpu").detach().clone()


def padding_same(size: int | None, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return the border before and behind a map for which TensorFlow's ``same`` padding asks."""
    reach = (window - 1) * dilation + 1
    if stride == 1:
        total = reach - 1
    elif size is None:
        raise RegraftError("a Keras network must be built for a fixed size of picture")
    else:
        total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


def _borders(layer: Any, shape: Sequence[int | None], window: Sequence[int]) -> list[Any]:
    if layer.padding == "valid":
        return [(0, 0), (0, 0)]
    dilation = getattr(layer, "dilation_rate", (1, 1))
    return [
        padding_same(shape[1 + axis], window[axis], layer.strides[axis], dilation[axis])
        for axis in (0, 1)
    ]


def _convolution(
    layer: Any, weight: torch.Tensor, groups: int, bias: Any, borders: list[Any], **shape: Any
) -> nn.Conv2d:
    """Make a convolution with a weight of shape (out, in / groups, height, width)."""
    symmetric = all(before == behind for before, behind in borders)
    made = (nn.Conv2d if symmetric else PaddedConv2d)(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        groups=groups,
        bias=bias is not None,
        padding=tuple(before for before, _ in borders) if symmetric else 0,
        device="meta",
        **shape,
    )
    if isinstance(made, PaddedConv2d):
        made.border = (*borders[1], *borders[0])
    made.weight = nn.Parameter(weight.contiguous())
    if bias is not None:
        made.bias = nn.Parameter(array(bias))
    return made


def _strides(layer: Any) -> dict[str, Any]:
    return {"stride": tuple(layer.strides), "dilation": tuple(layer.dilation_rate)}


def _conv(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    weight = array(layer.kernel).permute(3, 2, 0, 1)
    bias = layer.bias if layer.use_bias else None
    borders = _borders(layer, shape, weight.shape[2:])
    return _convolution(layer, weight, layer.groups, bias, borders, **_strides(layer))


def _depthwise(layer: Any, kernel: Any, bias: Any, shape: Sequence[int | None]) -> nn.Conv2d:
    weight = array(kernel).permute(2, 3, 0, 1)
    channels = weight.shape[0]
    weight = weight.reshape(-1, 1, *weight.shape[2:])
    borders = _borders(layer, shape, weight.shape[2:])
    return _convolution(layer, weight, channels, bias, borders, **_strides(layer))


def _depthwise_conv(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    return _depthwise(layer, layer.kernel, layer.bias if layer.use_bias else None, shape)


def _separable_conv(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    weight = array(layer.pointwise_kernel).permute(3, 2, 0, 1)
    bias = layer.bias if layer.use_bias else None
    pointwise = _convolution(layer, weight, 1, bias, [(0, 0), (0, 0)])
    depthwise = _depthwise(layer, layer.depthwise_kernel, None, shape)
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise))


def _batch_norm(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    _require(layer, layer.axis in (-1, len(shape) - 1) and not layer.renorm)
    mean = array(layer.moving_mean)
    # PyTorch moves its running variance by the unbiased estimate, Keras by the biased one.
    made = nn.BatchNorm2d(len(mean), layer.epsilon, 1 - layer.momentum)
    made.running_mean, made.running_var = mean, array(layer.moving_variance)
    made.register_parameter("weight", nn.Parameter(array(layer.gamma)) if layer.scale else None)
    made.register_parameter("bias", nn.Parameter(array(layer.beta)) if layer.center else None)
    return made


def _layer_norm(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    _require(layer, list(np.atleast_1d(layer.axis)) in ([-1], [len(shape) - 1]))
    _require(layer, layer.scale and layer.center)
    made = LayerNorm(layer.gamma.shape[0], layer.epsilon)
    made.weight, made.bias = nn.Parameter(array(layer.gamma)), nn.Parameter(array(layer.beta))
    return made


def _dense(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    weight = array(layer.kernel).T
    if len(shape) == MAP:  # at every place: without a change of the order of the axes
        bias = layer.bias if layer.use_bias else None
        return _convolution(layer, weight[:, :, None, None], 1, bias, [(0, 0), (0, 0)])
    made = nn.Linear(weight.shape[1], weight.shape[0], layer.use_bias, device="meta")
    made.weight = nn.Parameter(weight.contiguous())
    if layer.use_bias:
        made.bias = nn.Parameter(array(layer.bias))
    return made


def _normalization(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    layer.finalize_state()
    mean, variance = array(layer.mean).flatten(), array(layer.variance).flatten()
    return Standardise(mean, variance.sqrt().clamp_min(1e-7))


def _rescaling(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    return Rescale(array(layer.scale), array(layer.offset))


def _pool(kind: str) -> Callable[[Any, Sequence[int | None]], nn.Module]:
    def make(layer: Any, shape: Sequence[int | None]) -> nn.Module:
        window, stride = tuple(layer.pool_size), tuple(layer.strides)
        borders = _borders(layer, shape, window)
        behind = [back - front for front, back in borders]
        over = any(behind)
        # The window must reach over the end by itself: no more than one step, on neither axis.
        _require(
            layer, not over or all(b == 0 or s > 1 for b, s in zip(behind, stride, strict=True))
        )
        return Pool2d(kind, window, stride, (borders[0][0], borders[1][0]), over)

    return make


def _activation(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    return activation(layer.activation)


def activation(function: Any) -> nn.Module:
    """Turn a Keras activation function into a module.

    Parameters
    ----------
    function : callable
        One of ``keras.activations``.
    """
    name = getattr(function, "__name__", "")
    if name == "softmax":
        return nn.Softmax(1)  # the channels, for maps as for vectors
    makers: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "silu": nn.SiLU,
        "gelu": nn.GELU,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "hard_sigmoid": nn.Hardsigmoid,
        "hard_silu": nn.Hardswish,
        "linear": nn.Identity,
    }
    if name not in makers:
        raise RegraftError(f"regraft knows no PyTorch form of the Keras activation {name!r}")
    return makers[name]()


def _relu(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    _require(layer, not layer.negative_slope and not layer.threshold)
    if layer.max_value is None:
        return nn.ReLU()
    return nn.Hardtanh(0.0, float(layer.max_value))


def _zero_padding(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    (top, bottom), (left, right) = layer.padding
    return nn.ZeroPad2d((left, right, top, bottom))


def _cropping(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    rows, columns = layer.cropping
    return Crop(tuple(rows), tuple(columns))


def _dropout(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    if layer.noise_shape is None:
        return nn.Dropout(layer.rate)
    _require(layer, tuple(layer.noise_shape[1:]) == (1,) * (len(shape) - 1))
    return DropPath(layer.rate)


def _concatenate(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    _require(layer, layer.axis in (-1, len(shape) - 1))
    return Join()


def _flatten(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    return Reshape([int(np.prod([int(size or 0) for size in shape[1:]]))])


def _reshape(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    return Reshape([int(size) for size in layer.output.shape[1:]])


def _require(layer: Any, holds: bool) -> None:
    if not holds:
        raise RegraftError(
            f"the Keras layer {layer.name} ({type(layer).__name__}) has settings that regraft "
            f"does not know: {layer.get_config()}"
        )


_MAKERS: dict[str, Callable[[Any, Sequence[int | None]], nn.Module]] = {
    "Activation": _activation,
    "Add": lambda layer, shape: Sum(),
    "AveragePooling2D": _pool("avg"),
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": _conv,
    "Cropping2D": _cropping,
    "CustomScaleLayer": lambda layer, shape: Sum(float(layer.scale)),
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_conv,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": lambda layer, shape: GlobalAverage(layer.keepdims),
    "LayerNormalization": _layer_norm,
    "LayerScale": lambda layer, shape: Scale(array(layer.gamma)),
    "MaxPooling2D": _pool("max"),
    "Multiply": lambda layer, shape: Product(),
    "Normalization": _normalization,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv2D": _separable_conv,
    "ZeroPadding2D": _zero_padding,
}


def as_module(layer: Any, shape: Sequence[int | None]) -> nn.Module:
    """Translate a Keras layer, or operation, into a PyTorch module with a copy of its weights.

    Parameters
    ----------
    layer : keras.Operation
        A layer; its own activation is left out, see `activation`.
    shape : sequence of int or None
        Shape of its (first) input in Keras' order, batch first.

    Raises
    ------
    RegraftError
        For a layer that Keras Applications do not use.
    """
    kind = type(layer).__name__
    if kind not in _MAKERS:
        raise RegraftError(f"regraft knows no PyTorch form of the Keras layer {kind}")
    return _MAKERS[kind](layer, shape)
