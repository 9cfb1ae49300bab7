"""Planted defects are found, clean pictures are left alone, and --fix mends what can be mended."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageFilter

import regraft
from commands import call, run
from pictures import scene, texture, write_classes
from regraft.data.manifest import read_manifest
from regraft.data.splits import folds, split
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


def test_a_group_that_stands_in_two_parts(clean: Path, tmp_path: Path):
    names = sorted(path.relative_to(clean).as_posix() for path in clean.rglob("*.jpg"))
    rows = ["path,label,split,group"]
    for number, name in enumerate(names):
        label, part = name.split("/")[-2], "test" if "test/" in name else "train"
        group = "torn" if name in (names[0], names[-1]) else f"g{number // 2}-{part}"
        rows.append(f"{clean / name},{label},{part},{group}")
    assert {row.split(",")[2] for row in rows if row.endswith(",torn")} == {"train", "test"}
    table = tmp_path / "t.csv"
    table.write_text("\n".join(rows))
    record = run("audit", table, "--json").json
    (item,) = found_in(record, "divided")
    assert len(item["pictures"]) == 2
    assert item["detail"] == "group 'torn' in train and test"


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


def test_strokes_on_black_are_not_dark_and_the_worst_comes_first(tmp_path: Path):
    for number in range(6):
        dark = (np.asarray(picture("bees", 0)) * (0.06 + 0.01 * number)).astype(np.uint8)
        save(Image.fromarray(dark), tmp_path / "photos" / "dark" / f"{number}.jpg")
        strokes = Image.new("RGB", (64, 64))
        ends = ((10, 10 + 5 * number), (50, 40))
        ImageDraw.Draw(strokes).line(ends, (255, 255, 255), 2)
        save(strokes, tmp_path / "photos" / "strokes" / f"{number}.jpg")
    items = found_in(run("audit", tmp_path / "photos", "--json").json, "dark")
    names = [item["pictures"][0] for item in items]
    assert len(names) > 2
    assert names == [f"dark/{number}.jpg" for number in range(len(names))]


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
    gone = {"broken.jpg", *(f"leak{number}.jpg" for number in range(len(CHANGES)))}
    assert not names & gone
    assert len(names & {"again.jpg", "004.jpg"}) >= 1
    burst = {row["group"] for row in rows if "burst" in row["path"]}
    assert len(burst) == 1
    assert "" not in burst
    torn = [row for row in rows if row["suspect"] == "ants or bees"]
    assert {Path(row["path"]).name for row in torn} == {"003.jpg", "both.jpg"}
    assert len({row["group"] for row in torn}) == 1
    assert {row["suspect"] for row in rows if "wrong1" in row["path"]} == {"bees"}
    manifest = read_manifest(table)
    assert {picture.role for picture in manifest.pictures} == {"train", "test"}
    again = run("audit", table, "--json").json
    assert not {"leak", "copy", "burst"} & {f["kind"] for f in again["findings"]}
    assert run("fit", table, "--out", tmp_path / "m", "--json").code == 0
    assert "exists" in run("audit", planted, "--fix", table).error


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_other_columns_of_a_table_go_on(tmp_path: Path, kind: str):
    photos = write_classes(tmp_path / "photos", {"ants": 3, "bees": 3})
    names = sorted(f"photos/{path.parent.name}/{path.name}" for path in photos.rglob("*.jpg"))
    columns: dict[str, list[Any]] = {
        "a; b; c; d; e; f; g": [f"no, {number}" for number in range(6)],
        "path": names,
        "SUSPECT": ["old"] * 6,
        "label": [name.split("/")[1] for name in names],
        "group": [""] * 6,
        "group_id": ["x"] * 6,
        "height": [0.1] * 6,
    }
    table = tmp_path / f"table.{kind}"
    if kind == "csv":
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    else:
        columns["height"] = pa.array([0.1] * 6, pa.float32())
        columns["group_id"] = pa.array(["x"] * 6).dictionary_encode()
        columns |= {
            "embedding": [[1.0, 2.0]] * 6,
            "day": [date(2026, 5, number + 1) for number in range(6)],
        }
        columns["nothing"] = ["\0", None, None, None, None, None]
        pq.write_table(pa.table(columns), table)
    fixed = tmp_path / "fixed.csv"
    found = run("audit", table, "--fix", fixed, "--json").json
    assert found["table_refused"] is None
    assert found["columns_lost"] == ([] if kind == "csv" else ["embedding"])
    with fixed.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    others = ["a; b; c; d; e; f; g", "group_id", "height"]
    others += [] if kind == "csv" else ["day", "nothing"]
    assert list(rows[0]) == ["path", "label", "group", "suspect", *others]
    assert [row[others[0]] for row in rows] == columns[others[0]]
    assert {(row["height"], row["group_id"], row["suspect"]) for row in rows} == {("0.1", "x", "")}
    if kind == "parquet":
        assert [row["day"] for row in rows] == [f"2026-05-0{number + 1}" for number in range(6)]
    again = run("audit", fixed, "--fix", tmp_path / "again.csv", "--json").json
    assert again["table_refused"] is None
    assert (tmp_path / "again.csv").read_bytes() == fixed.read_bytes()


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


def test_small_classes_do_not_keep_the_labels_of_the_others_from_being_looked_at(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 40, "bees": 40, "cats": 2, "dogs": 6})
    swapped = photos / "bees" / "wrong.jpg"
    (photos / "ants" / "000.jpg").rename(swapped)
    for path in (photos / "dogs").iterdir():
        path.write_bytes((photos / "dogs" / "000.jpg").read_bytes())
    record = run("audit", photos, "--json").json
    named = {name for item in found_in(record, "label") for name in item["pictures"]}
    assert named == {"bees/wrong.jpg"}
    note = next(note for note in record["notes"] if "wrong labels" in note)
    assert "in every class: 'cats' has 2 pictures, 'dogs' is of one group or scene" in note


def test_wrong_labels_of_many_pictures_take_fewer_folds(
    planted: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    dealt = []

    def counted(y: Any, units: Any, n_splits: int, seed: int) -> Any:
        dealt.append(n_splits)
        return folds(y, units, n_splits, seed)

    monkeypatch.setattr("regraft.auditing.labels.MANY", 50)
    monkeypatch.setattr("regraft.auditing.labels.folds", counted)
    found = run("audit", planted, "--json").json
    assert dealt == [3]
    assert {"train/ants/wrong10.jpg", "train/ants/wrong11.jpg"} <= {
        name for item in found_in(found, "label") for name in item["pictures"]
    }


def test_pictures_that_no_fold_holds_out_are_not_judged(
    planted: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def held_back(y: Any, units: Any, n_splits: int, seed: int) -> Any:
        dealt = folds(y, units, n_splits, seed)
        dealt[:6] = -1
        return dealt

    monkeypatch.setattr("regraft.auditing.labels.folds", held_back)
    found = run("audit", planted, "--json").json
    assert {"train/ants/wrong10.jpg", "train/ants/wrong11.jpg"} <= {
        name for item in found_in(found, "label") for name in item["pictures"]
    }


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
    assert any("of 'ants' there are so many near copies" in note for note in record["notes"])


def test_a_class_of_copies_does_not_unprotect_the_others(tmp_path: Path):
    """Two near copies are all there is of a class; every other picture is there twice."""
    photos = tmp_path / "photos"
    for label in ("ants", "bees"):
        for number in range(12):
            save(picture(label, number), photos / label / f"{number}.jpg")
            small = picture(label, number).resize((150, 100))
            save(small, photos / label / f"{number}-small.jpg")
    for number in range(2):
        save(CHANGES[number](picture("bees", 500)), photos / "wasps" / f"{number}.jpg")
    table = tmp_path / "model"
    record = run("fit", photos, "--out", table, "--json").json
    (note,) = [note for note in record["notes"] if "so many near copies" in note]
    assert "'wasps'" in note
    assert "ants" not in note
    assert record["test"]["n"] % 2 == 1  # pairs, and one of the wasps
    assert any("look like copies of others" in note for note in record["notes"])


def noisy(image: Image.Image, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(0, 6, (*image.size[::-1], 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype("u1"))


def test_pictures_of_one_scene_are_not_thrown_away(tmp_path: Path):
    """A fixed camera: the classes differ by a small thing, which a thumbnail does not show."""
    photos = tmp_path / "photos"
    empty = picture("ants", 77)
    for number in range(16):
        scratched = noisy(empty, number)
        if number % 2:
            scratched.paste((250, 250, 250), (20 + 8 * number, 40, 24 + 8 * number, 44))
        save(scratched, photos / ("scratch" if number % 2 else "good") / f"{number}.jpg")
    for number in range(20):
        save(picture("bees", number), photos / "good" / f"other{number}.jpg")
    done = run("audit", photos, "--fix", tmp_path / "clean.csv", "--json")
    assert done.json["kept"] == 36
    assert done.json["table_refused"] is None


def test_simple_shapes_are_no_chain_of_copies(tmp_path: Path):
    """Discs of any place, size and colour on plain ground: pairs that fit are beyond this tool."""
    photos = tmp_path / "photos"
    generator = np.random.default_rng(5)
    for number in range(60):
        image = Image.new("RGB", (96, 96), tuple(generator.integers(0, 80, 3).tolist()))
        x, y, r = generator.integers(20, 60), generator.integers(20, 60), generator.integers(10, 18)
        colour = tuple(generator.integers(140, 255, 3).tolist())
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=colour)
        save(image, photos / ("one" if number % 2 else "two") / f"{number}.png")
    record = run("audit", photos, "--json").json
    groups = [item["pictures"] for kind in ("conflict", "copy") for item in found_in(record, kind)]
    assert max(map(len, groups)) <= 8
    assert sum(map(len, groups)) <= 40


def test_labels_that_nobody_can_know_are_not_called_wrong(tmp_path: Path):
    photos = tmp_path / "photos"
    for number in range(40):
        save(picture("bees", number), photos / ("one" if number % 2 else "two") / f"{number}.jpg")
    record = run("audit", photos, "--json").json
    assert not found_in(record, "label")
    assert any("better than by chance" in note for note in record["notes"])


@pytest.mark.parametrize("where", ["no/x.csv", "x" * 300 + ".csv"])
def test_a_table_that_cannot_be_written_is_refused_before_the_work(where: str, clean: Path):
    done = run("audit", clean, "--fix", clean.parent / where)
    assert done.code == 2
    assert "--fix must name a new file in a folder that is there" in done.error


def test_a_table_in_a_linked_folder_finds_the_pictures(tmp_path: Path, clean: Path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    table = tmp_path / "link" / "clean.csv"
    assert run("audit", clean, "--fix", table, "--json").json["table_refused"] is None
    assert read_manifest(table).pictures


def test_a_table_that_a_fit_refuses_says_so(tmp_path: Path):
    photos = tmp_path / "photos"
    for number in range(3):
        save(picture("ants", number), photos / "ants" / f"{number}.jpg")
    done = run("audit", photos, "--fix", tmp_path / "clean.csv")
    assert "`regraft fit` refuses it" in done.out
    assert "takes it" not in done.out


def test_names_that_a_table_does_not_keep_are_refused(tmp_path: Path):
    photos = tmp_path / "photos"
    for number in range(3):
        save(picture("ants", number), photos / "ants" / f"{number}.jpg")
        save(picture("bees", number), photos / "bees " / f"{number}.jpg")
    done = run("audit", photos, "--fix", tmp_path / "clean.csv")
    assert done.code == 2
    assert "ends with a blank" in done.error
    assert not (tmp_path / "clean.csv").exists()


def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path: Path):
    photos = tmp_path / "photos"
    for label in ("ants", "bees"):
        for number in range(4):
            save(picture(label, number), photos / label / f"{number}.jpg")
    for path in (photos / "bees").iterdir():
        path.write_bytes(b"no picture")
    record = run("audit", photos, "--json").json
    assert "no picture of 'bees' can be read" in record["notes"]


def test_copies_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from regraft import kept_together

    photos = tmp_path / "photos"
    for label in ("ants", "bees"):
        for number in range(8):
            save(picture(label, 40 + number), photos / label / f"{number}.jpg")
        small = picture(label, 40).resize((150, 100))
        save(small, photos / label / "small.jpg")
    looked, real = [], kept_together.near_copies
    monkeypatch.setattr(
        kept_together, "near_copies", lambda *given: looked.append(1) or real(*given)
    )
    first = run("fit", photos, "--out", tmp_path / "a", "--json").json
    again = run("fit", photos, "--out", tmp_path / "b", "--json").json
    assert len(looked) == 1
    assert again["test"] == first["test"]
    save(picture("ants", 60), photos / "ants" / "new.jpg")
    run("fit", photos, "--out", tmp_path / "c")
    assert len(looked) == 2
