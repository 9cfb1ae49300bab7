from __future__ import annotations

import csv
import errno
import json
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from regraft.data.labels import refusal
from regraft.data.manifest import Manifest, Skipped, find_pictures, read_manifest
from regraft.errors import UserError


def plant(root: Path, *names: str) -> Path:
    """Make files (their content does not matter here) and the folders above them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return root


def listed(manifest: Manifest) -> list[tuple[str, str, str | None]]:
    return [(picture.name, picture.label, picture.role) for picture in manifest.pictures]


def reasons(skipped: Sequence[Skipped]) -> dict[str, str]:
    return {entry.path: entry.reason for entry in skipped}


def fails(source: Path, match: str) -> UserError:
    with pytest.raises(UserError, match=match) as caught:
        read_manifest(source)
    assert "Traceback" not in str(caught.value)
    return caught.value


# --- folders -----------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    plant(tmp_path, "bee/2.jpg", "ant/1.jpg", "bee/1.JPG", "bee/no extension", "ant/deep/er/0.png")
    manifest = read_manifest(str(tmp_path))
    assert manifest.layout == "folders"
    assert manifest.root == tmp_path
    assert manifest.classes == ("ant", "bee")
    assert manifest.skipped == ()
    assert listed(manifest) == [
        ("ant/1.jpg", "ant", None),
        ("ant/deep/er/0.png", "ant", None),
        ("bee/1.JPG", "bee", None),
        ("bee/2.jpg", "bee", None),
        ("bee/no extension", "bee", None),
    ]
    assert all(p.path == tmp_path / p.name and p.group is None for p in manifest.pictures)


@pytest.mark.parametrize(
    "parts",
    [
        {"train": "train", "val": "val", "test": "test"},
        {"Train": "train", "VALID": "val"},
        {"TRAIN": "train", "Validation": "val", "Test": "test"},
        {"train": "train", "test": "test"},
        {"train": "train"},
        {"val": "val", "test": "test"},
        {"Training": "train", "Testing": "test"},
        {"train": "train", "holdout": "test"},
        {"train": "train", "dev": "val"},
        {"TRN": "train", "Eval": "test"},
        {"training": "train", "dev": "val", "holdout": "test"},
        {"train": "train", "second half": "test"},
        {"train": "train", "2024": "test"},
    ],
)
def test_parts_with_class_folders(tmp_path: Path, parts: dict[str, str]) -> None:
    for part in parts:
        plant(tmp_path, f"{part}/ant/1.jpg", f"{part}/bee/x/2.jpg")
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "split-folders"
    assert listed(manifest) == [
        entry
        for part, role in parts.items()
        for entry in ((f"{part}/ant/1.jpg", "ant", role), (f"{part}/bee/x/2.jpg", "bee", role))
    ]


def test_words_for_parts_may_be_classes(tmp_path: Path) -> None:
    plant(tmp_path, "train/1.jpg", "bus/1.jpg", "car/1.jpg")
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "folders"
    assert manifest.classes == ("bus", "car", "train")


@pytest.mark.parametrize(
    "files",
    [
        ["train/1.jpg", "bus/1.jpg"],
        ["train/a/1.jpg", "train/b/1.jpg", "bus/1.jpg"],
        ["train/a/1.jpg", "bus/a/1.jpg", "bus/loose.jpg"],
        ["train/steam/1.jpg", "bus/red/1.jpg"],
        ["lorry/a/1.jpg", "bus/a/1.jpg"],
    ],
)
def test_a_class_may_be_called_train(tmp_path: Path, files: list[str]) -> None:
    manifest = read_manifest(plant(tmp_path, *files))
    assert manifest.layout == "folders"
    assert manifest.classes == tuple(sorted({name.split("/")[0] for name in files}))


def test_one_shared_class_makes_a_part_and_a_link_to_train_does_not(tmp_path: Path) -> None:
    plant(tmp_path, "train/a/1", "train/cafe\u0301/1", "later/caf\u00e9/1", "later/.DS_Store")
    assert {p.role for p in read_manifest(tmp_path).pictures} == {"train", "test"}
    plant(tmp_path / "linked", "train/a/1")
    (tmp_path / "linked/again").symlink_to(tmp_path / "linked/train")
    assert read_manifest(tmp_path / "linked").layout == "folders"


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (["train", "test", "other"], "not for 'other';"),
        (["train", "one", "two"], "not for 'one', 'two';"),
        (["train", "training", "test"], "not for 'train', 'training';"),
        (["train", "trn"], "not for 'train', 'trn';"),
        (["train", "holdout", "test", "val"], "not for 'holdout', 'test';"),
    ],
)
def test_parts_that_are_not_clear_are_refused_with_the_words(
    tmp_path: Path, parts: list[str], named: str
) -> None:
    error = fails(plant(tmp_path, *(f"{part}/ant/1.jpg" for part in parts)), named)
    assert [line.split(":")[0] for line in error.problems] == ["train", "val", "test"]
    assert all(word in str(error) for word in ("training", "validation", "dev", "holdout", "eval"))


def test_parts_without_class_folders_are_said_to_be_parts(tmp_path: Path) -> None:
    fails(plant(tmp_path, "train/1.jpg", "test/1.jpg"), r"parts of .* \('train', 'test'\)")


def test_folders_and_files_beside_the_parts_are_listed(tmp_path: Path) -> None:
    plant(
        tmp_path, "train/a/1", "train/b/1", "test/a/1", "extra/c/1", "notes.txt", "train/loose.jpg"
    )
    manifest = read_manifest(tmp_path)
    assert manifest.classes == ("a", "b")
    assert set(reasons(manifest.skipped)) == {"extra", "notes.txt", "train/loose.jpg"}


def test_a_part_without_class_folders_is_listed(tmp_path: Path) -> None:
    plant(tmp_path, "train/a/1", "train/b/1", "test/1.jpg", "test/2.jpg")
    manifest = read_manifest(tmp_path)
    assert {picture.role for picture in manifest.pictures} == {"train"}
    assert "no such part" in reasons(manifest.skipped)["test"]
    assert "no label" in reasons(manifest.skipped)["test/1.jpg"]


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, "train/a/1", "val/a/1", "valid/a/1")
    fails(tmp_path, "'val', 'valid'")


def test_loose_files_and_empty_class_folders_are_listed(tmp_path: Path) -> None:
    plant(tmp_path, "ant/1.jpg", "bee/1.jpg", "loose.jpg")
    (tmp_path / "cow").mkdir()
    manifest = read_manifest(tmp_path)
    assert manifest.classes == ("ant", "bee")
    assert "no label" in reasons(manifest.skipped)["loose.jpg"]
    assert "without files" in reasons(manifest.skipped)["cow"]


def test_hidden_files_and_clutter_are_ignored_silently(tmp_path: Path) -> None:
    plant(tmp_path, "ant/1.jpg", "bee/1.jpg")
    plant(
        tmp_path,
        "ant/.DS_Store",
        "ant/Thumbs.db",
        "ant/desktop.ini",
        "ant/._1.jpg",
        "bee/.ipynb_checkpoints/1-checkpoint.jpg",
        ".git/objects/1",
        "__MACOSX/ant/1.jpg",
        ".DS_Store",
    )
    manifest = read_manifest(tmp_path)
    assert [picture.name for picture in manifest.pictures] == ["ant/1.jpg", "bee/1.jpg"]
    assert manifest.skipped == ()


def test_odd_names_survive(tmp_path: Path) -> None:
    raw = os.fsdecode(b"caf\xe9.jpg")
    names = [
        "a b/two  spaces.jpg",
        "a b/line\nbreak.jpg",
        "ünï/日本語 🐝.jpg",
        f"ünï/{raw}",
        "ünï/-x",
    ]
    plant(tmp_path, *names)
    manifest = read_manifest(tmp_path)
    assert len(manifest.pictures) == 5
    for picture in manifest.pictures:
        assert picture.path.read_bytes()
        assert json.loads(json.dumps(picture.name)) == picture.name
        picture.name.encode()
    shown = {picture.name for picture in manifest.pictures}
    assert "ünï/caf\\xe9.jpg" in shown
    assert "a b/line\nbreak.jpg" in shown
    assert manifest.classes == ("a b", "ünï")


def test_labels_in_two_unicode_forms_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
    plant(tmp_path, f"train/{composed}/1", f"test/{decomposed}/2", "train/b/1", "test/b/2")
    assert read_manifest(tmp_path).classes == ("b", composed)


def test_classes_that_differ_in_case_stay_apart(tmp_path: Path) -> None:
    assert read_manifest(plant(tmp_path, "Cat/1", "cat/2")).classes == ("Cat", "cat")


def test_links_are_followed_once_and_loops_survived(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", "ant/1.jpg", "ant/deep/2.jpg", "bee/1.jpg")
    plant(tmp_path / "elsewhere", "3.jpg", "more/4.jpg")
    (root / "ant/linked").symlink_to(tmp_path / "elsewhere")
    (root / "ant/again").symlink_to(tmp_path / "elsewhere/more")
    (root / "ant/up").symlink_to(root)
    (root / "ant/self").symlink_to(root / "ant")
    (root / "ant/deep/top").symlink_to(tmp_path)
    (root / "ant/a.jpg").symlink_to(root / "bee/1.jpg")
    (root / "ant/broken.jpg").symlink_to(root / "nowhere")
    (root / "ant/ring").symlink_to(root / "ant/ring")
    (root / "loop").symlink_to(root)
    manifest = read_manifest(root)
    names = [picture.name for picture in manifest.pictures]
    assert sorted(name.rsplit("/", 1)[1] for name in names if name.startswith("ant")) == [
        "1.jpg",
        "2.jpg",
        "3.jpg",
        "4.jpg",
        "a.jpg",
    ]
    why = reasons(manifest.skipped)
    assert why["ant/broken.jpg"] == "a broken link"
    assert "ant/ring" in why
    for name in ("ant/up", "ant/self", "ant/deep/top", "loop"):
        assert why[name] == "a link to a folder that is read elsewhere"
    assert manifest.classes == ("ant", "bee")


def test_pipes_are_listed(tmp_path: Path) -> None:
    plant(tmp_path, "ant/1.jpg", "bee/1.jpg")
    os.mkfifo(tmp_path / "bee/pipe")
    os.mkfifo(tmp_path / "pipe")
    assert reasons(read_manifest(tmp_path).skipped) == {
        "bee/pipe": "a named pipe",
        "pipe": "a named pipe",
    }


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    plant(tmp_path, "store/ants/1.jpg", "root/bee/1.jpg")
    (tmp_path / "root/ant").symlink_to(tmp_path / "store/ants")
    assert read_manifest(tmp_path / "root").classes == ("ant", "bee")


def test_folders_that_cannot_be_opened_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "ant/1.jpg", "bee/1.jpg", "bee/locked/2.jpg")
    real: Callable[..., object] = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    manifest = read_manifest(tmp_path)
    assert len(manifest.pictures) == 2
    assert reasons(manifest.skipped) == {
        "bee/locked": "the folder cannot be opened: Permission denied"
    }

    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    fails(tmp_path, "cannot be opened: Permission denied")


def test_a_very_deep_folder_is_read(tmp_path: Path) -> None:
    plant(tmp_path, "ant/" + "d/" * 700 + "1.jpg", "bee/1.jpg")
    assert len(read_manifest(tmp_path).pictures) == 2


def test_bad_folders(tmp_path: Path) -> None:
    fails(tmp_path / "missing", "does not exist")
    fails(tmp_path / "missing\nline", r"missing\\nline")
    fails(tmp_path, "is empty")
    (tmp_path / "ant").mkdir()
    fails(tmp_path, "hold no files")
    plant(tmp_path / "flat", "1.jpg", "2.jpg")
    fails(tmp_path / "flat", "no class folders")
    plant(tmp_path / "flat", "labels.csv")
    fails(tmp_path / "flat", "labels.csv")
    os.mkfifo(tmp_path / "pipe")
    fails(tmp_path / "pipe", "neither")
    (tmp_path / "link").symlink_to("nowhere")
    fails(tmp_path / "link", "is a broken link")


def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no path with `closed` in it be looked at; the superuser cannot be shut out."""
    real = os.stat

    def stat(path: str | Path, **options: object) -> os.stat_result:
        if "closed" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 300, "cannot be opened: File name too long"),
        ("closed/photos", "cannot be opened: Permission denied"),
        ("nul\0byte", "cannot be opened: embedded null byte"),
        ("file.txt/photos", "does not exist"),
    ],
)
def test_paths_that_cannot_even_be_looked_at(
    tmp_path: Path, name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "file.txt")
    closed(monkeypatch)
    fails(tmp_path / name, said)
    with pytest.raises(UserError, match="must exist") as caught:
        find_pictures([tmp_path / name, tmp_path / "file.txt"])
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0]


def test_a_folder_above_may_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(plant(tmp_path / "closed/photos", "ant/1.jpg", "bee/1.jpg"))
    closed(monkeypatch)
    assert read_manifest(".").classes == ("ant", "bee")


def test_a_closed_folder_costs_no_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "train/closed/1", "test/closed/1", "closed/inner/1", "closed/other/1")
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path) == tmp_path / "closed":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "listdir", scandir)
    assert "did you mean" not in str(fails(tmp_path, "at least 2 classes"))


def test_a_single_class_is_refused_with_advice(tmp_path: Path) -> None:
    plant(tmp_path / "one", "ant/1.jpg", "ant/2.jpg")
    assert "folder of its own" in str(fails(tmp_path / "one", r"at least 2 classes.*'ant'"))
    assert read_manifest(tmp_path / "one", min_classes=1).classes == ("ant",)
    plant(tmp_path / "wrapped", "data/ant/1.jpg", "data/bee/1.jpg")
    assert "did you mean" in str(fails(tmp_path / "wrapped", "wrapped/data"))


# --- tables ------------------------------------------------------------------------------------


def table(root: Path, text: str, name: str = "labels.csv") -> Path:
    path = root / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return plant(tmp_path, *(f"pics/{number}.jpg" for number in range(6)))


def test_csv_with_all_columns(photos: Path) -> None:
    path = table(
        photos,
        "path,label,split,group\n"
        "pics/0.jpg,ant,train,g1\n"
        "pics/1.jpg,bee,Train,\n"
        f"{photos}/pics/2.jpg, ant ,TEST,g2\n"
        "pics/../pics/3.jpg,bee,validation,\n",
    )
    manifest = read_manifest(path)
    assert manifest.layout == "table"
    assert manifest.root == photos
    assert [(p.path.name, p.label, p.role, p.group) for p in manifest.pictures] == [
        ("0.jpg", "ant", "train", "g1"),
        ("1.jpg", "bee", "train", None),
        ("2.jpg", "ant", "test", "g2"),
        ("3.jpg", "bee", "val", None),
    ]
    assert manifest.pictures[0].name == "pics/0.jpg"
    assert all(picture.path.is_file() for picture in manifest.pictures)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_dialects_of_csv(photos: Path, delimiter: str, newline: str, bom: str) -> None:
    rows = [["Label", "PATH"], ["ant, small", "pics/0.jpg"], [], ["bee; big\tone", "pics/1.jpg"]]
    with (photos / "x").open("w", newline="", encoding="utf-8") as file:
        file.write(bom)
        csv.writer(file, delimiter=delimiter, lineterminator=newline).writerows(rows)
    manifest = read_manifest(photos / "x")
    assert [p.label for p in manifest.pictures] == ["ant, small", "bee; big\tone"]
    assert [p.role for p in manifest.pictures] == [None, None]


def test_csv_paths_may_have_any_bytes(photos: Path) -> None:
    raw = os.fsdecode(b"pics/caf\xe9.jpg")
    plant(photos, raw, "pics/a\nb.jpg")
    manifest = read_manifest(table(photos, f'path,label\n{raw},ant\n"pics/a\nb.jpg",bee\n'))
    assert [p.name for p in manifest.pictures] == ["pics/caf\\xe9.jpg", "pics/a\nb.jpg"]
    assert all(p.path.is_file() for p in manifest.pictures)


def test_all_problems_at_once_with_line_numbers(photos: Path) -> None:
    os.mkfifo(photos / "pipe")
    path = table(
        photos,
        "path,label,split\n"
        "pics/0.jpg,ant,train\n"
        "pics/missing.jpg,bee,train\n"
        ",ant,test\n"
        "pics/1.jpg,,test\n"
        "pics/2.jpg,bee,elsewhere\n"
        "\n"
        "pics/3.jpg,bee,\n"
        "pics/4.jpg,bee\n"
        "pics,bee,test\n"
        '"pics/0.jpg",bee,train\n'
        "pics/5.jpg,caf\udce9,test\n"
        "pipe,ant,test\n"
        "pics\\1.jpg,ant,test\n"
        "pics/./0.jpg,ant,test\n",
    )
    error = fails(path, "12 rows need mending")
    expected = {
        3: "does not exist",
        4: "path is empty",
        5: "label is empty",
        6: "'elsewhere'",
        8: "split is empty",
        9: "2 cells",
        10: "is a folder",
        11: "one label, and 'pics/0.jpg' has 'bee' here and 'ant' in line 2",
        12: "not UTF-8",
        13: "not a regular file",
        14: "write / for",
        15: "in one part",
    }
    assert len(error.problems) == len(expected)
    for (line, text), problem in zip(expected.items(), error.problems, strict=True):
        assert problem.startswith(f"line {line}: ")
        assert text in problem


def test_many_problems_are_counted(photos: Path) -> None:
    rows = "".join(f"gone{number}.jpg,ant\n" for number in range(500))
    error = fails(table(photos, "path,label\n" + rows), "500 rows")
    assert len(error.problems) == 21
    assert error.problems[-1] == "and 480 more"
    assert error.problems[0].startswith("line 2: ")


@pytest.mark.parametrize(
    ("header", "problems"),
    [
        ("file,class", ["'path' is missing", "'label' is missing", "file, class"]),
        ("path,label,spilt", ["'spilt' looks like a misspelt 'split'"]),
        ("path,label,path", ["'path' is there more than once"]),
        ("path", ["'label' is missing"]),
    ],
)
def test_wrong_columns(photos: Path, header: str, problems: list[str]) -> None:
    error = fails(table(photos, f"{header}\npics/0.jpg,ant,1\n"), "columns path, label")
    assert len(error.problems) == len(problems)
    for problem, text in zip(error.problems, problems, strict=True):
        assert text in problem


def test_other_bad_tables(photos: Path) -> None:
    fails(table(photos, ""), "is empty")
    fails(table(photos, "\n\n"), "is empty")
    fails(table(photos, "path,label\n"), "has no rows")
    fails(table(photos, 'path,label\n"pics/0.jpg,ant\npics/1.jpg,bee\n'), "begins in line 2")
    fails(table(photos, "path,label\npics/0.jpg,ant\n"), "at least 2 classes")
    (photos / "utf16.csv").write_bytes("path,label\npics/0.jpg,ant\n".encode("utf-16"))
    fails(photos / "utf16.csv", "UTF-8")
    (photos / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100))
    fails(photos / "picture.jpg", "neither CSV")
    (photos / "broken.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    fails(photos / "broken.parquet", r"as Parquet: [^\n]*$")


def test_a_row_that_is_there_twice_is_listed(photos: Path) -> None:
    text = "path,label\npics/0.jpg,ant\npics/1.jpg,bee\n./pics/0.jpg,ant\n"
    manifest = read_manifest(table(photos, text))
    assert len(manifest.pictures) == 2
    assert reasons(manifest.skipped) == {"./pics/0.jpg": "the same row as line 2"}


def test_several_labels_for_one_picture_are_refused(photos: Path) -> None:
    text = "path,label\npics/0.jpg,ant\npics/0.jpg,bee\npics/1.jpg,bee\n"
    error = fails(table(photos, text), "1 row needs")
    assert "a picture must have one label" in error.problems[0]
    cells = "path,label\npics/0.jpg,ant;bee\npics/1.jpg,bee\npics/2.jpg,ant\n"
    fails(table(photos, cells), "one class per picture")
    one_hot = "path,ant,bee\npics/0.jpg,1,0\npics/1.jpg,1,1\n"
    fails(table(photos, one_hot), "several labels")
    fails(table(photos, "path,label,label\npics/0.jpg,ant,bee\n"), "several labels")


def test_quantities_are_refused(photos: Path) -> None:
    text = "path,label\n" + "".join(f"pics/{i}.jpg,{i / 4}\n" for i in range(6))
    fails(table(photos, text), "quantity")
    text = "path,label\n" + "".join(f"pics/{i}.jpg,{i % 2}\n" for i in range(6))
    assert read_manifest(table(photos, text)).classes == ("0", "1")


# --- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        ["0", "1"] * 50,
        [str(number) for number in range(10)] * 30,
        [str(number) for number in range(1000)] * 3,
        ["-1", "1"] * 10,
        ["2019", "2020", "2021"] * 9,
        ["1.0", "2.0"] * 5,
        [f"{number:03}" for number in range(20)],
        ["1.5", "2.5", "unknown"],
        ["v0.5", "v1.5"],
        ["dogs, small", "dogs, large", "cats, small", "cats, large"],
        ["maillot", "maillot, tank suit", "crane", "tench, Tinca tinca"],
        ["hot dog", "dog", "hot"],
        ["a|b", "c"],
        ["rock;paper", "scissors"],
        ["[unknown]", "(none)", "{x}"],
        ["nan", "inf"],
        [],
    ],
)
def test_names_of_classes_are_accepted(labels: list[str]) -> None:
    assert refusal(labels) is None


@pytest.mark.parametrize(
    "labels",
    [
        ["0.5", "1.5"] * 20,
        ["3", "3", "4.25"],
        ["1e-3", "2e-3"],
        ["1,5", "2,5", "3"],
        [str(3 * number) for number in range(30)],
        [str(number) for number in range(40)] + ["7"] * 200,
    ],
)
def test_quantities_are_seen(labels: list[str]) -> None:
    assert "quantity" in (refusal(labels) or "")


@pytest.mark.parametrize(
    "labels",
    [
        ["cat;dog", "cat", "dog"],
        ["cat|dog", "dog|bird", "bird|cat"],
        ["cat; dog", "dog ;cat"],
        ["cat,dog", "cat", "dog"],
        ["cat,dog", "cat,dog,bird", "bird,dog"],
        ["['cat', 'dog']", "['cat']"],
        ['["cat"]', '["dog"]'],
        ["(1, 2)", "(3,)"],
        ["[]", "[1]"],
    ],
)
def test_several_labels_are_seen(labels: list[str]) -> None:
    assert "one class per picture" in (refusal(labels) or "")


# --- Parquet -----------------------------------------------------------------------------------


def parquet(root: Path, columns: dict[str, object]) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = root / "table.bin"
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_with_all_columns(photos: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    path = parquet(
        photos,
        {
            "path": ["pics/0.jpg", "pics/1.jpg", "pics/2.jpg"],
            "label": pa.array(["ant", "bee", "ant"]).dictionary_encode(),
            "split": ["train", "train", "TEST"],
            "group": pa.array([7, None, 8]),
        },
    )
    manifest = read_manifest(path)
    assert manifest.layout == "table"
    assert [(p.name, p.label, p.role, p.group) for p in manifest.pictures] == [
        ("pics/0.jpg", "ant", "train", "7"),
        ("pics/1.jpg", "bee", "train", None),
        ("pics/2.jpg", "ant", "test", "8"),
    ]


@pytest.mark.parametrize("labels", [[3, 4], [3.0, 4.0], [True, False]])
def test_parquet_labels_may_be_whole_numbers(photos: Path, labels: list[object]) -> None:
    manifest = read_manifest(
        parquet(photos, {"path": ["pics/0.jpg", "pics/1.jpg"], "label": labels})
    )
    assert manifest.classes in (("3", "4"), ("False", "True"))


def test_bad_parquet(photos: Path) -> None:
    paths = ["pics/0.jpg", "pics/1.jpg", "pics/9.jpg"]
    error = fails(parquet(photos, {"path": paths, "label": ["a", None, "b"]}), "2 rows")
    assert [problem.split(":")[0] for problem in error.problems] == ["row 2", "row 3"]
    fails(parquet(photos, {"path": paths, "label": [["a"], ["b"], ["a", "b"]]}), "holds lists")
    fails(parquet(photos, {"path": paths, "label": [0.5, 0.7, 1.0]}), "quantity")
    fails(parquet(photos, {"path": paths, "label": [{"x": 1}] * 3}), "struct")
    fails(parquet(photos, {"path": paths, "ant": [1, 0, 0], "bee": [1, 1, 0]}), "several labels")
    fails(parquet(photos, {"file": paths, "label": ["a", "b", "a"]}), "columns path, label")
    fails(parquet(photos, {"path": [], "label": []}), "no rows")


# --- pictures without labels -------------------------------------------------------------------


def test_files_and_folders_to_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a.jpg", "dir/z.jpg", "dir/deep/b.jpg", "dir/.hidden", ".own.jpg")
    (tmp_path / "dir/deep/up").symlink_to(tmp_path / "dir")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    found, skipped = find_pictures(["dir/", Path("a.jpg"), ".own.jpg", "a.jpg", "empty"])
    assert [name for _, name in found] == ["dir/deep/b.jpg", "dir/z.jpg", "a.jpg", ".own.jpg"]
    assert [path for path, _ in found] == [Path(name) for _, name in found]
    assert set(reasons(skipped)) == {"dir/deep/up", "empty"}


def test_missing_files_to_predict_are_all_named(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg")
    with pytest.raises(UserError, match="must exist") as caught:
        find_pictures([tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c d"])
    assert len(caught.value.problems) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="hold none"):
        find_pictures([tmp_path / "empty"])


def test_names_to_predict_can_be_printed(tmp_path: Path) -> None:
    plant(tmp_path, os.fsdecode(b"caf\xe9.jpg"))
    ((path, name),), _ = find_pictures([tmp_path])
    assert path.is_file()
    assert name.endswith("caf\\xe9.jpg")
    name.encode()


def test_the_current_folder_may_be_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plant(tmp_path, "ant/1.jpg", "bee/1.jpg", "labels.csv"))
    assert [picture.name for picture in read_manifest(".").pictures] == ["ant/1.jpg", "bee/1.jpg"]
    table(tmp_path, "path,label\nant/1.jpg,a\nbee/1.jpg,b\n")
    manifest = read_manifest("labels.csv")
    assert [picture.path for picture in manifest.pictures] == [Path("ant/1.jpg"), Path("bee/1.jpg")]


def test_columns_of_ones_own_are_named_and_not_used(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    table = tmp_path / "t.csv"
    table.write_text("path,label,observer,date\na.jpg,ants,Ada,1.5.\nb.jpg,bees,Bob,2.5.\n")
    manifest = read_manifest(table)
    assert len(manifest.pictures) == 2
    assert manifest.notes == ("columns that are not used: observer, date",)


@pytest.mark.parametrize(("wrong", "right"), [("spilt", "split"), ("groups", "group")])
def test_misspelt_columns_are_refused(tmp_path: Path, wrong: str, right: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"path,label,{wrong}\na.jpg,ants,x\n")
    with pytest.raises(UserError, match=rf"'{wrong}' looks like a misspelt '{right}'"):
        read_manifest(table)


def test_classes_that_may_be_something_else_are_pointed_out(tmp_path: Path) -> None:
    for outer in ("2021", "2022"):
        for inner in ("ants", "bees"):
            (tmp_path / outer / inner).mkdir(parents=True)
            (tmp_path / outer / inner / f"{outer}.jpg").write_bytes(b"x")
    manifest = read_manifest(tmp_path)
    assert manifest.classes == ("2021", "2022")
    assert any("folders of the same names ('ants', 'bees')" in note for note in manifest.notes)
    (tmp_path / "2021" / "loose.jpg").write_bytes(b"x")
    assert read_manifest(tmp_path).notes == ()


def test_classes_that_differ_in_spelling_are_pointed_out(tmp_path: Path) -> None:
    for label in ("Red ant", "red_ant", "bee"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes(b"x")
    assert read_manifest(tmp_path).notes == (
        "these classes differ only in spelling: 'Red ant', 'red_ant'",
    )
