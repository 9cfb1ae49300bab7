"""Whether mirrored pictures are trained on: measured with a network, not guessed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from commands import run
from pictures import texture, write_classes
from regraft.backbones.base import Backbone
from regraft.backbones.registry import get_backbone
from regraft.data.images import array_digest
from regraft.frozen.devices import Processor
from regraft.frozen.extract import FrozenPass
from regraft.frozen.plan import CutPlan, PassPlan
from regraft.frozen.sources import MemorySource
from regraft.frozen.store import FeatureStore
from regraft.frozen.table import StoredFeatures
from regraft.heads.fitting import fit_linear
from regraft.options import Overrides
from regraft.progress import Silent
from regraft.strategy import Tap
from regraft.symmetry import Mirrored, _differ, keeps_class

NETWORK = "timm:test_resnet"
PIXELS = (64, 64)
COUNT = 60


def slanted(rising: bool, number: int) -> np.ndarray:
    """Grey stripes that rise or fall to the right, more or less steeply: mirrored, the other."""
    rng = np.random.default_rng([zlib.crc32(b"slanted"), rising, number])
    rows, columns = np.mgrid[:64, :64]
    angle, width = rng.uniform(0.6, 1.0), rng.uniform(6, 12)
    across = columns * np.cos(angle) + (1 if rising else -1) * rows * np.sin(angle)
    stripes = 128 + 90 * np.sin(2 * np.pi * across / width + rng.uniform(0, 6))
    noisy = stripes[..., None] + rng.normal(0, 25, (64, 64, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def upright(label: str, number: int) -> np.ndarray:
    """A texture that has no left and right: half of the pictures are mirrored."""
    pixels = texture(label, number, size=64, noise=60.0)
    return pixels[:, ::-1] if number % 4 > 1 else pixels


@pytest.fixture(scope="module")
def backbone(cache: Path) -> Backbone:
    overrides = Overrides(size=PIXELS)
    return get_backbone(NETWORK, cache, pretrained=False, seed=0, overrides=overrides)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with FeatureStore(tmp_path) as opened:
        yield opened


def judged(
    backbone: Backbone,
    store: FeatureStore,
    cache: Path,
    pixels: list[np.ndarray],
) -> bool:
    """Train a head on two thirds of some pictures of two classes, and ask about the others."""
    sources = [MemorySource(p, str(n)) for n, p in enumerate(pixels)]
    digests = tuple(array_digest(p) for p in pixels)
    rows = np.arange(len(pixels), dtype=np.intp)
    y = rows % 2
    plan, device = PassPlan((CutPlan(backbone.probes[-1], ("avg",)),)), Processor(cache)
    extraction = FrozenPass(backbone, plan, store, device, "f32", Silent()).run(sources, rows)
    table = StoredFeatures(store, plan, extraction.spaces, digests, cache)
    train, held_out = rows[: len(rows) * 2 // 3], rows[len(rows) * 2 // 3 :]
    features = table.read(plan.taps, train)
    widths = [features.shape[1]]
    head = fit_linear(
        "logistic", features, y[train], 2, strength=1e-2, temperature=1.0, widths=widths
    )
    taps = (Tap(backbone.probes[-1].name),)
    return keeps_class(backbone, device, "f32", head, taps, sources, y, rows, held_out)


def test_classes_that_are_each_others_mirror_image_are_not_mirrored(backbone, store, cache):
    pixels = [slanted(number % 2 == 0, number) for number in range(COUNT)]
    assert not judged(backbone, store, cache, pixels)


def test_pictures_of_one_burst_are_one_witness():
    plain, mirrored = np.full(12, 0.5), np.repeat([1.5, 0.5], 6)
    assert _differ(plain, mirrored, np.arange(12))
    assert not _differ(plain, mirrored, np.arange(12) // 6)


def test_classes_without_left_and_right_are_mirrored(backbone, store, cache):
    pixels = [upright(("moss", "sand")[number % 2], number) for number in range(COUNT)]
    assert judged(backbone, store, cache, pixels)


def test_mirrored_pictures_are_prepared_as_plain_ones(backbone):
    preprocess = backbone.preprocess
    pixels = slanted(True, 0)
    mirrored = Mirrored(preprocess)
    np.testing.assert_array_equal(mirrored.rgb(pixels), preprocess.rgb(pixels)[:, ::-1])
    assert mirrored.size == PIXELS


def test_a_fit_says_that_it_does_not_mirror(tmp_path, cache):
    from PIL import Image

    for number in range(COUNT):
        folder = tmp_path / "photos" / ("rising" if number % 2 == 0 else "falling")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(slanted(number % 2 == 0, number)).save(folder / f"{number}.png")
    said = ("--backbone", NETWORK, "--no-pretrained", "--size", "64", "--strategy", "partial")
    short = ("--train-from", "layer4", "--epochs", "1", "--views", "2", "--lr", "1e-3", "--json")
    record = _fit(tmp_path / "photos", tmp_path / "slanted", *said, *short)
    assert record["training"][0]["mirror"] is False
    assert any("mirrored pictures" in note for note in record["notes"])
    plain = write_classes(tmp_path / "plain", {"ants": 14, "bees": 14}, noise=140.0)
    record = _fit(plain, tmp_path / "plain-model", *said, *short)
    assert record["training"][0]["mirror"] is True


def _fit(photos: Path, out: Path, *options: str) -> dict:
    return run("fit", photos, "--out", out, *options).json
