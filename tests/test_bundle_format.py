"""Bundles on disk: written whole or not at all, read only when nothing about them is odd."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from regraft.bundle import writing
from regraft.bundle.fields import Fields
from regraft.bundle.format import (
    FORMAT_VERSION,
    MODEL,
    NETWORK,
    REQUIRED,
    SUMS,
    open_bundle,
)
from regraft.bundle.writing import check_target, write_bundle
from regraft.errors import UserError

FILES = (*REQUIRED, MODEL)
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def contents(mark: str = "one", version: int = FORMAT_VERSION) -> dict[str, bytes | Path]:
    config = {"architecture": "net", "regraft": {"format_version": version, "mark": mark}}
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save({"w": np.zeros(4, np.float32)}),
        "head.safetensors": save({"weight": WEIGHT}),
        "frozen.xml": b"<net/>",
        "frozen.bin": mark.encode() * 1000,
        "README.md": b"# A model\n",
    }


def mark_of(path: Path) -> str:
    """Open a bundle, check everything in it, and say which one it is."""
    bundle = open_bundle(path)
    bundle.verify(bundle.sums)
    mark = bundle.settings.text("mark")
    assert bundle.read("frozen.bin") == mark.encode() * 1000
    return mark


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "work" / "model"
    write_bundle(path, contents(), force=False)
    return path


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def resum(bundle: Path, **changed: str) -> None:
    """Make the sums agree with the files again, as somebody who edits on purpose would."""
    lines = [
        f"{hashlib.sha256((bundle / name).read_bytes()).hexdigest()}  {changed.get(name, name)}\n"
        for name in sorted(names(bundle) - {SUMS})
        if (bundle / name).is_file()
    ]
    (bundle / SUMS).write_text("".join(lines))


# -- writing and reading -------------------------------------------------------------------------


def test_what_is_written_is_read(bundle: Path) -> None:
    assert names(bundle) == {*FILES, SUMS}
    opened = open_bundle(str(bundle))
    assert opened.path == bundle
    assert opened.config["architecture"] == "net"
    assert opened.settings.integer("format_version") == FORMAT_VERSION
    assert opened.tensors("head.safetensors")["weight"].tolist() == WEIGHT.tolist()
    assert opened.file("frozen.xml") == bundle / "frozen.xml"
    assert opened.read("README.md") == b"# A model\n"
    assert mark_of(bundle) == "one"
    assert names(bundle.parent) == {"model"}


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_sha256sum_accepts_the_sums(bundle: Path) -> None:
    command = ["sha256sum", "-c", "--strict", SUMS]
    checked = subprocess.run(command, cwd=bundle, capture_output=True, text=True)
    assert checked.returncode == 0
    assert checked.stdout.count(": OK") == len(FILES)


def test_a_network_file_may_take_the_place_of_the_weights(tmp_path: Path) -> None:
    files = contents()
    files[NETWORK] = files.pop(MODEL)
    write_bundle(tmp_path / "model", files, force=False)
    assert open_bundle(tmp_path / "model").read(NETWORK)
    del files[NETWORK]
    with pytest.raises(ValueError, match=r"model\.safetensors or network\.xml"):
        write_bundle(tmp_path / "other", files, force=False)


def test_files_are_copied_and_odd_places_work(tmp_path: Path) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(b"one" * 1000)
    files = contents() | {"frozen.bin": source}
    for place in ("a b/ü\n模/model", "plain", ".hidden"):
        write_bundle(tmp_path / place, files, force=False)
        assert mark_of(tmp_path / place) == "one"
    assert source.exists()


def test_a_source_that_was_removed_is_not_blamed_on_the_target(tmp_path: Path) -> None:
    files = contents() | {"frozen.bin": tmp_path / "cache" / "frozen.bin"}
    with pytest.raises(UserError, match=r"cache clear.*same command again") as caught:
        write_bundle(tmp_path / "model", files, force=False)
    assert str(tmp_path / "cache" / "frozen.bin") in caught.value.message
    assert "--out" not in caught.value.message
    assert names(tmp_path) == set()


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("model"), contents(), force=False)
    monkeypatch.chdir(tmp_path / "model")
    assert mark_of(Path()) == "one"
    assert mark_of(Path("../model")) == "one"


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    check_target(tmp_path / "model", False)
    write_bundle(tmp_path / "model", contents(), force=False)
    assert mark_of(tmp_path / "model") == "one"


def test_force_replaces_a_bundle(bundle: Path) -> None:
    check_target(bundle, True)
    write_bundle(bundle, contents("two"), force=True)
    assert mark_of(bundle) == "two"
    assert names(bundle.parent) == {"model"}


def test_a_link_to_a_bundle_stays_a_link(bundle: Path) -> None:
    link = bundle.parent / "latest"
    link.symlink_to("model")
    assert mark_of(link) == "one"
    write_bundle(link, contents("two"), force=True)
    assert link.is_symlink()
    assert mark_of(bundle) == "two"


def test_any_bundle_may_be_replaced_damaged_or_newer(bundle: Path) -> None:
    (bundle / "frozen.bin").write_bytes(b"cut")
    write_bundle(bundle, contents("two", version=99), force=True)
    write_bundle(bundle, contents("three"), force=True)
    assert mark_of(bundle) == "three"


def test_files_that_were_added_later_do_not_hinder_reading(bundle: Path) -> None:
    (bundle / ".DS_Store").write_bytes(b"\0")
    (bundle / "notes.txt").write_text("for me")
    assert mark_of(bundle) == "one"


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": b"{}"},
        contents() | {"../evil": b""},
        contents() | {"sub/file": b""},
        contents() | {SUMS: b""},
        contents() | {".hidden": b""},
    ],
)
def test_contents_that_are_no_bundle(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="a bundle needs"):
        write_bundle(tmp_path / "model", files, force=False)
    assert names(tmp_path) == set()


# -- targets that are refused --------------------------------------------------------------------


def file_there(place: Path) -> None:
    place.write_text("my thesis")


def folder_there(place: Path) -> None:
    place.mkdir()
    (place / "photo.jpg").write_text("my cat")


def bundle_there(place: Path) -> None:
    write_bundle(place, contents(), force=False)


def bundle_with_notes(place: Path) -> None:
    bundle_there(place)
    (place / "notes.txt").write_text("for me")


def config_of_another_tool(place: Path) -> None:
    place.mkdir()
    (place / "config.json").write_text('{"model_type": "bert"}')


def under_a_file(place: Path) -> None:
    file_there(place.parent)


@pytest.mark.parametrize(
    ("make", "force", "complaint"),
    [
        (file_there, False, "is a file"),
        (file_there, True, "is a file"),
        (folder_there, False, "--force"),
        (folder_there, True, "replaces only a bundle"),
        (bundle_there, False, "--force to replace it"),
        (bundle_with_notes, True, "not part of the bundle"),
        (config_of_another_tool, True, "replaces only a bundle"),
        (under_a_file, False, "not a directory|exists"),
    ],
)
def test_what_is_there_is_protected(
    tmp_path: Path, make: Callable[[Path], None], force: bool, complaint: str
) -> None:
    place = tmp_path / "parent" / "model"
    if make is not under_a_file:
        place.parent.mkdir()
    make(place)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=complaint) as early:
        check_target(place, force)
    with pytest.raises(UserError, match=complaint) as late:
        write_bundle(place, contents("two"), force=force)
    assert str(tmp_path) in early.value.message
    assert str(tmp_path) in late.value.message
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_added_files_are_named(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("for me")
    with pytest.raises(UserError) as caught:
        check_target(bundle, True)
    assert caught.value.problems == ("notes.txt",)


def test_checking_leaves_nothing(tmp_path: Path) -> None:
    check_target(tmp_path / "not" / "yet" / "model", False)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("place", ["/proc/model", "/proc/a/b/model", "/dev/null/model"])
def test_places_that_cannot_be_written_to(place: str) -> None:
    with pytest.raises(UserError, match="cannot write to /"):
        check_target(Path(place), False)
    with pytest.raises(UserError, match="cannot write to /"):
        write_bundle(Path(place), contents(), force=False)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    for act in (check_target, lambda p, f: write_bundle(p, contents(), force=f)):
        with pytest.raises(UserError, match="name too long"):
            act(tmp_path / ("m" * 300), False)
    with pytest.raises(UserError, match="name too long"):
        open_bundle(tmp_path / ("m" * 300))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where this user may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        made = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_leaves_the_old_bundle(small_disk: Path) -> None:
    place = small_disk / "model"
    write_bundle(place, contents(), force=False)
    large = contents("two") | {"model.safetensors": bytes(2_000_000)}
    with pytest.raises(UserError, match="the disk is full; give --out") as caught:
        write_bundle(place, large, force=True)
    assert str(place) in caught.value.message
    assert mark_of(place) == "one"
    assert names(small_disk) == {"model"}


def test_a_mount_point_is_refused_early(small_disk: Path) -> None:
    with pytest.raises(UserError, match="a mount point; give a folder in it"):
        check_target(small_disk, False)


def test_a_read_only_disk(small_disk: Path) -> None:
    write_bundle(small_disk / "model", contents(), force=False)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="read-only file system"):
        check_target(small_disk / "other", False)
    assert mark_of(small_disk / "model") == "one"


# -- killed at any instant, two at once ----------------------------------------------------------


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run `code` in a process of its own, with the helpers of this file."""
    prelude = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    prelude += "from test_bundle_format import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


REPLACER = """
    count = 0
    while True:
        write_bundle(Path(sys.argv[1]), contents(f"{sys.argv[2]}{count}"), force=True)
        count += 1
        print(flush=True)
"""


def test_killed_at_random_instants_of_replacing(tmp_path: Path) -> None:
    """There is a whole bundle after every kill, and the next write leaves no litter."""
    rng = random.Random(2)
    place = tmp_path / "model"
    write_bundle(place, contents("first"), force=False)
    for attempt in range(6):
        with start(REPLACER, place, attempt) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.random() * 0.02)
            process.send_signal(signal.SIGKILL)
        assert mark_of(place).startswith(str(attempt))
    write_bundle(place, contents("last"), force=True)
    assert mark_of(place) == "last"
    assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("step", range(3))
def test_killed_between_the_steps_of_replacing(tmp_path: Path, step: int) -> None:
    """The process dies after 0, 1 or 2 renames; opening, checking and writing each mend it."""
    code = """
        import regraft.files, shutil
        renames = 0
        def dying(self, target, real=Path.rename):
            global renames
            if renames == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            renames += 1
            return real(self, target)
        Path.rename = dying
        regraft.files.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        write_bundle(Path(sys.argv[1]), contents("new"), force=True)
    """
    for action in ("open", "check", "write"):
        place = tmp_path / action / "model"
        write_bundle(place, contents("old"), force=False)
        with start(code, place, step) as process:
            assert process.wait(timeout=60) == -signal.SIGKILL
        assert names(place.parent) != {"model"}, "nothing to mend"
        if action == "check":
            check_target(place, True)
        elif action == "write":
            with pytest.raises(UserError, match="exists"):
                write_bundle(place, contents("new"), force=False)
            write_bundle(place, contents("newer"), force=True)
            assert names(place.parent) == {"model"}
        link = tmp_path / f"link to {action}"
        link.symlink_to(place)
        assert mark_of(link) == {"write": "newer"}.get(action, "new" if step == 2 else "old")


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Both replace the same bundle over and over, while it is being read: always whole."""
    place = tmp_path / "model"
    write_bundle(place, contents("first"), force=False)
    with start(REPLACER, place, "a") as one, start(REPLACER, place, "b") as two:
        try:
            for process in (one, two):
                assert process.stdout is not None
                process.stdout.readline()
            for _ in range(50):
                assert open_exactly(place).startswith(("a", "b", "first"))
        finally:
            one.kill()
            two.kill()
    assert mark_of(place)[0] in "ab"


def open_exactly(place: Path) -> str:
    """Read while others replace: a mixture is noticed as damage, and is gone the next time."""
    for _ in range(20):
        try:
            return mark_of(place)
        except UserError as error:
            noticed = error
    raise noticed


def test_without_force_the_second_of_two_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "model"
    real = writing.flush_folder

    def overtaken(folder: Path) -> None:
        real(folder)
        monkeypatch.undo()
        write_bundle(place, contents("other"), force=False)

    monkeypatch.setattr(writing, "flush_folder", overtaken)
    with pytest.raises(UserError, match="exists"):
        write_bundle(place, contents("mine"), force=False)
    assert mark_of(place) == "other"
    assert names(tmp_path) == {"model"}


# -- bundles that are refused --------------------------------------------------------------------


def edit_config(bundle: Path, change: Callable[[dict], object]) -> None:
    config = json.loads((bundle / "config.json").read_text())
    change(config)
    (bundle / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["edited", "cut short", "lengthened", "emptied"])
def test_every_change_of_a_file_is_noticed_and_named(bundle: Path, name: str, how: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    if how == "edited":
        data[-1] ^= 1
    changed = {"edited": data, "cut short": data[:-1], "lengthened": data + b" ", "emptied": b""}
    (bundle / name).write_bytes(changed[how])
    with pytest.raises(UserError, match=name):
        open_bundle(bundle).verify([name])
    with pytest.raises(UserError, match=name):
        open_bundle(bundle).read(name)


def test_only_what_is_asked_for_is_checked(bundle: Path) -> None:
    (bundle / "model.safetensors").write_bytes(b"cut")
    opened = open_bundle(bundle)
    opened.verify(["frozen.xml", "frozen.bin", "head.safetensors"])
    with pytest.raises(UserError, match=r"model\.safetensors"):
        opened.verify(opened.sums)


def test_all_damaged_files_are_named_together(bundle: Path) -> None:
    for name in ("frozen.bin", "head.safetensors"):
        (bundle / name).write_bytes(b"cut")
    with pytest.raises(UserError, match=r"head\.safetensors, frozen\.bin"):
        open_bundle(bundle).verify(FILES)


@pytest.mark.parametrize("name", [*FILES, SUMS])
def test_a_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        open_bundle(bundle)


def test_a_newer_bundle_asks_for_an_upgrade(tmp_path: Path) -> None:
    place = tmp_path / "model"
    write_bundle(place, contents(version=FORMAT_VERSION + 1), force=False)
    (place / "frozen.xml").unlink()  # a later format may have other files
    with pytest.raises(UserError, match=r"made by a newer regraft .* upgrade"):
        open_bundle(place)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.pop("regraft"), "not a regraft bundle"),
        (lambda c: c.update(regraft=[]), "not a regraft bundle"),
        (lambda c: c["regraft"].pop("format_version"), "format_version is missing"),
        (lambda c: c["regraft"].update(format_version="1"), "must be a whole number, got '1'"),
        (lambda c: c["regraft"].update(format_version=True), "must be a whole number, got True"),
        (lambda c: c["regraft"].update(format_version=0), "must be 1 or more, got 0"),
        (lambda c: c.update(architecture="other"), r"config\.json differs"),
    ],
)
def test_a_config_that_was_edited(
    bundle: Path, change: Callable[[dict], object], complaint: str
) -> None:
    edit_config(bundle, change)
    with pytest.raises(UserError, match=complaint):
        open_bundle(bundle)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"],
    ids=["empty", "cut", "list", "not utf-8", "deep", "long number"],
)
def test_a_config_that_is_no_json(bundle: Path, text: bytes) -> None:
    (bundle / "config.json").write_bytes(text)
    resum(bundle)
    with pytest.raises(UserError, match=r"config\.json"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    "evil", ["../frozen.xml", "/etc/passwd", "sub/frozen.xml", "..", ".", "a\\b", "C:x", "fro\tzen"]
)
def test_names_that_point_elsewhere(bundle: Path, evil: str) -> None:
    with (bundle / SUMS).open("a") as sums:
        sums.write(f"{'0' * 64}  {evil}\n")
    with pytest.raises(UserError) as caught:
        open_bundle(bundle)
    assert "not a plain file name" in str(caught.value)
    resum(bundle, **{"frozen.xml": evil})
    with pytest.raises(UserError, match="damaged"):
        open_bundle(bundle)


@pytest.mark.parametrize("line", ["nonsense", "", "0" * 63 + "  a", "A" * 64 + "  a", "again"])
def test_sums_that_are_damaged(bundle: Path, line: str) -> None:
    text = (bundle / SUMS).read_text()
    line = text.splitlines()[0] if line == "again" else line
    (bundle / SUMS).write_text(text + line + "\n")
    with pytest.raises(UserError, match=SUMS):
        open_bundle(bundle)


def test_links_that_lead_out_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.xml"
    shutil.move(bundle / "frozen.xml", outside)
    (bundle / "frozen.xml").symlink_to(outside)
    with pytest.raises(UserError) as caught:
        open_bundle(bundle)
    assert caught.value.problems == ("frozen.xml is a link that leads out of the bundle",)


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_things_that_are_no_files(bundle: Path, kind: str) -> None:
    """A pipe above all: reading one would wait for ever."""
    place = bundle / "frozen.bin"
    place.unlink()
    {
        "folder": place.mkdir,
        "pipe": lambda: os.mkfifo(place),
        "dangling link": lambda: place.symlink_to("nowhere"),
    }[kind]()
    with pytest.raises(UserError, match="not a whole bundle") as caught:
        open_bundle(bundle)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", ["config.json", SUMS])
def test_pipes_where_small_files_are_read(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(UserError, match=name):
        open_bundle(bundle)


@pytest.mark.parametrize("name", ["config.json", SUMS])
def test_small_files_that_are_huge_are_not_read(bundle: Path, name: str) -> None:
    os.truncate(bundle / name, 1 << 40)
    with pytest.raises(UserError, match="larger than any"):
        open_bundle(bundle)


def test_paths_that_are_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for place, complaint in (
        ("nowhere", "does not exist"),
        ("file/model", "does not exist"),
        ("file", "is a file"),
        ("empty", "not a regraft bundle"),
    ):
        with pytest.raises(UserError, match=complaint) as caught:
            open_bundle(tmp_path / place)
        assert str(tmp_path / place) in caught.value.message


def test_tensors_that_are_none(bundle: Path) -> None:
    (bundle / "head.safetensors").write_bytes(b"\x80\x04K\x01." * 100)  # a pickle
    resum(bundle)
    with pytest.raises(UserError, match="is no safetensors file"):
        open_bundle(bundle).tensors("head.safetensors")


def test_a_file_that_is_not_listed(bundle: Path) -> None:
    (bundle / "extra").write_text("x")
    with pytest.raises(UserError, match="lists no extra"):
        open_bundle(bundle).read("extra")


def test_files_of_later_minor_versions_are_welcome(bundle: Path) -> None:
    (bundle / "model.onnx").write_text("x")
    resum(bundle)
    assert open_bundle(bundle).read("model.onnx") == b"x"


# -- fields --------------------------------------------------------------------------------------

FIELDS = Fields(
    {
        "text": "a",
        "int": 3,
        "float": 0.5,
        "nan": float("nan"),
        "huge": 10**400,
        "flag": True,
        "texts": ["a", "b"],
        "numbers": [1, 2.5],
        "mixed": ["a", 1],
        "child": {"x": 1},
        "null": None,
    },
    "config.json",
)


def test_fields_of_the_right_type() -> None:
    assert FIELDS.text("text") == "a"
    assert FIELDS.choice("text", ["b", "a"]) == "a"
    assert FIELDS.integer("int") == 3
    assert (FIELDS.number("int"), FIELDS.number("float")) == (3.0, 0.5)
    assert FIELDS.texts("texts") == ("a", "b")
    assert FIELDS.numbers("numbers") == (1.0, 2.5)
    assert FIELDS.child("child").integer("x") == 1


@pytest.mark.parametrize(
    ("read", "complaint"),
    [
        (lambda f: f.text("absent"), "config.json: absent is missing"),
        (lambda f: f.text("int"), "config.json: int must be a text, got 3"),
        (lambda f: f.text("null"), "null must be a text, got None"),
        (lambda f: f.choice("text", ["b", "c"]), "text must be one of 'b', 'c', got 'a'"),
        (lambda f: f.choice("texts", ["b"]), r"must be one of 'b', got \['a', 'b'\]"),
        (lambda f: f.integer("float"), "must be a whole number, got 0.5"),
        (lambda f: f.integer("flag"), "must be a whole number, got True"),
        (lambda f: f.number("nan"), "must be a number, got nan"),
        (lambda f: f.number("huge"), r"must be a number, got 10+\.\.\."),
        (lambda f: f.number("flag"), "must be a number, got True"),
        (lambda f: f.texts("mixed"), "must be a list of texts"),
        (lambda f: f.texts("text"), "must be a list, got 'a'"),
        (lambda f: f.numbers("mixed"), "must be a list of numbers"),
        (lambda f: f.integers("numbers"), "must be a list of whole numbers"),
        (lambda f: f.child("text"), "must be an object"),
    ],
)
def test_fields_of_the_wrong_type(read: Callable[[Fields], object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        read(FIELDS)


def test_importing_the_format_is_cheap() -> None:
    code = "import regraft.bundle.format, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    heavy = {"torch", "numpy", "safetensors", "sklearn", "openvino", "pickle"}
    assert not heavy & set(modules.split())
