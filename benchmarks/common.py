"""What the benchmarks share: processes that are timed, figures with targets, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
WORK = HERE / ".work"
DATA = HERE.parent.parent / "shared" / "data"
REGRAFT = Path(sys.executable).with_name("regraft")
PACKAGES = ("regraft", "numpy", "openvino", "simplejpeg", "pillow", "scipy", "torch", "timm")

Cells = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Options:
    """What every benchmark is told.

    Parameters
    ----------
    data : Path
        Real pictures, a folder a data set.
    work : Path
        Where caches, models and made pictures go; emptied after use.
    quick : bool
        A smoke test: tiny sizes, figures without meaning.
    """

    data: Path
    work: Path
    quick: bool

    def pictures(self, name: str) -> Path:
        """Folder of a real data set; ends the benchmark with a sentence where it is absent."""
        folder = self.data / name
        if not folder.is_dir():
            print(f"skipped: {folder} is absent; name the folder of the pictures with --data")
            sys.exit(0)
        return folder

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give an empty folder that is deleted afterwards."""
        self.work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            yield Path(folder)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    Parameters
    ----------
    what : str
        What was measured.
    value : float
        How much it is.
    unit : str
        ``"s"``, ``"%"``, ...
    target : float or None
        What it should be: at most, where `at_most`, else at least.
    at_most : bool
        Whether less is better.
    """

    what: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark found: figures, a table of cases, and the raw measurements."""

    figures: Sequence[Figure]
    cases: Sequence[Cells] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well: wall and processor seconds, peak memory, what it printed."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    out: str


def run_process(command: Sequence[str | Path], **environment: str | Path) -> Finished:
    """Run a command to its end and take its time from outside, interpreter start included.

    Parameters
    ----------
    command : sequence of str or Path
        What to run.
    **environment : str or Path
        Variables that are set on top of this process's own.

    Returns
    -------
    Finished
        `peak_bytes` is the kernel's high-water mark of resident memory, mapped files included.

    Raises
    ------
    RuntimeError
        If it fails, with what it said.
    """
    settings = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen([*map(str, command)], env=settings, stdout=out, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, said):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {texts[1][-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(seconds, usage.ru_utime + usage.ru_stime, unit * usage.ru_maxrss, texts[0])


def run_fit(
    photos: Path,
    model: Path,
    cache: Path,
    *options: str,
    program: Sequence[str | Path] = (REGRAFT,),
) -> tuple[Finished, dict[str, Any]]:
    """Run ``regraft fit --json`` as a process; return its measures and its record."""
    command: list[str | Path] = [
        *program,
        "fit",
        photos,
        "--out",
        model,
        "--force",
        "--json",
        *options,
    ]
    finished = run_process(command, REGRAFT_CACHE=cache)
    return finished, json.loads(finished.out)


def converted_cache(source: Path, target: Path) -> Path:
    """Make a cache folder that holds the converted networks of another one, and no features."""
    target.mkdir(parents=True)
    shutil.copytree(source / "networks", target / "networks")
    return target


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def machine() -> dict[str, Any]:
    """Describe the processor, the memory and the versions that matter."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [s for s in cpuinfo.read_text().splitlines() if s.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
        flags = cpuinfo.read_text()
        model += ", amx_bf16" if "amx_bf16" in flags else ""
        model += ", avx512_bf16" if "avx512_bf16" in flags else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": model,
        "cores": cores,
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def main(name: str, measure: Callable[[Options], Report]) -> None:
    """Read the arguments, measure, and write ``NAME.json``."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("REGRAFT_DATA", DATA)),
        help="folder of the real pictures (default: $REGRAFT_DATA, or ../shared/data)",
    )
    parser.add_argument("--work", type=Path, default=WORK, help="folder for temporary files")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    parser.add_argument("--quick", action="store_true", help="a smoke test with tiny sizes")
    arguments = parser.parse_args()
    before = machine()
    start = time.perf_counter()
    report = measure(Options(arguments.data, arguments.work, arguments.quick))
    result = {
        "name": name,
        "quick": arguments.quick,
        "machine": before,
        "seconds": round(time.perf_counter() - start, 1),
        "figures": [{**asdict(figure), "met": figure.met} for figure in report.figures],
        "cases": [dict(cells) for cells in report.cases],
        "raw": dict(report.raw),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / f"{name}.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for figure in report.figures:
        print(f"{figure.what}: {figure.value:.4g} {figure.unit}")


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Return the command line of a script that is run by itself; `doc` is its help."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=WORK)
    return parser
