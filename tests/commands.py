"""Runs the command line: inside this process where that is enough, else as one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from regraft import cli

MAIN = "from regraft.cli import main; main()"


@dataclass(frozen=True)
class Finished:
    """What a command did: exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Stdout, which must be one line with one JSON object as RFC 8259 has it (no NaN)."""
        assert self.out.endswith("\n"), (self.out, self.err)
        assert self.out.count("\n") == 1, self.out
        record = json.loads(self.out, parse_constant=_no_constant)
        assert isinstance(record, dict)
        assert record["schema_version"] == 1
        return record

    @property
    def error(self) -> str:
        """The message of a run that the user can mend: exit code 2, no traceback."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert "Traceback" not in self.err
        return " ".join(self.err.split())


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


def run(*arguments: str | Path) -> Finished:
    """Run ``regraft ARGUMENTS`` in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    argv = ["regraft", *map(str, arguments)]
    code: object = 0
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]
    return Finished(code or 0, *texts)  # type: ignore[arg-type]


def spawn(
    *arguments: str | Path,
    cache: Path,
    code: str = MAIN,
    env: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
) -> subprocess.Popen[str]:
    """Start Python code, by default ``regraft ARGUMENTS``, as a process."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "REGRAFT_CACHE": str(cache), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding=encoding,
    )


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Finished:
    """Wait for a process."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s:\n{out}\n{err}") from None
    return Finished(process.returncode, out, err)


def call(
    *arguments: str | Path,
    cache: Path,
    code: str = MAIN,
    env: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
) -> Finished:
    """Run Python code, by default ``regraft ARGUMENTS``, as a process and wait for it."""
    return finish(spawn(*arguments, cache=cache, code=code, env=env, encoding=encoding))


def empty_store(cache: Path, folder: Path) -> Path:
    """Make a cache folder with the networks of another one and no features."""
    shutil.copytree(cache / "networks", folder / "networks", copy_function=os.link)
    return folder
