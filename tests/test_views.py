"""Views of pictures: the same whenever and wherever they are made."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pictures import texture
from regraft.backbones.preprocess import Preprocess
from regraft.data.images import PictureError
from regraft.data.views import View, encoded_view, rgb_view
from regraft.frozen.sources import Viewed

SIZE = (64, 96)
RECORDED = [151296, 280257, 288936]


def encoded(pixels: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def test_a_view_is_decided_by_content_number_and_seed():
    one, other = encoded(texture("a", 0, size=200)), encoded(texture("a", 1, size=200))
    first = encoded_view(one, View(1), SIZE, "bicubic")
    assert first.shape == (*SIZE, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, encoded_view(one, View(1), SIZE, "bicubic"))
    for different in (
        encoded_view(one, View(2), SIZE, "bicubic"),
        encoded_view(one, View(1, seed=1), SIZE, "bicubic"),
        encoded_view(other, View(1), SIZE, "bicubic"),
    ):
        assert not np.array_equal(first, different)


def test_a_view_is_recorded_for_ever():
    """A change of these numbers must come with a change of `regraft.data.views.VIEWS`."""
    rows, columns = np.mgrid[:100, :140]
    pixels = np.stack([rows, columns, rows + columns], axis=-1).astype(np.uint8)
    found = [rgb_view(pixels, View(number), (32, 32), "bilinear") for number in (1, 2, 3)]
    assert [int(view.sum()) for view in found] == RECORDED


def test_mirrors_are_about_half_and_none_where_not_wanted():
    ramp = np.broadcast_to(np.arange(120, dtype=np.uint8)[None, :, None], (120, 120, 3)).copy()

    def mirrored(view: View) -> bool:
        found = rgb_view(ramp, view, (32, 32), "bilinear").astype(int)
        return found[:, 0].mean() > found[:, -1].mean()

    share = np.mean([mirrored(View(number)) for number in range(1, 201)])
    assert 0.4 < share < 0.6
    assert not any(mirrored(View(number, mirror=False)) for number in range(1, 51))


def test_crops_keep_enough_of_the_picture():
    rows, columns = np.mgrid[:200, :200]
    pixels = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    for number in range(1, 60):
        view = rgb_view(pixels, View(number), (50, 50), "bilinear").astype(float)
        tall, wide = (np.ptp(view[..., channel]) for channel in (0, 1))
        assert tall * wide >= 0.25 * 200 * 200  # 0.4 of the area, at the least contrast of 0.8


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (5, 4), (2, 2)])
def test_strips_and_specks_have_views_too(shape: tuple[int, int]):
    pixels = np.full((*shape, 3), 90, np.uint8)
    for number in range(1, 6):
        assert rgb_view(pixels, View(number), SIZE, "bicubic").shape == (*SIZE, 3)


def test_view_0_is_the_picture_as_it_is_evaluated():
    preprocess = Preprocess((64, 64), 0.875, "bicubic", (0.5,) * 3, (0.5,) * 3)
    data, viewed = encoded(texture("a", 0, size=90)), Viewed(preprocess, View(0))
    np.testing.assert_array_equal(viewed.encoded(data), preprocess.encoded(data))
    np.testing.assert_array_equal(viewed.rgb(texture("a", 0)), preprocess.rgb(texture("a", 0)))
    with pytest.raises(ValueError, match="view 0"):
        encoded_view(data, View(0), SIZE, "bicubic")


def test_large_jpegs_are_decoded_small_and_look_alike():
    pixels = np.asarray(Image.fromarray(texture("a", 0, size=64)).resize((1600, 1600)))
    small = encoded_view(encoded(pixels, "JPEG", quality=95), View(1), (64, 64), "bicubic")
    assert small.shape == (64, 64, 3)


def test_what_is_no_picture_is_refused():
    with pytest.raises(PictureError):
        encoded_view(b"no picture", View(1), SIZE, "bicubic")
