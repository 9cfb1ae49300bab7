"""Is the advice good? Regret against a grid of recipes, on every data set and at several sizes.

The grid: every recipe is fitted and tested on every data set, with 5, 20, 100 and all training
pictures a class, over seeds. *Regret* is the best seed-averaged test accuracy in the grid minus
that of ``fit --budget``, whose budget is a share of what the grid took. Compared with always
training a head on the last layer, always training everything, the textbook's four cases taken at
their word, and a head on the depth that LogME alone would take. Each fit is written down as soon as
it ends, in ``results/advisor.jsonl``: started again, this goes on with what is missing, the grid
first. Whole data sets are taken from ``strategies.jsonl`` where they were measured there.

A fifth of the grid's time suffices for few races on folds: ``--recipe "10 minutes"`` measures
instead what so long a budget buys, which is a table of its own; ``--recipe advised`` more seeds of
the advice than there are of the grid, with the budget that the grid gave so far.

    python benchmarks/advisor.py --only hymenoptera:5 --seeds 2
    python benchmarks/advisor.py --only hymenoptera:20 --seeds 1 --recipe "10 minutes"
    python benchmarks/advisor.py --table
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from common import REGRAFT, RESULTS, converted_cache, machine, parser_of, run_fit, run_process
from run import README, with_block
from strategies import DATA_SETS, LAST, LOGME, STUDENT
from strategies import Job as WholeJob
from strategies import measure as measure_whole
from strategies import recorded as recorded_whole

SIZES: tuple[int | None, ...] = (5, 20, 100, None)
GRID = (LAST, "features", LOGME, "partial blocks.6", "partial blocks.5", "partial blocks.4", "full")
ADVISED, MINUTES = "advised", " minutes"
SEEDS = 5
# Part of the grid's time, over all recipes, that the advised fit may take; seconds at least.
SHARE, LEAST_SECONDS = 0.2, 30
LOG = RESULTS / "advisor.jsonl"


@dataclass(frozen=True)
class Job:
    """A fit to be measured."""

    data: str
    size: int | None
    recipe: str
    seed: int

    @property
    def key(self) -> tuple[str, int | None, str, int]:
        """What it is known by."""
        return self.data, self.size, self.recipe, self.seed


def jobs(seeds: int, only: Sequence[str], recipe: str | None) -> Iterator[Job]:
    """Give every fit, or those of a recipe, small sizes and of each data set the grid first."""
    for size in SIZES:
        for data in DATA_SETS:
            name = f"{data}:{size or 'all'}"
            if only and name not in only and data not in only:
                continue
            if recipe is not None:
                yield from (Job(data, size, recipe, seed) for seed in range(seeds))
                continue
            for seed in range(seeds):
                yield from (Job(data, size, name, seed) for name in GRID)
            yield from (Job(data, size, ADVISED, seed) for seed in range(seeds))


def recorded() -> list[dict[str, Any]]:
    """Read what was measured before, whole data sets of the other benchmark included."""
    rows = []
    if LOG.exists():
        rows = [json.loads(line) for line in LOG.read_text("utf-8").splitlines()]
    whole = [r for r in recorded_whole() if r["strategy"] in GRID and not r["options"]]
    return rows + [{**r, "size": None, "recipe": r["strategy"]} for r in whole]


def sampled(folder: Path, size: int | None, seed: int, work: Path) -> Path:
    """Write a table with so many training pictures of each class, and all test pictures."""
    if size is None:
        return folder
    rng = np.random.default_rng([seed, size])
    parts = sorted(path for path in folder.iterdir() if path.is_dir())
    train = next(path for path in parts if path.name == "train")
    (test,) = (path for path in parts if path != train)
    target = work / f"{folder.name}-{size}-{seed}.csv"
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for label in sorted(path.name for path in train.iterdir() if path.is_dir()):
            names = sorted(p for p in (train / label).iterdir() if p.suffix in (".jpg", ".png"))
            for place in np.sort(rng.permutation(len(names))[:size]):
                writer.writerow([names[place].resolve(), label, "train"])
            for path in sorted(p for p in (test / label).iterdir() if p.suffix in (".jpg", ".png")):
                writer.writerow([path.resolve(), label, "test"])
    return target


def took(row: dict[str, Any]) -> float:
    """Return the seconds of a fit: the processor's, where other work held it up."""
    return min(row["seconds"], row["cpu_seconds"])


def budget_of(job: Job, rows: Sequence[dict[str, Any]]) -> int:
    """Return the seconds that an advised fit may take: as named, or a share of the grid's."""
    if job.recipe.endswith(MINUTES):
        return 60 * int(job.recipe.removesuffix(MINUTES))
    taken = [
        mean(
            took(r)
            for r in rows
            if (r["data"], r["size"], r["recipe"]) == (job.data, job.size, recipe)
        )
        for recipe in GRID
    ]
    return max(LEAST_SECONDS, round(SHARE * sum(taken)))


def measure(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Run a fit of the grid, or the advised one."""
    work = options.work / "advisor"
    work.mkdir(parents=True, exist_ok=True)
    photos = sampled(options.data / job.data, job.size, job.seed, work)
    if job.recipe in GRID:
        whole = WholeJob(photos.name, job.recipe, job.seed)
        row = measure_whole(whole, photos.parent, work, ())
        return {**row, "data": job.data, "size": job.size, "recipe": job.recipe}
    budget = budget_of(job, recorded())
    fresh = work / "advised-cache"  # the grid has filled its own: the advice has to pay for all
    shutil.rmtree(fresh, ignore_errors=True)
    converted_cache(work / "strategies-cache", fresh)
    finished, record = run_fit(
        photos,
        work / "model",
        fresh,
        f"--seed={job.seed}",
        f"--budget={budget}",
    )
    asked = ("--budget", "0", f"--seed={job.seed}", "--json")
    command = [REGRAFT, "advise", photos, *asked]
    advice = json.loads(run_process(command, REGRAFT_CACHE=fresh).out)
    return {
        "data": job.data,
        "size": job.size,
        "recipe": job.recipe,
        "seed": job.seed,
        "accuracy": record["test"]["accuracy"],
        "log_loss": record["test"]["log_loss"],
        "n": record["test"]["n"],
        "seconds": round(finished.seconds, 1),
        "cpu_seconds": round(finished.cpu_seconds, 1),
        "budget": budget,
        "kept": record["strategy"]["name"],
        "race": record["race"],
        "case": advice["case"],
        "in_the_way": advice["in_the_way"],
        "machine": machine(),
    }


def averaged(
    rows: Sequence[dict[str, Any]], data: str, size: int | None, recipes: Sequence[str]
) -> tuple[int, dict[str, float]]:
    """Count the seeds that all recipes have, and average their accuracies, in per cent."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if (row["data"], row["size"]) == (data, size):
            found.setdefault(row["recipe"], {})[row["seed"]] = 100 * row["accuracy"]
    if not set(recipes) <= found.keys():
        return 0, {}
    seeds = set.intersection(*(set(found[recipe]) for recipe in recipes))
    if not seeds:
        return 0, {}
    return len(seeds), {
        recipe: mean(values[seed] for seed in seeds)
        for recipe, values in found.items()
        if seeds <= values.keys()
    }


def heads_table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out what heads on a frozen network come to, by what decides where they read."""
    heads = (LAST, "features", LOGME)
    lines = [
        f"| data | pictures a class | seeds | {' | '.join(heads)} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for size in SIZES:
        for data in DATA_SETS:
            seeds, found = averaged(rows, data, size, heads)
            if seeds:
                values = " | ".join(f"{found[head]:.1f}" for head in heads)
                lines.append(f"| {data} | {size or 'all'} | {seeds} | {values} |")
    return "\n".join(lines)


def outcome(row: dict[str, Any]) -> str:
    """Say what an advised fit is in the end, and how many ways to train folds judged."""
    race = row["race"]
    judged = sum(entrant["folds"] > 0 for entrant in race["entrants"])
    tried = race["straight"] or race["winner"]
    unlike = f" ({tried} was tried)" if tried != row["kept"] else ""
    return f"{row['kept']}{unlike}; {judged} on folds"


def longer_table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out what a longer budget buys."""
    recipes = sorted({r["recipe"] for r in rows if r["recipe"].endswith(MINUTES)})
    lines = [
        "| data | pictures a class | seeds | features, last layer | features | best of the grid "
        "| a fifth of the grid's time | longer | its budget | budget used | kept |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for recipe in recipes:
        for size in SIZES:
            for data in DATA_SETS:
                seeds, found = averaged(rows, data, size, (*GRID, recipe))
                if not seeds:
                    continue
                best = max(found[name] for name in GRID)
                advised = f"{found[ADVISED]:.1f}" if ADVISED in found else ""
                own = [
                    r for r in rows if (r["data"], r["size"], r["recipe"]) == (data, size, recipe)
                ]
                used = max(r["seconds"] / r["budget"] for r in own)
                won = "; ".join(outcome(r) for r in own)
                lines.append(
                    f"| {data} | {size or 'all'} | {seeds} | {found[LAST]:.1f} "
                    f"| {found['features']:.1f} | {best:.1f} | {advised} | {found[recipe]:.1f} "
                    f"| {recipe} | {used:.0%} at most | {won} |"
                )
    return "\n".join(lines)


def against_last(rows: Sequence[dict[str, Any]], data: str, size: int | None) -> str:
    """Paired difference of the advised fits to a head on the last layer, with its interval."""
    by_seed: dict[str, dict[int, float]] = {ADVISED: {}, LAST: {}}
    for row in rows:
        if (row["data"], row["size"]) == (data, size) and row["recipe"] in by_seed:
            by_seed[row["recipe"]][row["seed"]] = 100 * row["accuracy"]
    both = by_seed[ADVISED].keys() & by_seed[LAST].keys()
    ahead = [by_seed[ADVISED][seed] - by_seed[LAST][seed] for seed in sorted(both)]
    if len(ahead) < 2:
        return f"{ahead[0]:+.1f}" if ahead else ""
    half = STUDENT[min(4, len(ahead) - 1)] * stdev(ahead) / math.sqrt(len(ahead))
    return f"{mean(ahead):+.1f} ± {half:.1f}"


def textbook(rows: Sequence[dict[str, Any]], data: str, size: int | None) -> str | None:
    """Return the recipe that the textbook's word stands for, by the case that was found."""
    cases = [
        row["case"]
        for row in rows
        if (row["data"], row["size"], row["recipe"]) == (data, size, ADVISED)
    ]
    if not cases:
        return None
    words = {"small, alike": LAST, "small, unlike": "features"}
    return words.get(cases[0], "full")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out the regrets."""
    lines = [
        "| data | pictures a class | seeds | best of the grid | regret of the advice "
        "| of the last layer | of `full` | of the textbook | of LogME | advice against last layer "
        "| budget used | of the grid's time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for size in SIZES:
        for data in DATA_SETS:
            seeds, found = averaged(rows, data, size, (*GRID, ADVISED))
            if not seeds:
                continue
            grid = {recipe: found[recipe] for recipe in GRID}
            best = max(grid, key=lambda recipe: grid[recipe])
            told = textbook(rows, data, size)
            regrets = [
                f"{grid[best] - found[r]:.1f}" if r in found else ""
                for r in (ADVISED, LAST, "full", told or "", LOGME)
            ]
            own = [r for r in rows if (r["data"], r["size"], r["recipe"]) == (data, size, ADVISED)]
            used = max(r["seconds"] / r["budget"] for r in own)
            taken = sum(
                mean(
                    took(r)
                    for r in rows
                    if (r["data"], r["size"], r["recipe"]) == (data, size, recipe)
                )
                for recipe in grid
            )
            share = mean(took(r) for r in own) / taken
            lines.append(
                f"| {data} | {size or 'all'} | {seeds} | {best}, {grid[best]:.1f} | "
                + " | ".join(regrets)
                + f" | {against_last(rows, data, size)} | {used:.0%} at most | {share:.0%} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="DATA[:SIZE]")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--recipe", metavar="RECIPE", help="'advised', '10 minutes', ...: only it")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if not options.table:
        done = {(r["data"], r["size"], r["recipe"], r["seed"]) for r in recorded()}
        for job in jobs(options.seeds, options.only, options.recipe):
            if job.key not in done:
                row = measure(job, options)
                with LOG.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{job}: {100 * row['accuracy']:.1f} % in {row['seconds']} s", flush=True)
    rows = recorded()
    print(table(rows))
    text = README.read_text(encoding="utf-8")
    text = with_block(text, "advisor", table(rows))
    text = with_block(text, "advisor_longer", longer_table(rows))
    README.write_text(with_block(text, "advisor_heads", heads_table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
