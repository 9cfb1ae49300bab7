"""Bad input and faults: a clear message and exit code 2, or a listed skip, and nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import regraft
from commands import Finished, call, empty_store, finish, run, spawn
from pictures import texture, write_classes, write_texture
from regraft.errors import UserError
from regraft.frozen.store import FeatureStore

NOISE = 90.0


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of six."""
    return write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})


@pytest.fixture(scope="module")
def model(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two classes."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        regraft.fit(write_classes(folder / "photos", {"ants": 6, "bees": 6}), folder / "m")
    return folder / "m"


def refused(photos: Path, out: Path, *options: str) -> str:
    """Fit, which must be refused, and leave nothing behind; return the message."""
    before = set(out.parent.iterdir())
    message = run("fit", photos, "--out", out, *options).error
    assert set(out.parent.iterdir()) == before
    return message


# collections that cannot be used


def test_missing_and_empty_folders(tmp_path: Path):
    assert "does not exist" in refused(tmp_path / "none", tmp_path / "m")
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused(tmp_path / "empty", tmp_path / "m")
    (tmp_path / "empty" / "ants").mkdir()
    assert "hold no files" in refused(tmp_path / "empty", tmp_path / "m")


def test_a_single_class(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 4})
    message = refused(photos, tmp_path / "m")
    assert "at least 2 classes" in message
    assert "'ants'" in message


def test_a_class_with_one_picture(photos: Path, tmp_path: Path):
    write_texture(photos / "wasps" / "only.jpg", "wasps", 0)
    message = refused(photos, tmp_path / "m")
    assert "'wasps'" in message
    assert "at least two pictures" in message
    shutil.copy(photos / "wasps" / "only.jpg", photos / "wasps" / "copy.jpg")
    assert "copies" in refused(photos, tmp_path / "m")


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_only_in_a_later_part(part: str, tmp_path: Path):
    write_classes(tmp_path / "photos" / "train", {"ants": 4, "bees": 4})
    write_classes(tmp_path / "photos" / part, {"ants": 2, "moths": 2}, first=10)
    message = refused(tmp_path / "photos", tmp_path / "m")
    assert "'moths'" in message
    assert "'bees'" not in message


def test_parts_without_train(tmp_path: Path):
    for part in ("val", "test"):
        write_classes(tmp_path / "photos" / part, {"ants": 2, "bees": 2})
    assert "train part is needed" in refused(tmp_path / "photos", tmp_path / "m")


def test_a_class_of_which_nothing_is_readable_is_not_forgotten(photos: Path, tmp_path: Path):
    write_classes(photos, {"wasps": 6})
    (photos / "moths").mkdir()
    for number in range(3):
        (photos / "moths" / f"{number}.jpg").write_bytes(b"damaged %d" % number)
    message = refused(photos, tmp_path / "m")
    assert "'moths'" in message
    assert "can be read" in message


# files that cannot be used


def png_bomb(side: int) -> bytes:
    """A small PNG that would be `side` x `side` pixels when decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(label: str, number: int, folder: Path) -> bytes:
    return write_texture(folder / "for bytes.jpg", label, number).read_bytes()


def test_unusable_files_are_skipped_and_listed(photos: Path, tmp_path: Path):
    good = jpeg("ants", 1, tmp_path)
    broken = {
        "zero.jpg": b"",
        "truncated.jpg": good[: len(good) // 2],
        "truncated.png": png_bomb(64),
        "words.jpg": b"The file is a text.",
        "bomb.png": png_bomb(60_000),
        "page.html.jpg": b"<html>404 not found</html>",
    }
    for name, data in broken.items():
        (photos / "ants" / name).write_bytes(data)
    os.mkfifo(photos / "bees" / "pipe.jpg")
    (photos / "bees" / "gone.jpg").symlink_to(tmp_path / "gone")
    (photos / "notes.txt").write_text("loose")
    done = run("fit", photos, "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    record = done.json
    expected = {f"ants/{name}" for name in broken} | {"bees/pipe.jpg", "bees/gone.jpg", "notes.txt"}
    assert {entry["path"] for entry in record["skipped"]} == expected
    assert all(entry["reason"].strip() for entry in record["skipped"])
    assert record["counts"]["skipped"] == len(expected)
    assert sum(record["counts"][part] for part in ("train", "val", "test")) == 12
    message = refused(photos, tmp_path / "strict", "--strict")
    assert all(Path(name).name in message for name in broken)


def test_wrongly_named_pictures_are_read_by_their_content(tmp_path: Path):
    for label in ("ants", "bees"):
        for number in range(3):
            image = Image.fromarray(texture(label, number))
            folder = tmp_path / "photos" / label
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{number}.txt").open("wb") as file:
                image.save(file, "JPEG")
            with (folder / f"{number} png.jpg").open("wb") as file:
                image.save(file, "PNG")
            with (folder / f"{number}").open("wb") as file:
                image.save(file, "GIF")
    record = regraft.fit(tmp_path / "photos", tmp_path / "m").record
    assert record["skipped"] == []
    assert record["counts"]["train"] + record["counts"]["test"] == 18


def test_pictures_of_every_kind_are_learned_from(tmp_path: Path):
    kinds = ("L", "LA", "P", "1", "RGBA", "CMYK", "I;16", "I", "F")
    for label in ("ants", "bees"):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for number, kind in enumerate(kinds):
            grey = texture(label, number)[..., 0]
            if kind == "I;16":
                image = Image.fromarray(grey.astype(np.uint16) * 257)
            else:
                image = Image.fromarray(texture(label, number)).convert(kind)
            suffix = {"CMYK": "jpg", "F": "tiff", "I": "tiff"}.get(kind, "png")
            image.save(folder / f"{number}.{suffix}")
        frames = [Image.fromarray(texture(label, number)) for number in (20, 21)]
        frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    record = regraft.fit(tmp_path / "photos", tmp_path / "m").record
    assert record["skipped"] == []
    assert record["counts"]["train"] + record["counts"]["test"] == 20


def test_more_than_half_unreadable_is_an_error(photos: Path, tmp_path: Path):
    for number in range(12):
        (photos / "ants" / f"bad{number}.jpg").write_bytes(b"bad %d" % number)
    assert regraft.fit(photos, tmp_path / "half").record["counts"]["skipped"] == 12
    (photos / "ants" / "one more.jpg").write_bytes(b"bad")
    message = refused(photos, tmp_path / "m")
    assert "at least half" in message
    assert "12 of 25" in message
    assert "one more.jpg" in message


def test_symlink_loops_are_survived(photos: Path, tmp_path: Path):
    (photos / "ants" / "again").symlink_to(photos, target_is_directory=True)
    (photos / "bees" / "me").symlink_to(photos / "bees", target_is_directory=True)
    (photos / "round").symlink_to(photos / "round")
    record = regraft.fit(photos, tmp_path / "m").record
    assert record["classes"] == ["ants", "bees"]
    assert record["counts"]["train"] + record["counts"]["test"] == 12
    listed = {entry["path"] for entry in record["skipped"]}
    assert {"ants/again", "bees/me", "round"} <= listed


# tables that cannot be used


def table(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "table.csv").write_text(text)
    return folder / "table.csv"


def test_all_problems_of_a_table_are_told_with_line_numbers(photos: Path, tmp_path: Path):
    source = table(
        photos.parent,
        "path,label,split\n"
        "photos/ants/000.jpg,ants,train\n"
        "photos/ants/001.jpg,,train\n"
        "photos/ants/nowhere.jpg,ants,train\n"
        "photos/bees/000.jpg,bees,exam\n"
        "photos/bees/001.jpg,bees\n",
    )
    done = run("fit", source, "--out", tmp_path / "m", "--json")
    assert done.code == 2
    problems = done.json["error"]["problems"]
    assert [problem.split(":")[0] for problem in problems] == [f"line {n}" for n in (3, 4, 5, 6)]
    assert "label is empty" in problems[0]
    assert "nowhere.jpg" in problems[1]
    assert "'exam'" in problems[2]
    assert "2 cells" in problems[3]


def labelled(photos: Path, labels: list[str]) -> Path:
    paths = sorted(photos.rglob("*.jpg"))
    rows = "".join(
        f"photos/{p.relative_to(photos)},{x}\n" for p, x in zip(paths, labels, strict=True)
    )
    return table(photos.parent, "path,label\n" + rows)


def test_quantities_are_refused_with_a_sentence(photos: Path, tmp_path: Path):
    source = labelled(photos, [f"{1.5 * n:.1f}" for n in range(12)])
    message = refused(source, tmp_path / "m")
    assert "quantity" in message
    assert "regression" in message
    digits = labelled(photos, [str(n % 2) for n in range(12)])
    assert regraft.fit(digits, tmp_path / "ok").record["classes"] == ["0", "1"]


def test_several_labels_a_picture_are_refused_with_a_sentence(photos: Path, tmp_path: Path):
    source = labelled(photos, ["cat", "dog", "cat;dog"] * 4)
    message = refused(source, tmp_path / "m")
    assert "several labels" in message
    assert "'cat;dog'" in message
    one_hot = table(photos.parent, "path,cat,dog\nphotos/ants/000.jpg,1,1\n")
    assert "one class per picture" in refused(one_hot, tmp_path / "m")


# outputs that cannot be written


def test_an_output_that_exists(photos: Path, tmp_path: Path):
    (tmp_path / "file").write_text("a file")
    assert "file" in refused(photos, tmp_path / "file", "--force")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.txt").write_text("mine")
    assert "--force" in refused(photos, tmp_path / "full")
    refused(photos, tmp_path / "full", "--force")
    assert (tmp_path / "full" / "holiday.txt").read_text() == "mine"
    (tmp_path / "vacant").mkdir()
    assert run("fit", photos, "--out", tmp_path / "vacant").code == 0


def test_an_output_inside_the_pictures(photos: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(photos)
    for out in (photos, photos / "m", photos / "ants" / "m", tmp_path / "link" / "m"):
        assert "outside the pictures" in refused(photos, out)


def test_an_output_that_cannot_be_written(photos: Path, tmp_path: Path):
    (tmp_path / "file").write_text("a file")
    assert "not a directory" in run("fit", photos, "--out", tmp_path / "file" / "m").error
    assert run("fit", photos, "--out", "/proc/m").error
    assert run("fit", photos, "--out", "/sys/m" if Path("/sys").exists() else "/proc/x").error
    with_long_name = tmp_path / ("m" * 300)
    assert "too long" in run("fit", photos, "--out", with_long_name).error


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small file system in memory; skips where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount file systems")
    try:
        yield folder
    finally:
        # Lazily: a traceback may still hold a file of it open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_an_output_on_a_full_disk(photos: Path, tmp_path: Path):
    with small_disk(tmp_path / "disk", "4m") as disk:
        done = run("fit", photos, "--out", disk / "m")
        assert "the disk is full" in done.error
        assert str(disk) in done.error
        assert "--out" in done.error
        assert list(disk.iterdir()) == []


def test_a_store_on_a_full_disk(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photos = write_classes(tmp_path / "photos", {"ants": 8, "bees": 8}, first=500)
    needed = sum(path.stat().st_size for path in cache.glob("networks/*-source/*"))
    with small_disk(tmp_path / "disk", f"{needed // 1024 + 250}k") as disk:
        shutil.copytree(cache / "networks", disk / "networks", ignore=_only_source)
        monkeypatch.setenv("REGRAFT_CACHE", str(disk))
        done = run("fit", photos, "--out", tmp_path / "m")
        assert "disk" in done.error
        assert "REGRAFT_CACHE" in done.error
    assert not (tmp_path / "m").exists()


def _only_source(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if folder.endswith("networks") and not name.endswith("-source")}


def test_a_network_that_does_not_fit_on_the_disk(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 4, "bees": 4})
    with small_disk(tmp_path / "disk", "2m") as disk:
        done = call("fit", photos, "--out", tmp_path / "m", cache=disk)
        assert "REGRAFT_CACHE" in done.error, done.err
        assert not list(disk.glob("networks/*"))


def test_a_cache_folder_that_cannot_be_made(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("a file")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "file" / "cache"))
    assert "REGRAFT_CACHE" in refused(photos, tmp_path / "m")


# bundles that cannot be used


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A bundle to be damaged."""
    return shutil.copytree(model, tmp_path / "copy")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_texture(tmp_path / "picture.jpg", "ants", 1)


def resum(bundle: Path) -> None:
    """Make the sums right again, as a forger would."""
    import hashlib

    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(bundle.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (bundle / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.parametrize(
    "name", ["config.json", "head.safetensors", "frozen.xml", "frozen.bin", "SHA256SUMS"]
)
def test_a_truncated_bundle(name: str, copy: Path, picture: Path):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    message = run("predict", copy, picture).error
    assert name in message or "bundle" in message


@pytest.mark.parametrize("name", ["config.json", "head.safetensors", "frozen.xml", "frozen.bin"])
def test_an_edited_bundle(name: str, copy: Path, picture: Path):
    data = bytearray((copy / name).read_bytes())
    data[len(data) * 3 // 4] ^= 1
    (copy / name).write_bytes(data)
    assert name in run("predict", copy, picture).error


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "frozen.bin", "SHA256SUMS"])
def test_a_bundle_that_lacks_a_file(name: str, copy: Path, picture: Path):
    (copy / name).unlink()
    assert name in run("predict", copy, picture).error


def edit_config(bundle: Path, **values: Any) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["regraft"].update(values)
    (bundle / "config.json").write_text(json.dumps(config))
    resum(bundle)


def test_a_bundle_from_a_newer_version(copy: Path, picture: Path):
    edit_config(copy, format_version=2)
    message = run("predict", copy, picture).error
    assert "newer" in message
    assert "upgrade" in message


def test_a_bundle_with_a_path_that_points_outside(copy: Path, picture: Path, tmp_path: Path):
    outside = tmp_path / "outside.bin"
    shutil.move(copy / "frozen.bin", outside)
    (copy / "frozen.bin").symlink_to(outside)
    assert "out of the bundle" in run("predict", copy, picture).error
    (copy / "frozen.bin").unlink()
    sums = (copy / "SHA256SUMS").read_text().replace("frozen.bin", "../outside.bin")
    (copy / "SHA256SUMS").write_text(sums)
    assert "'../outside.bin' is not a plain file name" in run("predict", copy, picture).error


@pytest.mark.parametrize(
    "values",
    [
        {"classes": ["ants", "bees", "wasps"]},
        {"classes": "ants"},
        {"strategy": {"precision": "f16", "head": "logistic"}},
        {"preprocess": {}},
        {"preprocess": {"size": [10**9, 10**9]}},
    ],
    ids=str,
)
def test_a_bundle_whose_settings_make_no_sense(values: dict[str, Any], copy: Path, picture: Path):
    edit_config(copy, **values)
    assert "config.json" in run("predict", copy, picture).error


def test_preprocessing_that_does_not_fit_the_graph(copy: Path, picture: Path):
    config = json.loads((copy / "config.json").read_text())
    edit_config(copy, preprocess={**config["regraft"]["preprocess"], "size": [128, 128]})
    message = run("predict", copy, picture).error
    assert "128" in message
    assert "224" in message


def test_a_damaged_graph_with_right_sums(copy: Path, picture: Path):
    (copy / "frozen.xml").write_text("<net></net>")
    resum(copy)
    assert "frozen.xml" in run("predict", copy, picture).error


def test_no_pickle_in_a_bundle(model: Path):
    import pickletools

    for path in model.iterdir():
        with pytest.raises(ValueError, match=r".*"):
            list(pickletools.genops(path.read_bytes()))


# processors without bfloat16

AVX2 = {"OV_CPU_MAX_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SUPPORTS = "from regraft.frozen.engine import supports_bf16; print(supports_bf16())"


def test_a_processor_without_bf16_gives_the_same_labels(cache: Path, tmp_path: Path):
    if call(cache=cache, code=SUPPORTS).out.strip() != "True":
        pytest.skip("this processor has no bfloat16")
    assert call(cache=cache, code=SUPPORTS, env=AVX2).out.strip() == "False"
    counts = dict.fromkeys(("ants", "bees", "wasps", "moths"), 30)
    photos = write_classes(tmp_path / "photos", counts, noise=NOISE)
    record = regraft.fit(photos, tmp_path / "m").record
    assert record["strategy"]["precision"] == "bf16"
    here = call("predict", tmp_path / "m", photos, "--json", cache=cache).json["predictions"]
    there = call("predict", tmp_path / "m", photos, "--json", cache=cache, env=AVX2).json
    pairs = list(zip(here, there["predictions"], strict=True))
    assert any(a["probabilities"] != b["probabilities"] for a, b in pairs)
    same = [a["label"] == b["label"] for a, b in pairs]
    assert np.mean(same) >= 0.99
    moved = [
        abs(a["probabilities"][label] - b["probabilities"][label])
        for a, b in pairs
        for label in counts
    ]
    assert np.mean(moved) < 0.02


# nothing calls home

NO_NETWORK = """
import os, sys
def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.client", "ftplib.", "smtplib.")):
        with open(os.environ["CALLS"], "a") as file:
            file.write(f"{event} {arguments}\\n")
        raise OSError(f"{event}: sockets are blocked")
    if event in ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "os.system"):
        with open(os.environ["CALLS"], "a") as file:
            file.write(f"{event} {arguments}\\n")
sys.addaudithook(refuse)
"""


def test_nothing_calls_home(tmp_path: Path):
    """The very first fit, with the conversion of the network, and a prediction.

    Not even another program is started.
    """
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    calls = tmp_path / "calls.txt"
    calls.touch()
    environment = {"PYTHONPATH": str(tmp_path), "CALLS": str(calls)}
    probe = "import socket; socket.create_connection(('127.0.0.1', 9))"
    assert "blocked" in call(cache=tmp_path, code=probe, env=environment).err
    assert calls.read_text()
    calls.write_text("")
    photos = write_classes(tmp_path / "photos", {"ants": 4, "bees": 4})
    own = tmp_path / "cache"
    done = call("fit", photos, "--out", tmp_path / "m", "--json", cache=own, env=environment)
    assert done.code == 0, done.err
    assert done.json["cache"]["misses"] == 8
    done = call("predict", tmp_path / "m", photos, "--json", cache=own, env=environment)
    assert len(done.json["predictions"]) == 8
    assert calls.read_text() == ""


# kill, stop, two at once


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough pictures that a fit can be interrupted."""
    return write_classes(
        tmp_path_factory.mktemp("many"), dict.fromkeys(("ants", "bees"), 160), noise=NOISE
    )


@pytest.fixture(scope="module")
def undisturbed(
    many: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], float]:
    """A fit of `many` that nothing disturbed: bundle, record, and how long it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    own = empty_store(cache, folder / "cache")
    began = time.monotonic()
    done = call("fit", many, "--out", folder / "m", "--json", cache=own)
    return folder / "m", done.json, time.monotonic() - began


def stored_pictures(cache: Path) -> int:
    """Pictures of which every vector is stored."""
    with FeatureStore(cache) as store:
        info = store.info()
    cuts = 9
    return info.rows // cuts


def check_same(done: Finished, out: Path, reference: tuple[Path, dict[str, Any], float]) -> None:
    bundle, record, _ = reference
    again = done.json
    for key in ("classes", "counts", "strategy", "selection", "test", "parity"):
        assert again[key] == record[key], key
    for name in ("head.safetensors", "frozen.bin", "model.safetensors"):
        assert (out / name).read_bytes() == (bundle / name).read_bytes(), name


def kill_and_repeat(
    instant: float | None, many: Path, folder: Path, cache: Path, reference: Any
) -> int:
    """Kill a fit at an instant (None: when something is stored), do it again; say what was stored.

    What was stored must be found, and only the rest computed.
    """
    folder.mkdir()
    own = empty_store(cache, folder / "cache")
    process = spawn("fit", many, "--out", folder / "m", "--json", cache=own)
    if instant is None:
        while process.poll() is None and not stored_pictures(own):
            time.sleep(0.01)
    else:
        time.sleep(instant)
    process.kill()
    process.communicate()
    stored = stored_pictures(own)
    done = call("fit", many, "--out", folder / "m", "--json", "--force", cache=own)
    assert done.code == 0, done.err
    check_same(done, folder / "m", reference)
    found, computed = done.json["cache"]["hits"], done.json["cache"]["misses"]
    assert found + computed == 320
    assert found == stored
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "m"]
    shutil.rmtree(folder)
    return stored


def test_kill_9_and_the_same_command_again(
    many: Path, cache: Path, undisturbed: tuple[Path, dict[str, Any], float], tmp_path: Path
):
    assert kill_and_repeat(None, many, tmp_path / "stored", cache, undisturbed) > 0
    for share in (0.45, random.uniform(0.2, 1)):
        kill_and_repeat(share * undisturbed[2], many, tmp_path / f"{share}", cache, undisturbed)


@pytest.mark.slow
def test_kill_9_at_many_random_instants(
    many: Path, cache: Path, undisturbed: tuple[Path, dict[str, Any], float], tmp_path: Path
):
    rng = random.Random(0)
    stored = []
    for number in range(25):
        folder = tmp_path / str(number)
        instant = rng.uniform(0.1, 1.0) * undisturbed[2]
        stored.append(kill_and_repeat(instant, many, folder, cache, undisturbed))
    assert any(count > 0 for count in stored)
    assert any(count < 320 for count in stored)


@pytest.mark.slow
def test_kill_9_during_the_very_first_run(many: Path, tmp_path: Path, undisturbed: Any):
    rng = random.Random(1)
    own = tmp_path / "cache"
    for _ in range(6):
        process = spawn("fit", many, "--out", tmp_path / "m", cache=own)
        time.sleep(rng.uniform(0.3, 6))
        process.kill()
        process.communicate()
    done = call("fit", many, "--out", tmp_path / "m", "--json", "--force", cache=own)
    check_same(done, tmp_path / "m", undisturbed)
    assert not [path for path in own.rglob("*") if "regraft-tmp" in path.name]


def test_two_fits_at_once_share_the_store(
    many: Path, cache: Path, undisturbed: tuple[Path, dict[str, Any], float], tmp_path: Path
):
    own = empty_store(cache, tmp_path / "cache")
    outs = [tmp_path / "one", tmp_path / "two"]
    processes = [spawn("fit", many, "--out", out, "--json", cache=own) for out in outs]
    for process, out in zip(processes, outs, strict=True):
        check_same(finish(process), out, undisturbed)
    assert stored_pictures(own) == 320
    again = call("fit", many, "--out", tmp_path / "three", "--json", cache=own).json
    assert again["cache"] == {"hits": 320, "misses": 0}


def test_two_fits_at_once_into_one_folder(photos: Path, cache: Path, tmp_path: Path):
    out = tmp_path / "m"
    processes = [spawn("fit", photos, "--out", out, "--json", cache=cache) for _ in range(2)]
    done = [finish(process) for process in processes]
    assert {result.code for result in done} <= {0, 2}
    assert any(result.code == 0 for result in done)
    assert all("Traceback" not in result.err for result in done)
    assert regraft.load(out).predict([photos / "ants" / "000.jpg"])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_ctrl_c_says_how_to_go_on(many: Path, cache: Path, tmp_path: Path, undisturbed: Any):
    own = empty_store(cache, tmp_path / "cache")
    process = spawn("fit", many, "--out", tmp_path / "m", "--json", cache=own)
    deadline = time.monotonic() + 60
    while not (own / "features-1.sqlite").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 130, done.err
    assert "goes on from what is stored" in done.json["error"]["message"]
    assert "stopped" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "m").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    done = call("fit", many, "--out", tmp_path / "m", "--json", cache=own)
    check_same(done, tmp_path / "m", undisturbed)


def test_a_damaged_store_is_filled_again(many: Path, photos: Path, cache: Path, tmp_path: Path):
    own = empty_store(cache, tmp_path / "cache")
    first = call("fit", photos, "--out", tmp_path / "1", "--json", cache=own).json
    store = own / "features-1.sqlite"
    data = bytearray(store.read_bytes())
    for place in range(len(data) // 2, len(data), 4096):
        data[place + 100 : place + 200] = os.urandom(100)
    store.write_bytes(data)
    done = call("fit", photos, "--out", tmp_path / "2", "--json", cache=own)
    assert done.code == 0, done.err
    assert done.json["test"] == first["test"]
    assert (tmp_path / "1" / "head.safetensors").read_bytes() == (
        tmp_path / "2" / "head.safetensors"
    ).read_bytes()


def test_errors_of_a_program_are_told_as_user_errors(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        regraft.fit(tmp_path / "none", tmp_path / "m")
    with pytest.raises(UserError, match="does not exist"):
        regraft.load(tmp_path / "none")
