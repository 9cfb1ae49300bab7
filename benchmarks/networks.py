"""Which network: regraft's choice against LogME alone, the smallest and the largest.

The three embedded networks, frozen, on every data set with 20, 100 and all training pictures a
class. *Regret* is the best seed-averaged test accuracy of the three minus that of the one that was
picked for each seed. Each case is written down as it ends, in ``results/networks.jsonl``: started
again, this goes on with what is missing.

    python benchmarks/networks.py --seeds 2
    python benchmarks/networks.py --table
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from advisor import sampled
from common import REGRAFT, RESULTS, machine, parser_of, run_fit, run_process
from run import README, with_block
from strategies import DATA_SETS

NETWORKS = tuple(f"embedded:efficientnet_lite{number}" for number in range(3))
SIZES: tuple[int | None, ...] = (20, 100, None)
SEEDS = 5
LOG = RESULTS / "networks.jsonl"
PICKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "regraft": lambda row: str(row["chosen"]),
    "LogME": lambda row: max(NETWORKS, key=lambda name: float(row["logme"][name])),
    "smallest": lambda _: NETWORKS[0],
    "largest": lambda _: NETWORKS[-1],
}


def measure(data: str, size: int | None, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Ask which network is best, and test a frozen fit of each."""
    work = options.work / "networks"
    work.mkdir(parents=True, exist_ok=True)
    photos = sampled(options.data / data, size, seed, work)
    cache = work / "cache"
    asked = ("--backbone", ",".join(NETWORKS), "--budget", "0", f"--seed={seed}", "--json")
    command = [REGRAFT, "advise", photos, *asked]
    advice = json.loads(run_process(command, REGRAFT_CACHE=cache).out)
    accuracy = {}
    for name in NETWORKS:
        said = ("--backbone", name, "--strategy", "features", f"--seed={seed}")
        _, record = run_fit(photos, work / "model", cache, *said)
        accuracy[name] = record["test"]["accuracy"]
    return {
        "data": data,
        "size": size,
        "seed": seed,
        "accuracy": accuracy,
        "logme": {row["name"]: row["logme"] for row in advice["backbones"]},
        "chosen": advice["backbone"],
        "machine": machine(),
    }


def recorded() -> list[dict[str, Any]]:
    """Read what was measured before."""
    if not LOG.exists():
        return []
    return [json.loads(line) for line in LOG.read_text("utf-8").splitlines()]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out accuracies and regrets, in per cent and points."""
    short = [name.removeprefix("embedded:efficientnet_") for name in NETWORKS]
    columns = ["data", "pictures a class", "seeds", *short, *(f"regret: {p}" for p in PICKS)]
    lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
    for size in SIZES:
        for data in DATA_SETS:
            found = [row for row in rows if (row["data"], row["size"]) == (data, size)]
            if not found:
                continue
            of = {name: 100 * mean(row["accuracy"][name] for row in found) for name in NETWORKS}
            regrets = [
                max(of.values()) - 100 * mean(row["accuracy"][pick(row)] for row in found)
                for pick in PICKS.values()
            ]
            figures = [*of.values(), *regrets]
            cells = [data, size or "all", len(found), *(f"{figure:.1f}" for figure in figures)]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    done = {(row["data"], row["size"], row["seed"]) for row in recorded()}
    cases = [(d, size, seed) for seed in range(options.seeds) for size in SIZES for d in DATA_SETS]
    for case in cases if not options.table else ():
        if case not in done:
            row = measure(*case, options)
            with LOG.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(case, row["accuracy"], row["chosen"], flush=True)
    rows = recorded()
    print(table(rows))
    if rows:
        text = README.read_text(encoding="utf-8")
        README.write_text(with_block(text, "networks", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
