"""Every command and every program of the README runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text("utf-8"), re.S | re.M)


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
        words = shlex.split(command, comments=True)
        assert words[0] == "regraft"
        program = [sys.executable, "-c", "from regraft.cli import main; main()", *words[1:]]
        done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout
    assert (folder / "predictions.csv").is_file()


def test_programs_run(folder: Path):
    programs = blocks("python")
    assert len(programs) == 2
    for program in programs:
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning", "-c", program],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr


def test_the_two_commands_of_the_readme_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make ([a-z-]+)", README.read_text("utf-8"), re.M):
        assert re.search(rf"^{target}:", makefile, re.M)


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_lead_somewhere(document: Path):
    for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
        assert (document.parent / link).exists(), f"{document.name}: {link}"
