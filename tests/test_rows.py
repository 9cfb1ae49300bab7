"""Activations as bytes: how exact they are, and how many."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regraft.backbones.cuts import TensorSpec
from regraft.frozen.rows import decoded, encoded, row_bytes

MAP = TensorSpec("NCHW", (8, 5, 3))
VECTOR = TensorSpec("NC", (7,))


def values(n: int = 4) -> np.ndarray:
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(n, 15, 8)) * np.logspace(-3, 3, 8)
    return np.concatenate([maps.reshape(n, -1), generator.normal(size=(n, 7))], 1, dtype=np.float32)


def test_a_map_takes_a_byte_a_value_and_a_scale_a_channel():
    assert row_bytes((MAP, VECTOR)) == 8 * 15 + 4 * 8 + 2 * 7
    assert encoded(values(), (MAP, VECTOR)).shape == (4, row_bytes((MAP, VECTOR)))


def test_maps_keep_a_127th_of_the_largest_value_of_each_channel_of_each_picture():
    given = values()
    found, vectors = decoded(encoded(given, (MAP, VECTOR)), (MAP, VECTOR))
    maps, back = (x.reshape(4, 15, 8) for x in (given[:, :120], found))
    largest = np.abs(maps).max(1)
    assert (np.abs(back - maps).max(1) <= largest / 127 / 2 * 1.001).all()
    np.testing.assert_allclose(np.abs(back).max(1), largest, rtol=1e-6)
    halves = torch.from_numpy(given[:, 120:]).bfloat16().float().numpy()
    np.testing.assert_array_equal(vectors, halves)


def test_a_channel_of_zeros_stays_zero():
    given = np.zeros((2, 127), np.float32)
    for found in decoded(encoded(given, (MAP, VECTOR)), (MAP, VECTOR)):
        assert not found.any()


def test_a_picture_alone_has_the_row_that_it_has_among_others():
    given = values()
    for number in range(4):
        alone = encoded(given[number : number + 1], (MAP, VECTOR))
        np.testing.assert_array_equal(alone[0], encoded(given, (MAP, VECTOR))[number])


@pytest.mark.parametrize("layout", ["NLC", "NHWC"])
def test_tokens_are_bfloat16(layout: str):
    spec = TensorSpec(layout, (5, 8) if layout == "NLC" else (5, 1, 8))  # type: ignore[arg-type]
    given = values()[:, :40]
    (found,) = decoded(encoded(given, (spec,)), (spec,))
    np.testing.assert_array_equal(found, torch.from_numpy(given).bfloat16().float().numpy())
    assert row_bytes((spec,)) == 80
