"""Planted defects are found, clean pictures are left alone, and --fix mends what can be mended."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter

import regraft
from commands import call, run
from pictures import scene, texture, write_classes
from regraft.data.manifest import read_manifest
from regraft.data.splits import split
from test_alike import CHANGES

EACH = 24


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


def picture(label: str, number: int) -> Image.Image:
    """A scene, with a patch of the stripes that its class has."""
    pixels = scene(number + {"ants": 0, "bees": 1000}[label])
    pixels[60:180, 80:240] = texture(label, number, size=240, noise=8.0)[60:180, 80:240]
    return Image.fromarray(pixels)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=92, **options)
    return path


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean")
    for part, first, count in (("train", 0, EACH), ("test", 500, 8)):
        for label in ("ants", "bees"):
            for number in range(first, first + count):
                save(picture(label, number), root / part / label / f"{number:03d}.jpg")
    return root


@pytest.fixture(scope="module")
def planted(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same collection with one of each thing that may be wrong."""
    root = tmp_path_factory.mktemp("planted") / "photos"
    shutil.copytree(clean, root)
    train, test = root / "train", root / "test"
    for number, change in enumerate(CHANGES):  # test pictures in train
        image = Image.open(test / "ants" / f"{500 + number}.jpg").convert("RGB")
        save(change(image), train / "ants" / f"leak{number}.jpg")
    save(Image.open(train / "ants" / "003.jpg"), train / "bees" / "both.jpg")
    shutil.copy(train / "bees" / "004.jpg", train / "bees" / "again.jpg")
    for number in (10, 11):  # of the other class
        (train / "bees" / f"{number:03d}.jpg").replace(train / "ants" / f"wrong{number}.jpg")
    image = picture("bees", 900)
    save(Image.fromarray((np.asarray(image) * 0.1).astype(np.uint8)), train / "bees" / "dark.jpg")
    blur = ImageFilter.GaussianBlur(9)
    save(picture("ants", 901).filter(blur), train / "ants" / "blurred.jpg")
    save(Image.new("RGB", (300, 200), (90, 120, 60)), train / "ants" / "empty.jpg")
    save(picture("bees", 902).resize((40, 30)), train / "bees" / "tiny.jpg")
    (train / "bees" / "broken.jpg").write_bytes((train / "bees" / "005.jpg").read_bytes()[:900])
    for second in (1, 2):
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = "D5"
        taken = f"2026:05:01 10:11:0{second}"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
        pixels = np.asarray(picture("ants", 950)).astype(int)
        pixels[:, : 20 * second] = scene(960 + second)[:, : 20 * second]
        save(Image.fromarray(pixels.astype("u1")), train / "ants" / f"burst{second}.jpg", exif=exif)
    return root


def found_in(record: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for f in record["findings"] if f["kind"] == kind for item in f["items"]]


@pytest.fixture(scope="module")
def record(planted: Path, cache: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        return run("audit", planted, "--json").json


def test_clean_pictures_are_left_alone(clean: Path):
    record = run("audit", clean, "--json", "--strict")
    assert record.code == 0
    assert record.json["findings"] == []
    assert record.json["pictures"] == record.json["kept"] == 2 * (EACH + 8)


def test_pictures_of_the_test_part_in_train(record: dict[str, Any]):
    leaks = found_in(record, "leak")
    assert [sorted(item["pictures"]) for item in leaks] == [
        [f"test/ants/{500 + n}.jpg", f"train/ants/leak{n}.jpg"] for n in range(len(CHANGES))
    ]
    assert all("test" in item["detail"] and "train" in item["detail"] for item in leaks)


def test_one_picture_in_two_classes(record: dict[str, Any]):
    (item,) = found_in(record, "conflict")
    assert sorted(item["pictures"]) == ["train/ants/003.jpg", "train/bees/both.jpg"]
    assert "'ants' and 'bees'" in item["detail"]


def test_the_same_file_twice(record: dict[str, Any]):
    (item,) = found_in(record, "copy")
    assert sorted(item["pictures"]) == ["train/bees/004.jpg", "train/bees/again.jpg"]
    assert item["detail"] == "the same file"


def test_wrong_labels(record: dict[str, Any]):
    suspects = {item["pictures"][0]: item["suggestion"] for item in found_in(record, "label")}
    for number in (10, 11):
        assert suspects.pop(f"train/ants/wrong{number}.jpg") == "bees"
    assert len(suspects) <= 3  # those whose copy is in the other class, and the unusual


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("dark", "train/bees/dark.jpg"),
        ("blurred", "train/ants/blurred.jpg"),
        ("empty", "train/ants/empty.jpg"),
        ("tiny", "train/bees/tiny.jpg"),
        ("unreadable", "train/bees/broken.jpg"),
    ],
)
def test_pictures_that_show_little(kind: str, name: str, record: dict[str, Any]):
    assert [item["pictures"] for item in found_in(record, kind)] == [[name]]


def test_bursts(record: dict[str, Any]):
    (item,) = found_in(record, "burst")
    assert item["pictures"] == ["train/ants/burst1.jpg", "train/ants/burst2.jpg"]
    assert item["detail"] == "D5, 2026-05-01 10:11:01"


def test_every_finding_says_why_and_what_to_do(record: dict[str, Any]):
    kinds = {finding["kind"] for finding in record["findings"]}
    assert kinds == {
        "leak", "conflict", "copy", "label", "burst", "dark", "blurred", "empty", "tiny",
        "unreadable",
    }  # fmt: skip
    assert all(f["title"] and f["why"] and f["do"] for f in record["findings"])


def test_fix_writes_a_table_that_fits(planted: Path, tmp_path: Path):
    before = sorted(path.stat().st_mtime_ns for path in planted.rglob("*"))
    table = tmp_path / "clean.csv"
    done = run("audit", planted, "--fix", table, "--strict", "--json")
    assert done.code == 1
    assert sorted(path.stat().st_mtime_ns for path in planted.rglob("*")) == before
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {Path(row["path"]).name for row in rows}
    assert len(rows) == done.json["kept"]
    gone = {"both.jpg", "broken.jpg", *(f"leak{number}.jpg" for number in range(len(CHANGES)))}
    assert not names & gone
    assert len(names & {"again.jpg", "004.jpg"}) >= 1
    assert {row["group"] for row in rows if "burst" in row["path"]} == {"burst-1"}
    assert {row["suspect"] for row in rows if "wrong1" in row["path"]} == {"bees"}
    manifest = read_manifest(table)
    assert {picture.role for picture in manifest.pictures} == {"train", "test"}
    again = run("audit", table, "--json").json
    assert not {"leak", "conflict", "copy", "burst"} & {f["kind"] for f in again["findings"]}
    assert run("fit", table, "--out", tmp_path / "m", "--json").code == 0
    assert "exists" in run("audit", planted, "--fix", table).error


def test_a_class_that_its_file_gives_away(tmp_path: Path):
    for label, quality in (("ants", 95), ("bees", 40)):
        for number in range(30):
            path = tmp_path / "photos" / label / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(label, number).save(path, quality=quality)
    record = run("audit", tmp_path / "photos", "--json").json
    details = [item["detail"] for item in found_in(record, "shortcut")]
    assert any("'ants' can be told by the size of its file" in detail for detail in details)
    assert not any("resolution" in detail or "camera" in detail for detail in details)


def test_classes_of_very_different_size(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 45, "bees": 4})
    record = run("audit", photos, "--json").json
    assert [item["detail"] for item in found_in(record, "imbalance")] == ["'bees': 4 of at most 45"]
    assert any("wrong labels were not looked for: 'bees' has 4" in n for n in record["notes"])


def test_one_class_and_one_picture(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 1})
    record = run("audit", photos, "--json").json
    assert record["pictures"] == 1
    assert any("one class alone" in note for note in record["notes"])
    (tmp_path / "empty" / "ants").mkdir(parents=True)
    assert run("audit", tmp_path / "empty").error
    (tmp_path / "empty" / "ants" / "a.jpg").write_text("no picture")
    assert "at least one picture must be readable" in run("audit", tmp_path / "empty").error


def test_from_python(clean: Path):
    found = regraft.audit(clean)
    assert found.findings == ()
    assert regraft.audit(clean).n_pictures == found.n_pictures
    assert json.loads(json.dumps(found.as_dict()))["classes"] == {"ants": 32, "bees": 32}


def test_what_a_person_sees(planted: Path, clean: Path, cache: Path):
    shown = call("audit", planted, cache=cache, env={"COLUMNS": "60"})
    assert shown.code == 0
    assert "5 pictures in more than one part" in shown.out
    assert "--fix TABLE" in shown.out
    assert "nothing was found" in call("audit", clean, cache=cache).out


def test_a_fit_keeps_changed_copies_out_of_train(planted: Path, tmp_path: Path):
    record = run("fit", planted, "--out", tmp_path / "m", "--json").json
    dropped = {entry["path"] for entry in record["dropped"]}
    assert dropped == {f"train/ants/leak{number}.jpg" for number in range(len(CHANGES))}


def test_a_drawn_test_part_has_no_copies_of_train(tmp_path: Path):
    photos = tmp_path / "photos"
    for label in ("ants", "bees"):
        for number in range(12):
            image = picture(label, number)
            save(image, photos / label / f"{number:03d}.jpg")
            save(CHANGES[number % len(CHANGES)](image), photos / label / f"{number:03d}-copy.jpg")
    with pytest.MonkeyPatch.context() as patch:
        seen = {}

        def settle(pictures: Any, *arguments: Any, **options: Any) -> Any:
            seen["names"] = [p.name.removesuffix(".jpg").removesuffix("-copy") for p in pictures]
            seen["splits"] = split(pictures, *arguments, **options)
            return seen["splits"]

        patch.setattr("regraft.workshop.split", settle)
        said = ("--test-fraction", "0.3", "--json")
        record = run("fit", photos, "--out", tmp_path / "m", *said).json
    assert not any("near copies" in note for note in record["notes"])
    train, test = ({seen["names"][row] for row in rows} for rows in (
        seen["splits"].train, seen["splits"].test
    ))  # fmt: skip
    assert train
    assert test
    assert len(train & test) <= 1  # of 24 pictures that are there twice


def test_a_class_of_copies_can_still_be_learned_and_it_is_said(tmp_path: Path):
    photos = tmp_path / "photos"
    one = picture("ants", 1)
    for number, change in enumerate(CHANGES):
        save(change(one), photos / "ants" / f"{number}.jpg")
    for number in range(10):
        save(picture("bees", number), photos / "bees" / f"{number}.jpg")
    record = run("fit", photos, "--out", tmp_path / "m", "--json").json
    assert any("near copies" in note and "regraft audit" in note for note in record["notes"])
