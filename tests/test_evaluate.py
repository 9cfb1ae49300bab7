"""A trained model on pictures: thresholds, abstention, comparison, pictures unlike training."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import regraft
from commands import run
from pictures import scene, write_classes, write_texture
from regraft.errors import UserError

NOISE = 110.0


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that are hard to tell apart, ants being rarer, and a test part."""
    root = tmp_path_factory.mktemp("photos")
    write_classes(root / "train", {"ants": 60, "bees": 80}, noise=NOISE)
    write_classes(root / "test", {"ants": 30, "bees": 30}, first=200, noise=NOISE)
    return root


@pytest.fixture(scope="module")
def model(photos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        out = tmp_path_factory.mktemp("plain") / "model"
        regraft.fit(photos, out, strategy="features", depth="blocks.2")
        return out


@pytest.fixture(scope="module")
def careful(photos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is to find nearly all ants."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        out = tmp_path_factory.mktemp("careful") / "model"
        regraft.fit(photos, out, depth="blocks.0", target="sensitivity=0.9", positive="ants")
        return out


def test_the_threshold_lies_in_the_bundle_and_decides(careful: Path, photos: Path):
    loaded = regraft.load(careful)
    point = loaded.operating_point
    assert point is not None
    assert (point.positive, point.n) == ("ants", 140)
    assert point.sensitivity.low >= 0.9
    pictures = sorted((photos / "test").rglob("*.jpg"))
    ants = loaded.predict_proba(pictures)[:, 0]
    called = np.array(loaded.predict(pictures))
    np.testing.assert_array_equal(called == "ants", ants >= point.threshold)
    report = run("evaluate", careful, photos, "--json").json
    recall = {row["class"]: row["recall"] for row in report["per_class"]}
    recorded = json.loads((careful / "config.json").read_text("utf-8"))["regraft"]
    test = recorded["operating_point"]["test"]
    assert test["sensitivity"] == pytest.approx(recall["ants"])
    assert test["specificity"] == pytest.approx(recall["bees"])
    assert report["operating_point"]["threshold"] == pytest.approx(point.threshold)
    assert report["accuracy"] == pytest.approx(recorded["test"]["accuracy"])
    assert "ants from a probability of" in run("evaluate", careful, photos).out
    assert "calls a picture `ants` from" in (careful / "README.md").read_text("utf-8")
    said = run("predict", careful, photos / "test").out
    odd = (ants >= point.threshold) != (ants >= 0.5)
    assert said.count("by its threshold") == odd.sum()


def test_the_rarer_class_is_the_one_to_find(photos: Path, tmp_path: Path):
    record = run("fit", photos, "--out", tmp_path / "m", "--target", "specificity=0.8", "--json")
    assert record.json["operating_point"]["positive"] == "ants"
    assert record.json["operating_point"]["specificity_ci95"][0] >= 0.8


def test_a_target_that_cannot_be_promised_writes_nothing(photos: Path, tmp_path: Path):
    done = run("fit", photos, "--out", tmp_path / "m", "--target", "sensitivity=0.99")
    assert "381 such pictures" in done.error
    assert not (tmp_path / "m").exists()
    three = write_classes(tmp_path / "three", dict.fromkeys(("a", "b", "c"), 8))
    done = run("fit", three, "--out", tmp_path / "m", "--target", "sensitivity=0.5")
    assert "two classes, got 3" in done.error
    assert "frozen pass" not in done.err
    done = run(
        "fit", photos, "--out", tmp_path / "m", "--target", "sensitivity=0.5", "--positive", "cat"
    )
    assert "'ants' or 'bees', got 'cat'" in done.error


def test_a_target_is_checked_before_layers_are_trained(photos: Path, tmp_path: Path):
    """A fold of twelve ants cannot promise 0.9, all sixty out of fold could."""
    options = ("--target", "sensitivity=0.9", "--positive", "ants", "--size", "32")
    done = run("fit", photos, "--out", tmp_path / "m", "--strategy", "full", *options)
    assert "12 held-out pictures of 'ants'" in done.error
    assert "training" not in done.err.replace("a training part", "").replace("layers train", "")


def test_abstaining_is_refused_where_something_was_promised(careful: Path, photos: Path):
    for command in ("predict", "evaluate"):
        error = run(command, careful, photos, "--min-confidence", "0.8").error
        assert "min_confidence must be left out" in error
    rows = run("predict", careful, photos / "test", "--top", "1", "--json").json["predictions"]
    assert all(row["label"] in row["probabilities"] for row in rows)


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("operating_point", "threshold", 5),
        ("operating_point", "sensitivity_ci95", [0.9]),
        ("calibration", "temperature", 0),
    ],
)
def test_an_edited_bundle_is_refused(
    where: str, key: str, value: object, careful: Path, photos: Path, tmp_path: Path
):
    edited = tmp_path / "m"
    shutil.copytree(careful, edited)
    config = json.loads((edited / "config.json").read_text("utf-8"))
    config["regraft"][where][key] = value
    (edited / "config.json").write_text(json.dumps(config), "utf-8")
    sums = (edited / "SHA256SUMS").read_text("utf-8").splitlines()
    digest = hashlib.sha256((edited / "config.json").read_bytes()).hexdigest()
    lines = [f"{digest}  config.json" if line.endswith("config.json") else line for line in sums]
    (edited / "SHA256SUMS").write_text("\n".join(lines) + "\n", "utf-8")
    assert "the bundle was edited" in run("predict", edited, photos).error


def test_every_figure_is_there(model: Path, photos: Path):
    report = run("evaluate", model, photos, "--json").json
    for row in report["per_class"]:
        assert row["specificity_ci95"][0] <= row["specificity"] <= row["specificity_ci95"][1]
        assert row["auc_ci95"][0] <= row["auc"] <= row["auc_ci95"][1]
        assert 0 <= row["f1"] <= 1
    assert report["macro_f1_ci95"][0] <= report["macro_f1"] <= report["macro_f1_ci95"][1]
    assert report["top_k"] == []  # of two classes the first two are all
    assert [curve["class"] for curve in report["curves"]] == ["ants", "bees"]
    assert {"before", "after"} == set(report["calibration"])
    assert sum(b["n"] for b in report["calibration"]["after"]["bins"]) == 60
    assert next(row["coverage"] for row in report["coverage"]) == 1.0
    assert report["comparison"] is None
    said = run("evaluate", model, photos).out
    assert "macro F1" in said
    assert "calibration" in said


def test_where_it_is_unsure_it_gives_no_class(model: Path, photos: Path, tmp_path: Path):
    table, pictures = tmp_path / "out.csv", photos / "test"
    rows = run("predict", model, pictures, "--json").json["predictions"]
    sure = [max(row["probabilities"].values()) for row in rows]
    least = f"{np.median(sure):.6f}"
    done = run("predict", model, pictures, "--min-confidence", least, "--json", "--csv", table)
    rows = done.json["predictions"]
    silent = [share < float(least) for share in sure]
    assert [row["label"] is None for row in rows] == silent
    assert 0 < sum(silent) < len(silent)
    with table.open(encoding="utf-8", newline="") as file:
        assert [row["label"] == "" for row in csv.DictReader(file)] == silent
    assert "not sure enough" in run("predict", model, photos, "--min-confidence", least).out
    report = run("evaluate", model, photos, "--min-confidence", least, "--json").json
    (row,) = [row for row in report["coverage"] if row["min_confidence"] == float(least)]
    assert row["coverage"] == 1 - np.mean(silent)
    with pytest.raises(UserError, match=r"min_confidence must lie in \[0, 1\], got 2"):
        regraft.evaluate(model, photos, min_confidence=2)


def test_two_models_are_compared_on_the_same_pictures(
    model: Path, careful: Path, photos: Path, tmp_path: Path
):
    there = run("evaluate", model, photos, "--against", careful, "--json").json["comparison"]
    back = run("evaluate", careful, photos, "--against", model, "--json").json["comparison"]
    assert there["n"] == 60
    assert there["accuracy_difference"] == pytest.approx(-back["accuracy_difference"])
    assert there["only_first_right"] == back["only_second_right"]
    assert there["p"] == back["p"]
    itself = run("evaluate", model, photos, "--against", model, "--json").json["comparison"]
    assert (itself["accuracy_difference"], itself["p"]) == (0.0, 1.0)
    assert itself["better"] == "cannot tell"
    assert "points of accuracy against" in run("evaluate", model, photos, "--against", model).out
    three = write_classes(tmp_path / "three", dict.fromkeys(("ants", "bees", "wasps"), 6))
    run("fit", three, "--out", tmp_path / "m")
    error = run("evaluate", model, photos, "--against", tmp_path / "m").error
    assert "both models must know the same classes" in error


def test_pictures_unlike_training_are_flagged(model: Path, photos: Path, tmp_path: Path):
    from PIL import Image

    for number in range(10):
        write_texture(tmp_path / "new" / f"like{number}.jpg", "ants", 300 + number, noise=NOISE)
        Image.fromarray(scene(number)).save(tmp_path / "new" / f"other{number}.jpg")
    rows = run("predict", model, tmp_path / "new", "--json").json["predictions"]
    flagged = {Path(row["path"]).name: row["unlike_training"] for row in rows}
    assert sum(flagged[f"like{number}.jpg"] for number in range(10)) <= 2
    assert sum(flagged[f"other{number}.jpg"] for number in range(10)) >= 8
    assert "unlike anything in training" in run("predict", model, tmp_path / "new").out


def test_few_pictures_cannot_say_what_is_unlike(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 8, "bees": 8})
    run("fit", photos, "--out", tmp_path / "m")
    rows = run("predict", tmp_path / "m", photos, "--json").json["predictions"]
    assert {row["unlike_training"] for row in rows} == {None}
    assert not (tmp_path / "m" / "familiar.safetensors").exists()


def test_a_bundle_of_before_still_works(model: Path, photos: Path, tmp_path: Path):
    """Without temperature, threshold and what tells unlike pictures."""
    old = tmp_path / "old"
    shutil.copytree(model, old)
    (old / "familiar.safetensors").unlink()
    config = json.loads((old / "config.json").read_text("utf-8"))
    del config["regraft"]["calibration"]
    del config["regraft"]["operating_point"]
    (old / "config.json").write_text(json.dumps(config), "utf-8")
    sums = [line.split() for line in (old / "SHA256SUMS").read_text("utf-8").splitlines()]
    names = [name.lstrip("*") for _, name in sums if "familiar" not in name]
    lines = [f"{hashlib.sha256((old / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (old / "SHA256SUMS").write_text("".join(lines), "utf-8")
    new, before = (run("evaluate", m, photos, "--json").json for m in (model, old))
    assert before["accuracy"] == new["accuracy"]
    assert before["unlike_training"] is None
    assert new["unlike_training"] is not None


def test_one_picture_and_missing_classes(model: Path, tmp_path: Path):
    write_texture(tmp_path / "one" / "ants" / "1.jpg", "ants", 400, noise=NOISE)
    report = run("evaluate", model, tmp_path / "one", "--json").json
    assert report["n"] == 1
    assert any("no picture of 'bees'" in note for note in report["notes"])
    assert "macro F1" in run("evaluate", model, tmp_path / "one").out
