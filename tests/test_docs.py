"""Every command and every program of the README and of the pages in docs runs."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from commands import run
from contracts.networks import NETWORKS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TRAINING = ROOT / "docs" / "fine-tuning.md"
ADVICE = ROOT / "docs" / "advice.md"
BACKBONES = ROOT / "docs" / "backbones.md"
EVALUATION = ROOT / "docs" / "evaluation.md"
REPORT = ROOT / "docs" / "report.md"


def blocks(language: str, document: Path = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.S | re.M)


def run_program(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{program}\n{done.stderr}"
    return done.stdout


def regraft(command: str, folder: Path) -> str:
    words = shlex.split(command, comments=True)
    assert words[0] == "regraft"
    with contextlib.chdir(folder):
        done = run(*words[1:])
    assert done.code == 0, f"{command}\n{done.err}"
    return done.out


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README speaks of: photos, other-photos, more, new.jpg."""
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))
    digits = load_digits()
    wanted = {0: "ants", 1: "bees"}
    for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        if digit in wanted and number < 300:
            part = "other-photos" if number > 250 else "photos"
            place = tmp_path / part / wanted[digit]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 15).astype("uint8")).save(place / f"{number}.png")
    shutil.copytree(tmp_path / "other-photos" / "ants", tmp_path / "more")
    Image.fromarray((digits.images[0] * 15).astype("uint8")).save(tmp_path / "new.jpg")
    return tmp_path


def test_commands_run(folder: Path):
    commands = [line[2:] for block in blocks("console") for line in block.splitlines()]
    assert len(commands) >= 8
    for command in commands:
        assert regraft(command, folder)
    assert (folder / "predictions.csv").is_file()


def test_programs_run(folder: Path):
    programs = blocks("python")
    assert len(programs) == 2
    for program in programs:
        run_program(program, folder)


def test_what_is_said_of_networks_is_so(folder: Path):
    shutil.copy(ROOT / "tests" / "networks" / "mobile.onnx", folder / "model.onnx")
    commands = [
        entry.partition("\n")
        for block in blocks("console", BACKBONES)
        for entry in re.split(r"^\$ ", block, flags=re.M)[1:]
    ]
    assert len(commands) == 9
    for command, _, shown in commands:
        printed = regraft(command, folder)
        assert printed
        if shown:
            assert shown.split() == printed.split()
    (program,) = blocks("python", BACKBONES)
    assert run_program(program, folder)


def test_what_is_said_of_training_is_so(folder: Path):
    commands = [line[2:] for block in blocks("console", TRAINING) for line in block.splitlines()]
    assert len(commands) == 5
    for command in commands:
        assert regraft(command, folder)
    (program,) = blocks("python", TRAINING)
    assert "blocks.6" in run_program(program, folder)


def test_what_is_said_of_evaluation_is_so(folder: Path):
    commands = [line[2:] for block in blocks("console", EVALUATION) for line in block.splitlines()]
    assert len(commands) == 5
    for command in commands:
        assert regraft(command, folder)


def test_what_is_said_of_reports_is_so(folder: Path):
    commands = [line[2:] for block in blocks("console", REPORT) for line in block.splitlines()]
    assert len(commands) == 2
    for command in commands:
        assert regraft(command, folder)
    assert (folder / "model" / "report.html").is_file()
    assert (folder / "report.html").is_file()


def test_what_is_said_of_advice_is_so(folder: Path):
    commands = [line[2:] for block in blocks("console", ADVICE) for line in block.splitlines()]
    assert len(commands) == 2
    for command in commands:
        assert regraft(command, folder)
    (program,) = blocks("python", ADVICE)
    printed = run_program(program, folder)
    assert "features" in printed or "partial" in printed


def test_the_table_of_the_literature_is_what_the_contracts_cover():
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in BACKBONES.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    start = rows.index(["network", "first choice", "also"]) + 2
    assert rows[start : start + len(NETWORKS)] == [
        [
            network.literature,
            f"`{network.spelling}`",
            ", ".join(f"`{spelling}`" for spelling in network.alternatives),
        ]
        for network in NETWORKS
    ]
    assert rows[start + len(NETWORKS)] == ["option", "what", "when"]


def test_the_two_commands_of_the_readme_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make ([a-z-]+)", README.read_text("utf-8"), re.M):
        assert re.search(rf"^{target}:", makefile, re.M)


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_lead_somewhere(document: Path):
    for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
        assert (document.parent / link).exists(), f"{document.name}: {link}"
