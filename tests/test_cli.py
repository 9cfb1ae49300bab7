"""The command line: what it prints where, exit codes, JSON, and what it does not import."""

from __future__ import annotations

import csv
import json
import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from commands import MAIN, call, empty_store, run
from pictures import write_classes, write_texture
from regraft import terminal

NOISE = 90.0


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of twelve, and two files that are no pictures."""
    root = write_classes(tmp_path_factory.mktemp("photos"), {"ants": 12, "bees": 12}, noise=NOISE)
    (root / "ants" / "empty.jpg").touch()
    (root / "bees" / "words.png").write_text("not a picture")
    return root


@pytest.fixture(scope="module")
def model(photos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of `photos`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        out = tmp_path_factory.mktemp("out") / "model"
        assert run("fit", photos, "--out", out).code == 0
        return out


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that the model never saw."""
    return write_classes(tmp_path_factory.mktemp("fresh"), {"ants": 4, "bees": 3}, first=50)


def is_share(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value <= 1


def is_interval(value: Any, inside: float) -> bool:
    low, high = value
    return is_share(low) and is_share(high) and low <= inside <= high


def check_figures(test: dict[str, Any], classes: list[str]) -> None:
    """The figures of an evaluation: types, and that they agree with each other."""
    assert is_share(test["accuracy"])
    assert is_interval(test["ci95"], test["accuracy"])
    assert isinstance(test["n"], int)
    assert is_share(test["balanced_accuracy"])
    assert is_interval(test["balanced_accuracy_ci95"], test["balanced_accuracy"])
    assert test["log_loss"] >= 0
    assert [row["class"] for row in test["per_class"]] == classes
    matrix = test["confusion"]["matrix"]
    assert test["confusion"]["classes"] == classes
    assert sum(map(sum, matrix)) == test["n"]
    right = sum(matrix[k][k] for k in range(len(classes)))
    assert test["accuracy"] == pytest.approx(right / test["n"])
    for number, row in enumerate(test["per_class"]):
        assert row["support"] == sum(matrix[number])
        assert row["recall"] == pytest.approx(matrix[number][number] / row["support"])
        assert is_interval(row["recall_ci95"], row["recall"])


# JSON


def test_fit_prints_one_json_object(photos: Path, tmp_path: Path):
    done = run("fit", photos, "--out", tmp_path / "m", "--json", "--seed", "3")
    assert done.code == 0
    record = done.json
    assert record["model"] == str(tmp_path / "m")
    assert record["classes"] == ["ants", "bees"]
    assert record["counts"] == {"train": 20, "val": 0, "test": 4, "skipped": 2}
    assert [entry["path"] for entry in record["skipped"]] == ["ants/empty.jpg", "bees/words.png"]
    assert all(entry["reason"] for entry in record["skipped"])
    strategy = record["strategy"]
    assert strategy["name"] == "features"
    assert strategy["head"] == "logistic"
    assert strategy["precision"] in ("bf16", "f32")
    assert strategy["strength"] > 0
    assert set(strategy["pooling"]) <= {"avg", "max", "std", "grid"}
    assert strategy["cuts"]
    assert all(isinstance(cut, str) for cut in strategy["cuts"])
    selection = record["selection"]
    assert selection["method"] == "cross-validation"
    assert is_share(selection["accuracy"])
    assert selection["log_loss"] > 0
    assert selection["n"] == 20
    assert selection["optimistic"] is True
    check_figures(record["test"], record["classes"])
    assert record["test"]["n"] == 4
    seconds = record["seconds"]
    assert set(seconds) == {"total", "frozen", "head", "training"}
    assert seconds["total"] >= seconds["frozen"] + seconds["head"] > 0
    assert (seconds["training"], record["training"]) == (0, [])
    assert record["cache"]["hits"] + record["cache"]["misses"] == 24
    assert record["provenance"]["seed"] == 3
    assert "2 files were skipped" in done.err
    assert "empty.jpg" in done.err


def test_predict_prints_one_json_object(model: Path, fresh: Path, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    done = run("predict", model, fresh, tmp_path / "broken.jpg", "--json")
    assert done.code == 0
    record = done.json
    assert len(record["predictions"]) == 7
    for entry in record["predictions"]:
        shares = entry["probabilities"]
        assert set(shares) == {"ants", "bees"}
        assert sum(shares.values()) == pytest.approx(1)
        assert entry["label"] == max(shares, key=shares.__getitem__)
        assert Path(entry["path"]).is_file()
    right = [Path(e["path"]).parent.name == e["label"] for e in record["predictions"]]
    assert sum(right) >= 6
    assert [entry["path"] for entry in record["skipped"]] == [str(tmp_path / "broken.jpg")]
    assert "1 file was skipped" in done.err


def test_predict_top_and_csv(model: Path, fresh: Path, tmp_path: Path):
    done = run("predict", model, fresh, "--json", "--top", "1", "--csv", tmp_path / "out.csv")
    record = done.json
    assert all(list(e["probabilities"]) == [e["label"]] for e in record["predictions"])
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [entry["path"] for entry in record["predictions"]]
    assert [row["label"] for row in rows] == [entry["label"] for entry in record["predictions"]]
    for row, entry in zip(rows, record["predictions"], strict=True):
        best = entry["probabilities"][entry["label"]]
        assert float(row["probability"]) == pytest.approx(best, abs=1e-6)
        assert float(row["p:ants"]) + float(row["p:bees"]) == pytest.approx(1, abs=2e-6)
    assert "--csv" in run("predict", model, fresh, "--csv", tmp_path / "no" / "out.csv").error
    assert run("predict", model, fresh, "--top", "0").code == 2


def test_evaluate_has_the_figures_at_top_level(model: Path, fresh: Path, photos: Path):
    record = run("evaluate", model, fresh, "--json").json
    check_figures(record, ["ants", "bees"])
    info = json.loads((model / "config.json").read_text())["regraft"]
    assert set(info["test"]) <= set(record)
    assert record["n"] == 7
    assert record["optimistic"] is False
    assert run("evaluate", model, photos, "--json").json["optimistic"] is True


def test_cache_info_and_clear(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = empty_store(cache, tmp_path / "own")
    monkeypatch.setenv("REGRAFT_CACHE", str(own))
    converted = run("cache", "info", "--json").json["networks"]
    assert converted >= 1
    photos = write_classes(tmp_path / "photos", {"ants": 5, "bees": 5})
    assert run("fit", photos, "--out", tmp_path / "m").code == 0
    info = run("cache", "info", "--json").json
    assert info["path"] == str(own)
    assert info["pictures"] == 10
    assert info["rows"] % 10 == 0
    assert info["rows"] > 0
    assert info["networks"] == converted
    assert info["bytes"] > 20e6
    assert info["cap_bytes"] == 20 * 2**30
    text = run("cache", "info").out
    assert str(own) in text.replace("\n", "")
    assert "10 pictures" in " ".join(text.split())
    freed = run("cache", "clear", "--json").json["freed_bytes"]
    assert freed > 20e6
    after = run("cache", "info", "--json").json
    assert (after["pictures"], after["rows"], after["networks"]) == (0, 0, 0)
    assert after["bytes"] < 1e6
    assert "MB freed" in run("cache", "clear").out


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scikit-learn have no more than 150 digits."""
    from sklearn import datasets

    load = datasets.load_digits

    def load_few() -> Any:
        digits = load()
        digits.images, digits.target = digits.images[:150], digits.target[:150]
        return digits

    monkeypatch.setattr(datasets, "load_digits", load_few)


@pytest.mark.usefixtures("few_digits")
def test_demo_learns_real_digits(tmp_path: Path):
    check_demo(tmp_path / "demo", 150, 0.7)


@pytest.mark.slow
def test_demo_learns_all_real_digits(tmp_path: Path):
    check_demo(tmp_path / "demo", 1797, 0.97)


def check_demo(folder: Path, count: int, accuracy: float) -> None:
    done = run("demo", "--out", folder, "--json")
    assert done.code == 0
    record = done.json
    assert record["classes"] == list("0123456789")
    assert record["counts"]["train"] + record["counts"]["test"] == count
    assert record["skipped"] == []
    check_figures(record["test"], record["classes"])
    assert record["test"]["accuracy"] > accuracy
    assert "digits" in done.err
    assert len(list((folder / "digits").rglob("*.png"))) == count
    again = run("demo", "--out", folder, "--json").json
    assert again["cache"]["misses"] == 0
    assert again["test"] == record["test"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "{tmp}/none", "--out", "{tmp}/m"], "does not exist"),
        (["fit", "{photos}", "--out", "{tmp}/m", "--strict"], "strict"),
        (["fit", "{photos}", "--out", "{photos}/m"], "outside the pictures"),
        (["fit", "{photos}", "--out", "{model}"], "--force"),
        (["fit", "{photos}", "--out", "{tmp}/m", "--seed", "-1"], "seed"),
        (["fit", "{photos}", "--out", "{tmp}/m", "--test-fraction", "2"], "test_fraction"),
        (["fit", "{photos}", "--out", "{tmp}/m", "--backbone", "resnet18"], "resnet18"),
        (["predict", "{model}", "{tmp}/none.jpg"], "none.jpg"),
        (["predict", "{tmp}/none", "{photos}"], "does not exist"),
        (["predict", "{model}", "{photos}", "--strict"], "strict"),
        (["evaluate", "{model}", "{tmp}/none"], "does not exist"),
        (["evaluate", "{model}", "{photos}", "--strict"], "strict"),
        (["evaluate", "{photos}", "{photos}"], "bundle"),
        (["fit", "{photos}"], "out"),
        (["fit", "{photos}", "--out", "{tmp}/m", "--head", "forest"], "forest"),
        (["fit", "{photos}", "--out", "{tmp}/m", "--no-such-option"], "--no-such-option"),
        (["predict", "{model}"], "Missing"),
    ],
    ids=lambda value: " ".join(value[:1] + value[-1:]) if isinstance(value, list) else "",
)
def test_mistakes_end_with_code_2_and_with_json_too(
    arguments: list[str], words: str, photos: Path, model: Path, tmp_path: Path
):
    filled = [a.format(tmp=tmp_path, photos=photos, model=model) for a in arguments]
    plain = run(*filled)
    assert words in plain.error
    assert plain.out == ""
    with_json = run(*filled, "--json")
    assert words in with_json.error
    error = with_json.json["error"]
    assert set(error) == {"message", "problems"}
    assert words in " ".join([error["message"], *error["problems"]])
    assert not (tmp_path / "m").exists()


def test_nothing_is_written_into_the_pictures(photos: Path, model: Path):
    assert sorted(path.name for path in photos.iterdir()) == ["ants", "bees"]


# for people


def test_fit_prints_what_a_person_needs(photos: Path, tmp_path: Path):
    done = run("fit", photos, "--out", tmp_path / "m")
    text = " ".join(done.out.split())
    record = json.loads((tmp_path / "m" / "config.json").read_text())["regraft"]
    assert f"{record['test']['accuracy']:.1%} of 4 test pictures right" in text
    assert "95 % interval" in text
    assert "optimistic" in text
    assert "20 train, 0 val, 4 test" in text
    assert "held out" in text
    for word in ("ants", "bees", "recall", "precision"):
        assert word in text


def test_predict_prints_a_line_for_each_picture(model: Path, fresh: Path):
    done = run("predict", model, fresh)
    assert len(done.out.splitlines()) == 7
    assert all("%" in line for line in done.out.splitlines())
    both = run("predict", model, fresh, "--top", "2").out.splitlines()
    assert all("ants" in line and "bees" in line for line in both)


def test_evaluate_prints_figures_and_notes(model: Path, photos: Path):
    text = " ".join(run("evaluate", model, photos).out.split())
    assert "of 24 training and other pictures right" in text
    assert text.index("too good") < text.index("of 24")


def test_force_replaces_a_model_and_nothing_else(photos: Path, tmp_path: Path):
    assert run("fit", photos, "--out", tmp_path / "m").code == 0
    first = (tmp_path / "m" / "config.json").read_bytes()
    assert run("fit", photos, "--out", tmp_path / "m", "--seed", "1", "--force").code == 0
    assert (tmp_path / "m" / "config.json").read_bytes() != first
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    assert run("fit", photos, "--out", tmp_path / "thesis", "--force").error
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "thesis"]


def test_help_and_version():
    commands = ["", "fit", "predict", "evaluate", "demo", "cache", "cache info", "backbones"]
    for command in (*commands, "backbones list", "backbones show"):
        done = run(*command.split(), "--help")
        assert done.code == 0, command
        assert "Usage" in done.out
    assert run("--version").out == "regraft 0.1.0\n"
    assert run("fly").code == 2


# names


def names_and_labels() -> Iterable[tuple[str, str]]:
    yield "with space", "a b.jpg"
    yield "größe 猫", "ünï 🐈.jpg"
    yield "[red]markup", "[bold]x.jpg"
    yield "line\nbreak", "two\nlines\x1b[31m.jpg"
    yield "-dash", "--json.jpg"


def test_odd_names_work_from_end_to_end(tmp_path: Path):
    photos = tmp_path / "photos [x] é"
    for label, name in names_and_labels():
        for number in range(4):
            write_texture(photos / label / f"{number}{name}", label, number)
    undecodable = os.fsdecode(b"caf\xe9")
    for number in range(4):
        write_texture(photos / undecodable / f"{number}.jpg", undecodable, number)
        write_texture(photos / "-dash" / os.fsdecode(b"\xff\xfe%d.jpg" % number), "-dash", 9)
    done = run("fit", photos, "--out", tmp_path / "a model", "--json")
    assert done.code == 0, done.err
    record = done.json
    labels = [label for label, _ in names_and_labels()]
    assert set(labels) < set(record["classes"])
    assert len(record["classes"]) == len(labels) + 1
    config = json.loads((tmp_path / "a model" / "config.json").read_text(encoding="utf-8"))
    assert config["regraft"]["classes"] == record["classes"]
    said = run("predict", tmp_path / "a model", photos, "--json", "--csv", tmp_path / "o.csv").json
    assert len(said["predictions"]) == 6 * 4 + 4
    text = run("predict", tmp_path / "a model", photos)
    assert text.code == 0
    assert len(text.out.splitlines()) == 6 * 4 + 4
    assert "\x1b" not in text.out
    assert "[red]markup" in text.out
    shown = run("evaluate", tmp_path / "a model", photos)
    assert shown.code == 0
    assert "line\\nbreak" in shown.out


def test_an_undecodable_model_name_does_not_break_the_output(photos: Path, tmp_path: Path):
    out = tmp_path / os.fsdecode(b"mod\xe8le")
    done = run("fit", photos, "--out", out, "--json")
    assert done.code == 0
    assert done.json["model"]
    assert out.is_dir()
    assert run("predict", out, photos, "--json").json["predictions"]
    assert run("fit", photos, "--out", out, "--json").json["error"]
    assert run("predict", tmp_path / os.fsdecode(b"\xff"), photos, "--json").json["error"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminals_that_are_not_utf8_get_an_answer(
    encoding: str, model: Path, cache: Path, tmp_path: Path
):
    picture = write_texture(tmp_path / "猫 é.jpg", "ants", 1)
    code = f"import sys; sys.stdout.reconfigure(encoding={encoding!r})\n"
    code += f"sys.stderr.reconfigure(encoding={encoding!r})\nfrom regraft.cli import main; main()"
    plain = call("predict", model, picture, cache=cache, code=code, encoding=encoding)
    assert plain.code == 0, plain.err
    assert ".jpg: ants " in plain.out
    with_json = call("predict", model, picture, "--json", cache=cache, code=code)
    assert with_json.json["predictions"][0]["path"] == str(picture)


# what is not imported

HEAVY = ("torch", "torchvision", "timm", "sklearn", "pandas", "pyarrow")
AND_SAY = """
import atexit, os, sys
atexit.register(lambda: os.write(2, ("\\nMODULES " + " ".join(sys.modules)).encode()))
from regraft.cli import main
main()
"""


def modules_of(*arguments: str | Path, cache: Path, code: str = AND_SAY) -> set[str]:
    done = call(*arguments, cache=cache, code=code)
    assert done.code == 0, done.err
    return set(done.err.rsplit("MODULES ", 1)[1].split())


def test_help_and_import_are_cheap(cache: Path):
    code = 'import regraft, os, sys; os.write(2, ("MODULES " + " ".join(sys.modules)).encode())'
    modules = modules_of(cache=cache, code=code)
    assert modules.isdisjoint((*HEAVY, "numpy", "scipy", "openvino", "typer", "rich", "PIL"))
    modules = modules_of("--help", cache=cache)
    assert modules.isdisjoint((*HEAVY, "numpy", "scipy", "openvino", "PIL"))


def test_a_second_fit_neither_imports_a_framework_nor_converts(
    photos: Path, model: Path, cache: Path, tmp_path: Path
):
    modules = modules_of("fit", photos, "--out", tmp_path / "m", cache=cache)
    assert modules.isdisjoint((*HEAVY, "openvino"))


def test_new_pictures_are_computed_without_a_framework(model: Path, cache: Path, tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 4, "bees": 4}, first=300)
    modules = modules_of("fit", photos, "--out", tmp_path / "m", cache=cache)
    assert modules.isdisjoint(HEAVY)
    assert "openvino" in modules
    assert modules.isdisjoint(("openvino.frontend.pytorch", "openvino_telemetry"))


def test_predict_imports_neither_framework_nor_scikit_learn(
    model: Path, fresh: Path, cache: Path, tmp_path: Path
):
    nowhere = tmp_path / "unused"
    modules = modules_of("predict", model, fresh, cache=nowhere)
    assert modules.isdisjoint((*HEAVY, "scipy"))
    assert not nowhere.exists()


# progress


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines(monkeypatch: pytest.MonkeyPatch):
    for is_terminal, kind in ((True, terminal.TerminalProgress), (False, terminal.PlainProgress)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda said=is_terminal: said, raising=False)
        with terminal.watching() as progress:
            assert isinstance(progress, kind)


def test_plain_lines_have_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = terminal.PlainProgress()
    progress.start("frozen pass", 100)
    progress.advance(1)
    assert capsys.readouterr().err == ""
    now += 10
    progress.advance(19)
    assert capsys.readouterr().err == "frozen pass: 20 of 100, 2/s, 40 s left\n"
    progress.finish()


def test_a_bar_is_drawn_in_a_terminal(photos: Path, model: Path, cache: Path, tmp_path: Path):
    """The bar goes to stderr, here a pseudo-terminal; stdout stays one JSON object."""
    parent, child = pty.openpty()
    environment = {**os.environ, "REGRAFT_CACHE": str(cache), "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "fit", photos, "--out", tmp_path / "m", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=child,
        text=True,
        check=True,
    )
    os.close(child)
    seen = b""
    while True:
        try:
            seen += os.read(parent, 65536)
        except OSError:
            break
    os.close(parent)
    assert json.loads(done.stdout)["counts"]["train"] == 20
    assert b"frozen pass" in seen


def test_a_closed_pipe_is_no_traceback(model: Path, photos: Path, cache: Path):
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("needs bash")
    command = f'"{sys.executable}" -c "$CODE" predict "{model}" "{photos}" | true'
    done = subprocess.run(
        [shell, "-c", command],
        env={**os.environ, "CODE": MAIN},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_conflicts_are_listed_in_the_terminal(tmp_path: Path):
    photos = write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})
    first = sorted((photos / "ants").iterdir())[0]
    (photos / "bees" / "twin.png").write_bytes(first.read_bytes())
    done = run("fit", photos, "--out", tmp_path / "model")
    assert done.code == 0
    assert "1 picture stands under several labels" in done.err
    assert f"ants/{first.name} = bees/twin.png" in done.err


def test_predict_with_nothing_readable_is_an_error(model: Path, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    done = run("predict", model, tmp_path / "a.jpg", "--json")
    assert "none of the 1 files can be read" in done.error
    assert done.json["error"]["problems"][0].endswith("(begins with b'no picture')")
