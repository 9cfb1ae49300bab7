"""The frozen pass: every engine and every path gives the same features, each picture once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from regraft.backbones.base import Backbone
from regraft.backbones.registry import get_backbone
from regraft.frozen.devices import Processor, get_device
from regraft.frozen.engine import OpenVinoEngine, run_all, supports_bf16
from regraft.frozen.extract import Extraction, FrozenPass
from regraft.frozen.graph import feature_model, save_feature_model
from regraft.frozen.network import converted_network, feature_graph
from regraft.frozen.pipeline import Failed, Known, Prepared, Reader
from regraft.frozen.plan import CutPlan, default_plan, space_key
from regraft.frozen.precision import (
    Parity,
    Verdict,
    check_positions,
    compare,
    recall_verdict,
    remember_verdict,
)
from regraft.frozen.sources import FileSource, MemorySource
from regraft.frozen.store import FeatureStore
from regraft.frozen.table import StoredFeatures
from regraft.frozen.torch_engine import TorchEngine
from regraft.options import DEFAULT_BACKBONE
from regraft.progress import Silent
from regraft.strategy import POOLINGS, Tap

BACKBONE = get_backbone(DEFAULT_BACKBONE, Path("no cache"))
PLAN = default_plan(BACKBONE.probes)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Eleven crops of real photos (11, 224, 224, 3): more than a batch and no multiple of it."""
    palace, flower = load_sample_images().images
    crops = [
        image[y : y + 200, x : x + 200 + 10 * x // 50]
        for image in (palace, flower)
        for y, x in [(0, 0), (100, 50), (200, 100), (50, 300), (220, 400), (10, 200)]
    ]
    return np.stack([BACKBONE.preprocess.rgb(np.ascontiguousarray(c)) for c in crops[:11]])


@pytest.fixture(scope="module")
def network(cache: Path) -> Path:
    return converted_network(BACKBONE, (), cache).folder / "frozen.xml"


def features(network: Path, taps: Sequence[Tap], pixels: np.ndarray, precision="f32"):
    return run_all(
        OpenVinoEngine(
            feature_model(network, BACKBONE.probes, taps, BACKBONE.preprocess), precision
        ),
        pixels,
    )


def test_openvino_agrees_with_eager_float32(network, pixels):
    taps = PLAN.taps
    ours = features(network, taps, pixels)
    eager = run_all(TorchEngine(BACKBONE, taps, "f32", "cpu"), pixels)
    assert ours.shape == (11, PLAN.width)
    for plan in PLAN.cuts:
        for tap in plan.taps:
            start = sum(PLAN.tap_width(t) for t in taps[: taps.index(tap)])
            part = slice(start, start + PLAN.tap_width(tap))
            error = np.linalg.norm(ours[:, part] - eager[:, part]) / np.linalg.norm(eager[:, part])
            assert error <= 1e-5, tap


def test_bfloat16_is_close_enough(network, pixels):
    if not supports_bf16():
        pytest.skip("this processor has no bfloat16")
    last = (Tap("bn2"),)
    parity = compare(
        features(network, last, pixels), features(network, last, pixels, precision="bf16")
    )
    assert 1e-4 < parity.relative_error <= 6e-2
    assert parity.passed


def test_torch_engine_in_bfloat16_is_close_too(pixels):
    last = (Tap("bn2"),)
    exact = run_all(TorchEngine(BACKBONE, last, "f32", "cpu"), pixels[:4])
    fast = run_all(TorchEngine(BACKBONE, last, "bf16", "cpu"), pixels[:4])
    assert 1e-4 < compare(exact, fast).relative_error <= 6e-2


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_features_do_not_depend_on_neighbours_in_the_batch(network, pixels, precision):
    together = features(network, PLAN.taps, pixels, precision)
    alone = np.concatenate(
        [features(network, PLAN.taps, pixels[i : i + 1], precision) for i in (0, 9)]
    )
    np.testing.assert_array_equal(alone, together[[0, 9]])
    reversed_ = features(network, PLAN.taps, pixels[::-1], precision)
    np.testing.assert_array_equal(reversed_[::-1], together)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize(
    "taps",
    [
        (Tap("bn2"),),
        (Tap("blocks.4"), Tap("blocks.6"), Tap("bn2")),
        (Tap("blocks.6", "grid"), Tap("bn2", "max"), Tap("blocks.5", "std")),
        (Tap("blocks.1"),),
    ],
)
def test_saved_graph_gives_the_bits_of_the_training_graph(
    network, pixels, precision, taps, tmp_path
):
    save_feature_model(network, BACKBONE.probes, taps, BACKBONE.preprocess, tmp_path)
    saved = run_all(OpenVinoEngine(tmp_path / "frozen.xml", precision), pixels)
    everything = features(network, PLAN.taps, pixels, precision)
    columns = np.concatenate(
        [
            np.arange(PLAN.width)[start : start + PLAN.tap_width(tap)]
            for tap in taps
            for start in [sum(PLAN.tap_width(t) for t in PLAN.taps[: PLAN.taps.index(tap)])]
        ]
    )
    np.testing.assert_array_equal(saved, everything[:, columns])


def test_poolings_are_what_they_say(network, pixels):
    import torch

    trunk = BACKBONE.chain().prefix("bn2")
    mean, std = (np.array(v, np.float32) * 255 for v in ((0.5,) * 3, (0.5,) * 3))
    x = ((pixels[:2] - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    with torch.no_grad():
        last = trunk(torch.from_numpy(np.ascontiguousarray(x)))[-1].numpy()
    expected = {
        "avg": last.mean(axis=(2, 3)),
        "max": last.max(axis=(2, 3)),
        "std": last.std(axis=(2, 3)),
        "grid": np.stack(
            [last[:, :, a, b].mean(axis=(2, 3)) for a, b in _quarters()], axis=2
        ).reshape(2, -1),
    }
    for pooling in POOLINGS:
        ours = features(network, (Tap("bn2", pooling),), pixels[:2])
        np.testing.assert_allclose(ours, expected[pooling], rtol=1e-3, atol=1e-4)


def _quarters() -> Iterator[tuple[slice, slice]]:
    """Quarters of a 7 x 7 map overlap by the middle row and column (adaptive pooling)."""
    for rows in (slice(0, 4), slice(3, 7)):
        for columns in (slice(0, 4), slice(3, 7)):
            yield rows, columns


def test_plan_covers_every_cut_and_lays_columns_side_by_side():
    assert [plan.cut for plan in PLAN.cuts] == list(BACKBONE.probes)
    assert [plan.poolings for plan in PLAN.cuts[:5]] == [("avg",)] * 5
    assert PLAN.cuts[5].poolings == ("avg", "std")
    assert PLAN.cuts[7].poolings == ("avg", "std", "grid")
    assert PLAN.cuts[8].poolings == ("avg", "max", "std")
    assert PLAN.width == sum(cut.channels for cut in BACKBONE.probes) + 1904 + 2048 + 1280
    rich = CutPlan(BACKBONE.probes[-1], POOLINGS)
    ends = [rich.columns(tap) for tap in rich.taps]
    assert [(s.start, s.stop) for s in ends] == [
        (0, 1280),
        (1280, 2560),
        (2560, 3840),
        (3840, 8960),
    ]
    assert rich.width == 8960
    with pytest.raises(KeyError):
        PLAN.cut_of(Tap("blocks.0", "max"))


def test_every_part_of_the_key_matters():
    plan, other = PLAN.cuts[-1], PLAN.cuts[-2]
    keys = {
        space_key(BACKBONE, plan, "f32", "engine-1"),
        space_key(BACKBONE, plan, "bf16", "engine-1"),
        space_key(BACKBONE, plan, "f32", "engine-2"),
        space_key(BACKBONE, other, "f32", "engine-1"),
    }
    assert len(keys) == 4
    assert space_key(BACKBONE, plan, "f32", "engine-1") in keys


# Parity and verdicts


def test_parity_measures_what_it_says():
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(32, 50)).astype(np.float32)
    assert compare(exact, exact) == Parity(32, 0.0, 1.0)
    parity = compare(exact, exact * 1.05)
    assert parity.relative_error == pytest.approx(0.05, rel=1e-3)
    assert parity.neighbour_overlap == 1.0
    assert parity.passed
    assert not compare(exact, exact * 1.07).passed
    shuffled = compare(exact, exact[::-1])
    assert shuffled.neighbour_overlap < 0.5
    assert not shuffled.passed
    broken = exact.copy()
    broken[3, 4] = np.nan
    assert not compare(exact, broken).passed
    assert compare(exact[:1], exact[:1]).passed


def test_verdicts_are_recalled_for_mostly_the_same_pictures(tmp_path):
    digests = [bytes([n]) * 32 for n in range(32)]
    verdict = Verdict("bf16", Parity(32, 0.03, 0.99), tuple(digests))
    with FeatureStore(tmp_path) as store:
        assert recall_verdict(store, "key", digests) is None
        remember_verdict(store, "key", verdict)
        assert recall_verdict(store, "key", digests) == verdict
        others = [bytes([n]) * 32 for n in range(100, 132)]
        assert recall_verdict(store, "key", digests[:16] + others[:16]) == verdict
        assert recall_verdict(store, "key", digests[:15] + others[:17]) is None
        assert recall_verdict(store, "other key", digests) is None
        assert recall_verdict(store, "key", []) is None


def test_checked_pictures_are_spread_and_hardly_change_when_some_are_added():
    names = [f"class-{n // 100}/{n}.jpg" for n in range(1000)]
    checked = check_positions(names)
    assert len(checked) == len(set(checked)) == 32
    assert len({names[i].split("/")[0] for i in checked}) >= 8
    more = names + [f"new/{n}.jpg" for n in range(50)]
    again = check_positions(more)
    assert len({names[i] for i in checked} & {more[i] for i in again}) >= 26


# The pipeline


class BrokenSource:
    name = "broken"

    def load(self):
        raise MemoryError("no memory")


def image_file(folder: Path, name: str, seed: int, size=(60, 50)) -> FileSource:
    rng = np.random.default_rng(seed)
    path = folder / name
    Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
    return FileSource(path, name)


def test_reader_gives_each_picture_once_and_lists_failures(tmp_path):
    sources = [image_file(tmp_path, f"{n}.png", n) for n in range(6)]
    (tmp_path / "copy.png").write_bytes((tmp_path / "3.png").read_bytes())
    (tmp_path / "text.jpg").write_text("no picture")
    sources += [FileSource(tmp_path / n, n) for n in ("copy.png", "text.jpg", "absent.jpg")]
    stored = sources[0].load().digest
    order = [*range(5, -1, -1), 6, 7, 8]
    with Reader(sources, order, BACKBONE.preprocess, lambda d: d == stored) as reader:
        outcomes = {outcome.index: outcome for outcome in reader}
    assert len(outcomes) == 9
    assert isinstance(outcomes[0], Known)
    copies = [outcomes[3], outcomes[6]]
    assert sorted(type(o).__name__ for o in copies) == ["Known", "Prepared"]
    assert isinstance(outcomes[7], Failed)
    assert isinstance(outcomes[8], Failed)
    assert outcomes[8].digest is None
    assert isinstance(outcomes[1], Prepared)
    assert outcomes[1].pixels.shape == (224, 224, 3)


def test_reader_raises_what_went_wrong_in_its_threads(tmp_path):
    sources = [image_file(tmp_path, "a.png", 0), BrokenSource()]
    with (
        pytest.raises(MemoryError, match="no memory"),
        Reader(sources, [0, 1], BACKBONE.preprocess, lambda _: False) as reader,
    ):
        list(reader)


def test_reader_can_be_left_early(tmp_path):
    sources = [image_file(tmp_path, "a.png", 0)] * 3000
    with Reader(sources, range(3000), BACKBONE.preprocess, lambda _: True) as reader:
        next(iter(reader))
    assert not any(thread.is_alive() for thread in reader._threads)


# The pass


def run_pass(store_at: Path, cache: Path, sources, precision=None) -> tuple[Extraction, np.ndarray]:
    with FeatureStore(store_at) as store:
        frozen = FrozenPass(BACKBONE, PLAN, store, Processor(cache), precision, Silent())
        found = frozen.run(sources)
        digests = tuple(digest for digest in found.digests if digest is not None)
        table = StoredFeatures(store, PLAN, found.spaces, digests, store_at)
        return found, table.read(PLAN.taps, np.arange(len(digests)))


def test_stored_features_are_the_recomputed_ones_bit_for_bit(cache, network, tmp_path):
    sources = [image_file(tmp_path, f"{n}.png", n) for n in range(11)]
    first, stored = run_pass(tmp_path / "s", cache, sources)
    again, read = run_pass(tmp_path / "s", cache, sources)
    assert (first.hits, first.misses) == (0, 11)
    assert (again.hits, again.misses) == (11, 0)
    assert again.parity == first.parity
    np.testing.assert_array_equal(read, stored)
    pixels = np.stack([s.load().prepare(BACKBONE.preprocess) for s in sources])
    direct = features(network, PLAN.taps, pixels, first.precision)
    np.testing.assert_array_equal(stored, direct)


def test_only_new_pictures_are_computed(cache, tmp_path):
    sources = [image_file(tmp_path, f"{n}.png", n) for n in range(12)]
    run_pass(tmp_path / "s", cache, sources[:9])
    found, _ = run_pass(tmp_path / "s", cache, sources)
    assert (found.hits, found.misses) == (9, 3)


def test_copies_are_computed_once_and_copies_of_broken_files_are_broken(cache, tmp_path):
    good = image_file(tmp_path, "good.png", 1)
    sources = [good]
    for name, content in [
        ("copy.jpg", good.path.read_bytes()),
        ("bad1.jpg", b"\xff\xd8\xff\xe0 cut short"),
        ("bad2.jpg", b"\xff\xd8\xff\xe0 cut short"),
    ]:
        (tmp_path / name).write_bytes(content)
        sources.append(FileSource(tmp_path / name, name))
    found, rows = run_pass(tmp_path / "s", cache, sources)
    assert [s.path for s in found.skipped] == ["bad1.jpg", "bad2.jpg"]
    assert found.skipped[0].reason == found.skipped[1].reason != ""
    assert (found.hits, found.misses) == (1, 1)
    assert found.digests[0] == found.digests[1] is not None
    assert found.digests[2] is found.digests[3] is None
    np.testing.assert_array_equal(rows[0], rows[1])


def test_pictures_in_memory_and_on_disk_agree(cache, tmp_path):
    source = image_file(tmp_path, "a.png", 7)
    array = np.asarray(Image.open(source.path))
    found, rows = run_pass(
        tmp_path / "s",
        cache,
        [source, MemorySource(array, "1"), MemorySource(Image.fromarray(array), "2")],
        "f32",
    )
    assert found.parity is None
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])


def test_large_matrices_are_mapped_and_equal(cache, tmp_path, monkeypatch):
    sources = [image_file(tmp_path, f"{n}.png", n) for n in range(5)]
    with FeatureStore(tmp_path / "s") as store:
        found = FrozenPass(BACKBONE, PLAN, store, Processor(cache), "f32", Silent()).run(sources)
        digests = tuple(d for d in found.digests if d is not None)
        rows = np.array([4, 0, 2])
        taps = (Tap("blocks.6", "grid"), Tap("blocks.2"))
        small = StoredFeatures(store, PLAN, found.spaces, digests, tmp_path).read(taps, rows)
        monkeypatch.setattr("regraft.frozen.table._IN_MEMORY_BYTES", 1)
        monkeypatch.setattr("regraft.frozen.table._READ_ROWS", 2)
        large = StoredFeatures(store, PLAN, found.spaces, digests, tmp_path).read(taps, rows)
    assert isinstance(large, np.memmap)
    np.testing.assert_array_equal(large, small)


def test_a_stored_pass_imports_no_framework_and_no_engine(cache, tmp_path):
    for n in range(3):
        image_file(tmp_path, f"{n}.png", n)
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from regraft.backbones.registry import get_backbone
from regraft.frozen.devices import get_device
from regraft.frozen.extract import FrozenPass
from regraft.frozen.plan import default_plan
from regraft.frozen.network import feature_graph
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore
from regraft.progress import Silent
from regraft.strategy import Tap
cache = Path({str(cache)!r})
backbone = get_backbone({DEFAULT_BACKBONE!r}, cache)
folder = Path({str(tmp_path)!r})
sources = [FileSource(folder / f"{{n}}.png", f"{{n}}.png") for n in range(3)]
with FeatureStore(folder / "s") as store:
    plan, device = default_plan(backbone.probes), get_device("auto", cache)
    found = FrozenPass(backbone, plan, store, device, None, Silent()).run(sources)
    feature_graph(backbone, (Tap("bn2"),), cache)
print(found.hits, *(name for name in ("torch", "openvino", "sklearn") if name in sys.modules))
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
        ).stdout.split()
        for _ in range(2)
    ]
    assert outputs[0][0] == "0"
    assert "torch" not in outputs[0]
    assert outputs[1] == ["3"]


def test_converted_network_is_kept(cache, monkeypatch):
    converted_network(BACKBONE, (), cache)

    def write(self, folder, cuts):
        raise AssertionError("converted again")

    monkeypatch.setattr(Backbone, "write", write)
    assert (converted_network(BACKBONE, (), cache).folder / "frozen.xml").is_file()
    assert (feature_graph(BACKBONE, (Tap("bn2"),), cache) / "frozen.bin").is_file()


def test_conversion_keeps_float32_weights(cache):
    folder = converted_network(BACKBONE, (), cache).folder
    assert (folder / "frozen.bin").stat().st_size > 4 * 3_300_000  # 3.4 million parameters


def test_cuda_where_there_is_none_is_an_error(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    from regraft.errors import UserError

    assert isinstance(get_device("auto", tmp_path), Processor)
    with pytest.raises(UserError, match="device must be 'auto' or 'cpu' on this machine"):
        get_device("cuda", tmp_path)


@pytest.mark.gpu
def test_cuda_agrees_with_openvino(network, pixels, tmp_path):
    device = get_device("cuda", tmp_path)
    fast = run_all(device.engine(BACKBONE, PLAN.taps, "f32"), pixels)
    exact = features(network, PLAN.taps, pixels)
    assert np.linalg.norm(fast - exact) / np.linalg.norm(exact) < 1e-3  # TF32 may be on
