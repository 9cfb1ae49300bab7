"""Ants and bees from the command line, as a user sees it: how long, and how good.

Three cases take turns, one round a seed: nothing cached (the network is converted on the way);
the network converted before and the pictures new; everything stored. Wall time of the whole
process. The accuracy is that of the test part, which chooses nothing; every case of a seed must
give the same one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from common import (
    Figure,
    Finished,
    Options,
    Report,
    converted_cache,
    main,
    median,
    run_fit,
)

TARGETS = {"first run": 8.0, "new pictures": 3.0, "everything stored": 1.5}
SEEDS = range(5)


def one_round(photos: Path, folder: Path, seed: int) -> dict[str, tuple[Finished, dict[str, Any]]]:
    """Run the three cases one after the other."""
    first, new, model = folder / "first", folder / "new", folder / "model"
    option = f"--seed={seed}"
    cases = {"first run": run_fit(photos, model, first, option)}
    converted_cache(first, new)
    cases["new pictures"] = run_fit(photos, model, new, option)
    cases["everything stored"] = run_fit(photos, model, new, option)
    shutil.rmtree(folder)
    return cases


def measure(options: Options) -> Report:
    photos = options.pictures("hymenoptera")
    seeds = SEEDS[:1] if options.quick else SEEDS
    rounds = []
    with options.scratch() as scratch:
        run_fit(photos, scratch / "warm" / "model", scratch / "warm")
        for seed in seeds:
            rounds.append(one_round(photos, scratch / str(seed), seed))
    for cases in rounds:
        if len({record["test"]["accuracy"] for _, record in cases.values()}) != 1:
            raise RuntimeError("the cases of one seed must give the same model")
    accuracies = [cases["new pictures"][1]["test"]["accuracy"] for cases in rounds]
    figures = [
        Figure(
            f"{name} (median of {len(rounds)})",
            median([cases[name][0].seconds for cases in rounds]),
            "s",
            target,
        )
        for name, target in TARGETS.items()
    ]
    mean = 100 * sum(accuracies) / len(accuracies)
    figures.append(
        Figure(f"test accuracy (mean of {len(rounds)} seeds)", mean, "%", 94.5, at_most=False)
    )
    cells = [
        {
            "seed": seed,
            **{f"{name}, s": round(cases[name][0].seconds, 2) for name in TARGETS},
            "of new: frozen pass, s": round(cases["new pictures"][1]["seconds"]["frozen"], 2),
            "of new: choice and head, s": round(cases["new pictures"][1]["seconds"]["head"], 2),
            "test accuracy, %": round(100 * accuracy, 2),
            "chosen": cases["new pictures"][1]["strategy"]["features"],
        }
        for seed, cases, accuracy in zip(seeds, rounds, accuracies, strict=True)
    ]
    cpu = {name: [cases[name][0].cpu_seconds for cases in rounds] for name in TARGETS}
    return Report(figures, cells, {"cpu_seconds": cpu})


if __name__ == "__main__":
    main("whole_process", measure)
