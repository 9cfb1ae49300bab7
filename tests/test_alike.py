"""Copies are found however they were changed, and what only looks alike is left alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import get_ident
from time import sleep

import numpy as np
import pytest
from PIL import ExifTags, Image

from pictures import scene
from regraft.alike.copies import find_copies, nearest, scaled_features
from regraft.alike.looks import SIDE, look_at, on_every_core, thumbnail
from regraft.alike.near import near_copies
from regraft.alike.registration import correlations
from regraft.progress import Silent

N = 60


def resized(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def compressed(image: Image.Image) -> Image.Image:
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=25)
    return Image.open(io.BytesIO(packed.getvalue())).convert("RGB")


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 20, height // 15, width - width // 14, height - height // 25))


def everything(image: Image.Image) -> Image.Image:
    return compressed(resized(cropped(mirrored(image))))


CHANGES = (resized, compressed, mirrored, cropped, everything)


def stand_in(images: list[Image.Image]) -> np.ndarray:
    """Features that hardly change with such changes: what colours there are, and how many."""
    found = []
    for image in images:
        levels = np.asarray(image.resize((40, 40), Image.Resampling.BOX)) // 32
        found.append(np.bincount((levels + 8 * np.arange(3)).ravel(), minlength=24))
    return np.array(found, np.float32)


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [Image.fromarray(scene(number)) for number in range(N)]


def copies_in(images: list[Image.Image]) -> tuple[tuple[int, ...], ...]:
    shown = np.stack([thumbnail(np.asarray(image)) for image in images])
    return find_copies(shown, scaled_features(stand_in(images)))


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found(change: Callable, scenes: list[Image.Image]):
    found = copies_in([*scenes, *map(change, scenes[:20])])
    wanted = {(number, N + number) for number in range(20)}
    assert len(wanted.intersection(found)) >= 19
    assert set(found) <= wanted


def test_unrelated_pictures_are_no_copies(scenes: list[Image.Image]):
    assert copies_in(scenes) == ()


def test_many_copies_of_one_are_one_group(scenes: list[Image.Image]):
    family = [scenes[7], *(change(scenes[7]) for change in CHANGES)]
    found = copies_in([*scenes, *family])
    assert found == ((7, *range(N, N + 6)),)


def test_pictures_that_differ_in_light_and_dark_alone_are_no_copies():
    """Spots on skin: broadly the same, each with a grain of its own."""
    rows, columns = np.mgrid[:200, :200]
    images = []
    for number in range(30):
        rng = np.random.default_rng(number)
        row, column, size = *rng.uniform(80, 120, 2), rng.uniform(25, 45)
        spot = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / size**2)
        grain = np.asarray(
            Image.fromarray(rng.normal(0, 60, (40, 40)).astype(np.float32)).resize((200, 200))
        )
        grey = 200 - 140 * spot + grain * (0.2 + spot)
        images.append(Image.fromarray(np.repeat(grey.clip(0, 255)[..., None], 3, 2).astype("u1")))
    assert copies_in(images) == ()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pictures(n: int, scenes: list[Image.Image]):
    shown = np.stack([thumbnail(np.asarray(image)) for image in scenes])[:n]
    assert find_copies(shown, scaled_features(stand_in(scenes)[:n])) == ()


def test_pictures_of_one_colour_fit_nothing():
    flat = np.full((3, SIDE, SIDE), 90, np.uint8)
    assert (correlations(flat, flat) < 0.5).all()
    assert find_copies(flat, scaled_features(np.ones((3, 5), np.float32))) == ()


def test_what_one_look_tells(tmp_path: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Nikon", "D5"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:05:01 10:11:12"
    image = Image.fromarray(scene(3))
    image.save(tmp_path / "a.jpg", exif=exif)
    image.save(tmp_path / "b.png")
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    first, second, none = look_at(
        [tmp_path / name for name in ("a.jpg", "b.png", "c.jpg")], Silent()
    )
    assert none is None
    assert (first.camera, first.taken) == ("Nikon D5", datetime(2026, 5, 1, 10, 11, 12))
    assert (first.height, first.width) == (image.width, image.height)
    assert (second.camera, second.taken, second.format) == ("", None, "PNG")
    assert (second.height, second.width) == (image.height, image.width)
    assert second.n_bytes == (tmp_path / "b.png").stat().st_size
    grey = np.asarray(image.convert("L")) / 255
    assert second.brightness == pytest.approx(grey.mean(), abs=0.02)
    assert second.contrast == pytest.approx(grey.std(), rel=0.1)
    assert first.thumbnail.shape == (SIDE, SIDE)


def test_a_blurred_picture_is_less_sharp(tmp_path: Path):
    from PIL import ImageFilter

    image = Image.fromarray(scene(5))
    image.save(tmp_path / "sharp.png")
    image.filter(ImageFilter.GaussianBlur(6)).save(tmp_path / "blurred.png")
    sharp, blurred = look_at([tmp_path / "sharp.png", tmp_path / "blurred.png"], Silent())
    assert blurred.sharpness < 0.05 * sharp.sharpness


def test_an_interrupted_look_does_not_look_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr("regraft.alike.looks._look", lambda path: seen.append(path) or sleep(0.01))

    class Impatient(Silent):
        def advance(self, steps: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look_at([tmp_path / str(number) for number in range(500)], Impatient())
    assert len(seen) < 50


@pytest.mark.parametrize("wide", [1, 3, 64, 65, 200, 1000])
def test_the_nearest_are_those_of_all_columns(wide: int):
    measure = np.random.default_rng(0).uniform(-1, 1, (20, wide)).astype(np.float32)
    rows = np.arange(100, 120)
    ranks = (0, 2, 24)
    expected = {
        (row, int(column))
        for row, values in zip(rows, measure, strict=True)
        for rank in ranks
        if rank < wide
        for column in np.argsort(-values)[rank : rank + 1]
        if values[column] >= 0.2
    }
    found = nearest(rows, measure, ranks, 0.2)
    assert {(row, column) for row, column in found.tolist()} == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("waits", [True, False])
def test_files_come_in_order_on_one_thread_or_several(waits: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("regraft.alike.looks.available_cores", lambda: 4)
    names = [Path(str(number)) for number in range(1500)]
    threads = []

    def work(path: Path) -> Path:
        threads.append(get_ident())
        if waits:
            sleep(0.0005)
        return path

    assert list(on_every_core(work, names)) == names
    assert (set(threads[200:]) == {get_ident()}) is not waits
    assert next(on_every_core(work, names)) == names[0]


def test_what_was_read_before_is_not_read_again(tmp_path: Path):
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        Image.fromarray(scene(number // 2)).save(path)  # 0 and 1, 2 and 3, 4 and 5
    features = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)
    shown: dict[Path, np.ndarray | None] = {}
    found = near_copies(paths, features, shown)
    assert found == ((0, 1), (2, 3), (4, 5))
    assert set(shown) == set(paths)
    for path in paths:
        path.unlink()
    assert near_copies(paths[2:], features[2:], shown) == ((0, 1), (2, 3))
    assert near_copies(paths, features, {}) == (), "these are gone"
