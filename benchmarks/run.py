"""Run the benchmarks, or those named, and write their tables into README.md.

python benchmarks/run.py                     # all; on a quiet machine
python benchmarks/run.py startup extraction  # some
python benchmarks/run.py --quick             # a smoke test that records nothing
python benchmarks/run.py --tables            # only the tables, from the recorded results
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import HERE, RESULTS, WORK

NAMES = (
    "whole_process",
    "against_fastai",
    "extraction",
    "engine",
    "backbones",
    "startup",
    "many_small",
    "heads",
    "accuracy",
    "audit",
    "audit_many",
    "tuning_speed",
    "tuning_accuracy",
    "tuning_memory",
)
README = HERE / "README.md"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Lay out a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def number(value: float) -> str:
    """Three significant digits, and never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{round(value, 6) + 0.0:.3g}"


def figure_row(figure: dict[str, Any]) -> list[str]:
    target = ""
    if figure["target"] is not None:
        sign = "<=" if figure["at_most"] else ">="
        target = f"{sign} {figure['target']:g} {figure['unit']}"
    met = {True: "yes", False: "**no**", None: ""}[figure["met"]]
    return [figure["what"], f"{number(figure['value'])} {figure['unit']}", target, met]


def tables(result: dict[str, Any]) -> str:
    """Figures with their targets, then the single cases."""
    rows = [figure_row(figure) for figure in result["figures"]]
    parts = [table(("what", "measured", "target", "met"), rows)]
    if result["cases"]:
        columns = list(result["cases"][0])
        cells = [["" if c is None else c for c in case.values()] for case in result["cases"]]
        parts.append(table(columns, cells))
    parts.append(f"Taken in {result['seconds']:,.0f} s; load before: {load(result)}.")
    return "\n\n".join(parts)


def load(result: dict[str, Any]) -> str:
    return f"{result['machine']['load_before']:.2f}"


def describe(results: Sequence[dict[str, Any]]) -> str:
    """Name the machines and the versions; one paragraph for each that differs."""
    seen: dict[str, list[str]] = {}
    for result in results:
        m = result["machine"]
        packages = ", ".join(f"{name} {version}" for name, version in m["packages"].items())
        text = (
            f"{m['processor']}; {m['cores']} cores; {m['memory_gib']} GiB; {m['system']}; "
            f"Python {m['python']}; {packages}."
        )
        seen.setdefault(text, []).append(result["name"])
    if len(seen) == 1:
        return next(iter(seen))
    return "\n\n".join(f"{', '.join(names)}: {text}" for text, names in seen.items())


def write_tables() -> None:
    """Replace what stands between the markers of every recorded benchmark."""
    found = [RESULTS / f"{name}.json" for name in NAMES]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in found if path.exists()]
    text = README.read_text(encoding="utf-8")
    blocks = {result["name"]: tables(result) for result in results}
    if results:
        blocks["machine"] = describe(results)
    for name, block in blocks.items():
        text = with_block(text, name, block)
    README.write_text(text, encoding="utf-8")


def with_block(text: str, name: str, block: str) -> str:
    """Replace what stands between the markers of a name."""
    found_at = re.search(f"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", text, re.DOTALL)
    if found_at is None:
        raise SystemExit(f"{README.name} must hold the markers of {name}")
    return f"{text[: found_at.start()]}{block}\n{text[found_at.end() :]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="a smoke test with tiny sizes")
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    parser.add_argument("--data", type=Path, help="folder of the real pictures")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"NAME must be one of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    extra = ["--data", str(options.data)] if options.data else []
    if options.quick:
        extra += ["--quick", "--out", str(WORK / "quick")]
    failed = []
    for name in () if options.tables else options.names or NAMES:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, HERE / f"{name}.py", *extra], check=False)
        failed += [name] if done.returncode else []
    if not options.quick:
        write_tables()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
