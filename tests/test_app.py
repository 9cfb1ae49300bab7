"""From pictures to a tested model, as a program sees it: layouts, parts, store, heads, bundle."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import regraft
from commands import empty_store
from pictures import texture, write_classes, write_texture
from regraft.app import FitResult
from regraft.app_use import predict_paths
from regraft.backbones.cuts import Cut
from regraft.errors import UserError
from regraft.frozen.store import FeatureStore
from regraft.options import Overrides
from regraft.progress import Silent
from regraft.quiet import import_openvino
from regraft.strategy import FeatureSet, Tap

CLASSES = ("ants", "bees", "wasps")
NOISE = 90.0


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


@pytest.fixture
def own_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store beside the network that was converted before."""
    folder = empty_store(cache, tmp_path / "own-cache")
    monkeypatch.setenv("REGRAFT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of twelve."""
    return write_classes(tmp_path_factory.mktemp("photos"), dict.fromkeys(CLASSES, 12), noise=NOISE)


@pytest.fixture(scope="module")
def fitted(
    photos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FitResult, Path]:
    """A fit of `photos`, and its bundle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        out = tmp_path_factory.mktemp("fitted") / "model"
        return regraft.fit(photos, out), out


def parts(root: Path, **counts: int) -> Path:
    """Write parts, each with so many textures a class; no picture is in two of them."""
    first = 0
    for part, count in counts.items():
        write_classes(root / part, dict.fromkeys(CLASSES, count), first=first, noise=NOISE)
        first += count
    return root


def table(folder: Path, rows: Iterable[Sequence[str]], header: str = "path,label") -> Path:
    """Write a CSV manifest."""
    with (folder / "photos.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return folder / "photos.csv"


def pictures_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def learned_from(model: Path, paths: Sequence[Path]) -> list[bool]:
    """Which of these files the model was trained on, by its own record."""
    loaded = regraft.load(model)
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    return [bool(loaded.count_learned_from([digest])) for digest in digests]


def head_of(model: Path) -> bytes:
    return (model / "head.safetensors").read_bytes()


def timeless(record: Any) -> dict[str, Any]:
    """Leave out of a record what may differ between two equal runs."""
    kept = {key: value for key, value in record.items() if key not in ("model", "seconds", "cache")}
    return {**kept, "provenance": {**record["provenance"], "created": ""}}


# the cache


def test_a_fit_that_fails_leaves_the_cache_within_its_cap(
    photos: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def held() -> int:
        with FeatureStore(own_cache) as store:
            return store.info().rows

    monkeypatch.setattr("regraft.app.write_bundle", _fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        regraft.fit(photos, tmp_path / "first")
    assert held() > 0, "or this test shows nothing"
    monkeypatch.setenv("REGRAFT_CACHE_GB", "1e-6")
    with pytest.raises(RuntimeError, match="on purpose"):
        regraft.fit(photos, tmp_path / "second")
    assert held() == 0


def _fail(*_: object, **__: object) -> None:
    raise RuntimeError("on purpose")


# layouts and parts


def test_one_part_holds_a_fifth_out_and_says_so(fitted: tuple[FitResult, Path], photos: Path):
    result, out = fitted
    counts = result.record["counts"]
    assert counts == {"train": 28, "val": 0, "test": 8, "skipped": 0} or (
        counts["train"] + counts["test"] == 36 and 6 <= counts["test"] <= 9
    )
    assert {row["support"] for row in result.record["test"]["per_class"]} <= {2, 3}
    assert result.record["provenance"]["test_part"] == "held out by regraft"
    assert any("20%" in note and "held out" in note for note in result.record["notes"])
    assert sum(learned_from(out, pictures_of(photos))) == counts["train"]


def test_test_fraction_decides_how_many_are_held_out(photos: Path, tmp_path: Path):
    result = regraft.fit(photos, tmp_path / "m", test_fraction=0.5)
    assert result.record["counts"]["test"] == 18
    assert any("50%" in note for note in result.record["notes"])


@pytest.mark.parametrize("second", ["val", "valid", "Validation", "test", "TEST"])
def test_with_two_parts_the_second_is_the_test_part_whatever_its_name(second: str, tmp_path: Path):
    photos = parts(tmp_path / "photos", **{"train": 8, second: 3})
    record = regraft.fit(photos, tmp_path / "m").record
    assert record["counts"] == {"train": 24, "val": 0, "test": 9, "skipped": 0}
    assert record["selection"]["method"] == "cross-validation"
    assert record["selection"]["n"] == 24
    assert record["selection"]["optimistic"] is True
    assert record["test"]["n"] == 9
    assert record["provenance"]["test_part"] == "given"
    assert not any("held out" in note for note in record["notes"])
    test_files = pictures_of(photos / second)
    assert not any(learned_from(tmp_path / "m", test_files))
    assert all(learned_from(tmp_path / "m", pictures_of(photos / "train")))


def test_with_three_parts_val_chooses_and_test_reports(tmp_path: Path):
    photos = parts(tmp_path / "photos", train=7, val=4, test=3)
    record = regraft.fit(photos, tmp_path / "m").record
    assert record["counts"] == {"train": 21, "val": 12, "test": 9, "skipped": 0}
    assert (record["selection"]["method"], record["selection"]["n"]) == ("validation", 12)
    assert record["test"]["n"] == 9
    assert not any(learned_from(tmp_path / "m", pictures_of(photos / "test")))


@pytest.mark.parametrize("broken", ["val", "test"])
def test_a_part_of_which_nothing_can_be_read_is_no_missing_part(broken: str, tmp_path: Path):
    photos = parts(tmp_path / "p", train=6, val=2, test=2)
    for path in pictures_of(photos / broken):
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=f"{broken!r} has none"):
        regraft.fit(photos, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def swap_labels(part: Path) -> None:
    """Exchange the contents of the first two classes of a part."""
    part.joinpath(CLASSES[0]).rename(part / "aside")
    part.joinpath(CLASSES[1]).rename(part / CLASSES[0])
    part.joinpath("aside").rename(part / CLASSES[1])


@pytest.mark.parametrize("sizes", [{"train": 8, "val": 3}, {"train": 7, "val": 4, "test": 3}])
def test_the_test_part_chooses_and_trains_nothing(sizes: dict[str, int], tmp_path: Path):
    photos = parts(tmp_path / "photos", **sizes)
    before = regraft.fit(photos, tmp_path / "before").record
    swap_labels(photos / list(sizes)[-1])
    after = regraft.fit(photos, tmp_path / "after").record
    assert head_of(tmp_path / "before") == head_of(tmp_path / "after")
    assert before["selection"] == after["selection"]
    assert before["strategy"] == after["strategy"]
    assert before["test"]["accuracy"] > after["test"]["accuracy"]


def test_the_validation_part_does_choose(tmp_path: Path):
    photos = parts(tmp_path / "photos", train=7, val=4, test=3)
    before = regraft.fit(photos, tmp_path / "before").record
    swap_labels(photos / "val")
    after = regraft.fit(photos, tmp_path / "after").record
    assert before["selection"]["log_loss"] < after["selection"]["log_loss"]


def test_csv_with_groups_keeps_each_group_on_one_side(photos: Path, tmp_path: Path):
    files = pictures_of(photos)
    rows = [
        (os.path.relpath(path, tmp_path), path.parent.name, f"{path.parent.name}-{number // 3}")
        for number, path in enumerate(files)
    ]
    regraft.fit(table(tmp_path, rows, "path,label,group"), tmp_path / "m")
    sides: dict[str, set[bool]] = {}
    for (_, _, group), side in zip(rows, learned_from(tmp_path / "m", files), strict=True):
        sides.setdefault(group, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert {next(iter(side)) for side in sides.values()} == {True, False}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_with_splits_gives_what_the_folders_give(kind: str, tmp_path: Path):
    root = parts(tmp_path / "photos", train=8, test=3)
    rows = [
        (path.relative_to(tmp_path).as_posix(), path.parent.name, path.parts[-3])
        for path in pictures_of(root)
    ]
    if kind == "csv":
        source = table(tmp_path, rows, "path,label,split")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        source = tmp_path / "photos.parquet"
        columns = zip(*rows, strict=True)
        pq.write_table(
            pa.table(dict(zip(("path", "label", "split"), map(list, columns), strict=True))), source
        )
    by_table = regraft.fit(source, tmp_path / "table").record
    by_folder = regraft.fit(root, tmp_path / "folder").record
    assert by_table["counts"] == by_folder["counts"]
    assert by_table["test"] == by_folder["test"]
    assert by_table["strategy"] == by_folder["strategy"]


def test_a_picture_on_both_sides_stays_in_test_and_is_listed(tmp_path: Path):
    photos = parts(tmp_path / "photos", train=8, test=3)
    twin = pictures_of(photos / "test" / "bees")[0]
    shutil.copy(twin, photos / "train" / "bees" / "leak.jpg")
    result = regraft.fit(photos, tmp_path / "m")
    record = result.record
    assert record["counts"] == {"train": 24, "val": 0, "test": 9, "skipped": 0}
    assert [entry["path"] for entry in record["dropped"]] == ["train/bees/leak.jpg"]
    assert twin.relative_to(photos).as_posix() in record["dropped"][0]["reason"]
    assert any("dropped" in note for note in record["notes"])
    assert learned_from(tmp_path / "m", [twin]) == [False]
    assert (
        record["test"]
        == regraft.fit(parts(tmp_path / "clean", train=8, test=3), tmp_path / "clean-m").record[
            "test"
        ]
    )


def test_one_picture_under_two_labels_is_listed_and_kept_on_one_side(photos: Path, tmp_path: Path):
    mixed = shutil.copytree(photos, tmp_path / "photos")
    shutil.copy(mixed / "ants" / "000.jpg", mixed / "bees" / "also.jpg")
    record = regraft.fit(mixed, tmp_path / "m").record
    assert record["conflicts"] == [
        {"paths": ["ants/000.jpg", "bees/also.jpg"], "labels": ["ants", "bees"]}
    ]
    assert any("more than one label" in note for note in record["notes"])
    assert sum(record["counts"].values()) == 37


# seeds, and the bundle against the evaluation


def test_same_seed_same_result_other_seed_other_split(
    fitted: tuple[FitResult, Path], photos: Path, tmp_path: Path
):
    result, out = fitted
    again = regraft.fit(photos, tmp_path / "again")
    assert head_of(out) == head_of(tmp_path / "again")
    assert timeless(result.record) == timeless(again.record)
    regraft.fit(photos, tmp_path / "other", seed=1)
    files = pictures_of(photos)
    assert learned_from(out, files) != learned_from(tmp_path / "other", files)


@pytest.mark.parametrize("head", ["logistic", "ridge", "prototype"])
def test_the_bundle_predicts_what_was_evaluated(head: Any, tmp_path: Path):
    photos = parts(tmp_path / "photos", train=8, test=5)
    result = regraft.fit(photos, tmp_path / "m", head=head)
    assert result.record["strategy"]["head"] == head
    report = regraft.evaluate(tmp_path / "m", photos)
    ours, theirs = report.as_dict(), result.record["test"]
    assert ours["confusion"] == theirs["confusion"]
    assert ours["accuracy"] == theirs["accuracy"] > 0.8
    assert ours["log_loss"] == pytest.approx(theirs["log_loss"], abs=1e-6)
    assert ours["optimistic"] is False
    assert ours["seen_in_training"] == 0
    assert any("test part" in note for note in ours["notes"])


def test_predict_proba_agrees_with_predict_and_with_pictures_in_memory(
    fitted: tuple[FitResult, Path], tmp_path: Path
):
    model = fitted[0].model
    paths = [
        write_texture(tmp_path / f"{label}{number}.png", label, number)
        for label in CLASSES
        for number in (50, 51)
    ]
    arrays = [texture(label, number) for label in CLASSES for number in (50, 51)]
    proba = model.predict_proba(paths)
    assert proba.shape == (6, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    assert model.predict(paths) == [model.classes[k] for k in proba.argmax(axis=1)]
    np.testing.assert_array_equal(proba, model.predict_proba(np.stack(arrays)))
    np.testing.assert_array_equal(proba, model.predict_proba([Image.open(p) for p in paths]))
    one_by_one = np.concatenate([model.predict_proba([path]) for path in paths])
    np.testing.assert_array_equal(proba, one_by_one)


def test_predict_names_every_picture_it_cannot_read(fitted: tuple[FitResult, Path], tmp_path: Path):
    good = write_texture(tmp_path / "good.png", "ants", 1)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UserError, match="2 of 3 pictures") as caught:
        fitted[0].model.predict([good, tmp_path / "empty.jpg", tmp_path / "gone.jpg"])
    assert "empty.jpg" in caught.value.problems[0]
    assert "gone.jpg" in caught.value.problems[1]
    with pytest.raises(UserError, match="sequence"):
        fitted[0].model.predict(str(good))


def test_copies_and_files_in_folders_are_predicted_in_order(
    fitted: tuple[FitResult, Path], tmp_path: Path
):
    for name in ("b", "a/deep", "c"):
        write_texture(tmp_path / f"{name}.png", "bees", 60)
    (tmp_path / "a" / "bad.png").write_bytes(b"nothing")
    (tmp_path / "a" / "bad copy.png").write_bytes(b"nothing")
    predictions, skipped = predict_paths(
        fitted[0].model, [tmp_path / "c.png", tmp_path / "a", tmp_path / "b.png"], Silent()
    )
    assert [Path(name).name for name in predictions.names] == ["c.png", "deep.png", "b.png"]
    assert [Path(entry.path).name for entry in skipped] == ["bad copy.png", "bad.png"]
    assert (predictions.probabilities == predictions.probabilities[0]).all()


# evaluate


def test_evaluate_on_seen_pictures_says_optimistic(
    fitted: tuple[FitResult, Path], photos: Path, tmp_path: Path
):
    result, out = fitted
    record = regraft.evaluate(out, photos).as_dict()
    assert record["n"] == 36
    assert record["optimistic"] is True
    assert record["seen_in_training"] == result.record["counts"]["train"]
    assert any("too good" in note for note in record["notes"])
    fresh = write_classes(tmp_path / "fresh", {"ants": 3, "bees": 2}, first=70)
    assert regraft.evaluate(out, fresh).as_dict()["optimistic"] is False


def test_evaluate_counts_unknown_classes_and_leaves_them_out(
    fitted: tuple[FitResult, Path], tmp_path: Path
):
    fresh = write_classes(tmp_path / "fresh", {"ants": 3, "moths": 2, "flies": 1}, first=70)
    record = regraft.evaluate(fitted[1], fresh).as_dict()
    assert record["unknown_classes"] == {"moths": 2, "flies": 1}
    assert record["n"] == 3
    assert any("'flies', 'moths'" in note for note in record["notes"])
    shutil.rmtree(fresh / "ants")
    with pytest.raises(UserError, match=r"classes that the model knows.*'ants'.*'flies'"):
        regraft.evaluate(fitted[1], fresh)


def test_evaluate_works_with_a_single_class(fitted: tuple[FitResult, Path], tmp_path: Path):
    fresh = write_classes(tmp_path / "fresh", {"ants": 3}, first=70)
    record = regraft.evaluate(fitted[1], fresh).as_dict()
    assert record["n"] == 3
    assert [row["support"] for row in record["per_class"]] == [3, 0, 0]
    json.dumps(record, allow_nan=False)


def test_evaluate_with_nothing_readable_is_an_error(fitted: tuple[FitResult, Path], tmp_path: Path):
    (tmp_path / "fresh" / "ants").mkdir(parents=True)
    (tmp_path / "fresh" / "ants" / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"at least half of the files .* got 0 of 1"):
        regraft.evaluate(fitted[1], tmp_path / "fresh")


def test_evaluate_refuses_a_folder_that_is_mostly_unreadable(
    fitted: tuple[FitResult, Path], tmp_path: Path
):
    fresh = write_classes(tmp_path / "fresh", {"ants": 2}, first=70)
    for number in range(2):
        (fresh / "ants" / f"bad-{number}.jpg").write_bytes(b"no picture")
    report = regraft.evaluate(fitted[1], fresh)
    assert report.evaluation.n == len(report.skipped) == 2
    with pytest.raises(UserError, match="2 files cannot be used, and strict was asked for"):
        regraft.evaluate(fitted[1], fresh, strict=True)
    (fresh / "ants" / "bad-3.jpg").write_bytes(b"no picture either")
    with pytest.raises(UserError, match=r"at least half of the files .* got 2 of 5"):
        regraft.evaluate(fitted[1], fresh)


def test_bfloat16_is_refused_where_it_cannot_be_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    photos = write_classes(tmp_path / "photos", {"ants": 3, "bees": 3})
    monkeypatch.setattr("regraft.frozen.devices.supports_bf16", lambda: False)
    with pytest.raises(UserError, match="precision must be 'auto' or 'f32' on this machine"):
        regraft.fit(photos, tmp_path / "model", precision="bf16")


def test_the_precision_is_settled_by_training_pictures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    photos = write_classes(tmp_path / "photos/train", {"ants": 4, "bees": 4}).parent
    write_classes(photos / "test", {"ants": 4, "bees": 4}, first=50)
    asked: list[str] = []
    monkeypatch.setattr(
        "regraft.frozen.extract.check_positions",
        lambda names: asked.extend(names) or list(range(len(names))),
    )
    regraft.fit(photos, tmp_path / "model")
    assert len(asked) == 8
    assert all(name.startswith("train/") for name in asked)


# the store


def test_only_what_is_new_is_computed(own_cache: Path, tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 8, "bees": 8})
    assert regraft.fit(photos, tmp_path / "1").record["cache"] == {"hits": 0, "misses": 16}
    assert regraft.fit(photos, tmp_path / "2").record["cache"] == {"hits": 16, "misses": 0}
    for head in ("ridge", "prototype"):
        again = regraft.fit(photos, tmp_path / head, head=head)  # type: ignore[arg-type]
        assert again.record["cache"] == {"hits": 16, "misses": 0}
    write_classes(photos, {"ants": 1, "bees": 2}, first=40)
    assert regraft.fit(photos, tmp_path / "3").record["cache"] == {"hits": 16, "misses": 3}
    moved = shutil.move(photos, tmp_path / "elsewhere")
    (moved / "ants").rename(moved / "formicidae")
    assert regraft.fit(moved, tmp_path / "4").record["cache"] == {"hits": 19, "misses": 0}
    write_texture(moved / "bees" / "000.jpg", "bees", 99)
    assert regraft.fit(moved, tmp_path / "5").record["cache"] == {"hits": 18, "misses": 1}


def test_copies_are_computed_once(own_cache: Path, tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})
    for number in range(4):
        shutil.copy(photos / "ants" / "000.jpg", photos / "ants" / f"copy{number}.jpg")
    assert regraft.fit(photos, tmp_path / "m").record["cache"] == {"hits": 4, "misses": 12}


def test_stored_and_computed_features_give_the_same_model(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    photos = write_classes(tmp_path / "photos", {"ants": 11, "bees": 12}, noise=NOISE)
    few = write_classes(tmp_path / "few", {"ants": 5, "bees": 6}, noise=NOISE)
    regraft.fit(few, tmp_path / "few-m")
    mixed = regraft.fit(photos, tmp_path / "mixed").record
    assert mixed["cache"] == {"hits": 11, "misses": 12}
    monkeypatch.setenv("REGRAFT_CACHE", str(empty_store(own_cache, tmp_path / "fresh-cache")))
    fresh = regraft.fit(photos, tmp_path / "fresh").record
    assert fresh["cache"] == {"hits": 0, "misses": 23}
    assert head_of(tmp_path / "mixed") == head_of(tmp_path / "fresh")
    assert mixed["test"] == fresh["test"]


class ClearsTheStore(Silent):
    """Deletes all features once, between the frozen pass and the head."""

    def __init__(self) -> None:
        self.cleared = 0

    def start(self, task: str, total: int) -> None:
        if "head" in task and not self.cleared:
            self.cleared += 1
            with FeatureStore() as store:
                store.clear()


def test_features_that_vanish_meanwhile_are_computed_again(
    own_cache: Path, photos: Path, fitted: tuple[FitResult, Path], tmp_path: Path
):
    progress = ClearsTheStore()
    result = regraft.fit(photos, tmp_path / "m", progress=progress)
    assert progress.cleared == 1
    assert head_of(tmp_path / "m") == head_of(fitted[1])
    assert result.record["cache"] == {"hits": 0, "misses": 36}


def test_a_cap_smaller_than_one_run_does_not_stop_it(
    own_cache: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("REGRAFT_CACHE_GB", "0.000001")
    assert regraft.fit(photos, tmp_path / "m").record["test"]["accuracy"] > 0.5
    monkeypatch.setenv("REGRAFT_CACHE_GB", "lots")
    with pytest.raises(UserError, match=r"REGRAFT_CACHE_GB must be .*'lots'"):
        regraft.fit(photos, tmp_path / "m2")


def test_progress_hears_of_every_picture(photos: Path, tmp_path: Path):
    class Counter(Silent):
        def __init__(self) -> None:
            self.totals: list[tuple[str, int]] = []
            self.done: dict[str, int] = {}

        def start(self, task: str, total: int) -> None:
            self.totals.append((task, total))

        def advance(self, steps: int) -> None:
            task = self.totals[-1][0]
            self.done[task] = self.done.get(task, 0) + steps

    progress = Counter()
    regraft.fit(photos, tmp_path / "m", progress=progress)
    assert ("frozen pass", 36) in progress.totals
    assert progress.done["frozen pass"] == 36
    for task, total in progress.totals:
        assert total == 0 or progress.done.get(task) == total, task


# few, many, weighted


@pytest.mark.parametrize("each", [1, 2, 3, 5])
@pytest.mark.parametrize("head", ["logistic", "ridge", "prototype"])
def test_few_shot_with_a_given_test_part(each: int, head: Any, tmp_path: Path):
    photos = write_classes(tmp_path / "photos" / "train", dict.fromkeys(CLASSES, each))
    write_classes(tmp_path / "photos" / "test", dict.fromkeys(CLASSES, 4), first=20)
    record = regraft.fit(tmp_path / "photos", tmp_path / "m", head=head).record
    assert photos.is_dir()
    assert record["counts"]["train"] == 3 * each
    assert record["test"]["accuracy"] >= 0.75
    method = record["selection"]["method"]
    assert method == ("none" if each == 1 else "cross-validation")
    if each == 1:
        assert record["selection"]["accuracy"] is None
    json.dumps(record, allow_nan=False)


def test_two_pictures_a_class_are_enough_without_a_test_part(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 2, "bees": 2})
    record = regraft.fit(photos, tmp_path / "m").record
    assert record["counts"] == {"train": 2, "val": 0, "test": 2, "skipped": 0}


def test_many_classes(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {f"kind {k:02d}": 4 for k in range(36)})
    record = regraft.fit(photos, tmp_path / "m").record
    assert len(record["classes"]) == 36
    assert record["counts"]["test"] >= 36
    assert np.shape(record["test"]["confusion"]["matrix"]) == (36, 36)
    assert record["test"]["accuracy"] > 0.6
    model = regraft.load(tmp_path / "m")
    proba = model.predict_proba(pictures_of(photos)[:5])
    assert proba.shape == (5, 36)


def test_options_change_the_model(photos: Path, tmp_path: Path):
    rare = shutil.copytree(photos, tmp_path / "rare")
    for path in pictures_of(rare / "wasps")[4:]:
        path.unlink()
    plain = regraft.fit(rare, tmp_path / "plain").record
    weighted = regraft.fit(rare, tmp_path / "weighted", class_weight="balanced").record
    assert weighted["provenance"]["class_weight"] == "balanced"
    assert head_of(tmp_path / "plain") != head_of(tmp_path / "weighted")
    assert plain["counts"] == weighted["counts"]
    chosen = regraft.fit(rare, tmp_path / "metric", metric="balanced_accuracy").record
    assert chosen["selection"]["metric"] == "balanced_accuracy"
    assert any("'wasps' has" in note and "hardly tell" in note for note in chosen["notes"])
    assert not any("hardly tell" in note for note in [*plain["notes"], *weighted["notes"]])
    assert regraft.load(tmp_path / "metric").info["provenance"]["metric"] == "balanced_accuracy"


def test_forced_precision_is_recorded_and_needs_no_check(photos: Path, tmp_path: Path):
    record = regraft.fit(photos, tmp_path / "m", precision="f32").record
    assert record["strategy"]["precision"] == "f32"
    assert record["parity"] is None
    assert regraft.load(tmp_path / "m").precision == "f32"


def test_all_wrong_settings_are_named_together(photos: Path, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        regraft.fit(
            photos,
            tmp_path / "m",
            head="forest",  # type: ignore[arg-type]
            metric="f1",  # type: ignore[arg-type]
            test_fraction=1.0,
            seed=-1,
        )
    for word in ("head", "'logistic'", "'forest'", "metric", "'f1'", "test_fraction", "1.0", "-1"):
        assert word in str(caught.value)
    assert not (tmp_path / "m").exists()
    with pytest.raises(TypeError, match="sead"):
        regraft.fit(photos, tmp_path / "m", sead=1)  # type: ignore[call-arg]
    with pytest.raises(UserError, match="resnet18"):
        regraft.fit(photos, tmp_path / "m", backbone="resnet18")


# the bundle


def test_the_bundle_holds_what_was_measured(fitted: tuple[FitResult, Path]):
    result, out = fitted
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "model.safetensors",
        "head.safetensors",
        "frozen.xml",
        "frozen.bin",
        "README.md",
        "SHA256SUMS",
    }
    sums = dict(
        reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines()
    )
    assert sums == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.iterdir()
        if path.name != "SHA256SUMS"
    }
    config = json.loads((out / "config.json").read_text())
    assert config["architecture"] == "tf_efficientnet_lite0"
    info = config["regraft"]
    assert info["test"] == result.record["test"]
    assert info["classes"] == list(CLASSES)
    assert info["strategy"]["precision"] == result.record["strategy"]["precision"]
    assert info["preprocess"]["size"] == [224, 224]
    assert info["backbone"]["licence"]
    assert len(info["backbone"]["weights_sha256"]) == 64
    card = (out / "README.md").read_text()
    assert f"{result.evaluation.accuracy.value:.1%}" in card
    assert all(f"`{label}`" in card for label in CLASSES)


def test_the_graph_is_not_compressed_to_half_precision(fitted: tuple[FitResult, Path]):
    network = import_openvino().Core().read_model(fitted[1] / "frozen.xml")
    kinds = {
        node.get_element_type().get_type_name()
        for node in network.get_ops()
        if node.get_type_name() == "Constant"
    }
    assert "f32" in kinds
    assert "f16" not in kinds


def test_a_copied_bundle_is_the_same_model(fitted: tuple[FitResult, Path], tmp_path: Path):
    copy = shutil.copytree(fitted[1], tmp_path / "a copy")
    picture = [write_texture(tmp_path / "p.png", "bees", 3)]
    np.testing.assert_array_equal(
        regraft.load(copy).predict_proba(picture), fitted[0].model.predict_proba(picture)
    )


def only(taps: Sequence[Tap]) -> Callable[..., tuple[FeatureSet, ...]]:
    return lambda *_: (FeatureSet("the one", tuple(taps)),)


def timm_probabilities(bundle: Path, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """What timm and PyTorch make of a bundle, in float32."""
    from regraft.backbones.torchvision_shim import declare_missing_operators

    declare_missing_operators()
    import timm
    import torch

    network = timm.create_model(f"local-dir:{bundle}", pretrained=True).eval()
    settings = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**settings, is_training=False)
    batch = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    with torch.no_grad():
        return torch.softmax(network(batch), dim=1).numpy()


@pytest.mark.filterwarnings("default")
def test_timm_loads_the_bundle_as_a_classifier(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("regraft.workshop.candidate_sets", only([Tap("bn2", "avg")]))
    regraft.fit(photos, tmp_path / "m", precision="f32")
    pictures = [texture(label, 5, size=224, noise=NOISE) for label in CLASSES]
    theirs = timm_probabilities(tmp_path / "m", pictures)
    ours = regraft.load(tmp_path / "m").predict_proba(pictures)
    assert theirs.shape == ours.shape
    np.testing.assert_allclose(theirs, ours, atol=2e-3)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["label_names"] == list(CLASSES)


def of_the_last_cut(cuts: Sequence[Cut]) -> tuple[FeatureSet, ...]:
    return (FeatureSet("last", (Tap(cuts[-1].name, "avg"),)),)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", None),
        ("mobilenetv3_small_050", (96, 96)),
        ("convnext_atto", (96, 96)),
        ("vit_tiny_patch16_224", (96, 96)),
        ("swin_tiny_patch4_window7_224", (112, 112)),
    ],
)
def test_timm_loads_a_bundle_of_its_own_networks(
    name: str,
    size: tuple[int, int] | None,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Also where the weights depend on the size of the pictures."""
    monkeypatch.setattr("regraft.workshop.candidate_sets", of_the_last_cut)
    out = tmp_path / "m"
    over = Overrides(size=size)
    regraft.fit(
        photos, out, backbone=f"timm:{name}", pretrained=False, overrides=over, precision="f32"
    )
    side = size[0] if size else 224
    pictures = [texture(label, 5, size=side, noise=NOISE) for label in CLASSES]
    theirs = timm_probabilities(out, pictures)
    ours = regraft.load(out).predict_proba(pictures)
    assert theirs.shape == ours.shape
    np.testing.assert_allclose(theirs, ours, atol=5e-3)


@pytest.mark.filterwarnings("default")
def test_timm_loads_the_network_alone_where_the_head_reads_more(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    taps = [Tap("blocks.6", "avg"), Tap("bn2", "avg")]
    monkeypatch.setattr("regraft.workshop.candidate_sets", only(taps))
    regraft.fit(photos, tmp_path / "m", precision="f32")
    features = timm_probabilities(tmp_path / "m", [texture("ants", 5, size=224)])
    assert features.shape == (1, 1280)
    assert "label_names" not in json.loads((tmp_path / "m" / "config.json").read_text())
