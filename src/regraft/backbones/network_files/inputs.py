"""The input of a network file: what it takes, and regraft's own standard input in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.backbones.network_files.metadata import Stated
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.spelling import Overrides
from regraft.data.images import Interpolation
from regraft.errors import UserError
from regraft.options import InputLayout, Triple
from regraft.quiet import import_openvino

_FLOATS = ("f32", "f16", "bf16", "f64")
_BYTES = {"u8": 0, "i8": -128}  # the value that stands for black
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG and Pillow
_COLOURS = (1, 3)
_CROP = 0.875
_USUAL = (
    "--mean 0.5 --std 0.5 for pixels from -1 to 1, as TensorFlow's MobileNets",
    "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 for most exports from PyTorch",
    "--mean 0 --std 1 for pixels from 0 to 1",
    "--mean 0 --std 0.00392156862745098 for pixels from 0 to 255, as Keras's EfficientNets",
)


@dataclass(frozen=True, slots=True)
class PictureInput:
    """What the one input of a network takes.

    Parameters
    ----------
    layout : {"NCHW", "NHWC"}
        Order of the axes.
    channels : int
        1 or 3.
    size : tuple of int
        Height and width.
    type : str
        OpenVINO's name of the element type.
    """

    layout: InputLayout
    channels: int
    size: tuple[int, int]
    type: str

    @property
    def shape(self) -> list[int]:
        """Shape for one picture."""
        if self.layout == "NCHW":
            return [1, self.channels, *self.size]
        return [1, *self.size, self.channels]


def picture_input(model: Any, path: str, overrides: Overrides) -> PictureInput:
    """Find out what the network takes.

    Parameters
    ----------
    model : openvino.Model
        As it was read.
    path : str
        For messages.
    overrides : Overrides
        Size and layout, where the user gives them.

    Raises
    ------
    UserError
        The input is no picture, or the file leaves open what it is.
    """
    if len(model.inputs) != 1:
        found = "; ".join(f"{_name(port)} {_told(port)}" for port in model.inputs) or "none"
        raise UserError(
            f"file: {path} must have one input, a picture, but has {len(model.inputs)}: {found}"
        )
    port = model.inputs[0]
    kind, shape = port.element_type.get_type_name(), port.partial_shape
    sizes = None if shape.rank.is_dynamic else [_length(axis) for axis in shape]
    if (sizes is not None and len(sizes) != 4) or kind not in (*_FLOATS, *_BYTES):
        raise UserError(
            f"file: {path} takes no pictures: its input {_name(port)} is {_told(port)}, and a "
            "picture is (N, 3, H, W) or (N, H, W, 3) of float or 8-bit numbers; a text or audio "
            "network cannot be used"
        )
    sizes = sizes or [None] * 4
    layout = overrides.layout or _layout(sizes, port, path)
    channels, *size = [sizes[axis] for axis in ((1, 2, 3) if layout == "NCHW" else (3, 1, 2))]
    if channels not in (*_COLOURS, None):
        raise UserError(
            f"file: {path} takes no colour or grey pictures as {layout}: its input {_name(port)} "
            f"is {_told(port)}, so it would have {channels} channels; leave --layout out, or give "
            "the other one"
        )
    return PictureInput(layout, channels or 3, _size(size, overrides, port, path), kind)


def resolve_preprocess(
    taken: PictureInput, stated: Stated, overrides: Overrides, path: str
) -> Preprocess:
    """Find out how pictures are prepared: never by guessing.

    The user comes first, then what the file states. A network of 8-bit numbers takes the pixels
    as they are.

    Raises
    ------
    UserError
        Nobody says it, or what the user says cannot be.
    """
    if taken.type in _BYTES:
        if overrides.mean is not None or overrides.std is not None:
            raise UserError(
                f"file: {path} takes the 8-bit pixels as they are, so --mean and --std have no "
                "place; leave them out"
            )
        black = -_BYTES[taken.type] / 255
        mean, std = (black, black, black), (1 / 255, 1 / 255, 1 / 255)
    else:
        mean, std = _normalisation(stated, overrides, path)
    if taken.channels == 1 and (len(set(mean)) > 1 or len(set(std)) > 1):
        raise UserError(
            f"file: {path} takes grey pictures, so --mean and --std must be one number each"
        )
    crop, interpolation = _resize(stated)
    found = Preprocess(taken.size, crop, interpolation, mean, std)
    return found.overridden(overrides)


def put_standard_input(model: Any, taken: PictureInput) -> Any:
    """Give the network an input of normalised float32 RGB (1, 3, H, W).

    Parameters
    ----------
    model : openvino.Model
        Its own input already has the shape `taken.shape`. It is changed.
    taken : PictureInput
        What it takes.

    Returns
    -------
    openvino.Model
    """
    openvino = import_openvino()
    from openvino import opset15 as ops

    old = model.get_parameters()[0]
    new = ops.parameter([1, 3, *taken.size], openvino.Type.f32, name="pixels")
    pixels = new
    if taken.channels == 1:
        # Mean and std are those of one channel, and the weights add up to 1: grey comes out
        # normalised too.
        luma = np.array(_LUMA, dtype=np.float32).reshape(1, 3, 1, 1)
        pixels = ops.reduce_sum(ops.multiply(pixels, luma), np.array([1]), keep_dims=True)
    if taken.layout == "NHWC":
        pixels = ops.transpose(pixels, np.array([0, 2, 3, 1]))
    if taken.type in _BYTES:
        lowest = float(_BYTES[taken.type])
        pixels = ops.clamp(ops.round(pixels, "half_to_even"), lowest, lowest + 255.0)
    if taken.type != "f32":
        pixels = ops.convert(pixels, taken.type)
    for reader in old.output(0).get_target_inputs():
        reader.replace_source_output(pixels.output(0))
    return openvino.Model(model.get_results(), [new], "network")


def _layout(sizes: list[int | None], port: Any, path: str) -> InputLayout:
    first, last = sizes[1] in _COLOURS, sizes[3] in _COLOURS
    if first != last:
        return "NCHW" if first else "NHWC"
    if None in (sizes[1], sizes[3]) or first:
        raise UserError(
            f"file: {path} leaves open where the channels of its input {_name(port)} are, "
            f"{_told(port)}; give --layout NCHW (channels first, as PyTorch) or --layout NHWC "
            "(channels last, as TensorFlow)"
        )
    raise UserError(
        f"file: {path} takes no colour or grey pictures: its input {_name(port)} is "
        f"{_told(port)}, and neither the second nor the last side is 1 or 3"
    )


def _size(found: list[int | None], overrides: Overrides, port: Any, path: str) -> tuple[int, int]:
    if overrides.size is not None:
        return overrides.size
    height, width = found
    if height is None or width is None:
        raise UserError(
            f"file: {path} takes pictures of any size, {_told(port)}; give --size with the one "
            "that it was trained with, often 224"
        )
    return height, width


def _normalisation(stated: Stated, overrides: Overrides, path: str) -> tuple[Triple, Triple]:
    mean = overrides.mean or _triple(stated.mean)
    std = overrides.std or _triple(stated.std)
    if mean is None or std is None:
        missing = " and ".join(
            name for name, value in (("--mean", mean), ("--std", std)) if value is None
        )
        raise UserError(
            f"file: {path} does not say how its pictures were prepared; give {missing}, for pixel "
            "values scaled to 0..1. Ask whoever made the file; usual values are",
            _USUAL,
        )
    return mean, std


def _triple(values: tuple[float, ...] | None) -> Triple | None:
    if values is None:
        return None
    red, green, blue = values if len(values) == 3 else values * 3
    return red, green, blue


def _resize(stated: Stated) -> tuple[float | None, Interpolation]:
    """Model API's "standard" squeezes the whole picture, "crop" cuts the largest centre out."""
    by_name: dict[str | None, float | None] = {"standard": None, "crop": 1.0}
    return by_name.get(stated.resize, _CROP), "bilinear"


def _length(axis: Any) -> int | None:
    return None if axis.is_dynamic else int(axis.get_length())


def _name(port: Any) -> str:
    return repr(min(port.get_names(), default=port.get_node().friendly_name))


def _told(port: Any) -> str:
    return f"{port.element_type.get_type_name()} {port.partial_shape.to_string()}"
