"""Converted networks in the cache: right or made anew, and there while somebody needs them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from regraft.backbones.base import Backbone
from regraft.backbones.registry import get_backbone
from regraft.errors import UserError
from regraft.frozen import shelf
from regraft.frozen.network import converted_network, feature_graph, is_converted
from regraft.frozen.store import FeatureStore
from regraft.options import DEFAULT_BACKBONE
from regraft.strategy import Tap

BACKBONE = get_backbone(DEFAULT_BACKBONE, Path("no cache"))
WEIGHTS = bytes(range(256)) * 400
LAST = (Tap("bn2"),)


class Builds:
    """Stands in for the conversion, and counts."""

    def __init__(self) -> None:
        self.networks = 0
        self.graphs = 0

    def network(self, folder: Path) -> None:
        self.networks += 1
        for name in ("frozen.xml", "frozen.bin", "backbone.safetensors"):
            (folder / name).write_bytes(name.encode() + WEIGHTS)

    def graph(
        self, source: Path, cuts: object, taps: object, preprocess: object, folder: Path
    ) -> None:
        self.graphs += 1
        assert source.read_bytes() == b"frozen.xml" + WEIGHTS
        (folder / "frozen.xml").write_text("graph")
        (folder / "frozen.bin").write_bytes(WEIGHTS)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Builds]:
    made = Builds()
    monkeypatch.setattr(Backbone, "write", lambda _, folder, cuts: made.network(folder))
    monkeypatch.setattr("regraft.frozen.network.save_feature_model", made.graph)
    yield made
    shelf._checked.clear()


def another_process() -> None:
    """Forget what was checked, as a process that has just begun."""
    shelf._checked.clear()


def used_ago(folder: Path, seconds: int) -> None:
    os.utime(folder, (1_000_000_000 - seconds,) * 2)


def test_made_once(tmp_path: Path, builds: Builds) -> None:
    assert not is_converted(BACKBONE, tmp_path)
    for _ in range(3):
        graph = feature_graph(BACKBONE, LAST, tmp_path)
        source = converted_network(BACKBONE, (), tmp_path).folder
        another_process()
    assert is_converted(BACKBONE, tmp_path)
    assert (builds.networks, builds.graphs) == (1, 1)
    check = ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"]
    for folder in (graph, source):
        subprocess.run(check, cwd=folder, check=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "frozen.bin"),
        lambda folder: os.truncate(folder / "frozen.xml", 3),
        lambda folder: (folder / "frozen.xml").unlink(),
        lambda folder: (folder / "SHA256SUMS").write_text(""),
        lambda folder: (folder / "SHA256SUMS").unlink(),
    ],
    ids=["flipped", "cut", "gone", "no sums", "sums gone"],
)
def test_what_is_damaged_is_made_anew(tmp_path: Path, builds: Builds, damage) -> None:
    folders = [
        converted_network(BACKBONE, (), tmp_path).folder,
        feature_graph(BACKBONE, LAST, tmp_path),
    ]
    whole = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders]
    for folder in folders:
        damage(folder)
    another_process()
    assert feature_graph(BACKBONE, LAST, tmp_path) == folders[1]
    assert converted_network(BACKBONE, (), tmp_path).folder == folders[0]
    assert [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders] == whole
    assert (builds.networks, builds.graphs) == (2, 2)
    assert sorted((tmp_path / "networks").iterdir()) == sorted(folders)


def test_damage_is_noticed_in_the_process_that_has_checked(tmp_path: Path, builds: Builds) -> None:
    folder = converted_network(BACKBONE, (), tmp_path).folder
    os.truncate(folder / "frozen.bin", 10)
    converted_network(BACKBONE, (), tmp_path)
    assert (folder / "frozen.bin").stat().st_size > 10


def test_sums_are_computed_once_a_process(
    tmp_path: Path, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted_network(BACKBONE, (), tmp_path)
    checked: list[Path] = []
    real = shelf._sums

    def counted(folder: Path) -> str:
        checked.append(folder)
        return real(folder)

    monkeypatch.setattr(shelf, "_sums", counted)
    converted_network(BACKBONE, (), tmp_path)
    assert checked == []


def test_a_disk_that_changes_what_is_written(
    tmp_path: Path, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shelf.publish_dir

    def rotten(build, target: Path) -> bool:
        made = real(build, target)
        flip(target / "frozen.bin")
        return made

    monkeypatch.setattr(shelf, "publish_dir", rotten)
    with pytest.raises(UserError, match=r"damaged 3 times.*REGRAFT_CACHE"):
        converted_network(BACKBONE, (), tmp_path)


def test_a_damaged_folder_that_another_process_mended_meanwhile_stays(
    tmp_path: Path, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(converted_network(BACKBONE, (), tmp_path).folder / "frozen.bin")
    another_process()
    real = shelf._remove_damaged

    def overtaken(folder: Path) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(Backbone, "write", lambda _, folder, cuts: builds.network(folder))
        converted_network(BACKBONE, (), tmp_path)
        real(folder)

    monkeypatch.setattr(shelf, "_remove_damaged", overtaken)
    converted_network(BACKBONE, (), tmp_path)
    assert builds.networks == 2


def test_clearing_spares_a_conversion_in_progress(
    tmp_path: Path, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cleared_meanwhile(_: object, folder: Path, cuts: object) -> None:
        (folder / "begun").write_text("by the fit")
        with FeatureStore(tmp_path) as store:
            store.clear()
        assert (folder / "begun").is_file()
        (folder / "begun").unlink()
        builds.network(folder)

    feature_graph(BACKBONE, LAST, tmp_path)
    with FeatureStore(tmp_path) as store:
        store.clear()
    assert list((tmp_path / "networks").iterdir()) == []
    monkeypatch.setattr(Backbone, "write", cleared_meanwhile)
    assert (feature_graph(BACKBONE, LAST, tmp_path) / "frozen.bin").read_bytes() == WEIGHTS
    assert builds.networks == 2


def test_a_clear_right_after_publishing_is_survived(
    tmp_path: Path, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shelf.publish_dir

    def cleared(build, target: Path) -> bool:
        monkeypatch.setattr(shelf, "publish_dir", real)
        made = real(build, target)
        with FeatureStore(tmp_path) as store:
            store.clear()
        return made

    monkeypatch.setattr(shelf, "publish_dir", cleared)
    assert (converted_network(BACKBONE, (), tmp_path).folder / "frozen.bin").is_file()
    assert builds.networks == 2


def put(store: FeatureStore, first: int) -> None:
    digests = [bytes([n]) * 32 for n in range(first, first + 10)]
    store.put_batches([("a", digests, np.zeros((10, 5000), np.float32))])


def test_networks_not_used_for_longest_go_before_newer_features(
    tmp_path: Path, builds: Builds
) -> None:
    graphs = [feature_graph(BACKBONE, (Tap(c.name),), tmp_path) for c in BACKBONE.probes[:4]]
    source = converted_network(BACKBONE, (), tmp_path).folder
    another_process()
    for age, folder in enumerate([graphs[2], source, graphs[0], graphs[1]]):
        used_ago(folder, age)
    with FeatureStore(tmp_path) as store:
        put(store, 0)
    with FeatureStore(tmp_path) as store:
        held = store.info().bytes
        assert store.trim(held - 150_000) >= 150_000
        assert [graph.exists() for graph in graphs] == [False, False, True, True]
        assert source.exists()
        assert len(store.known("a")) == 10


def test_taking_counts_as_use(tmp_path: Path, builds: Builds) -> None:
    folder = converted_network(BACKBONE, (), tmp_path).folder
    used_ago(folder, 0)
    converted_network(BACKBONE, (), tmp_path)
    assert folder.stat().st_mtime > 1_000_000_000


def test_what_this_process_uses_or_builds_is_not_evicted(tmp_path: Path, builds: Builds) -> None:
    old = feature_graph(BACKBONE, (Tap(BACKBONE.probes[0].name),), tmp_path)
    another_process()
    used = [
        feature_graph(BACKBONE, LAST, tmp_path),
        converted_network(BACKBONE, (), tmp_path).folder,
    ]
    for folder in used:
        used_ago(folder, 10)

    def trimmed_meanwhile(folder: Path) -> None:
        (folder / "half").write_text("half")
        with FeatureStore(tmp_path) as store:
            put(store, 0)
            store.trim(0)
            assert store.known("a") == set()
        assert (folder / "half").is_file()

    fresh = shelf.take(tmp_path / "networks" / "fresh", trimmed_meanwhile)
    assert not old.exists()
    assert all(folder.is_dir() for folder in [*used, fresh])
