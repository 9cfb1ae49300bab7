"""Every strategy on every real data set at hand: accuracy over seeds, and what it costs.

Each fit is a process of its own and is written down as soon as it ends, in
``results/strategies.jsonl``: started again, this goes on with what is missing. The whole table
takes hours on two cores, most of them for `full` and `scratch`; ``--only`` and ``--seeds`` do a
part of it. The table is printed, and written into README.md. What is compared is paired: the same
seed deals the same folds and holds the same pictures back.

    python benchmarks/strategies.py --only hymenoptera:partial --seeds 2
    python benchmarks/strategies.py --table
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from common import REGRAFT, RESULTS, machine, parser_of, run_fit
from run import README, with_block

DATA_SETS = ("hymenoptera", "mnist_sample", "ham10000_mel_nv", "flowers5")
LAST = "features, last layer"
LOGME = "features, depth by LogME"
STRATEGIES: dict[str, tuple[str, ...]] = {
    LAST: ("--strategy", "features"),
    LOGME: ("--strategy", "features"),
    "features": ("--strategy", "features"),
    "partial blocks.6": ("--strategy", "partial", "--train-from", "blocks.6"),
    "partial blocks.5": ("--strategy", "partial", "--train-from", "blocks.5"),
    "partial blocks.4": ("--strategy", "partial", "--train-from", "blocks.4"),
    "gradual": ("--strategy", "gradual"),
    "norm": ("--strategy", "norm"),
    "full": ("--strategy", "full"),
    "scratch": ("--strategy", "scratch"),
}
SEEDS = 5
FEW_SEEDS = 2
# Features that are chosen without measuring a head on them.
PROGRAMS = {
    # A head on the average of the last layer, as other tools have it.
    LAST: """import regraft.workshop as workshop
sets = workshop.candidate_sets
workshop.candidate_sets = lambda cuts: sets(cuts)[:1]
from regraft.cli import main
main()""",
    # A head on the average of the depth that a score of transferability names.
    LOGME: """import regraft.workshop as workshop
from regraft.advice.logme import logme
from regraft.strategy import FeatureSet, Tap
chosen = workshop.Workshop._chosen
def by_logme(shop, lot, sets):
    rows = lot.splits.train
    def score(cut):
        return logme(lot.table.read([Tap(cut.name)], rows), lot.y[rows], len(lot.classes))
    name = max(shop.cuts, key=score).name
    return chosen(shop, lot, (FeatureSet(name, (Tap(name),)),))
workshop.Workshop._chosen = by_logme
from regraft.cli import main
main()""",
}
COSTLY = ("norm", "full", "scratch", "gradual")
SMALL = "hymenoptera"
LOG = RESULTS / "strategies.jsonl"
# 97.5 % points of Student's t with so many degrees of freedom.
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


@dataclass(frozen=True)
class Job:
    """A fit to be measured."""

    data: str
    strategy: str
    seed: int


def jobs(seeds: int | None, only: Sequence[str]) -> Iterator[Job]:
    """Give every fit of the table, a seed of all of them before the next seed."""
    for seed in range(seeds or SEEDS):
        for data in DATA_SETS:
            for strategy in STRATEGIES:
                costly = strategy in COSTLY and data != SMALL
                wanted = not only or any(f"{data}:{strategy}".startswith(name) for name in only)
                if wanted and (seeds or seed < (FEW_SEEDS if costly else SEEDS)):
                    yield Job(data, strategy, seed)


def recorded() -> list[dict[str, Any]]:
    """Read what was measured before."""
    if not LOG.exists():
        return []
    return [json.loads(line) for line in LOG.read_text("utf-8").splitlines()]


def measure(job: Job, data: Path, work: Path, options: Sequence[str]) -> dict[str, Any]:
    """Run a fit; activations that were computed before are used again."""
    model = work / "strategies-model"
    said = (*STRATEGIES[job.strategy], f"--seed={job.seed}", *options)
    changed = PROGRAMS.get(job.strategy)
    program = (sys.executable, "-c", changed) if changed else (REGRAFT,)
    cache = work / "strategies-cache"
    finished, record = run_fit(data / job.data, model, cache, *said, program=program)
    return {
        "data": job.data,
        "strategy": job.strategy,
        "seed": job.seed,
        "options": list(options),
        "accuracy": record["test"]["accuracy"],
        "log_loss": record["test"]["log_loss"],
        "n": record["test"]["n"],
        "kept": record["strategy"]["name"],
        "seconds": round(finished.seconds, 1),
        "cpu_seconds": round(finished.cpu_seconds, 1),
        "training_seconds": round(record["seconds"]["training"], 1),
        "passes": [phase["epochs"] for phase in record["training"]],
        "kept_passes": [phase["kept_epoch"] for phase in record["training"]],
        "rates": [phase["rate"] for phase in record["training"]],
        "views": [phase["views"] for phase in record["training"]],
        "mirror": [phase["mirror"] for phase in record["training"]],
        "machine": machine(),
    }


def interval(values: Sequence[float]) -> str:
    """Mean with a 95 % interval of the mean over seeds (Student's t)."""
    if len(values) < 2:
        return f"{mean(values):.1f}"
    half = STUDENT[min(4, len(values) - 1)] * stdev(values) / math.sqrt(len(values))
    return f"{mean(values):.1f} ± {half:.1f}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out the accuracies and the seconds."""
    lines = [
        "| data | strategy | seeds | test accuracy, % | against features, points | log loss "
        "| passes | frozen network kept | seconds | processor seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data in DATA_SETS:
        plain = {r["seed"]: r for r in rows if (r["data"], r["strategy"]) == (data, "features")}
        others = {r["strategy"] for r in rows if r["data"] == data} - STRATEGIES.keys()
        for strategy in (*STRATEGIES, *sorted(others)):
            found = [r for r in rows if (r["data"], r["strategy"]) == (data, strategy)]
            if not found:
                continue
            ahead = [
                100 * (r["accuracy"] - plain[r["seed"]]["accuracy"])
                for r in found
                if r["seed"] in plain and strategy != "features"
            ]
            passes = mean(sum(r["passes"]) for r in found)
            kept = sum(r["kept"] == "features" for r in found)
            lines.append(
                f"| {data} | {strategy} | {len(found)} "
                f"| {interval([100 * r['accuracy'] for r in found])} "
                f"| {interval(ahead) if ahead else ''} "
                f"| {mean(r['log_loss'] for r in found):.3f} "
                f"| {f'{passes:.0f}' if passes else ''} "
                f"| {f'{kept} of {len(found)}' if passes else ''} "
                f"| {mean(r['seconds'] for r in found):,.0f} "
                f"| {mean(r['cpu_seconds'] for r in found):,.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="DATA:STRATEGY")
    parser.add_argument("--seeds", type=int, help="do so many seeds of everything")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--fit", nargs="*", default=[], metavar="OPTION", help="also say to fit")
    options = parser.parse_args()
    if not options.table:
        done = {(r["data"], r["strategy"], r["seed"]) for r in recorded()}
        for job in jobs(options.seeds, options.only):
            if (job.data, job.strategy, job.seed) not in done:
                row = measure(job, options.data, options.work, options.fit)
                with LOG.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{job}: {100 * row['accuracy']:.1f} % in {row['seconds']} s", flush=True)
    rows = recorded()
    print(table(rows))
    if rows:
        text = README.read_text(encoding="utf-8")
        README.write_text(with_block(text, "strategies", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
