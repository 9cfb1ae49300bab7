"""What a network file says of itself: how its pictures were prepared, its licence.

TFLite files may carry a second flatbuffer with metadata. Of its tables and of TFLite's own, the
few that are needed are read here by their field numbers, see ``metadata_schema.fbs`` and
``schema.fbs`` of TensorFlow Lite. OpenVINO's Model API (and Geti, and Ultralytics) writes
``model_info`` into OpenVINO IR and into the properties of ONNX files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.errors import UserError

_NORMALIZATION = 1  # of the union ProcessUnitOptions


@dataclass(frozen=True, slots=True)
class Stated:
    """What the file says; None where it says nothing.

    Parameters
    ----------
    mean, std : tuple of float, optional
        One value or one per channel, for pixel values scaled to 0..1.
    resize : str, optional
        Model API's word for the way in which a picture becomes as large as the input.
    licence : str, optional
        Licence of the weights.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: str | None = None
    licence: str | None = None


def stated_by_tflite(path: Path) -> Stated:
    """Read the metadata of a TFLite file that OpenVINO could read."""
    try:
        metadata = _tflite_metadata(path.read_bytes())
        return Stated() if metadata is None else _from_tables(metadata)
    except (struct.error, UnicodeDecodeError):  # offsets that point outside
        return Stated()


def stated_by_openvino(model: Any) -> Stated:
    """Read what Model API's ``model_info`` says.

    ``reverse_input_channels`` is not obeyed: exporters write "True" for networks that take RGB,
    meaning OpenCV's pictures (Ultralytics, anomalib), and "False" for networks that take RGB,
    meaning RGB pictures (Geti), so that in either case the network is given RGB.

    Parameters
    ----------
    model : openvino.Model
        As it was read.

    Raises
    ------
    UserError
        The values are no numbers.
    """
    mean, std = _numbers(model, "mean_values"), _numbers(model, "scale_values")
    if mean is not None or std is not None:
        mean, std = mean or (0.0,), std or (1.0,)
        mean, std = tuple(v / 255 for v in mean), tuple(v / 255 for v in std)
    return Stated(mean, std, _model_info(model, "resize_type"), None)


def _model_info(model: Any, key: str) -> str | None:
    for path in (["model_info", key], ["framework", f"model_info {key}"]):
        if model.has_rt_info(path):
            value = model.get_rt_info(path).value
            joined = value if isinstance(value, str) else _joined(value)
            return joined.strip() or None
    return None


def _joined(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _numbers(model: Any, key: str) -> tuple[float, ...] | None:
    text = _model_info(model, key)
    if text is None:
        return None
    try:
        values = tuple(float(word) for word in text.strip("[]()").replace(",", " ").split())
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or (key == "scale_values" and min(values) <= 0):
        raise UserError(
            f"{key} in the model_info of the network file must be one number or three, got "
            f"{text!r}; give --mean and --std"
        )
    return values


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a flatbuffer: fields by number."""

    data: bytes
    start: int

    def _place(self, field: int) -> int | None:
        (back,) = struct.unpack_from("<i", self.data, self.start)
        vtable = self.start - back
        (size,) = struct.unpack_from("<H", self.data, vtable)
        entry = 4 + 2 * field
        if entry + 2 > size:
            return None
        (offset,) = struct.unpack_from("<H", self.data, vtable + entry)
        return self.start + offset if offset else None

    def _target(self, field: int) -> int | None:
        place = self._place(field)
        if place is None:
            return None
        return place + int(struct.unpack_from("<I", self.data, place)[0])

    def number(self, field: int, kind: str) -> int:
        place = self._place(field)
        return 0 if place is None else int(struct.unpack_from(kind, self.data, place)[0])

    def table(self, field: int) -> _Table | None:
        target = self._target(field)
        return None if target is None else _Table(self.data, target)

    def vector(self, field: int) -> tuple[int, int]:
        """Place of the first element, and how many there are."""
        target = self._target(field)
        if target is None:
            return 0, 0
        return target + 4, int(struct.unpack_from("<I", self.data, target)[0])

    def tables(self, field: int) -> Iterator[_Table]:
        first, count = self.vector(field)
        for place in range(first, first + 4 * count, 4):
            yield _Table(self.data, place + int(struct.unpack_from("<I", self.data, place)[0]))

    def raw(self, field: int) -> bytes:
        first, count = self.vector(field)
        return self.data[first : first + count]

    def floats(self, field: int) -> tuple[float, ...]:
        first, count = self.vector(field)
        return struct.unpack_from(f"<{count}f", self.data, first)


def _root(data: bytes) -> _Table:
    return _Table(data, int(struct.unpack_from("<I", data, 0)[0]))


def _tflite_metadata(data: bytes) -> _Table | None:
    model = _root(data)
    buffers = list(model.tables(4))
    for entry in model.tables(6):
        number = entry.number(1, "<I")
        if entry.raw(0) == b"TFLITE_METADATA" and number < len(buffers):
            content = buffers[number].raw(0)
            return _root(content) if content else None
    return None


def _from_tables(metadata: _Table) -> Stated:
    licence = metadata.raw(5).decode("utf-8") or None
    if licence is not None and "Apache" in licence and "2.0" in licence:
        licence = "Apache-2.0"
    graph = next(metadata.tables(3), None)
    tensor = None if graph is None else next(graph.tables(2), None)
    for unit in () if tensor is None else tensor.tables(4):
        options = unit.table(1)
        if unit.number(0, "<B") == _NORMALIZATION and options is not None:
            mean, std = options.floats(0), options.floats(1)
            if len(mean) in (1, 3) and len(std) in (1, 3) and min(std) > 0:
                scaled = tuple(v / 255 for v in mean), tuple(v / 255 for v in std)
                return Stated(*scaled, None, licence)
    return Stated(licence=licence)
