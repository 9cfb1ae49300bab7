"""Activations as bytes: as few as keep the accuracy of what is trained on them.

Maps of convolutional networks are kept as int8 with a scale for each channel of each picture;
tokens and vectors, where a single value can be a thousand times the others, as bfloat16. The order
is that of the pooling ``"map"``: tensor after tensor, channels last. `benchmarks/README.md` has
what training on them loses against float32: nothing that five seeds show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.cuts import TensorSpec

Rows = NDArray[np.uint8]

ROWS = 2
"""Raise when rows are encoded otherwise than before; part of their key in the store."""

_STEPS = 127
_SCALE_BYTES = 4
_HALF_BYTES = 2


def row_bytes(specs: Sequence[TensorSpec]) -> int:
    """Count the bytes of a picture's tensors."""
    return sum(_bytes(spec) for spec in specs)


def encoded(values: NDArray[Any], specs: Sequence[TensorSpec]) -> Rows:
    """Turn what an engine gives into rows.

    Parameters
    ----------
    values : ndarray of shape (n, D), float32
        The tensors of each picture, flat, one after the other, channels last.
    specs : sequence of TensorSpec
        What they are.

    Returns
    -------
    ndarray of shape (n, row_bytes(specs)), uint8
    """
    flat, start, parts = np.ascontiguousarray(values, dtype=np.float32), 0, []
    for spec in specs:
        stop = start + math.prod(spec.shape)
        piece = flat[:, start:stop]
        parts += _as_steps(piece, spec.shape[0]) if _is_map(spec) else [_as_halves(piece)]
        start = stop
    return np.concatenate(parts, axis=1)


def decoded(rows: Rows, specs: Sequence[TensorSpec]) -> Iterator[NDArray[np.float32]]:
    """Turn rows back into the flat tensors, float32 (n, values of the tensor), channels last."""
    start = 0
    for spec in specs:
        piece = rows[:, start : start + _bytes(spec)]
        yield _from_steps(piece, spec.shape[0]) if _is_map(spec) else _from_halves(piece)
        start += _bytes(spec)


def _is_map(spec: TensorSpec) -> bool:
    return spec.layout == "NCHW"


def _bytes(spec: TensorSpec) -> int:
    count = math.prod(spec.shape)
    return count + _SCALE_BYTES * spec.shape[0] if _is_map(spec) else _HALF_BYTES * count


def _as_steps(values: NDArray[np.float32], channels: int) -> list[Rows]:
    """Scales, then steps of them: the largest value of a channel is 127 steps."""
    maps = values.reshape(len(values), -1, channels)
    scales = np.abs(maps).max(axis=1) / np.float32(_STEPS)
    safe = np.where(scales > 0, scales, np.float32(1))
    with np.errstate(invalid="ignore"):  # what is no number stays none: its scale is
        steps = np.rint(maps / safe[:, None]).astype(np.int8)
    return [scales.astype("<f4").view(np.uint8), steps.reshape(len(values), -1).view(np.uint8)]


def _from_steps(rows: Rows, channels: int) -> NDArray[np.float32]:
    at = _SCALE_BYTES * channels
    scales = np.ascontiguousarray(rows[:, :at]).view("<f4").astype(np.float32)
    steps = np.ascontiguousarray(rows[:, at:]).view(np.int8)
    maps = steps.reshape(len(rows), -1, channels) * scales[:, None]
    return maps.reshape(len(rows), -1)


def _as_halves(values: NDArray[np.float32]) -> Rows:
    """Round to bfloat16, to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    halves = (bits + np.uint32(0x7FFF) + even) >> np.uint32(16)
    return halves.astype("<u2").view(np.uint8)


def _from_halves(rows: Rows) -> NDArray[np.float32]:
    halves = np.ascontiguousarray(rows).view("<u2").astype(np.uint32)
    return (halves << np.uint32(16)).view(np.float32)
