"""How good the models are on every real data set at hand, over five seeds.

Where a data set comes in two parts, the second is the test part whatever the seed; the seed deals
the folds. "Estimate" is what cross-validation inside the training part said of the choice, which
is optimistic; "test" is measured on pictures that chose nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from common import Cells, Figure, Options, Report, main, median, run_fit

DATA_SETS = ("hymenoptera", "flowers5", "ham10000_mel_nv", "mnist_sample")
SEEDS = range(5)


def row(name: str, runs: list[tuple[float, dict[str, Any]]]) -> Cells:
    """Sum up the runs of one data set."""
    records = [record for _, record in runs]
    tests = [100 * record["test"]["accuracy"] for record in records]
    low, high = records[0]["test"]["ci95"]
    return {
        "data": name,
        "classes": len(records[0]["classes"]),
        "train": records[0]["counts"]["train"],
        "test": records[0]["counts"]["test"],
        "test accuracy, %": round(mean(tests), 2),
        "over seeds": f"{min(tests):.2f}-{max(tests):.2f}",
        "95 % interval (seed 0)": f"{100 * low:.1f}-{100 * high:.1f}",
        "balanced, %": round(mean(100 * r["test"]["balanced_accuracy"] for r in records), 2),
        "estimate, %": round(mean(100 * r["selection"]["accuracy"] for r in records), 2),
        "chosen": ", ".join(sorted({r["strategy"]["features"] for r in records})),
        "new pictures, s": round(runs[0][0], 2),
        "stored, s": round(median([seconds for seconds, _ in runs[1:]]), 2),
    }


def measure(options: Options) -> Report:
    names = DATA_SETS[:1] if options.quick else DATA_SETS
    seeds = SEEDS[:2] if options.quick else SEEDS
    rows = []
    with options.scratch() as scratch:
        run_fit(options.pictures(names[0]), scratch / "model", scratch / "cache")
        clear_features(scratch / "cache")
        for name in names:
            photos = options.pictures(name)
            runs = []
            for seed in seeds:
                finished, record = run_fit(
                    photos, scratch / "model", scratch / "cache", f"--seed={seed}"
                )
                runs.append((finished.seconds, record))
            rows.append(row(name, runs))
            print(json.dumps(rows[-1]))
    figures = [
        Figure(
            f"{cells['data']}: test accuracy",
            float(cells["test accuracy, %"] or 0),
            "%",
            94.5 if cells["data"] == "hymenoptera" else None,
            at_most=False,
        )
        for cells in rows
    ]
    return Report(figures, rows)


def clear_features(cache: Path) -> None:
    """Forget the features and keep the converted network."""
    for path in cache.glob("features*"):
        path.unlink()


if __name__ == "__main__":
    main("accuracy", measure)
